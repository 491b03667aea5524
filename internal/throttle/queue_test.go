// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// reserveAll reserves a ticket for each requester, which is given by group and name.
func (l *limiter) reserveAll(lane throttle.Lane, requesters ...[2]string) {
	l.t.Helper()
	for _, requester := range requesters {
		l.reserve(inGroup(requester[0], requester[1]), lane)
		l.check()
	}
}

// order returns the names of the requesters that wait, in the order of their turns.
func (l *limiter) order() []string {
	l.t.Helper()
	var order []string
	l.ready.Next()
	for l.Tickets() > 0 {
		l.now = l.now.Add(time.Second)
		requesters, _ := l.ready.Next()
		for _, requester := range requesters {
			l.wantNil(l.do(requester, func() error { return nil }))
			order = append(order, requester.Name)
		}
		l.check()
	}
	return order
}

func slow(t *testing.T) *limiter {
	t.Helper()
	l := newLimiter(t, throttle.Options{PerSecond: 1, Burst: 1})
	l.drain(1)
	return l
}

func TestTheOrderOfTurns(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reserve func(l *limiter)
		want    []string
	}{
		"by lane": {
			reserve: func(l *limiter) {
				l.reserveAll(throttle.OnDemand, [2]string{"shop", "demanded"})
				l.reserveAll(throttle.DueRenewal, [2]string{"shop", "due"})
				l.reserveAll(throttle.FirstToken, [2]string{"shop", "first"})
				l.reserveAll(throttle.NearEnd, [2]string{"shop", "ending"})
			},
			want: []string{"ending", "first", "due", "demanded"},
		},
		"within a lane as they came": {
			reserve: func(l *limiter) {
				l.reserveAll(throttle.FirstToken, [2]string{"shop", "a"}, [2]string{"shop", "b"}, [2]string{"shop", "c"})
			},
			want: []string{"a", "b", "c"},
		},
		"groups in turn": {
			reserve: func(l *limiter) {
				l.reserveAll(throttle.FirstToken, [2]string{"shop", "a1"}, [2]string{"shop", "a2"}, [2]string{"shop", "a3"},
					[2]string{"bank", "b1"}, [2]string{"bank", "b2"}, [2]string{"club", "c1"})
			},
			want: []string{"a1", "b1", "c1", "a2", "b2", "a3"},
		},
		"groups in turn in each lane": {
			reserve: func(l *limiter) {
				l.reserveAll(throttle.DueRenewal, [2]string{"shop", "a3"}, [2]string{"shop", "a4"}, [2]string{"bank", "b2"})
				l.reserveAll(throttle.NearEnd, [2]string{"shop", "a1"}, [2]string{"shop", "a2"}, [2]string{"bank", "b1"})
			},
			want: []string{"a1", "b1", "a2", "a3", "b2", "a4"},
		},
		"a requester that has moved to another lane": {
			reserve: func(l *limiter) {
				l.reserveAll(throttle.DueRenewal, [2]string{"shop", "a"}, [2]string{"shop", "b"}, [2]string{"shop", "c"})
				l.reserveAll(throttle.NearEnd, [2]string{"shop", "c"})
				l.reserveAll(throttle.OnDemand, [2]string{"shop", "a"})
			},
			want: []string{"c", "b", "a"},
		},
		"a requester that has moved back to its lane": {
			reserve: func(l *limiter) {
				l.reserveAll(throttle.DueRenewal, [2]string{"shop", "a"}, [2]string{"shop", "b"})
				l.reserveAll(throttle.NearEnd, [2]string{"shop", "a"})
				l.reserveAll(throttle.DueRenewal, [2]string{"shop", "a"})
			},
			want: []string{"b", "a"},
		},
		"requesters that have given up their tickets": {
			reserve: func(l *limiter) {
				l.reserveAll(throttle.DueRenewal, [2]string{"shop", "a"}, [2]string{"shop", "b"}, [2]string{"shop", "c"},
					[2]string{"bank", "d"}, [2]string{"club", "e"})
				for _, requester := range []throttle.Requester{shop("b"), inGroup("bank", "d"), shop("e")} {
					l.Cancel(requester)
				}
			},
			want: []string{"a", "e", "c"},
		},
		"the same name in two groups": {
			reserve: func(l *limiter) {
				l.reserveAll(throttle.DueRenewal, [2]string{"shop", "a"}, [2]string{"bank", "a"})
				l.Cancel(shop("a"))
			},
			want: []string{"a"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := slow(t)
			test.reserve(l)
			if diff := cmp.Diff(test.want, l.order()); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
		})
	}
}

