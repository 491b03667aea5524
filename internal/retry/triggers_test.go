// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package retry_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

func TestTheIntervalBetweenTriggeredAttemptsGrows(t *testing.T) {
	t.Parallel()
	var triggers retry.Triggers
	if got := triggers.NotBefore(now); !got.IsZero() {
		t.Errorf("without an attempt the next one has to wait until %s", got)
	}
	var intervals []time.Duration
	at := now
	for range 8 {
		triggers.Add(at)
		next := triggers.NotBefore(at)
		intervals = append(intervals, next.Sub(at))
		at = next
	}
	want := []time.Duration{
		10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second,
		5 * time.Minute, 5 * time.Minute, 5 * time.Minute,
	}
	if diff := cmp.Diff(want, intervals); diff != "" {
		t.Errorf("intervals (-want +got):\n%s", diff)
	}
}

func TestAQuietTimeEndsTheRowOfTriggers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		pause time.Duration
		want  int
	}{
		"exactly the window":     {pause: retry.RepeatWindow, want: 3},
		"longer than the window": {pause: retry.RepeatWindow + 1, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			triggers := retry.Triggers{Last: now, Count: 2}
			triggers.Add(now.Add(test.pause))
			if triggers.Count != test.want || !triggers.Last.Equal(now.Add(test.pause)) {
				t.Errorf("there are %+v, want %d at %s", triggers, test.want, now.Add(test.pause))
			}
		})
	}
}

func TestAClockThatWasSetBackIsNoReasonToWait(t *testing.T) {
	t.Parallel()
	triggers := retry.Triggers{Last: now.Add(time.Hour), Count: 5}
	if got := triggers.NotBefore(now); !got.IsZero() {
		t.Errorf("the next attempt has to wait until %s", got)
	}
	if got := retry.EndOf(now, time.Minute, now); !got.Equal(now.Add(time.Minute)) {
		t.Errorf("an interval that begins now ends at %s, want in a minute", got)
	}
	if got := retry.EndOf(now.Add(1), time.Minute, now); !got.IsZero() {
		t.Errorf("an interval that has not begun ends at %s, want no end", got)
	}
}
