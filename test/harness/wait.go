// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"cmp"
	"context"
	"fmt"
	"testing"
	"time"
)

// Patience is how long a Wait waits that does not say so itself.
const Patience = time.Minute

// Wait says how to wait. The zero value waits for up to a minute.
type Wait struct {
	// Patience is how long to wait at most. 0 is the constant Patience.
	Patience time.Duration
	// Every is the pause between two looks. 0 is 50 milliseconds.
	Every time.Duration
	// Process ends the wait with an error when it ends. Each error holds its log. Optional.
	Process *Process
	// Explain returns more to say when the wait was in vain. Optional.
	Explain func() string
}

// Until calls problem again and again until it returns "". Its error names what was
// awaited, how long, and the problem that was returned last. It returns early, with an
// error, when ctx or the Process ends.
func (w Wait) Until(ctx context.Context, what string, problem func() string) error {
	began := time.Now()
	deadline := time.After(cmp.Or(w.Patience, Patience))
	var ended <-chan struct{}
	if w.Process != nil {
		ended = w.Process.Ended()
	}
	for {
		last := problem()
		if last == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		case <-ended:
			return fmt.Errorf("%s ended (%s) during the wait for %s: %s%s", w.Process.Name, w.Process.Status(), what, last, w.more())
		case <-deadline:
			return fmt.Errorf("waited %v in vain for %s: %s%s", time.Since(began).Round(time.Millisecond), what, last, w.more())
		case <-time.After(cmp.Or(w.Every, 50*time.Millisecond)):
		}
	}
}

// more returns what follows the problem in an error.
func (w Wait) more() (text string) {
	if w.Explain != nil {
		text = "\n" + w.Explain()
	}
	if w.Process != nil {
		text += "\n" + w.Process.Log.String()
	}
	return text
}

// Eventually does what Until does, and ends the test when the wait was in vain.
func (w Wait) Eventually(tb testing.TB, what string, problem func() string) {
	tb.Helper()
	Must(tb, w.Until(context.WithoutCancel(tb.Context()), what, problem)) // A clean-up may wait, too.
}

// Eventually waits for up to a minute until problem returns "", and ends the test with the
// problem that was returned last if it never does.
func Eventually(tb testing.TB, what string, problem func() string) {
	tb.Helper()
	Wait{}.Eventually(tb, what, problem)
}

// Holds makes a condition into a function for Wait.
func Holds(condition func() bool) (problem func() string) {
	return func() string {
		if condition() {
			return ""
		}
		return "it did not come true"
	}
}

// NoError makes a function that returns an error into one for Wait.
func NoError(try func() error) (problem func() string) {
	return func() string {
		if err := try(); err != nil {
			return err.Error()
		}
		return ""
	}
}

// Pause waits for a duration. It returns early, with the error of ctx, when ctx ends.
func Pause(ctx context.Context, duration time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(duration):
		return nil
	}
}
