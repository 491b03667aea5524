// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// askAsAController serves requesters that try again when the error says so.
func askAsAController(l *limiter, s *staff, api *remote, bypasses func(throttle.Requester) bool, record func(throttle.Requester, error)) {
	s.serve = func(requester throttle.Requester) {
		if !l.reserve(requester, throttle.FirstToken).IsReady {
			return
		}
		time.Sleep(3 * time.Millisecond) // reads the credentials
		err := l.doAs(requester, *client(requester.Group), bypasses(requester), api.request(requester, requester.Group))
		if errors.Is(err, throttle.ErrNotReady) {
			s.add(requester)
			return
		}
		record(requester, err)
		if failed, ok := errors.AsType[*pipedream.Error](err); ok {
			s.after(time.Until(failed.RetryAt), requester)
		}
	}
}

func never(throttle.Requester) bool { return false }

func addAll(s *staff, group string, count int) {
	for i := range count {
		s.add(inGroup(group, fmt.Sprint(group, "-", i)))
	}
}

// A thousand requesters with one bad client cost one request, and one further request each
// time that the wait is over. All of them get the error at once. Requesters with a good
// client are not delayed.
func TestAThousandWithABadClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const requesters = 1000
		l := newLimiter(t, throttle.Options{Now: time.Now})
		api := newRemote(300*time.Millisecond, func(_ throttle.Requester, name string) error {
			if name == "bad" {
				return errRefused
			}
			return nil
		})
		s := hire(t, l, 10, nil)
		var bad, good atomic.Int64
		askAsAController(l, s, api, never, func(requester throttle.Requester, _ error) {
			if requester.Group == "bad" {
				bad.Add(1)
			} else {
				good.Add(1)
			}
		})
		addAll(s, "bad", requesters)
		time.Sleep(2 * time.Second)
		if got := bad.Load(); got != requesters {
			t.Errorf("after two seconds %d were told, want all %d", got, requesters)
		}
		time.Sleep(58 * time.Second)
		// Requesters with good credentials come when the bad credentials are sent again.
		addAll(s, "good", 50)
		time.Sleep(12 * time.Second)
		if got := good.Load(); got != 50 {
			t.Errorf("%d with good credentials have a token after 12 s, want all 50", got)
		}
		time.Sleep(29 * time.Minute)
		s.stopAll(t)
		if got := api.count(0, time.Minute, of("bad")); got != 1 {
			t.Errorf("in the first minute %d requests were sent with the bad client, want 1", got)
		}
		// At 1, 3, 7, 15 and 30 minutes.
		if got := api.count(time.Minute, 31*time.Minute, of("bad")); got != 5 {
			t.Errorf("in the next half of an hour %d requests were sent with the bad client, want 5", got)
		}
	})
}

func TestManyBypassTheRefusalCacheWithABadClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, throttle.Options{Now: time.Now})
		api := newRemote(300*time.Millisecond, func(throttle.Requester, string) error { return errRefused })
		s := hire(t, l, 10, nil)
		// The requesters never give up, and bypass the cache each time.
		askAsAController(l, s, api, func(throttle.Requester) bool { return true }, func(requester throttle.Requester, _ error) {
			s.after(time.Second, requester)
		})
		addAll(s, "bad", 200)
		time.Sleep(6 * time.Minute)
		s.stopAll(t)
		if got := api.count(0, time.Minute, every); got != 3 {
			t.Errorf("in the first minute %d requests were sent, want 3", got)
		}
		// At 0, 10, 30, 70, 150 and 310 seconds.
		if got := api.count(0, time.Hour, every); got != 6 {
			t.Errorf("in six minutes %d requests were sent, want 6", got)
		}
	})
}

// A good client about which nothing is known reaches the full rate.
func TestAGoodClientGetsTheFullRate(t *testing.T) {
	t.Parallel()
	for _, latency := range []time.Duration{50 * time.Millisecond, time.Second, 6 * time.Second} {
		t.Run(fmt.Sprint(latency), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const requesters = 300
				l := newLimiter(t, throttle.Options{Now: time.Now})
				api := newRemote(latency, func(throttle.Requester, string) error { return nil })
				s := hire(t, l, 40, nil)
				askAsAController(l, s, api, never, func(throttle.Requester, error) {})
				addAll(s, "good", requesters)
				time.Sleep(requesters/5*time.Second + 6*latency)
				s.stopAll(t)
				if got := api.count(0, time.Hour, isAccepted); got != requesters {
					t.Errorf("%d requests were answered, want all %d", got, requesters)
				}
			})
		})
	}
}

