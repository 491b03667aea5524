// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

const (
	// firstTokensTimeout bounds how long the operator may take to issue the first token of every object.
	firstTokensTimeout = 2 * time.Minute
	// progressEvery is the time between two lines about the progress of the run.
	progressEvery = 30 * time.Second
	// minEvaluatedShare is the least share of snapshots in which a live token must have been promised. Below it
	// the run proves nothing.
	minEvaluatedShare = 0.05
)

// options are the flags of the program.
type options struct {
	duration       time.Duration
	seed           uint64
	binaries, logs string
}

// chaos is one run of the program.
type chaos struct {
	env       *environment
	reporter  *reporter
	promises  *promises
	budget    *budget
	evaluator *evaluator
	fetches   *fetchBudget
	accounts  *accountEvaluator
	observer  *observer
	// outage is locked while an action stops or starts a part of the cluster. It also guards revivals.
	outage   sync.Mutex
	revivals int
	// began is when the plan began.
	began time.Time
}

// run runs the program. Its error says how many breaches there were, or why the run could not be evaluated.
func run(ctx context.Context, o options, out io.Writer) (err error) {
	_, _ = fmt.Fprintf(out, "chaos: DURATION=%v SEED=%d\n", o.duration, o.seed)
	r := newReporter(out)
	e := &environment{options: o, reporter: r, leaks: newLeaks()}
	c := &chaos{env: e, reporter: r, promises: &promises{}, budget: &budget{}}
	c.evaluator = newEvaluator(c.promises, c.budget, r)
	c.fetches = newFetchBudget(r)
	c.accounts = newAccountEvaluator(c.promises, c.fetches, r)
	c.observer = newObserver(e, c.evaluator, c.accounts, c.promises)
	defer func() {
		r.printf("stopping everything")
		err = errors.Join(err, e.tearDown())
	}()
	if err := c.begin(ctx); err != nil {
		return c.interrupted(ctx, err)
	}
	if err := c.runPlan(ctx); err != nil {
		c.printTables(context.WithoutCancel(ctx), out)
		return c.interrupted(ctx, err)
	}
	c.end(ctx)
	c.printTables(context.WithoutCancel(ctx), out)
	if ctx.Err() != nil {
		return errors.New("interrupted before the end")
	}
	if breaches := r.breachCount(); breaches > 0 {
		return fmt.Errorf("%d breaches; to repeat: make chaos DURATION=%v SEED=%d", breaches, o.duration, o.seed)
	}
	return nil
}

func (c *chaos) interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted before the end")
	}
	return err
}

// begin starts the environment, and waits until the operator has issued the first token of every PipedreamToken, and
// fetched the credentials of every PipedreamAccount.
func (c *chaos) begin(ctx context.Context) error {
	if err := c.env.setUp(ctx); err != nil {
		return err
	}
	c.fetches.allowAll(triggeredLooks, time.Now())
	err := c.env.createObjects(ctx)
	c.promises.touch(ofCluster, 0, time.Now())
	if err != nil {
		return err
	}
	began := time.Now()
	for {
		c.observer.observe(ctx)
		_, unhealthy := c.observer.healthyCount()
		unhealthy = append(unhealthy, c.accounts.unwell(time.Time{})...)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case len(unhealthy) == 0:
			c.reporter.printf("all %d tokens are issued and all %d accounts are fetched, after %v", objectCount, accountCount, time.Since(began).Round(100*time.Millisecond))
			return nil
		case time.Since(began) > firstTokensTimeout:
			return fmt.Errorf("%d of %d objects have no token or no credentials at first; %v", len(unhealthy), objectCount+accountCount, unhealthy[0])
		}
		_ = harness.Pause(ctx, observeEvery)
	}
}

// runPlan carries out the plan while the observer evaluates every object.
func (c *chaos) runPlan(ctx context.Context) error {
	actions := plan(c.env.options.seed, c.env.options.duration)
	c.reporter.printf("%d disturbances in %v; promises hold again %v after the last one that affects them", len(actions), c.env.options.duration, settleTime)
	observing, stop := context.WithCancel(ctx)
	defer stop()
	var observed, acting sync.WaitGroup
	observed.Go(func() { c.observer.run(observing) })
	observed.Go(func() { c.printProgress(observing) })
	observed.Go(func() { c.keepAPIServer(observing) })
	began, failures := time.Now(), make(chan error, len(actions))
	c.began = began
	ctx, cancel := context.WithDeadline(ctx, began.Add(c.env.options.duration))
	defer cancel()
	for _, a := range actions {
		_ = harness.Pause(ctx, a.at-time.Since(began))
		if ctx.Err() != nil {
			break
		}
		acting.Go(func() { failures <- c.carryOut(ctx, a) })
	}
	acting.Wait()
	_ = harness.Pause(ctx, c.env.options.duration-time.Since(began))
	stop()
	observed.Wait()
	close(failures)
	var failed error
	for err := range failures {
		failed = errors.Join(failed, err)
	}
	return failed
}

