// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"
)

// report prints the tables.
func (c *chaos) report(ctx context.Context, out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(format string, arguments ...any) { _, _ = fmt.Fprintf(w, format+"\n", arguments...) }
	line("\nDISTURBANCE\tTIMES")
	kinds, counts := c.diary.counts()
	for _, k := range kinds {
		line("%s\t%d", k, counts[k])
	}
	byThemselves := 0
	for _, m := range c.stage.managers {
		byThemselves += m.byItself
	}
	line("(managers that ended by themselves)\t%d", byThemselves)
	line("(kube-apiserver that ended by itself)\t%d", c.revivals)
	c.reportExchanges(ctx, line)
	c.judge.report(line)
	line("\nSEARCHED FOR SECRETS\tKiB")
	for _, where := range slices.Sorted(maps.Keys(c.stage.leaks.bytes)) {
		line("%s\t%d", where, c.stage.leaks.bytes[where]>>10)
	}
	line("(looks, secrets)\t%d, %d", c.observer.looks, len(c.stage.leaks.known))
	line("\nINVARIANT\tBREACHES")
	for _, i := range slices.Sorted(maps.Keys(invariants)) {
		line("%d %s\t%d", i, invariants[i], c.diary.breaches[i])
	}
	_ = w.Flush()
	for _, note := range c.diary.notes {
		_, _ = fmt.Fprintln(out, note)
	}
	_, _ = fmt.Fprintf(out, "\nDURATION=%v SEED=%d: %d breaches\n", c.stage.options.duration, c.stage.options.seed, c.diary.breached())
}

func (c *chaos) reportExchanges(ctx context.Context, line func(string, ...any)) {
	counters, err := c.stage.pipedream.counters(ctx)
	if err != nil {
		return
	}
	line("\nEXCHANGES\tISSUED\tIDEAL\tRATIO\tAT MOST\tFAILED\tAT MOST")
	row := func(who string, issued, failed int, ideal, most, mostFailed float64) {
		line("%s\t%d\t%.0f\t%.2f\t%.0f\t%d\t%.0f", who, issued, ideal, float64(issued)/max(ideal, 1), most, failed, mostFailed)
	}
	issued, failed := 0, 0
	for i := range clientCount {
		count := counters.Exchanges[clientID(i)]
		ideal, most, mostFailed := c.ledger.bounds(i)
		row(clientID(i), count.Accepted, count.Total-count.Accepted, ideal, most, mostFailed)
		issued, failed = issued+count.Accepted, failed+count.Total-count.Accepted
	}
	ideal, most, mostFailed := c.ledger.total()
	row("all", issued, failed, ideal, most, mostFailed)
	line("(calls by version of HTTP, and their connections)\t%v, %+v", counters.Protocols, counters.Connections)
	line("(issued and never stored)\t%d\t\t\t%d", issued-c.judge.stored(), c.ledger.mostLost())
}

// report says what consumers met.
func (j *judge) report(line func(string, ...any)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	t := j.tally
	line("(stored because of their age)\t%d of %d", t.byAge, t.stored)
	line("\nCONSUMERS\tCALLS")
	line("accepted\t%d", t.accepted)
	line("refused while a live token was promised\t%d", t.refusedPromised)
	line("no token while one was promised\t%d", t.missingPromised)
	line("refused, excused\t%d", t.refusedExcused)
	line("no token, excused\t%d", t.missingExcused)
	line("answered by a fault\t%d", t.unknown)
	line("\nJUDGED\t")
	total := max(t.judged+t.unjudged, 1)
	line("looks at a Secret while a live token was promised\t%d of %d (%d %%)", t.judged, total, 100*t.judged/total)
	line("looks at a status that had to be true\t%d (%d %%)", t.statusJudged, 100*t.statusJudged/total)
	line("longest without a live token while one was promised\t%v", t.longestHeldDead.Round(time.Second))
	line("longest without a live token, excused\t%v", t.longestDead.Round(time.Second))
}

// judgedShare returns at how many of all looks a live token was promised.
func (j *judge) judgedShare() float64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return float64(j.tally.judged) / float64(max(j.tally.judged+j.tally.unjudged, 1))
}

// leftOver returns how many Secrets belong to no PipedreamToken.
func (j *judge) leftOver() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.orphans)
}