// When a client becomes bad while many requesters use it, only the requests on their way
// are refused.
func TestAClientThatBecomesBad(t *testing.T) {
	t.Parallel()
	for _, quiet := range []time.Duration{0, 10 * time.Second} {
		t.Run(fmt.Sprintf("after %s without a request", quiet), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := newLimiter(t, throttle.Options{Now: time.Now})
				var isBad atomic.Bool
				api := newRemote(300*time.Millisecond, func(throttle.Requester, string) error {
					if isBad.Load() {
						return errRefused
					}
					return nil
				})
				s := hire(t, l, 10, nil)
				askAsAController(l, s, api, never, func(throttle.Requester, error) {})
				count := 1000
				if quiet > 0 {
					count = 100
				}
				addAll(s, "orders", count)
				time.Sleep(time.Minute + quiet)
				isBad.Store(true)
				for i := range 1000 {
					s.add(inGroup("orders", fmt.Sprint("late-", i)))
				}
				from := time.Since(api.begun)
				time.Sleep(time.Minute - time.Second)
				s.stopAll(t)
				isRefused := func(r sent) bool { return !isAccepted(r) }
				got, most := api.count(0, from+time.Minute, isRefused), 3
				if quiet > 0 {
					most = 1
				}
				if got == 0 || got > most {
					t.Errorf("%d requests were refused, want at most %d", got, most)
				}
			})
		})
	}
}

// Five thousand requesters with a bad client each use at most half of the rate, so that
// the renewals of an accepted client are not delayed.
func TestBogusClientsDoNotDelayAnAcceptedOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const minutes = 2
		l := newLimiter(t, throttle.Options{Now: time.Now})
		api := newRemote(200*time.Millisecond, func(requester throttle.Requester, _ string) error {
			if requester.Group != "good" {
				return errRefused
			}
			return nil
		})
		s := hire(t, l, 8, nil)
		var waited atomic.Int64
		s.serve = func(requester throttle.Requester) {
			lane, name := throttle.FirstToken, requester.Name
			if requester.Group == "good" {
				lane, name = throttle.DueRenewal, "good"
			}
			ticket := l.reserve(requester, lane)
			if !ticket.IsReady {
				return
			}
			time.Sleep(3 * time.Millisecond)
			err := l.doAs(requester, *client(name), false, api.request(requester, name))
			switch failed, ok := errors.AsType[*pipedream.Error](err); {
			case errors.Is(err, throttle.ErrNotReady):
				s.add(requester)
			case ok:
				s.after(time.Until(failed.RetryAt), requester)
			case time.Since(api.begun) > time.Minute:
				if took := int64(time.Since(ticket.Since)); took > waited.Load() {
					waited.Store(took)
				}
			}
		}
		s.add(inGroup("good", "first"))
		time.Sleep(time.Second)
		for i := range 5000 {
			s.add(inGroup("bogus", fmt.Sprint("bogus-", i)))
		}
		for i := range minutes * 60 * 2 {
			s.after(time.Duration(i)*time.Second/2, inGroup("good", fmt.Sprint("good-", i)))
		}
		time.Sleep(minutes*time.Minute + 10*time.Second)
		s.stopAll(t)
		isGood := func(r sent) bool { return r.requester.Group == "good" }
		if got := api.count(0, time.Hour, isGood); got != minutes*120+1 {
			t.Errorf("%d renewals were made, want all %d", got, minutes*120+1)
		}
		if got := time.Duration(waited.Load()); got > 5*time.Second {
			t.Errorf("a renewal had to wait for %s, want at most 5s", got)
		}
		bogus := api.count(0, minutes*time.Minute, func(r sent) bool { return !isGood(r) })
		if most := minutes*60*5/2 + 10; bogus > most || bogus < most*8/10 {
			t.Errorf("%d requests were sent with bogus clients, want about %d", bogus, most)
		}
		t.Logf("the longest wait of a renewal was %s, beside %d bogus requests", time.Duration(waited.Load()), bogus)
	})
}
