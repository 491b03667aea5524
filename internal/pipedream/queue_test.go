// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// enter takes places for askers, named by group and name, all at once.
func (g *gate) enter(lane pipedream.Lane, askers ...[2]string) {
	g.t.Helper()
	for _, asker := range askers {
		g.Enter(pipedream.Asker{Group: asker[0], Name: asker[1]}, lane)
		g.check()
	}
}

// order returns the names of those who wait, in the order of their turns.
func (g *gate) order() []string {
	g.t.Helper()
	var order []string
	g.Turns()
	for g.Places() > 0 {
		g.now = g.now.Add(time.Second)
		askers, _ := g.Turns()
		for _, asker := range askers {
			g.wantNil(g.Send(asker, func() error { return nil }))
			order = append(order, asker.Name)
		}
		g.check()
	}
	return order
}

func slow(t *testing.T) *gate {
	t.Helper()
	g := newGate(t, pipedream.GateOptions{PerSecond: 1, Burst: 1})
	g.drain(1)
	return g
}

func TestTheOrderOfTurns(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		enter func(g *gate)
		want  []string
	}{
		"by lane": {
			enter: func(g *gate) {
				g.enter(pipedream.OnDemand, [2]string{"shop", "demanded"})
				g.enter(pipedream.DueRenewal, [2]string{"shop", "due"})
				g.enter(pipedream.FirstToken, [2]string{"shop", "first"})
				g.enter(pipedream.NearEnd, [2]string{"shop", "ending"})
			},
			want: []string{"ending", "first", "due", "demanded"},
		},
		"within a lane as they came": {
			enter: func(g *gate) {
				g.enter(pipedream.FirstToken, [2]string{"shop", "a"}, [2]string{"shop", "b"}, [2]string{"shop", "c"})
			},
			want: []string{"a", "b", "c"},
		},
		"groups in turn": {
			enter: func(g *gate) {
				g.enter(pipedream.FirstToken, [2]string{"shop", "a1"}, [2]string{"shop", "a2"}, [2]string{"shop", "a3"},
					[2]string{"bank", "b1"}, [2]string{"bank", "b2"}, [2]string{"club", "c1"})
			},
			want: []string{"a1", "b1", "c1", "a2", "b2", "a3"},
		},
		"groups in turn in each lane": {
			enter: func(g *gate) {
				g.enter(pipedream.DueRenewal, [2]string{"shop", "a3"}, [2]string{"shop", "a4"}, [2]string{"bank", "b2"})
				g.enter(pipedream.NearEnd, [2]string{"shop", "a1"}, [2]string{"shop", "a2"}, [2]string{"bank", "b1"})
			},
			want: []string{"a1", "b1", "a2", "a3", "b2", "a4"},
		},
		"one that has moved to another lane": {
			enter: func(g *gate) {
				g.enter(pipedream.DueRenewal, [2]string{"shop", "a"}, [2]string{"shop", "b"}, [2]string{"shop", "c"})
				g.enter(pipedream.NearEnd, [2]string{"shop", "c"})
				g.enter(pipedream.OnDemand, [2]string{"shop", "a"})
			},
			want: []string{"c", "b", "a"},
		},
		"one that is back in its lane": {
			enter: func(g *gate) {
				g.enter(pipedream.DueRenewal, [2]string{"shop", "a"}, [2]string{"shop", "b"})
				g.enter(pipedream.NearEnd, [2]string{"shop", "a"})
				g.enter(pipedream.DueRenewal, [2]string{"shop", "a"})
			},
			want: []string{"b", "a"},
		},
		"some that have left": {
			enter: func(g *gate) {
				g.enter(pipedream.DueRenewal, [2]string{"shop", "a"}, [2]string{"shop", "b"}, [2]string{"shop", "c"},
					[2]string{"bank", "d"}, [2]string{"club", "e"})
				for _, asker := range []pipedream.Asker{shop("b"), {Group: "bank", Name: "d"}, shop("e")} {
					g.Leave(asker)
				}
			},
			want: []string{"a", "e", "c"},
		},
		"the same name in two groups": {
			enter: func(g *gate) {
				g.enter(pipedream.DueRenewal, [2]string{"shop", "a"}, [2]string{"bank", "a"})
				g.Leave(shop("a"))
			},
			want: []string{"a"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := slow(t)
			test.enter(g)
			if diff := cmp.Diff(test.want, g.order()); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
		})
	}
}

// A group that comes late waits for one turn of each of the others, however many wait
// there.
func TestALateGroupIsNotBehindTheWholeCrowd(t *testing.T) {
	t.Parallel()
	g := slow(t)
	for i := range 100 {
		g.enter(pipedream.FirstToken, [2]string{"crowd", fmt.Sprint(i)}, [2]string{"mob", fmt.Sprint(i)})
	}
	g.enter(pipedream.FirstToken, [2]string{"shop", "late"})
	if i := slices.Index(g.order(), "late"); i != 2 {
		t.Errorf("%d go before the late one, want 2", i)
	}
}

