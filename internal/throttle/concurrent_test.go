// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

func TestOnlyTheBurstPassesHoweverManyComeAtOnce(t *testing.T) {
	t.Parallel()
	const burst, goroutines, requesters = 10, 50, 20
	l := newLimiter(t, throttle.Options{PerSecond: 1, Burst: burst})
	var passed atomic.Int64
	var all sync.WaitGroup
	for i := range goroutines {
		all.Go(func() {
			for j := range requesters {
				requester := shop(fmt.Sprintf("orders-%d-%d", i, j))
				if l.reserve(requester, throttle.FirstToken).IsReady {
					l.wantNil(l.do(requester, func() error { return nil }))
					passed.Add(1)
				}
			}
		})
	}
	all.Wait()
	// A requester may get its turn after it has reserved its ticket.
	turns, _ := l.ready.Next()
	for _, requester := range turns {
		if l.do(requester, func() error { return nil }) == nil {
			passed.Add(1)
		}
	}
	if got := passed.Load(); got != burst {
		t.Errorf("%d have passed, want %d", got, burst)
	}
	if got, want := l.Tickets(), goroutines*requesters-burst; got != want {
		t.Errorf("%d have a ticket, want %d", got, want)
	}
	l.check()
}

// Whatever many requesters do at the same time, the limiter is consistent, and nothing of
// them remains in the end.
func TestALimiterServesManyAtOnce(t *testing.T) {
	t.Parallel()
	const goroutines, rounds = 30, 300
	var clock atomic.Int64
	l := newLimiter(t, throttle.Options{
		PerSecond: 20, Burst: 10, InFlight: 5,
		Now: func() time.Time { return second.Add(time.Duration(clock.Add(1)) * 10 * time.Millisecond) },
	})
	var inFlight, requests atomic.Int64
	outcomes := []error{nil, nil, nil, nil, errScope, errUnavailable, errRefused, errTooMany, errors.New("a bug")}
	var all sync.WaitGroup
	for i := range goroutines {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 1)) //nolint:gosec // repeatable, and no secret
			for range rounds {
				requester := inGroup(fmt.Sprint(random.IntN(4)), fmt.Sprint(random.IntN(20)))
				switch random.IntN(20) {
				case 0:
					l.Cancel(requester)
				case 1:
					l.ready.Next()
				case 2:
					clock.Add(100 * int64(random.IntN(100)))
				}
				l.reserve(requester, throttle.Lane(random.IntN(4)))
				_ = l.doAs(requester, *client(fmt.Sprint(random.IntN(6))), random.IntN(3) == 0, func() error {
					defer inFlight.Add(-1)
					if inFlight.Add(1) > 5 {
						t.Error("more than five requests are on their way")
					}
					requests.Add(1)
					return outcomes[random.IntN(len(outcomes))]
				})
				if err := l.Check(); err != nil {
					t.Errorf("the limiter is not consistent: %v", err)
				}
			}
		})
	}
	all.Wait()
	if requests.Load() == 0 {
		t.Error("nobody has sent anything")
	}
	for i := range 4 {
		for j := range 20 {
			l.Cancel(inGroup(fmt.Sprint(i), fmt.Sprint(j)))
		}
	}
	if err := l.Check(); err != nil || l.Tickets() != 0 || l.InFlight() != 0 {
		t.Errorf("%d have a ticket, and %d requests are on their way, want none: %v", l.Tickets(), l.InFlight(), err)
	}
}
