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

// printTables prints the tables at the end of a run.
func (c *chaos) printTables(ctx context.Context, out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(format string, arguments ...any) { _, _ = fmt.Fprintf(w, format+"\n", arguments...) }
	line("\nDISTURBANCE\tTIMES")
	kinds, counts := c.reporter.disturbanceCounts()
	for _, k := range kinds {
		line("%s\t%d", k, counts[k])
	}
	unexpectedExits := 0
	for _, m := range c.env.managers {
		unexpectedExits += m.unexpectedExits
	}
	line("(unexpected exits of managers)\t%d", unexpectedExits)
	line("(unexpected exits of kube-apiserver)\t%d", c.revivals)
	c.reportExchanges(ctx, line)
	c.evaluator.printTables(line)
	line("\nSEARCHED FOR SECRETS\tKiB")
	for _, where := range slices.Sorted(maps.Keys(c.env.leaks.bytes)) {
		line("%s\t%d", where, c.env.leaks.bytes[where]>>10)
	}
	line("(snapshots, secrets)\t%d, %d", c.observer.observations, len(c.env.leaks.known))
	line("\nINVARIANT\tBREACHES")
	for _, i := range slices.Sorted(maps.Keys(invariants)) {
		line("%d %s\t%d", i, invariants[i], c.reporter.breaches[i])
	}
	_ = w.Flush()
	for _, note := range c.reporter.notes {
		_, _ = fmt.Fprintln(out, note)
	}
	_, _ = fmt.Fprintf(out, "\nDURATION=%v SEED=%d: %d breaches\n", c.env.options.duration, c.env.options.seed, c.reporter.breachCount())
}

func (c *chaos) reportExchanges(ctx context.Context, line func(string, ...any)) {
	counters, err := c.env.pipedream.counters(ctx)
	if err != nil {
		return
	}
	line("\nEXCHANGES\tISSUED\tIDEAL\tRATIO\tAT MOST\tFAILED\tAT MOST")
	row := func(who string, issued, failed int, ideal, most, maxFailed float64) {
		line("%s\t%d\t%.0f\t%.2f\t%.0f\t%d\t%.0f", who, issued, ideal, float64(issued)/max(ideal, 1), most, failed, maxFailed)
	}
	issued, failed := 0, 0
	for i := range clientCount {
		count := counters.Exchanges[clientID(i)]
		ideal, most, maxFailed := c.budget.bounds(i)
		row(clientID(i), count.Accepted, count.Total-count.Accepted, ideal, most, maxFailed)
		issued, failed = issued+count.Accepted, failed+count.Total-count.Accepted
	}
	ideal, most, maxFailed := c.budget.total()
	row("all", issued, failed, ideal, most, maxFailed)
	line("(calls by version of HTTP, and their connections)\t%v, %+v", counters.Protocols, counters.Connections)
	line("(issued and never stored)\t%d\t\t\t%d", issued-c.evaluator.storedCount(), c.budget.maxLost())
}

// printTables prints the results of the consumers' calls and of the evaluation.
func (e *evaluator) printTables(line func(string, ...any)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.tally
	line("(stored because the token before was due)\t%d of %d", t.byAge, t.stored)
	line("\nCONSUMERS\tCALLS")
	line("accepted\t%d", t.accepted)
	line("refused while a live token was promised\t%d", t.refusedPromised)
	line("no token while one was promised\t%d", t.missingPromised)
	line("refused, excused\t%d", t.refusedExcused)
	line("no token, excused\t%d", t.missingExcused)
	line("answered by a fault\t%d", t.unknown)
	line("\nEVALUATED\t")
	total := max(t.promised+t.unpromised, 1)
	line("Secrets read while a live token was promised\t%d of %d (%d %%)", t.promised, total, 100*t.promised/total)
	line("statuses read that had to be true\t%d (%d %%)", t.statusEvaluated, 100*t.statusEvaluated/total)
	line("longest without a live token while one was promised\t%v", t.longestDeadPromised.Round(time.Second))
	line("longest without a live token, excused\t%v", t.longestDead.Round(time.Second))
}

// evaluatedShare returns the share of snapshots in which a live token was promised.
func (e *evaluator) evaluatedShare() float64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return float64(e.tally.promised) / float64(max(e.tally.promised+e.tally.unpromised, 1))
}

// leftOver returns how many Secrets belong to no PipedreamToken.
func (e *evaluator) leftOver() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.orphans)
}
