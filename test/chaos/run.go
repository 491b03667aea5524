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

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

const (
	// furnishTimeout is how long all tokens may take until they are issued the first time.
	furnishTimeout = 2 * time.Minute
	// tellEvery is the time between two lines that say how it goes.
	tellEvery = 30 * time.Second
	// leastJudged is the least share of looks at which a live token must have been
	// promised: below it the run says nothing.
	leastJudged = 0.05
)

// options say how long, and what with.
type options struct {
	duration       time.Duration
	seed           uint64
	binaries, logs string
}

// chaos is a run.
type chaos struct {
	stage    *stage
	diary    *diary
	promises *promises
	ledger   *ledger
	judge    *judge
	observer *observer
	// outage is held by whoever stops or starts a part of the cluster, and guards revivals.
	outage   sync.Mutex
	revivals int
	// began is when the plan did.
	began time.Time
}

// run disturbs and judges. Its error says what was broken, or why it could not be told.
func run(ctx context.Context, o options, out io.Writer) (err error) {
	_, _ = fmt.Fprintf(out, "chaos: DURATION=%v SEED=%d\n", o.duration, o.seed)
	d := newDiary(out)
	s := &stage{options: o, diary: d, leaks: newLeaks()}
	c := &chaos{stage: s, diary: d, promises: &promises{}, ledger: &ledger{}}
	c.judge = newJudge(c.promises, c.ledger, d)
	c.observer = newObserver(s, c.judge, c.promises)
	defer func() {
		d.say("stopping everything")
		err = errors.Join(err, s.tearDown())
	}()
	if err := c.begin(ctx); err != nil {
		return c.interrupted(ctx, err)
	}
	if err := c.play(ctx); err != nil {
		c.report(context.WithoutCancel(ctx), out)
		return c.interrupted(ctx, err)
	}
	c.end(ctx)
	c.report(context.WithoutCancel(ctx), out)
	if ctx.Err() != nil {
		return errors.New("interrupted before the end")
	}
	if breaches := d.breached(); breaches > 0 {
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

// begin sets all up, and waits until every token is issued.
func (c *chaos) begin(ctx context.Context) error {
	if err := c.stage.setUp(ctx); err != nil {
		return err
	}
	err := c.stage.furnish(ctx)
	c.promises.touch(ofCluster, 0, time.Now())
	if err != nil {
		return err
	}
	began := time.Now()
	for {
		c.observer.look(ctx)
		well, unwell := c.observer.wellCount()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case well == objectCount:
			c.diary.say("all %d tokens are issued, after %v", well, time.Since(began).Round(100*time.Millisecond))
			return nil
		case time.Since(began) > furnishTimeout:
			return fmt.Errorf("only %d of %d tokens were issued at first; %v", well, objectCount, unwell[0])
		}
		_ = harness.Pause(ctx, lookEvery)
	}
}

// play carries out the plan while everything is observed.
func (c *chaos) play(ctx context.Context) error {
	actions := plan(c.stage.options.seed, c.stage.options.duration)
	c.diary.say("%d disturbances in %v; promises hold %v after the last one that regards them", len(actions), c.stage.options.duration, settling)
	observing, stop := context.WithCancel(ctx)
	defer stop()
	var observed, acting sync.WaitGroup
	observed.Go(func() { c.observer.run(observing) })
	observed.Go(func() { c.tell(observing) })
	observed.Go(func() { c.keepAPIServer(observing) })
	began, failures := time.Now(), make(chan error, len(actions))
	c.began = began
	ctx, cancel := context.WithDeadline(ctx, began.Add(c.stage.options.duration))
	defer cancel()
	for _, a := range actions {
		_ = harness.Pause(ctx, a.at-time.Since(began))
		if ctx.Err() != nil {
			break
		}
		acting.Go(func() { failures <- c.act(ctx, a) })
	}
	acting.Wait()
	_ = harness.Pause(ctx, c.stage.options.duration-time.Since(began))
	stop()
	observed.Wait()
	close(failures)
	var failed error
	for err := range failures {
		failed = errors.Join(failed, err)
	}
	return failed
}

// act carries out one action. Its error means that the run can't be judged.
func (c *chaos) act(ctx context.Context, a action) error {
	var err error
	switch {
	case slices.Contains(pipedreamKinds, a.kind), a.kind == refusedAll:
		err = c.failPipedream(ctx, a)
	case slices.Contains(clusterKinds, a.kind):
		err = c.disturbCluster(ctx, a)
	case a.kind == rotatedHere, a.kind == rotatedThere:
		err = c.rotate(ctx, a)
	default:
		err = c.disturbObjects(ctx, a)
	}
	if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("%v could not be done: %w", a, err)
	}
	return nil
}

