// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// BenchmarkLimiter measures one request, while ten thousand requesters wait.
func BenchmarkLimiter(b *testing.B) {
	const waiting = 10_000
	tests := map[string]struct {
		groups int
		// prepare makes the others wait for something.
		prepare func(l *limiter, others []throttle.Requester)
	}{
		"for the bucket, in one group":      {groups: 1, prepare: func(*limiter, []throttle.Requester) {}},
		"for the bucket, in as many groups": {groups: waiting, prepare: func(*limiter, []throttle.Requester) {}},
		"for one client":                    {groups: 1, prepare: func(l *limiter, others []throttle.Requester) { waitForClient(l, others, 1) }},
		"for as many clients":               {groups: 1, prepare: func(l *limiter, others []throttle.Requester) { waitForClient(l, others, waiting) }},
	}
	for name, test := range tests {
		b.Run(name, func(b *testing.B) {
			l := newLimiter(b, throttle.Options{PerSecond: 1000, Burst: 1, InFlight: 50_000})
			others := make([]throttle.Requester, waiting)
			for i := range others {
				others[i] = inGroup(fmt.Sprint(i%test.groups), fmt.Sprint(i))
			}
			test.prepare(l, others)
			for _, requester := range others {
				l.reserve(requester, throttle.DueRenewal)
			}
			l.Cancel(others[0])
			good := client("good")
			for b.Loop() {
				l.now = l.now.Add(time.Millisecond)
				requester := shop("a")
				if !l.reserve(requester, throttle.NearEnd).IsReady {
					// One of the others has the only turn, and does not use it.
					turns, _ := l.ready.Next()
					for _, other := range turns {
						l.Cancel(other)
						l.reserve(other, throttle.DueRenewal)
					}
				}
				if err := l.doAs(requester, *good, false, func() error { return nil }); err != nil && !errors.Is(err, throttle.ErrNotReady) {
					b.Fatal(err)
				}
				l.ready.Next()
			}
		})
	}
}

// waitForClient makes requesters wait for some clients whose requests get no answer.
func waitForClient(l *limiter, others []throttle.Requester, clients int) {
	l.t.Helper()
	hang := make(chan struct{})
	l.t.Cleanup(func() { close(hang) })
	for i := range clients {
		l.now = l.now.Add(time.Second)
		requester := shop(fmt.Sprint("hangs-", i))
		l.reserve(requester, throttle.NearEnd)
		started := make(chan struct{})
		go func() {
			_ = l.doAs(requester, *client(fmt.Sprint(i)), false, func() error {
				close(started)
				<-hang
				return nil
			})
		}()
		<-started
	}
	for i, requester := range others {
		l.now = l.now.Add(time.Second)
		l.reserve(requester, throttle.NearEnd)
		if err := l.doAs(requester, *client(fmt.Sprint(i % clients)), false, func() error { return nil }); !errors.Is(err, throttle.ErrNotReady) {
			l.t.Fatalf("the request of %v: %v", requester, err)
		}
	}
}