// carryOut carries out one action. After an error the run cannot be evaluated.
func (c *chaos) carryOut(ctx context.Context, a action) error {
	var err error
	switch {
	case slices.Contains(pipedreamKinds, a.kind), a.kind == refusedAll:
		err = c.failPipedream(ctx, a)
	case slices.Contains(fetchKinds, a.kind):
		err = c.failFetches(ctx, a)
	case slices.Contains(accountKinds, a.kind):
		err = c.disturbAccounts(ctx, a)
	case slices.Contains(clusterKinds, a.kind):
		err = c.disturbCluster(ctx, a)
	case a.kind == kubernetesRotated, a.kind == pipedreamRotated:
		err = c.rotate(ctx, a)
	default:
		err = c.disturbObjects(ctx, a)
	}
	if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("%v could not be carried out: %w", a, err)
	}
	return nil
}

// printProgress prints a line about the progress of the run, every progressEvery.
func (c *chaos) printProgress(ctx context.Context) {
	for {
		_ = harness.Pause(ctx, progressEvery)
		if ctx.Err() != nil {
			return
		}
		healthy, _ := c.observer.healthyCount()
		wellAccounts := accountCount - len(c.accounts.unwell(time.Now().Add(-progressEvery)))
		c.reporter.printf("%d of %d tokens live and renewed, %d promised; %d of %d accounts well, %d promised; %d breaches", healthy, objectCount, c.promised(),
			wellAccounts, accountCount, c.accounts.promised(time.Now()), c.reporter.breachCount())
	}
}

// end evaluates the state after the last calm, and stops the managers.
func (c *chaos) end(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	c.settle(ctx)
	_, unhealthy := c.observer.healthyCount()
	for _, who := range append(unhealthy, c.settleAccounts(ctx)...) {
		c.reporter.setBreach(true, finalState, "after the last calm", who, "")
	}
	for _, o := range []*ownership{c.evaluator.owners, c.accounts.owners} {
		if left := o.leftOver(); left > 0 {
			c.reporter.setBreach(true, oneSecret, "after the last calm", "Secrets without their "+o.kind, fmt.Sprint(left))
		}
	}
	c.observer.search(ctx)
	c.env.stopManagers(c.evaluateExit)
	c.evaluateExchanges(ctx)
	c.evaluateFetches(ctx)
	c.observer.report(time.Now().Add(learnDelay))
	for kind, share := range map[string]float64{tokenFleet.kind: c.evaluator.tally.promisedShare(), accountFleet.kind: c.accounts.tally.promisedShare()} {
		c.reporter.setBreach(share < minEvaluatedShare, finalState, "this run", "the machine was too busy: hardly any promise about a "+kind+" could be evaluated", "")
	}
	for _, where := range []string{"log", "Event", tokenFleet.kind, accountFleet.kind, "Secret", "metrics"} {
		c.reporter.setBreach(c.env.leaks.bytes[where] == 0, noLeak, where, "there was nothing to search", "")
	}
	for _, k := range secretKinds {
		c.reporter.setBreach(c.env.leaks.known[k] == 0, noLeak, string(k), "there was nothing to search for", "")
	}
}

// settle observes until every object is promised a live token and no Secret is left over. It waits no longer
// than settleTime and collectorDelay together: an outage or the garbage collector may take longer than planned.
func (c *chaos) settle(ctx context.Context) {
	for deadline := time.Now().Add(settleTime + collectorDelay); ctx.Err() == nil; _ = harness.Pause(ctx, observeEvery) {
		c.observer.observe(ctx)
		isSettled := c.promised() == objectCount && c.accounts.promised(time.Now()) == accountCount
		if isSettled && c.evaluator.owners.leftOver() == 0 && c.accounts.owners.leftOver() == 0 || time.Now().After(deadline) {
			return
		}
	}
}

