// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

func TestInAPauseNobodyHasATurn(t *testing.T) {
	t.Parallel()
	const pause = 90 * time.Second
	begin := map[string]func(l *limiter){
		"that the API asks for":            func(l *limiter) { l.limited("late", second.Add(pause)) },
		"that is restored after a restart": func(l *limiter) { l.Pause(second.Add(pause)) },
	}
	for name, begin := range begin {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLimiter(t, throttle.Options{})
			l.drain(5)
			l.wantTurn("waiting")
			begin(l)
			if got := l.reserve(shop("waiting"), throttle.DueRenewal); got.IsReady || !got.PausedUntil.Equal(second.Add(pause)) {
				t.Errorf("the requester whose turn it was now has %+v", got)
			}
			l.wantNotReady(l.send("waiting", nil, false, nil))
			l.wantNoTurn("new")
			l.after(pause-time.Millisecond).wantNoTurn("waiting", "new", "newer")
			l.after(pause).wantNoTurn("newer")
			if got := l.reserve(shop("waiting"), throttle.DueRenewal); !got.IsReady || !got.PausedUntil.IsZero() {
				t.Errorf("after the pause it has %+v", got)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{})
	want := func(when string, want throttle.Load) {
		t.Helper()
		if diff := cmp.Diff(want, l.Load()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	want("when nothing goes on", throttle.Load{})
	l.wantTurn("a")
	want("when somebody may send", throttle.Load{})
	l.Pause(second.Add(time.Minute))
	l.reserve(shop("b"), throttle.NearEnd)
	l.reserve(shop("c"), throttle.OnDemand)
	l.reserve(shop("d"), throttle.OnDemand)
	l.reserve(inGroup("checkout", "d"), throttle.OnDemand)
	a := throttle.DueRenewal // This is the lane of wantTurn. The pause takes the turn back.
	waiting := throttle.Load{Pause: time.Minute}
	waiting.Waiting[a], waiting.Waiting[throttle.NearEnd], waiting.Waiting[throttle.OnDemand] = 1, 1, 3
	want("in a pause", waiting)
	l.now = second.Add(10 * time.Second)
	waiting.Pause = 50 * time.Second
	want("later in it", waiting)
	l.Cancel(shop("c"))
	l.after(time.Minute)
	l.ready.Next()
	if got := l.Load(); got.Pause != 0 || got.Waiting[throttle.OnDemand] != 2 || got.Waiting[throttle.NearEnd] != 0 {
		t.Errorf("after it, when the most urgent goes ahead, the load is %+v", got)
	}
	if got := fmt.Sprint(throttle.NearEnd, throttle.FirstToken, throttle.DueRenewal, throttle.OnDemand); got != "NearEnd FirstToken DueRenewal OnDemand" {
		t.Errorf("the lanes are called %s", got)
	}
}

func TestTheLengthOfAPause(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ retryAfter, want time.Duration }{
		"as long as it is said":         {retryAfter: 90 * time.Second, want: 90 * time.Second},
		"a quarter of an hour":          {retryAfter: 15 * time.Minute, want: 15 * time.Minute},
		"at most a quarter":             {retryAfter: 15*time.Minute + 1, want: 15 * time.Minute},
		"not a day":                     {retryAfter: 24 * time.Hour, want: 15 * time.Minute},
		"not a thousand years":          {retryAfter: 1<<63 - 1, want: 15 * time.Minute},
		"a second at least":             {retryAfter: time.Millisecond, want: time.Second},
		"a second, if it was to be now": {retryAfter: 0, want: time.Second},
		"a second, if it is past":       {retryAfter: -time.Hour, want: time.Second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLimiter(t, throttle.Options{})
			if got := l.limited("a", second.Add(test.retryAfter)).Sub(second); got != test.want {
				t.Errorf("the pause takes %s, want %s", got, test.want)
			}
			restored := newLimiter(t, throttle.Options{})
			restored.Pause(second.Add(test.retryAfter))
			for _, l := range []*limiter{l, restored} {
				if got := l.reserve(shop("a"), throttle.NearEnd).PausedUntil.Sub(second); got != test.want {
					t.Errorf("the pause is shown to take %s, want %s", got, test.want)
				}
				l.now = second.Add(test.want - 1)
				l.wantNoTurn("a")
				l.now = second.Add(test.want)
				l.wantTurn("a")
			}
		})
	}
}

// pauses returns the lengths of pauses in a row. Each pause begins with an answer that
// does not say how long to wait.
func (l *limiter) pauses(count int) []time.Duration {
	l.t.Helper()
	var pauses []time.Duration
	for range count {
		end := l.limited("a", time.Time{})
		pauses = append(pauses, end.Sub(l.now))
		l.now = end
	}
	return pauses
}

func TestAPauseOfUnknownLengthDoubles(t *testing.T) {
	t.Parallel()
	const minute = time.Minute
	l := newLimiter(t, throttle.Options{})
	want := []time.Duration{minute, 2 * minute, 4 * minute, 8 * minute}
	for len(want) < 100 {
		want = append(want, 15*minute)
	}
	if diff := cmp.Diff(want, l.pauses(len(want))); diff != "" {
		t.Errorf("pauses (-want +got):\n%s", diff)
	}
	// A missing answer does not end the row of pauses.
	l.wantKind(l.try("a", nil, errUnavailable), pipedream.Unavailable)
	if diff := cmp.Diff(want[4:5], l.pauses(1)); diff != "" {
		t.Errorf("the pause after no answer (-want +got):\n%s", diff)
	}
	// An answer of another kind ends the row.
	l.wantPass("a")
	if diff := cmp.Diff(want[:3], l.pauses(3)); diff != "" {
		t.Errorf("pauses after another answer (-want +got):\n%s", diff)
	}
}

// When the first "too many requests" comes, other requests are on their way and get the
// same answer. Their answers say nothing new, and do not make the pause longer.
func TestAnswersToRequestsThatWereOnTheirWayDoNotDoubleThePause(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{})
	var flights []*flight
	for i := range 10 {
		flights = append(flights, l.start(fmt.Sprint("orders-", i), nil))
	}
	want := second.Add(time.Minute + time.Millisecond)
	l.now = second.Add(time.Millisecond)
	for i, f := range flights[:9] {
		l.now = l.now.Add(time.Duration(i) * time.Millisecond)
		if at := l.wantKind(f.end(errTooMany), pipedream.RateLimited).RetryAt; !at.Equal(want) {
			t.Errorf("the pause ends after %s, want %s", at.Sub(second), want.Sub(second))
		}
	}
	l.now = want.Add(-1)
	l.wantNoTurn("a")
	// One request is answered after the pause, during the trial.
	l.now = want.Add(time.Second)
	l.wantTurn("a")
	l.wantKind(flights[9].end(errTooMany), pipedream.RateLimited)
	l.wantNoTurn("b")
	if at := l.wantKind(l.send("a", nil, false, errTooMany), pipedream.RateLimited).RetryAt; at.Sub(l.now) != 2*time.Minute {
		t.Errorf("the next pause takes %s, want 2m", at.Sub(l.now))
	}
}

