// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// A clock that is set back by an hour does not change how long a requester waits: after
// one minute of two there is one more minute to wait, by the clock as it is now.
func TestAClockThatIsSetBack(t *testing.T) {
	t.Parallel()
	tests := map[string]func(l *limiter, setBack func()){
		"the bucket": func(l *limiter, setBack func()) {
			l.drain(10)
			l.wantNoTurn("a", "b")
			setBack()
			l.wantNoTurn("a", "b")
			l.now = l.now.Add(201 * time.Millisecond)
			l.wantNoTurn("b")
			l.wantPass("a")
			l.now = l.now.Add(200 * time.Millisecond)
			l.wantPass("b")
		},
		"a pause, and a request that was on its way": func(l *limiter, setBack func()) {
			f := l.start("late", nil)
			l.limited("a", l.now.Add(2*time.Minute))
			l.now = l.now.Add(time.Minute)
			setBack()
			if left := l.reserve(shop("a"), throttle.NearEnd).PausedUntil.Sub(l.now); left.Round(time.Millisecond) != time.Minute {
				t.Errorf("the pause lasts for another %s, want 1m", left)
			}
			if at := l.wantKind(f.end(errTooMany), pipedream.RateLimited).RetryAt; at.Sub(l.now).Round(time.Millisecond) != time.Minute {
				t.Errorf("it is to be tried again in %s, want 1m", at.Sub(l.now))
			}
			l.now = l.now.Add(time.Minute - time.Second)
			l.wantNoTurn("a")
			l.now = l.now.Add(time.Second)
			l.wantPass("a")
			// A time in an answer is a time by the clock as it is now.
			if end := l.limited("b", l.now.Add(3*time.Minute)).Sub(l.now); end != 3*time.Minute {
				t.Errorf("the next pause is to last for %s, want 3m", end)
			}
		},
		"a refusal": func(l *limiter, setBack func()) {
			l.wantKind(l.try("a", client("bad"), errRefused), pipedream.CredentialsRejected)
			l.now = l.now.Add(20 * time.Second)
			setBack()
			left := l.wantKind(l.try("a", client("bad"), nil), pipedream.CredentialsRejected).RetryAt.Sub(l.now)
			if left.Round(time.Millisecond) != 40*time.Second {
				t.Errorf("they are refused for another %s, want 40s", left)
			}
			l.now = l.now.Add(41 * time.Second)
			l.wantKind(l.try("a", client("bad"), errRefused), pipedream.CredentialsRejected)
			l.now = l.now.Add(121 * time.Second)
			l.wantNil(l.try("a", client("bad"), nil))
		},
		"a turn that nobody uses": func(l *limiter, setBack func()) {
			l.drain(9)
			l.wantTurn("lost")
			l.wantNoTurn("a")
			l.now = l.now.Add(5 * time.Second)
			setBack()
			if since := l.reserve(shop("a"), throttle.DueRenewal).Since; l.now.Sub(since).Round(time.Millisecond) != 5*time.Second {
				t.Errorf("it waits for %s, want 5s", l.now.Sub(since))
			}
			l.now = l.now.Add(6 * time.Second)
			l.wantNotReady(l.send("lost", nil, false, nil))
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLimiter(t, throttle.Options{})
			l.now = l.now.Add(time.Millisecond)
			test(l, func() {
				l.ready.Next()
				l.now = l.now.Add(-time.Hour)
			})
		})
	}
}

func TestAClockThatLeaps(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{})
	l.drain(10)
	for i := range 100 {
		l.wantNoTurn(fmt.Sprint("orders-", i))
	}
	l.after(200 * time.Millisecond)
	l.limited("orders-0", time.Time{})
	// After a day there is a probe first.
	l.after(24 * time.Hour).wantPass("orders-1")
	l.wantPass("orders-2")
	l.wantNoTurn("orders-3")
}
