// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// A reader that calls Next when the wait is over, and when Changed has a value, gets as
// many requests sent as the rate allows, also with the smallest burst.
func TestNoTurnIsMissed(t *testing.T) {
	t.Parallel()
	for _, burst := range []int{1, 2, 10} {
		t.Run(fmt.Sprintf("burst %d", burst), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const requesters = 100
				l := newLimiter(t, throttle.Options{PerSecond: 5, Burst: burst, Now: time.Now})
				api := newRemote(30*time.Millisecond, func(throttle.Requester, string) error { return nil })
				s := hire(t, l, 4, func(requester throttle.Requester) {
					if l.reserve(requester, throttle.FirstToken).IsReady {
						time.Sleep(5 * time.Millisecond)
						if err := l.do(requester, api.request(requester, "")); err != nil {
							t.Errorf("the request of %s: %v", requester.Name, err)
						}
					}
				})
				for i := range requesters {
					s.add(shop(fmt.Sprint("orders-", i)))
				}
				time.Sleep(requesters / 5 * time.Second * 11 / 10)
				if got := api.count(0, time.Hour, isAccepted); got != requesters {
					t.Errorf("%d requests were sent, want %d", got, requesters)
				}
				// One requester comes after a long time without any.
				time.Sleep(time.Hour)
				looks := s.countLooks()
				s.add(shop("late"))
				time.Sleep(50 * time.Millisecond)
				if got := api.count(time.Hour, 2*time.Hour, isAccepted); got != 1 || looks > 5*requesters {
					t.Errorf("%d late requests were sent, want one, after %d calls of Next", got, looks)
				}
				s.stopAll(t)
			})
		})
	}
}

// While no request can be sent, Next is to be called a few times a second at most.
func TestTheReaderOfReadyDoesNotSpin(t *testing.T) {
	t.Parallel()
	const minutes = 10
	tests := map[string]struct {
		begin func(*limiter)
		most  int
	}{
		"nobody waits": {begin: func(*limiter) {}, most: 5},
		"a pause": {
			begin: func(l *limiter) { l.Pause(time.Now().Add(minutes * time.Minute)) },
			most:  61 * minutes,
		},
		"a request that hangs": {
			begin: func(l *limiter) {
				l.reserve(shop("hangs"), throttle.NearEnd)
				go func() {
					_ = l.do(shop("hangs"), func() error {
						time.Sleep(minutes * time.Minute)
						return nil
					})
				}()
			},
			most: 5 * 61 * minutes,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := newLimiter(t, throttle.Options{InFlight: 1, Now: time.Now})
				api := newRemote(0, func(throttle.Requester, string) error { return nil })
				test.begin(l)
				synctest.Wait()
				s := hire(t, l, 4, func(requester throttle.Requester) {
					if l.reserve(requester, throttle.FirstToken).IsReady {
						_ = l.do(requester, api.request(requester, ""))
					}
				})
				if name != "nobody waits" {
					for i := range 20 {
						s.add(shop(fmt.Sprint("orders-", i)))
					}
				}
				time.Sleep(minutes*time.Minute - time.Second)
				if got := s.countLooks(); got > test.most || api.count(0, time.Hour, every) > 0 {
					t.Errorf("there were %d calls of Next, want at most %d", got, test.most)
				}
				time.Sleep(10 * time.Second)
				if got := api.count(0, time.Hour, every); name != "nobody waits" && got != 20 {
					t.Errorf("%d requests were sent in the end, want 20", got)
				}
				s.stopAll(t)
			})
		})
	}
}

// hasChanged tells whether Next is to be called, and calls it.
func (l *limiter) hasChanged() bool {
	select {
	case <-l.ready.Changed():
		l.ready.Next()
		return true
	default:
		return false
	}
}

// A turn that comes because somebody calls the limiter is reported at once, and not only
// when the wait is over.
func TestATurnThatACallCausesIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	tests := map[string]func(l *limiter, busy *flight){
		"a request ends":         func(l *limiter, busy *flight) { l.wantNil(busy.end(nil)) },
		"a request is cut short": func(l *limiter, busy *flight) { l.wantKind(busy.end(errUnavailable), pipedream.Unavailable) },
		"a ticket is given up":   func(l *limiter, _ *flight) { l.Cancel(shop("a")) },
		"a client is busy":       func(l *limiter, _ *flight) { l.wantNotReady(l.send("a", client("orders"), false, nil)) },
		"a client is refused": func(l *limiter, _ *flight) {
			l.wantKind(l.send("a", client("bad"), false, nil), pipedream.CredentialsRejected)
		},
	}
	for name, call := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLimiter(t, throttle.Options{PerSecond: 10, Burst: 10, InFlight: 2})
			l.wantKind(l.try("bad", client("bad"), errRefused), pipedream.CredentialsRejected)
			l.ready.Next()
			l.hasChanged()
			busy := l.start("busy", client("orders"))
			if l.reserve(shop("a"), throttle.DueRenewal); !l.hasChanged() {
				t.Error("a requester has come, and Changed has no value")
			}
			l.wantTurn("a")
			if l.reserve(shop("b"), throttle.DueRenewal); !l.hasChanged() {
				t.Error("another requester has come, and Changed has no value")
			}
			l.wantNoTurn("b")
			if call(l, busy); !l.hasChanged() {
				t.Error("the turn of b has come, and Changed has no value")
			}
			l.wantTurn("b")
		})
	}
}