func TestAnswersToRequestsThatWereOnTheirWayDoNotEndThePauseNorTheTrial(t *testing.T) {
	t.Parallel()
	for name, outcome := range map[string]error{"a token": nil, "refused": errRefused, "no answer": errUnavailable} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLimiter(t, throttle.Options{})
			first, second, third := l.start("a", client("a")), l.start("b", client("b")), l.start("c", client("c"))
			l.limited("limited", time.Time{})
			l.after(time.Second)
			_ = first.end(outcome)
			l.wantNoTurn("d")
			l.after(time.Minute - time.Millisecond).wantNoTurn("d")
			l.after(time.Minute).wantTurn("d")
			_ = second.end(outcome)
			l.wantNoTurn("e")
			probe := l.start("d", nil)
			_ = third.end(outcome)
			l.wantNoTurn("e")
			if at := l.wantKind(probe.end(errTooMany), pipedream.RateLimited).RetryAt; at.Sub(l.now) != 2*time.Minute {
				t.Errorf("the next pause takes %s, want 2m", at.Sub(l.now))
			}
		})
	}
}

func TestALaterAnswerCanProlongAPauseAndNotShortenIt(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{})
	shorter, longer, last := l.start("a", nil), l.start("b", nil), l.start("c", nil)
	l.limited("d", second.Add(5*time.Minute))
	l.after(time.Second)
	retryAt := func(after time.Duration) error {
		return &pipedream.Error{Kind: pipedream.RateLimited, StatusCode: 429, RetryAt: second.Add(after)}
	}
	if at := l.wantKind(shorter.end(retryAt(time.Minute)), pipedream.RateLimited).RetryAt; at.Sub(second) != 5*time.Minute {
		t.Errorf("after a shorter one the pause ends after %s, want 5m", at.Sub(second))
	}
	if at := l.wantKind(longer.end(retryAt(7*time.Minute)), pipedream.RateLimited).RetryAt; at.Sub(second) != 7*time.Minute {
		t.Errorf("after a longer one the pause ends after %s, want 7m", at.Sub(second))
	}
	l.after(5*time.Minute).wantNoTurn("e", "f")
	// After the pause, an answer may still begin another one.
	l.after(7 * time.Minute).wantTurn("e")
	l.wantKind(last.end(retryAt(9*time.Minute)), pipedream.RateLimited)
	l.wantNoTurn("e", "f")
	l.after(9 * time.Minute).wantTurn("e")
	l.wantNoTurn("f")
}
