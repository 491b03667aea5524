// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// One tenant's entries that may not be sent must not make each call of another one slow: a
// reservation must not look at all entries.
func TestCostOfACallBesideManyIneligibleEntries(t *testing.T) {
	cost := func(count int) time.Duration {
		l := newLimiter(t, throttle.Options{PerSecond: 5, Burst: 10, InFlight: 20})
		bad := client("bad")
		// One request that is on its way: all others with this reference wait for its answer.
		reserve := func(i int) {
			l.Reserve(inGroup("bad", fmt.Sprint(i)), throttle.ReserveOptions{Lane: throttle.FirstToken, CredentialReference: "bad"})
		}
		reserve(0)
		var took time.Duration
		_ = l.Do(inGroup("bad", "0"), throttle.DoOptions{Credentials: bad}, func() error {
			for i := 1; i <= count; i++ {
				reserve(i)
			}
			l.now = l.now.Add(2 * time.Minute) // All are aged.
			const calls = 200
			began := time.Now()
			for i := range calls {
				l.now = l.now.Add(10 * time.Millisecond)
				r := inGroup("good", fmt.Sprint(i))
				l.Reserve(r, throttle.ReserveOptions{Lane: throttle.DueRenewal, CredentialReference: "good"})
				l.Cancel(r)
			}
			took = time.Since(began) / calls
			return nil
		})
		return took
	}
	few, many := cost(100), cost(10_000)
	t.Logf("beside 100 entries: %v a call, beside 10,000: %v", few, many)
	if many > 20*few {
		t.Errorf("a reservation and its end take %v beside 100 ineligible entries, and %v beside 10,000", few, many)
	}
}

// 10,000 objects with one client: the time to queue them all must not grow with the square of their
// number.
func TestQueueingManyEntriesOfOneClient(t *testing.T) {
	cost := func(count int) time.Duration {
		l := newLimiter(t, throttle.Options{PerSecond: 5, Burst: 10, InFlight: 20})
		bad := client("bad")
		reserve := func(i int) {
			l.Reserve(inGroup("bad", fmt.Sprint(i)), throttle.ReserveOptions{Lane: throttle.FirstToken, CredentialReference: "bad"})
		}
		reserve(0)
		var took time.Duration
		_ = l.Do(inGroup("bad", "0"), throttle.DoOptions{Credentials: bad}, func() error {
			began := time.Now()
			for i := 1; i <= count; i++ {
				reserve(i)
			}
			took = time.Since(began)
			return nil
		})
		return took
	}
	cheapest := func(count int) time.Duration { return min(cost(count), cost(count), cost(count)) }
	few, many := cheapest(2_000), cheapest(20_000)
	t.Logf("2,000 entries: %v, 20,000: %v", few, many)
	if many > 30*few {
		t.Errorf("queueing 2,000 takes %v, and 20,000 %v", few, many)
	}
}
