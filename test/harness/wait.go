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

// Patience is the longest time of a Wait whose field Patience is 0.
const Patience = time.Minute

// Wait describes how to wait for a condition. The zero value waits for up to a minute.
type Wait struct {
	// Patience is the longest time to wait. 0 means the constant Patience.
	Patience time.Duration
	// Every is the pause between two checks. 0 means 50 milliseconds.
	Every time.Duration
	// Process is a process without which waiting is useless: when it ends, the wait ends with an error. Each
	// error holds the process's log. It is optional.
	Process *Process
	// Explain returns more text for the error of a wait. It is optional.
	Explain func() string
}

// Until calls problem repeatedly until it returns "". The error names the awaited condition, the time, and the last
// problem. Until returns early, with an error, when ctx or the Process ends.
func (w Wait) Until(ctx context.Context, condition string, problem func() string) error {
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
			return fmt.Errorf("wait for %s: %w", condition, ctx.Err())
		case <-ended:
			return fmt.Errorf("%s ended (%s) during the wait for %s: %s%s", w.Process.Name, w.Process.Status(), condition, last, w.more())
		case <-deadline:
			return fmt.Errorf("waited %v for %s: %s%s", time.Since(began).Round(time.Millisecond), condition, last, w.more())
		case <-time.After(cmp.Or(w.Every, 50*time.Millisecond)):
		}
	}
}

// more returns the text that follows the problem in an error.
func (w Wait) more() (text string) {
	if w.Explain != nil {
		text = "\n" + w.Explain()
	}
	if w.Process != nil {
		text += "\n" + w.Process.Log.String()
	}
	return text
}

// Eventually is like Until, and ends the test on an error.
func (w Wait) Eventually(tb testing.TB, condition string, problem func() string) {
	tb.Helper()
	Must(tb, w.Until(context.WithoutCancel(tb.Context()), condition, problem)) // A clean-up function may wait, too.
}

// Eventually waits for up to a minute until problem returns "". If that does not happen, it ends the test with the
// last problem.
func Eventually(tb testing.TB, condition string, problem func() string) {
	tb.Helper()
	Wait{}.Eventually(tb, condition, problem)
}

// Holds returns a function for Wait that reports a problem while condition returns false.
func Holds(condition func() bool) (problem func() string) {
	return func() string {
		if condition() {
			return ""
		}
		return "the condition is false"
	}
}

// NoError returns a function for Wait that reports the error of try as the problem.
func NoError(try func() error) (problem func() string) {
	return func() string {
		if err := try(); err != nil {
			return err.Error()
		}
		return ""
	}
}

// Pause waits for a duration. When ctx ends, it returns early with the error of ctx.
func Pause(ctx context.Context, duration time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(duration):
		return nil
	}
}