// Those whose turn came in vain, since the client was busy or a pause has begun, are
// where they were before: in front of those who came later.
func TestATurnThatIsTakenBackCostsNoPlace(t *testing.T) {
	t.Parallel()
	tests := map[string]func(g *gate, busy *flight, names []string){
		"by a pause": func(g *gate, busy *flight, names []string) {
			g.wantNil(busy.end(nil))
			g.wantTurn(names[:9]...)
			g.Pause(g.now.Add(time.Second))
		},
		"for a client that is busy": func(g *gate, busy *flight, names []string) {
			for _, name := range names[:9] {
				g.wantTurn(name)
			}
			for _, name := range slices.Backward(names[:9]) {
				g.wantNotYet(g.send(name, client("orders"), false, nil))
			}
			// Those behind them look too.
			g.Turns()
			for _, name := range names[9:] {
				g.wantTurn(name)
				g.wantNotYet(g.send(name, client("orders"), false, nil))
			}
			g.wantNil(busy.end(nil))
		},
	}
	for name, begin := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGate(t, pipedream.GateOptions{PerSecond: 1, Burst: 10})
			var names []string
			for i := range 15 {
				names = append(names, fmt.Sprint("orders-", i))
			}
			busy := g.start("busy", client("orders"))
			for _, name := range names {
				g.Enter(shop(name), pipedream.DueRenewal)
			}
			begin(g, busy, names)
			var order []string
			for len(order) < len(names) && g.now.Sub(second) < time.Minute {
				for _, name := range names {
					if !slices.Contains(order, name) && g.hasTurn(shop(name)) {
						if err := g.send(name, client("orders"), false, nil); err == nil {
							order = append(order, name)
						} else {
							g.wantNotYet(err)
						}
					}
				}
				g.now = g.now.Add(time.Second)
			}
			if diff := cmp.Diff(names, order); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
		})
	}
}

// One namespace creates 5,000 objects at once, while another has 3,000 tokens of an
// hour: each of these is renewed in time. Renewals are due after 36 to 40 minutes, and
// are near the end of their tokens ten minutes before it.
func TestACrowdOfFirstTokensDelaysNoRenewalForTooLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const (
			crowd, tokens = 5000, 3000
			life          = time.Hour
			latency       = 150 * time.Millisecond
		)
		g := pipedream.NewGate(withDefaults(pipedream.GateOptions{}))
		var mu sync.Mutex
		issued := map[pipedream.Asker]time.Time{}
		var latest time.Duration
		renewals, firsts := 0, 0
		s := hire(t, g, 8, nil)
		dueAfter := func(asker pipedream.Asker) time.Duration {
			return 36*time.Minute + time.Duration(len(asker.Name)*7919+int(asker.Name[len(asker.Name)-1])*104729)%240*time.Second
		}
		api := newRemote(latency, func(asker pipedream.Asker, _ string) error {
			mu.Lock()
			defer mu.Unlock()
			if at, ok := issued[asker]; ok {
				latest = max(latest, time.Since(at))
				renewals++
			} else {
				firsts++
			}
			issued[asker] = time.Now()
			return nil
		})
		look := func(asker pipedream.Asker) (isDue bool, lane pipedream.Lane) {
			mu.Lock()
			defer mu.Unlock()
			at, isHeld := issued[asker]
			age := time.Since(at)
			switch {
			case !isHeld:
				return true, pipedream.FirstToken
			case age >= life-10*time.Minute:
				return true, pipedream.NearEnd
			}
			return age >= dueAfter(asker), pipedream.DueRenewal
		}
		plan := func(asker pipedream.Asker, at time.Time) {
			s.after(time.Until(at.Add(dueAfter(asker))), asker)
			s.after(time.Until(at.Add(life-10*time.Minute)), asker)
		}
		s.serve = func(asker pipedream.Asker) {
			isDue, lane := look(asker)
			if !isDue || !g.Enter(asker, lane).IsTurn {
				return
			}
			time.Sleep(3 * time.Millisecond)
			switch err := g.SendAs(asker, *client(asker.Group), false, api.request(asker, asker.Group)); {
			case err == nil:
				plan(asker, time.Now())
			case errors.Is(err, pipedream.ErrNotYet):
				s.add(asker)
			default:
				t.Errorf("a request of %v: %v", asker, err)
			}
		}
		for i := range tokens {
			asker := shop(fmt.Sprint("orders-", i))
			issued[asker] = time.Now().Add(-time.Duration(i) * 36 * time.Minute / tokens)
			plan(asker, issued[asker])
		}
		time.Sleep(10 * time.Minute)
		for i := range crowd {
			s.add(pipedream.Asker{Group: "crowd", Name: fmt.Sprint("new-", i)})
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

// A late first token of another group does not wait for the crowd at all.
func TestAFirstTokenIsNotBehindTheCrowdOfAnotherGroup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := pipedream.NewGate(withDefaults(pipedream.GateOptions{}))
		api := newRemote(150*time.Millisecond, func(pipedream.Asker, string) error { return nil })
		s := hire(t, g, 4, nil)
		s.serve = func(asker pipedream.Asker) {
			if g.Enter(asker, pipedream.FirstToken).IsTurn {
				if err := g.SendAs(asker, *client(asker.Group), false, api.request(asker, asker.Group)); errors.Is(err, pipedream.ErrNotYet) {
					s.add(asker)
				}
			}
		}
		for i := range 1000 {
			s.add(pipedream.Asker{Group: "crowd", Name: fmt.Sprint("new-", i)})
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

// Nor does it cost a group its turn.
func TestATurnThatIsTakenBackCostsNoTurnOfAGroup(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{PerSecond: 1, Burst: 2})
	for _, name := range []string{"a", "b", "c", "d"} {
		g.enter(pipedream.DueRenewal, [2]string{name, name})
	}
	g.Pause(g.now.Add(time.Second))
	if diff := cmp.Diff([]string{"a", "b", "c", "d"}, g.order()); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}
