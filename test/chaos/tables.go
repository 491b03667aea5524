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
	c.reportFetches(ctx, line)
	c.accounts.printTables(line)
	line("\nSEARCHED FOR SECRETS\tKiB")
	for _, where := range slices.Sorted(maps.Keys(c.env.leaks.bytes)) {
		line("%s\t%d", where, c.env.leaks.bytes[where]>>10)
	}
	line("(snapshots)\t%d", c.observer.observations)
	line("\nSECRETS THAT ARE SEARCHED FOR\tNUMBER")
	for _, k := range secretKinds {
		line("%s\t%d", k, c.env.leaks.known[k])
	}
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
	t.print("TOKENS", "a live token", line)
}

// print prints the results of the consumers' calls and of the evaluation of one kind of objects.
func (t *tally) print(consumers, promised string, line func(string, ...any)) {
	line("\nCONSUMERS OF %s\tCALLS", consumers)
	line("accepted\t%d", t.accepted)
	line("refused while %s was promised\t%d", promised, t.refusedPromised)
	line("nothing there while %s was promised\t%d", promised, t.missingPromised)
	line("refused, excused\t%d", t.refusedExcused)
	line("nothing there, excused\t%d", t.missingExcused)
	line("answered by a fault\t%d", t.unknown)
	line("\nEVALUATED\t")
	total := max(t.promised+t.unpromised, 1)
	line("Secrets read while %s was promised\t%d of %d (%d %%)", promised, t.promised, total, 100*t.promised/total)
	line("statuses read that had to be true\t%d (%d %%)", t.statusEvaluated, 100*t.statusEvaluated/total)
	line("longest without while %s was promised\t%v", promised, t.longestDeadPromised.Round(time.Second))
	line("longest without, excused\t%v", t.longestDead.Round(time.Second))
}

// promisedShare returns the share of snapshots in which a promise about the Secret could be evaluated.
func (t *tally) promisedShare() float64 {
	return float64(t.promised) / float64(max(t.promised+t.unpromised, 1))
}

// reportFetches prints how often the operator looked at accounts, and how many tokens of its own it needed.
func (c *chaos) reportFetches(ctx context.Context, line func(string, ...any)) {
	counters, err := c.env.pipedream.counters(ctx)
	if err != nil {
		return
	}
	line("\nLOOKS AT ACCOUNTS\tMOST IN A MINUTE\tAT MOST, UNDISTURBED")
	for project, most := range c.fetches.most {
		line("%s\t%d\t%d", projectID(project), most, mostLooksOf(project))
	}
	line("(all looks, calls that failed, at most)\t%d\t%d\t%.0f", c.fetches.total, failedFetches(counters), c.fetches.failures)
	users, err := c.env.pipedream.userCounters(ctx)
	if err != nil {
		return
	}
	line("\nCALLS WITH API KEYS\tACCEPTED")
	for i := range keyCount {
		line("%s\t%d", keyHolderID(i), users.Users[keyHolderID(i)].Accepted)
	}
	maxIssued, maxFailed := c.fetches.bearers(time.Since(c.reporter.began), c.budget.crashCount())
	line("\nOWN TOKENS OF THE OPERATOR\tISSUED\tAT MOST\tFAILED\tAT MOST")
	for i := range readerCount {
		count := counters.Exchanges[readerID(i)]
		line("%s\t%d\t%.0f\t%d\t%.0f", readerID(i), count.Accepted, maxIssued, count.Total-count.Accepted, maxFailed)
	}
}

// printTables prints the results of the calls of apps and of the evaluation of PipedreamAccounts.
func (e *accountEvaluator) printTables(line func(string, ...any)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tally.print("ACCOUNTS", "live credentials", line)
	line("statuses read that had to say that the account is dead or deleted\t%d", e.sickEvaluated[dead]+e.sickEvaluated[deleted])
	line("statuses read that had to say that the API key was revoked\t%d", e.sickEvaluated[locked])
	line("statuses read that had to say no longer that the API key was revoked\t%d", e.usedEvaluated)
}
