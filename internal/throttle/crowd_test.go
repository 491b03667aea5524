// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// One namespace creates 5,000 objects at once, while another namespace has 3,000 tokens
// with a life of one hour. Each of these tokens is renewed in time. A renewal is due after
// 36 to 40 minutes, and is urgent in the last ten minutes of the token.
func TestACrowdOfFirstTokensDelaysNoRenewalForTooLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const (
			crowd, tokens = 5000, 3000
			life          = time.Hour
			latency       = 150 * time.Millisecond
		)
		l := newLimiter(t, throttle.Options{Now: time.Now})
		var mu sync.Mutex
		issued := map[throttle.Requester]time.Time{}
		var latest time.Duration
		renewals, firsts := 0, 0
		s := hire(t, l, 8, nil)
		dueAfter := func(requester throttle.Requester) time.Duration {
			return 36*time.Minute + time.Duration(len(requester.Name)*7919+int(requester.Name[len(requester.Name)-1])*104729)%240*time.Second
		}
		api := newRemote(latency, func(requester throttle.Requester, _ string) error {
			mu.Lock()
			defer mu.Unlock()
			if at, ok := issued[requester]; ok {
				latest = max(latest, time.Since(at))
				renewals++
			} else {
				firsts++
			}
			issued[requester] = time.Now()
			return nil
		})
		look := func(requester throttle.Requester) (isDue bool, lane throttle.Lane) {
			mu.Lock()
			defer mu.Unlock()
			at, isHeld := issued[requester]
			age := time.Since(at)
			switch {
			case !isHeld:
				return true, throttle.FirstToken
			case age >= life-10*time.Minute:
				return true, throttle.NearEnd
			}
			return age >= dueAfter(requester), throttle.DueRenewal
		}
		plan := func(requester throttle.Requester, at time.Time) {
			s.after(time.Until(at.Add(dueAfter(requester))), requester)
			s.after(time.Until(at.Add(life-10*time.Minute)), requester)
		}
		s.serve = func(requester throttle.Requester) {
			isDue, lane := look(requester)
			if !isDue || !l.reserve(requester, lane).IsReady {
				return
			}
			time.Sleep(3 * time.Millisecond)
			switch err := l.doAs(requester, *client(requester.Group), false, api.request(requester, requester.Group)); {
			case err == nil:
				plan(requester, time.Now())
			case errors.Is(err, throttle.ErrNotReady):
				s.add(requester)
			default:
				t.Errorf("a request of %v: %v", requester, err)
			}
		}
		for i := range tokens {
			requester := shop(fmt.Sprint("orders-", i))
			issued[requester] = time.Now().Add(-time.Duration(i) * 36 * time.Minute / tokens)
			plan(requester, issued[requester])
		}
		time.Sleep(10 * time.Minute)
		for i := range crowd {
			s.add(inGroup("crowd", fmt.Sprint("new-", i)))
		}
		time.Sleep(time.Hour)
		s.stopAll(t)
		t.Logf("%d renewals, the latest after %s, and %d first tokens", renewals, latest, firsts)
		if most := life - 9*time.Minute; latest > most || renewals < tokens {
			t.Errorf("of %d renewals the latest came after %s, want at most %s", renewals, latest, most)
		}
		if firsts != crowd {
			t.Errorf("%d first tokens were issued, want %d", firsts, crowd)
		}
	})
}

// A first token of another group does not wait for the crowd, however late it comes.
func TestAFirstTokenIsNotBehindTheCrowdOfAnotherGroup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, throttle.Options{Now: time.Now})
		api := newRemote(150*time.Millisecond, func(throttle.Requester, string) error { return nil })
		s := hire(t, l, 4, nil)
		s.serve = func(requester throttle.Requester) {
			if l.reserve(requester, throttle.FirstToken).IsReady {
				if err := l.doAs(requester, *client(requester.Group), false, api.request(requester, requester.Group)); errors.Is(err, throttle.ErrNotReady) {
					s.add(requester)
				}
			}
		}
		for i := range 1000 {
			s.add(inGroup("crowd", fmt.Sprint("new-", i)))
		}
		time.Sleep(time.Minute)
		s.add(shop("late"))
		time.Sleep(2 * time.Second)
		if got := api.count(time.Minute, time.Hour, of("shop")); got != 1 {
			t.Errorf("within two seconds %d requests of the late one were sent, want one", got)
		}
		s.stopAll(t)
	})
}
