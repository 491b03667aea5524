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

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// One namespace has 1,800 urgent requests, each with a client of its own, that never
// succeed. A request in a later lane is served within five minutes, in another namespace
// and in the same one.
func TestNoLaneStarvesBesideUrgentRequests(t *testing.T) {
	t.Parallel()
	const useless = 1800
	refused := func(sent) error { return errRefused }
	for name, test := range map[string]struct {
		answer func(sent) error
		hang   time.Duration
		group  string
		lane   throttle.Lane
	}{
		"refused credentials":                          {answer: refused, group: "shop", lane: throttle.FirstToken},
		"refused credentials, in the same namespace":   {answer: refused, group: "useless", lane: throttle.FirstToken},
		"refused credentials, and a renewal":           {answer: refused, group: "shop", lane: throttle.DueRenewal},
		"refused credentials, and a request on demand": {answer: refused, group: "shop", lane: throttle.OnDemand},
		"refused requests":                             {answer: func(sent) error { return errRejected }, group: "shop", lane: throttle.FirstToken},
		"server errors":                                {answer: func(sent) error { return errServer }, group: "shop", lane: throttle.FirstToken},
		"no answers":                                   {answer: func(sent) error { return errNoAnswer }, hang: 10 * time.Second, group: "shop", lane: throttle.FirstToken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				api := newRemote(150*time.Millisecond, func(requester throttle.Requester, client string) error {
					if requester.Name == "good" {
						return nil
					}
					return test.answer(sent{requester: requester, client: client})
				})
				api.hang = test.hang
				l := newLimiter(t, throttle.Options{Now: time.Now, InFlight: 4})
				s := hire(t, l, 10, nil)
				var mu sync.Mutex
				failures := map[throttle.Requester]int{}
				s.serve = func(requester throttle.Requester) {
					lane := throttle.NearEnd
					if requester.Name == "good" {
						lane = test.lane
					}
					if !l.reserveAs(requester, lane, requester.Name).IsReady {
						return
					}
					time.Sleep(3 * time.Millisecond)
					err := l.doAs(requester, *client(requester.Name), false, api.request(requester, requester.Name))
					if errors.Is(err, throttle.ErrNotReady) {
						s.add(requester)
					} else if failed, ok := errors.AsType[*pipedream.Error](err); ok {
						mu.Lock()
						failures[requester]++
						count := failures[requester]
						mu.Unlock()
						s.after(max(time.Until(failed.RetryAt), retry.After(retry.Transient, requester.Name, count)), requester)
					}
				}
				for i := range useless {
					s.add(inGroup("useless", fmt.Sprint("useless-", i)))
				}
				time.Sleep(10 * time.Second)
				s.add(inGroup(test.group, "good"))
				time.Sleep(5 * time.Minute)
				s.stopAll(t)
				if got := api.count(0, time.Hour, of("good")); got != 1 {
					t.Errorf("%d requests of the other one were sent in five minutes, want one", got)
				}
			})
		})
	}
}

// Of four turns, three are for the most urgent requests, however many others have waited for
// a minute.
func TestUrgentRequestsKeepThreeOfFourTurns(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{PerSecond: 1, Burst: 1})
	l.drain(1)
	for i := range 10 {
		l.reserve(inGroup(fmt.Sprint(i%7), fmt.Sprint("first-", i)), throttle.FirstToken)
		l.reserve(inGroup(fmt.Sprint(i%5), fmt.Sprint("due-", i)), throttle.DueRenewal)
	}
	l.now = l.now.Add(time.Minute + time.Microsecond)
	for i := range 100 {
		l.reserve(shop(fmt.Sprint("urgent-", i)), throttle.NearEnd)
	}
	counts := map[string]int{"urg": 1}
	l.wantNil(l.do(shop("urgent-0"), func() error { return nil }))
	for range 55 {
		l.now = l.now.Add(time.Second + time.Microsecond)
		turns, _ := l.ready.Next()
		for _, requester := range turns {
			counts[requester.Name[:3]]++
			l.wantNil(l.do(requester, func() error { return nil }))
		}
	}
	if counts["urg"] != 42 || counts["fir"] != 7 || counts["due"] != 7 {
		t.Errorf("turns: %v, want 42 of 56 for urgent requests, and 7 for each other lane", counts)
	}
	l.check()
}

// Unproven clients that do not get answers leave half of the places to others.
func TestClientsThatWereNeverAcceptedLeavePlacesToOthers(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{PerSecond: 100, Burst: 100, InFlight: 4})
	l.wantNil(l.try("good", client("good"), nil))
	for i := range 2 {
		l.start(fmt.Sprint("hangs-", i), client(fmt.Sprint("hangs-", i)))
	}
	l.reserve(shop("hangs-2"), throttle.NearEnd)
	l.wantNotReady(l.send("hangs-2", client("hangs-2"), false, errSent))
	for i := range 10 {
		l.wantNil(l.try(fmt.Sprint("good-", i), client("good"), nil))
	}
	if got := l.InFlight(); got != 2 {
		t.Errorf("%d requests are on their way, want two", got)
	}
}

// A token that can still be renewed in time goes before tokens that have expired, in each
// group, and keeps its place when it expires. The tokens that have expired get their part.
func TestTokensThatHaveNotExpiredGoFirst(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{PerSecond: 1, Burst: 1})
	l.drain(1)
	reserve := func(name string, left time.Duration) {
		l.Reserve(shop(name), throttle.ReserveOptions{Lane: throttle.NearEnd, Expiry: l.now.Add(left)})
	}
	for i := range 20 {
		reserve(fmt.Sprint("expired-", i), -time.Minute)
	}
	if got := l.Load().Waiting[throttle.NearEnd]; got != 20 {
		t.Errorf("%d wait in the first lane, want 20", got)
	}
	l.now = l.now.Add(500 * time.Millisecond)
	for i := range 5 {
		reserve(fmt.Sprint("expires-", i), 3*time.Second)
	}
	var order []string
	for range 6 {
		l.now = l.now.Add(time.Second + time.Microsecond)
		for i := range 5 {
			if i >= len(order) { // It says again what it waits for.
				l.Reserve(shop(fmt.Sprint("expires-", i)), throttle.ReserveOptions{Lane: throttle.NearEnd, Expiry: second.Add(3500 * time.Millisecond)})
			}
		}
		turns, _ := l.ready.Next()
		for i := range 5 {
			if err := l.do(shop(fmt.Sprint("expires-", i)), func() error { return nil }); err == nil {
				order = append(order, fmt.Sprint("expires-", i))
			}
		}
		for _, requester := range turns {
			if err := l.do(requester, func() error { return nil }); err == nil {
				order = append(order, requester.Name)
			}
		}
	}
	want := []string{"expires-0", "expires-1", "expires-2", "expires-3", "expires-4", "expired-0"}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("the order of the requests (-want +got):\n%s", diff)
	}
	l.check()
}