// settleAccounts observes until each PipedreamAccount was well once, and describes the PipedreamAccounts that were not.
// It waits no longer than the app may refuse credentials after a refresh.
func (c *chaos) settleAccounts(ctx context.Context) (unwell []string) {
	began := time.Now()
	for {
		c.observer.observe(ctx)
		unwell = c.accounts.unwell(began)
		if len(unwell) == 0 || ctx.Err() != nil || time.Since(began) > 2*rotatingLapse {
			return unwell
		}
		_ = harness.Pause(ctx, observeEvery)
	}
}

// promised returns the number of objects that must hold a live token now.
func (c *chaos) promised() int {
	promised, now := 0, time.Now()
	for i := range objectCount {
		if c.promises.isTokenPromised(i, now) {
			promised++
		}
	}
	return promised
}

// evaluateFetches compares the calls for accounts that failed, and the tokens of the operator's own, with the budget.
func (c *chaos) evaluateFetches(ctx context.Context) {
	counters, err := c.env.pipedream.counters(ctx)
	if err != nil {
		return // evaluateExchanges reports it.
	}
	faulted := failedFetches(counters)
	c.reporter.setBreach(float64(faulted) > c.fetches.failures, boundedExchanges, "all projects", "too many calls for accounts failed", fmt.Sprintf("%d, at most %.0f", faulted, c.fetches.failures))
	users, err := c.env.pipedream.userCounters(ctx)
	for i := range keyCount {
		isUnused := err != nil || users.Users[keyHolderID(i)].Accepted == 0
		c.reporter.setBreach(isUnused, boundedExchanges, keyHolderID(i), "no call with the user's API key was accepted", "")
	}
	maxIssued, maxFailed := c.fetches.bearers(time.Since(c.reporter.began), c.budget.crashCount())
	for i := range readerCount {
		count := counters.Exchanges[readerID(i)]
		failed := count.Total - count.Accepted
		c.reporter.setBreach(count.Accepted == 0 || float64(count.Accepted) > maxIssued, boundedExchanges, readerID(i), "too many tokens of the operator's own, or none", fmt.Sprintf("%d, at most %.0f", count.Accepted, maxIssued))
		c.reporter.setBreach(float64(failed) > maxFailed, boundedExchanges, readerID(i), "too many exchanges for the operator's own tokens failed", fmt.Sprintf("%d, at most %.0f", failed, maxFailed))
	}
	c.reporter.setBreach(c.fetches.total == 0, boundedExchanges, "all projects", "the simulator counted no look at any account", "")
}

// failedFetches returns how many calls for single accounts were answered by a fault.
func failedFetches(counters simulator.Counters) int {
	return counters.Calls[simulator.EndpointAccount].Faulted + counters.Calls[simulator.EndpointRESTAccount].Faulted
}

// evaluateExchanges compares the exchanges that the simulator counted with the budget.
func (c *chaos) evaluateExchanges(ctx context.Context) {
	counters, err := c.env.pipedream.counters(ctx)
	if err != nil {
		c.reporter.setBreach(true, boundedExchanges, "the simulator", "does not answer", err.Error())
		return
	}
	issued, failed := 0, 0
	check := func(who string, issued, failed int, maxIssued, maxFailed float64) {
		c.reporter.setBreach(float64(issued) > maxIssued, boundedExchanges, who, "too many tokens were issued", fmt.Sprintf("%d, at most %.0f", issued, maxIssued))
		c.reporter.setBreach(float64(failed) > maxFailed, boundedExchanges, who, "too many exchanges failed", fmt.Sprintf("%d, at most %.0f", failed, maxFailed))
	}
	for i := range clientCount {
		count := counters.Exchanges[clientID(i)]
		_, maxIssued, maxFailed := c.budget.bounds(i)
		check(clientID(i), count.Accepted, count.Total-count.Accepted, maxIssued, maxFailed)
		issued, failed = issued+count.Accepted, failed+count.Total-count.Accepted
	}
	_, maxIssued, maxFailed := c.budget.total()
	check("all clients", issued, failed, maxIssued, maxFailed)
	lost, maxLost := issued-c.evaluator.storedCount(), c.budget.maxLost()
	c.reporter.setBreach(lost > maxLost, boundedExchanges, "all clients", "too many tokens were issued and never stored", fmt.Sprintf("%d, at most %d", lost, maxLost))
	for id, count := range counters.Exchanges {
		if id == "(unknown)" {
			c.reporter.setBreach(count.Total > 0, boundedExchanges, id, "an unknown client", fmt.Sprint(count.Total))
		}
	}
}