// A group that comes late waits for one turn of each of the other groups, however many
// requesters they have.
func TestALateGroupIsNotBehindTheWholeCrowd(t *testing.T) {
	t.Parallel()
	l := slow(t)
	for i := range 100 {
		l.reserveAll(throttle.FirstToken, [2]string{"crowd", fmt.Sprint(i)}, [2]string{"mob", fmt.Sprint(i)})
	}
	l.reserveAll(throttle.FirstToken, [2]string{"shop", "late"})
	if i := slices.Index(l.order(), "late"); i != 2 {
		t.Errorf("%d go before the late one, want 2", i)
	}
}

// A requester that could not use its turn, because its client was busy or a pause began,
// goes back to where it was in the queue: in front of the requesters that came later.
func TestATurnThatIsTakenBackDoesNotChangeTheOrder(t *testing.T) {
	t.Parallel()
	tests := map[string]func(l *limiter, busy *flight, names []string){
		"by a pause": func(l *limiter, busy *flight, names []string) {
			l.wantNil(busy.end(nil))
			l.wantTurn(names[:9]...)
			l.Pause(l.now.Add(time.Second))
		},
		"for a client that is busy": func(l *limiter, busy *flight, names []string) {
			for _, name := range names[:9] {
				l.wantTurn(name)
			}
			for _, name := range slices.Backward(names[:9]) {
				l.wantNotReady(l.send(name, client("orders"), false, nil))
			}
			// The requesters behind them try too.
			l.ready.Next()
			for _, name := range names[9:] {
				l.wantTurn(name)
				l.wantNotReady(l.send(name, client("orders"), false, nil))
			}
			l.wantNil(busy.end(nil))
		},
	}
	for name, begin := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLimiter(t, throttle.Options{PerSecond: 1, Burst: 10})
			var names []string
			for i := range 15 {
				names = append(names, fmt.Sprint("orders-", i))
			}
			busy := l.start("busy", client("orders"))
			for _, name := range names {
				l.reserve(shop(name), throttle.DueRenewal)
			}
			begin(l, busy, names)
			var order []string
			for len(order) < len(names) && l.now.Sub(second) < time.Minute {
				for _, name := range names {
					if !slices.Contains(order, name) && l.hasTurn(shop(name)) {
						if err := l.send(name, client("orders"), false, nil); err == nil {
							order = append(order, name)
						} else {
							l.wantNotReady(err)
						}
					}
				}
				l.now = l.now.Add(time.Second)
			}
			if diff := cmp.Diff(names, order); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
		})
	}
}

// A turn that is taken back goes back to its group too.
func TestATurnThatIsTakenBackCostsNoTurnOfAGroup(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{PerSecond: 1, Burst: 2})
	for _, name := range []string{"a", "b", "c", "d"} {
		l.reserveAll(throttle.DueRenewal, [2]string{name, name})
	}
	l.Pause(l.now.Add(time.Second))
	if diff := cmp.Diff([]string{"a", "b", "c", "d"}, l.order()); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestTwoKindsWithTheSameNameAreTwoRequesters(t *testing.T) {
	t.Parallel()
	l := slow(t)
	token, account := shop("orders"), shop("orders")
	account.Kind = "PipedreamAccount"
	l.reserve(token, throttle.DueRenewal)
	l.reserve(account, throttle.DueRenewal)
	if got := l.Tickets(); got != 2 {
		t.Errorf("%d have a ticket, want 2", got)
	}
	l.Cancel(token)
	l.after(time.Second)
	if requesters, _ := l.ready.Next(); !slices.Equal(requesters, []throttle.Requester{account}) {
		t.Errorf("the turn is that of %v, want the account", requesters)
	}
	if err := l.do(token, func() error { return errSent }); !errors.Is(err, throttle.ErrNotReady) {
		t.Errorf("the token sends in the turn of the account: %v", err)
	}
	l.wantNil(l.do(account, func() error { return nil }))
}

// A group has one turn after each of the other groups, however many kinds it has.
func TestTheKindsOfAGroupShareItsTurns(t *testing.T) {
	t.Parallel()
	l := slow(t)
	for _, requester := range []throttle.Requester{
		{Kind: "A", Group: "shop", Name: "a1"},
		{Kind: "B", Group: "shop", Name: "b1"},
		{Kind: "A", Group: "shop", Name: "a2"},
		{Kind: "B", Group: "bank", Name: "b2"},
		{Kind: "A", Group: "bank", Name: "a3"},
	} {
		l.reserve(requester, throttle.FirstToken)
	}
	if diff := cmp.Diff([]string{"a1", "b2", "b1", "a3", "a2"}, l.order()); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}