// tell says from time to time how it goes.
func (c *chaos) tell(ctx context.Context) {
	for {
		_ = harness.Pause(ctx, tellEvery)
		if ctx.Err() != nil {
			return
		}
		well, _ := c.observer.wellCount()
		c.diary.say("%d of %d tokens live and renewed, %d promised; %d breaches", well, objectCount, c.promised(), c.diary.breached())
	}
}

// end judges how all is left after the last calm, and ends the managers.
func (c *chaos) end(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	c.settle(ctx)
	_, unwell := c.observer.wellCount()
	for _, who := range unwell {
		c.diary.judge(true, goodEnd, "after the last calm", who, "")
	}
	if left := c.judge.leftOver(); left > 0 {
		c.diary.judge(true, oneSecret, "after the last calm", "Secrets of PipedreamTokens that are gone", fmt.Sprint(left))
	}
	c.observer.search(ctx)
	c.stage.stopManagers(c.judgeExit)
	c.judgeExchanges(ctx)
	c.observer.report(time.Now().Add(learnDelay))
	c.diary.judge(c.judge.judgedShare() < leastJudged, goodEnd, "this run", "the machine was too busy, hardly any promise could be judged", "")
	for _, where := range []string{"log", "Event", "PipedreamToken", "Secret", "metrics"} {
		c.diary.judge(c.stage.leaks.bytes[where] == 0, nothingSecret, where, "nothing was there to search", "")
	}
}

// settle looks until everything is promised again and collected, if the last outage or
// the garbage collector took longer than planned.
func (c *chaos) settle(ctx context.Context) {
	for deadline := time.Now().Add(settling + collecting); ctx.Err() == nil; _ = harness.Pause(ctx, lookEvery) {
		c.observer.look(ctx)
		if c.promised() == objectCount && c.judge.leftOver() == 0 || time.Now().After(deadline) {
			return
		}
	}
}

// promised returns how many objects must hold a live token now.
func (c *chaos) promised() int {
	promised, now := 0, time.Now()
	for i := range objectCount {
		if c.promises.isHeld(i, now) {
			promised++
		}
	}
	return promised
}

// judgeExchanges compares what the simulator counted with what was needed.
func (c *chaos) judgeExchanges(ctx context.Context) {
	counters, err := c.stage.pipedream.counters(ctx)
	if err != nil {
		c.diary.judge(true, fewExchanges, "the simulator", "can't be asked", err.Error())
		return
	}
	issued, failed := 0, 0
	check := func(who string, issued, failed int, mostIssued, mostFailed float64) {
		c.diary.judge(float64(issued) > mostIssued, fewExchanges, who, "too many tokens were issued", fmt.Sprintf("%d, at most %.0f", issued, mostIssued))
		c.diary.judge(float64(failed) > mostFailed, fewExchanges, who, "too many exchanges failed", fmt.Sprintf("%d, at most %.0f", failed, mostFailed))
	}
	for i := range clientCount {
		count := counters.Exchanges[clientID(i)]
		_, mostIssued, mostFailed := c.ledger.bounds(i)
		check(clientID(i), count.Accepted, count.Total-count.Accepted, mostIssued, mostFailed)
		issued, failed = issued+count.Accepted, failed+count.Total-count.Accepted
	}
	_, mostIssued, mostFailed := c.ledger.total()
	check("all clients", issued, failed, mostIssued, mostFailed)
	lost, mostLost := issued-c.judge.stored(), c.ledger.mostLost()
	c.diary.judge(lost > mostLost, fewExchanges, "all clients", "too many tokens were issued and never stored", fmt.Sprintf("%d, at most %d", lost, mostLost))
	for id, count := range counters.Exchanges {
		if id == "(unknown)" {
			c.diary.judge(count.Total > 0, fewExchanges, id, "a client that nobody has", fmt.Sprint(count.Total))
		}
	}
}
