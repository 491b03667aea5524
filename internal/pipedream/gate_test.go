// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

func TestTheGateLetsABurstPassAndThenPaces(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{PerSecond: 5, Burst: 10})
	g.drain(10)
	g.wantNoTurn("a", "b", "c")
	g.after(200*time.Millisecond-2*time.Microsecond).wantNoTurn("a", "b", "c")
	g.after(200*time.Millisecond).wantNoTurn("c", "b")
	g.wantPass("a")
	g.after(400 * time.Millisecond).wantNoTurn("c")
	g.wantPass("b")
	g.after(600 * time.Millisecond).wantPass("c")
	// Two seconds of quiet make room for a burst again, and for no more than that.
	g.after(time.Hour).drain(10)
	g.wantNoTurn("d")
}

// Whatever comes, and however often it asks, no time sees more requests than the
// burst and the rate allow, and nobody waits longer than those before it explain.
func TestTheGatePacesAThousandWhoComeTogether(t *testing.T) {
	t.Parallel()
	const perSecond, burst, askers = 5, 10, 1000
	g := newGate(t, pipedream.GateOptions{PerSecond: perSecond, Burst: burst})
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // repeatable, and no secret
	var came, went []string
	var sentAt []time.Time
	for len(went) < askers {
		if len(came) < askers && random.IntN(2) == 0 {
			came = append(came, fmt.Sprint("orders-", len(came)))
			g.Enter(shop(came[len(came)-1]), pipedream.DueRenewal)
		}
		if waiting := came[len(went):]; len(waiting) > 0 {
			g.Enter(shop(waiting[random.IntN(len(waiting))]), pipedream.DueRenewal)
		}
		for len(went) < len(came) && g.hasTurn(shop(came[len(went)])) {
			g.wantNil(g.send(came[len(went)], nil, false, nil))
			went, sentAt = append(went, came[len(went)]), append(sentAt, g.now)
		}
		if waiting := came[len(went):]; len(waiting) > 0 {
			if name := waiting[random.IntN(len(waiting))]; g.Enter(shop(name), pipedream.DueRenewal).IsTurn {
				t.Fatalf("it is the turn of %s, and not that of %s", name, waiting[0])
			}
		}
		if len(came) == askers || random.IntN(4) == 0 {
			_, wait := g.Turns()
			g.now = g.now.Add(wait)
		}
		if g.now.Sub(second) > time.Hour {
			t.Fatalf("after an hour %d have sent", len(went))
		}
	}
	for i := range sentAt {
		for j := i; j < len(sentAt); j++ {
			window := sentAt[j].Sub(sentAt[i])
			if most := perSecond*window.Seconds() + burst + 1e-6; float64(j-i+1) > most {
				t.Fatalf("within %s %d requests are sent, want at most %f", window, j-i+1, most)
			}
		}
	}
	want := time.Duration(askers-burst) * time.Second / perSecond
	if took := sentAt[askers-1].Sub(second); took > want+time.Second {
		t.Errorf("it took %s, want %s", took, want)
	}
}

func TestWhoAsksAgainKeepsItsPlace(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{PerSecond: 1, Burst: 1})
	g.drain(1)
	for range 100 {
		g.wantNoTurn("a")
	}
	g.after(500 * time.Millisecond).wantNoTurn("b")
	for range 100 {
		g.wantNoTurn("b")
	}
	if since := g.Enter(shop("a"), pipedream.DueRenewal).Since; !since.Equal(second) {
		t.Errorf("it waits since %s, want %s", since, second)
	}
	g.after(time.Second).wantNoTurn("b")
	g.wantPass("a")
	// Its place is used up: the next one is behind all who wait.
	g.wantNoTurn("a")
	g.after(2 * time.Second).wantNoTurn("a")
	g.wantPass("b")
	g.after(3 * time.Second).wantPass("a")
}

func TestARequestIsSentInATurnOnly(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{PerSecond: 1, Burst: 1})
	g.wantNotYet(g.send("stranger", nil, false, nil))
	g.wantPass("a")
	g.wantNotYet(g.send("a", nil, false, nil))
	g.wantNotYet(g.try("a", nil, nil))
	g.after(time.Second).wantPass("a")
	if err := g.after(2*time.Second).try("a", nil, errScope); !errors.Is(err, errScope) {
		t.Errorf("the error is %v, want %v", err, errScope)
	}
}

func TestATurnIsLostAfterTenSeconds(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{PerSecond: 1, Burst: 1})
	g.drain(1)
	g.wantNoTurn("a", "b", "c")
	g.after(time.Second).wantTurn("a")
	g.after(10 * time.Second).wantTurn("a")
	g.after(11*time.Second - time.Microsecond).wantNoTurn("b")
	if askers, _ := g.after(12 * time.Second).Turns(); !slices.Contains(askers, shop("b")) {
		t.Errorf("the turn is that of %v, want b", askers)
	}
	g.wantNotYet(g.send("a", nil, false, nil))
	// It is behind all who have waited.
	g.wantNoTurn("a", "c")
	g.wantPass("b")
	g.after(13 * time.Second).wantPass("c")
	g.after(14 * time.Second).wantPass("a")
}

func TestThoseWhoNeverComeDoNotHoldUpTheOthersForLong(t *testing.T) {
	t.Parallel()
	for _, inFlight := range []int{1, 10} {
		t.Run(fmt.Sprintf("%d in flight", inFlight), func(t *testing.T) {
			t.Parallel()
			g := newGate(t, pipedream.GateOptions{PerSecond: 100, Burst: 10, InFlight: inFlight})
			const lost = 30
			for i := range lost {
				g.Enter(shop(fmt.Sprint("deleted-", i)), pipedream.NearEnd)
			}
			for g.now.Sub(second) < time.Hour && !g.hasTurn(shop("a")) {
				_, wait := g.Turns()
				g.now = g.now.Add(wait)
			}
			if took, most := g.now.Sub(second), lost/time.Duration(inFlight)*11*time.Second; took > most {
				t.Errorf("it took %s, want at most %s", took, most)
			}
			g.wantPass("a")
			if got := g.Places(); got != 0 {
				t.Errorf("%d still have a place", got)
			}
		})
	}
}

func TestAPlaceThatIsGivenUpIsFreeAtOnce(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{PerSecond: 1, Burst: 1})
	g.drain(1)
	g.wantNoTurn("a", "b", "c", "d")
	g.Leave(shop("b"))
	g.Leave(shop("stranger"))
	g.after(time.Second).wantTurn("a")
	g.Turns()
	g.Leave(shop("a"))
	g.check()
	if askers, _ := g.Turns(); !slices.Equal(askers, []pipedream.Asker{shop("c")}) {
		t.Errorf("after a and b have gone the turn is that of %v, want c", askers)
	}
	g.wantNotYet(g.send("a", nil, false, nil))
	g.wantPass("c")
	g.after(2 * time.Second).wantPass("d")
	if got := g.Places(); got != 0 {
		t.Errorf("%d have a place, want none", got)
	}
}

// An API that hangs gets no more requests than may be on their way, and the first
// that ends makes room for the next.
func TestRequestsInFlightAreBounded(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{PerSecond: 100, Burst: 100, InFlight: 3})
	flights := []*flight{g.start("a", nil), g.start("b", client("b")), g.start("c", nil)}
	g.wantNoTurn("d", "e")
	g.after(5*time.Second).wantNoTurn("d", "e")
	g.Turns()
	g.wantKind(flights[1].end(errUnavailable), pipedream.Unavailable)
	if askers, _ := g.Turns(); !slices.Equal(askers, []pipedream.Asker{shop("d")}) {
		t.Errorf("the turn is that of %v, want d", askers)
	}
	g.wantNoTurn("e")
	fourth := g.start("d", nil)
	g.wantNoTurn("e")
	for _, f := range []*flight{flights[0], flights[2], fourth} {
		g.wantNil(f.end(nil))
	}
	g.wantPass("e")
	if got := g.InFlight(); got != 0 {
		t.Errorf("%d requests are on their way, want none", got)
	}
}

func TestARequestThatPanicsLeaksNothing(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{PerSecond: 100, Burst: 100, InFlight: 1})
	for i := range 10 {
		g.Enter(shop("a"), pipedream.NearEnd)
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic is lost")
				}
			}()
			if i%2 == 0 {
				_ = g.Send(shop("a"), func() error { panic("a bug") })
			}
			_ = g.SendAs(shop("a"), *client("a"), false, func() error { panic("a bug") })
		}()
		g.check()
	}
	if got := g.InFlight(); got != 0 {
		t.Errorf("%d requests are on their way, want none", got)
	}
	g.wantPass("b")
}

// A panic says nothing of the API: it does not end a trial.
func TestAProbeThatPanicsDoesNotEndTheTrial(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{})
	g.limited("a", second.Add(time.Minute))
	g.after(time.Minute).wantTurn("a")
	func() {
		defer func() { _ = recover() }()
		_ = g.Send(shop("a"), func() error { panic("a bug") })
	}()
	g.wantTurn("b")
	g.wantNoTurn("c")
}

func TestAGateYieldsToAnother(t *testing.T) {
	t.Parallel()
	first := newGate(t, pipedream.GateOptions{PerSecond: 1, Burst: 1})
	g := newGate(t, pipedream.GateOptions{PerSecond: 100, Burst: 100, YieldTo: first.Gate})
	g.wantPass("a")
	first.drain(1)
	first.wantNoTurn("b")
	g.wantNoTurn("c", "d")
	g.after(9*time.Second).wantNoTurn("c", "d")
	first.Leave(shop("b"))
	g.wantPass("c")
	g.wantPass("d")
	first.wantNoTurn("b")
	g.wantNoTurn("e")
	g.after(18*time.Second).wantNoTurn("e", "f")
	// That one does not come, and is not waited for for ever.
	g.after(19 * time.Second).wantNoTurn("f")
	g.wantPass("e")
}

// One who looks at the gate when Turns said it is to be, and when something has
// changed, gets as many requests through as the rate allows, at the smallest burst too.
func TestNoTurnIsMissed(t *testing.T) {
	t.Parallel()
	for _, burst := range []int{1, 2, 10} {
		t.Run(fmt.Sprintf("burst %d", burst), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const askers = 100
				g := pipedream.NewGate(withDefaults(pipedream.GateOptions{PerSecond: 5, Burst: burst}))
				api := newRemote(30*time.Millisecond, func(pipedream.Asker, string) error { return nil })
				s := hire(t, g, 4, func(asker pipedream.Asker) {
					if g.Enter(asker, pipedream.FirstToken).IsTurn {
						time.Sleep(5 * time.Millisecond)
						if err := g.Send(asker, api.request(asker, "")); err != nil {
							t.Errorf("the request of %s: %v", asker.Name, err)
						}
					}
				})
				for i := range askers {
					s.add(shop(fmt.Sprint("orders-", i)))
				}
				time.Sleep(askers / 5 * time.Second * 11 / 10)
				if got := api.count(0, time.Hour, isAccepted); got != askers {
					t.Errorf("%d requests were sent, want %d", got, askers)
				}
				// It comes after a long time in which nobody did.
				time.Sleep(time.Hour)
				looks := s.countLooks()
				s.add(shop("late"))
				time.Sleep(50 * time.Millisecond)
				if got := api.count(time.Hour, 2*time.Hour, isAccepted); got != 1 || looks > 5*askers {
					t.Errorf("%d late requests were sent, want one, after %d looks at the gate", got, looks)
				}
				s.stopAll(t)
			})
		})
	}
}

// While nothing can be sent the gate is looked at a few times a second at most.
func TestTurnsDoNotSpin(t *testing.T) {
	t.Parallel()
	const minutes = 10
	tests := map[string]struct {
		begin func(*pipedream.Gate)
		most  int
	}{
		"nobody waits": {begin: func(*pipedream.Gate) {}, most: 5},
		"a pause": {
			begin: func(g *pipedream.Gate) { g.Pause(time.Now().Add(minutes * time.Minute)) },
			most:  61 * minutes,
		},
		"a request that hangs": {
			begin: func(g *pipedream.Gate) {
				g.Enter(shop("hangs"), pipedream.NearEnd)
				go func() {
					_ = g.Send(shop("hangs"), func() error {
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
				g := pipedream.NewGate(withDefaults(pipedream.GateOptions{InFlight: 1}))
				api := newRemote(0, func(pipedream.Asker, string) error { return nil })
				test.begin(g)
				synctest.Wait()
				s := hire(t, g, 4, func(asker pipedream.Asker) {
					if g.Enter(asker, pipedream.FirstToken).IsTurn {
						_ = g.Send(asker, api.request(asker, ""))
					}
				})
				if name != "nobody waits" {
					for i := range 20 {
						s.add(shop(fmt.Sprint("orders-", i)))
					}
				}
				time.Sleep(minutes*time.Minute - time.Second)
				if got := s.countLooks(); got > test.most || api.count(0, time.Hour, every) > 0 {
					t.Errorf("there were %d looks at the gate, want at most %d", got, test.most)
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

// A clock that is set back by an hour changes nothing: who has waited for a minute
// of two has another to wait, and sees it on the clock as it is now.
func TestAClockThatIsSetBack(t *testing.T) {
	t.Parallel()
	tests := map[string]func(g *gate, setBack func()){
		"the bucket": func(g *gate, setBack func()) {
			g.drain(10)
			g.wantNoTurn("a", "b")
			setBack()
			g.wantNoTurn("a", "b")
			g.now = g.now.Add(201 * time.Millisecond)
			g.wantNoTurn("b")
			g.wantPass("a")
			g.now = g.now.Add(200 * time.Millisecond)
			g.wantPass("b")
		},
		"a pause, and a request that was on its way": func(g *gate, setBack func()) {
			f := g.start("late", nil)
			g.limited("a", g.now.Add(2*time.Minute))
			g.now = g.now.Add(time.Minute)
			setBack()
			if left := g.Enter(shop("a"), pipedream.NearEnd).PausedUntil.Sub(g.now); left.Round(time.Millisecond) != time.Minute {
				t.Errorf("the pause lasts for another %s, want 1m", left)
			}
			if at := g.wantKind(f.end(errTooMany), pipedream.RateLimited).RetryAt; at.Sub(g.now).Round(time.Millisecond) != time.Minute {
				t.Errorf("it is to be tried again in %s, want 1m", at.Sub(g.now))
			}
			g.now = g.now.Add(time.Minute - time.Second)
			g.wantNoTurn("a")
			g.now = g.now.Add(time.Second)
			g.wantPass("a")
			// What the API says is said in its own time.
			if end := g.limited("b", g.now.Add(3*time.Minute)).Sub(g.now); end != 3*time.Minute {
				t.Errorf("the next pause is to last for %s, want 3m", end)
			}
		},
		"a refusal": func(g *gate, setBack func()) {
			g.wantKind(g.try("a", client("bad"), errRefused), pipedream.CredentialsRejected)
			g.now = g.now.Add(20 * time.Second)
			setBack()
			left := g.wantKind(g.try("a", client("bad"), nil), pipedream.CredentialsRejected).RetryAt.Sub(g.now)
			if left.Round(time.Millisecond) != 40*time.Second {
				t.Errorf("they are refused for another %s, want 40s", left)
			}
			g.now = g.now.Add(41 * time.Second)
			g.wantKind(g.try("a", client("bad"), errRefused), pipedream.CredentialsRejected)
			g.now = g.now.Add(121 * time.Second)
			g.wantNil(g.try("a", client("bad"), nil))
		},
		"a turn that nobody uses": func(g *gate, setBack func()) {
			g.drain(9)
			g.wantTurn("lost")
			g.wantNoTurn("a")
			g.now = g.now.Add(5 * time.Second)
			setBack()
			if since := g.Enter(shop("a"), pipedream.DueRenewal).Since; g.now.Sub(since).Round(time.Millisecond) != 5*time.Second {
				t.Errorf("it waits for %s, want 5s", g.now.Sub(since))
			}
			g.now = g.now.Add(6 * time.Second)
			g.wantNotYet(g.send("lost", nil, false, nil))
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGate(t, pipedream.GateOptions{})
			g.now = g.now.Add(time.Millisecond)
			test(g, func() {
				g.Turns()
				g.now = g.now.Add(-time.Hour)
			})
		})
	}
}

func TestAClockThatLeaps(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{})
	g.drain(10)
	for i := range 100 {
		g.wantNoTurn(fmt.Sprint("orders-", i))
	}
	g.after(200 * time.Millisecond)
	g.limited("orders-0", time.Time{})
	// After a day there is a probe first.
	g.after(24 * time.Hour).wantPass("orders-1")
	g.wantPass("orders-2")
	g.wantNoTurn("orders-3")
}

func TestOnlyTheBurstPassesHoweverManyComeAtOnce(t *testing.T) {
	t.Parallel()
	const burst, goroutines, askers = 10, 50, 20
	g := newGate(t, pipedream.GateOptions{PerSecond: 1, Burst: burst})
	var passed atomic.Int64
	var all sync.WaitGroup
	for i := range goroutines {
		all.Go(func() {
			for j := range askers {
				asker := shop(fmt.Sprintf("orders-%d-%d", i, j))
				if g.Enter(asker, pipedream.FirstToken).IsTurn {
					g.wantNil(g.Send(asker, func() error { return nil }))
					passed.Add(1)
				}
			}
		})
	}
	all.Wait()
	// A turn may be given to one who has already looked.
	turns, _ := g.Turns()
	for _, asker := range turns {
		if g.Send(asker, func() error { return nil }) == nil {
			passed.Add(1)
		}
	}
	if got := passed.Load(); got != burst {
		t.Errorf("%d have passed, want %d", got, burst)
	}
	if got, want := g.Places(), goroutines*askers-burst; got != want {
		t.Errorf("%d have a place, want %d", got, want)
	}
	g.check()
}

// Whatever many do at the same time, the gate agrees with itself, and nothing is left.
func TestTheGateServesManyAtOnce(t *testing.T) {
	t.Parallel()
	const goroutines, rounds = 30, 300
	var clock atomic.Int64
	options := withDefaults(pipedream.GateOptions{PerSecond: 20, Burst: 10, InFlight: 5})
	options.Now = func() time.Time { return second.Add(time.Duration(clock.Add(1)) * 10 * time.Millisecond) }
	g := pipedream.NewGate(options)
	var inFlight, requests atomic.Int64
	outcomes := []error{nil, nil, nil, nil, errScope, errUnavailable, errRefused, errTooMany, errors.New("a bug")}
	var all sync.WaitGroup
	for i := range goroutines {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 1)) //nolint:gosec // repeatable, and no secret
			for range rounds {
				asker := pipedream.Asker{Group: fmt.Sprint(random.IntN(4)), Name: fmt.Sprint(random.IntN(20))}
				switch random.IntN(20) {
				case 0:
					g.Leave(asker)
				case 1:
					g.Turns()
				case 2:
					clock.Add(100 * int64(random.IntN(100)))
				}
				g.Enter(asker, pipedream.Lane(random.IntN(4)))
				_ = g.SendAs(asker, *client(fmt.Sprint(random.IntN(6))), random.IntN(3) == 0, func() error {
					defer inFlight.Add(-1)
					if inFlight.Add(1) > 5 {
						t.Error("more than five requests are on their way")
					}
					requests.Add(1)
					return outcomes[random.IntN(len(outcomes))]
				})
				if err := g.Check(); err != nil {
					t.Errorf("the gate disagrees with itself: %v", err)
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
			g.Leave(pipedream.Asker{Group: fmt.Sprint(i), Name: fmt.Sprint(j)})
		}
	}
	if err := g.Check(); err != nil || g.Places() != 0 || g.InFlight() != 0 {
		t.Errorf("%d have a place, and %d requests are on their way, want none: %v", g.Places(), g.InFlight(), err)
	}
}

// BenchmarkGate measures one request, with ten thousand others that wait.
func BenchmarkGate(b *testing.B) {
	const waiting = 10_000
	tests := map[string]struct {
		groups int
		// prepare lets the others wait for something.
		prepare func(g *gate, others []pipedream.Asker)
	}{
		"for the bucket, in one group":      {groups: 1, prepare: func(*gate, []pipedream.Asker) {}},
		"for the bucket, in as many groups": {groups: waiting, prepare: func(*gate, []pipedream.Asker) {}},
		"for one client":                    {groups: 1, prepare: func(g *gate, others []pipedream.Asker) { waitForClient(g, others, 1) }},
		"for as many clients":               {groups: 1, prepare: func(g *gate, others []pipedream.Asker) { waitForClient(g, others, waiting) }},
	}
	for name, test := range tests {
		b.Run(name, func(b *testing.B) {
			g := newGate(b, pipedream.GateOptions{PerSecond: 1000, Burst: 1, InFlight: 50_000})
			others := make([]pipedream.Asker, waiting)
			for i := range others {
				others[i] = pipedream.Asker{Group: fmt.Sprint(i % test.groups), Name: fmt.Sprint(i)}
			}
			test.prepare(g, others)
			for _, asker := range others {
				g.Enter(asker, pipedream.DueRenewal)
			}
			g.Leave(others[0])
			good := client("good")
			for b.Loop() {
				g.now = g.now.Add(time.Millisecond)
				asker := shop("a")
				if !g.Enter(asker, pipedream.NearEnd).IsTurn {
					// One of the others has the only turn, and does not come.
					turns, _ := g.Turns()
					for _, other := range turns {
						g.Leave(other)
						g.Enter(other, pipedream.DueRenewal)
					}
				}
				if err := g.SendAs(asker, *good, false, func() error { return nil }); err != nil && !errors.Is(err, pipedream.ErrNotYet) {
					b.Fatal(err)
				}
				g.Turns()
			}
		})
	}
}

// waitForClient lets askers wait for some clients whose requests hang.
func waitForClient(g *gate, others []pipedream.Asker, clients int) {
	g.t.Helper()
	hang := make(chan struct{})
	g.t.Cleanup(func() { close(hang) })
	for i := range clients {
		g.now = g.now.Add(time.Second)
		asker := shop(fmt.Sprint("hangs-", i))
		g.Enter(asker, pipedream.NearEnd)
		started := make(chan struct{})
		go func() {
			_ = g.SendAs(asker, *client(fmt.Sprint(i)), false, func() error {
				close(started)
				<-hang
				return nil
			})
		}()
		<-started
	}
	for i, asker := range others {
		g.now = g.now.Add(time.Second)
		g.Enter(asker, pipedream.NearEnd)
		if err := g.SendAs(asker, *client(fmt.Sprint(i % clients)), false, func() error { return nil }); !errors.Is(err, pipedream.ErrNotYet) {
			g.t.Fatalf("the request of %v: %v", asker, err)
		}
	}
}

// hasChanged tells whether Turns is to be called, and calls it.
func (g *gate) hasChanged() bool {
	select {
	case <-g.Changed():
		g.Turns()
		return true
	default:
		return false
	}
}

// Each turn that comes by somebody's deed is told at once, and not when it is time to
// look again.
func TestATurnThatComesByADeedIsToldAtOnce(t *testing.T) {
	t.Parallel()
	tests := map[string]func(g *gate, busy *flight){
		"a request ends":         func(g *gate, busy *flight) { g.wantNil(busy.end(nil)) },
		"a request is cut short": func(g *gate, busy *flight) { g.wantKind(busy.end(errUnavailable), pipedream.Unavailable) },
		"a place is given up":    func(g *gate, _ *flight) { g.Leave(shop("a")) },
		"a client is busy":       func(g *gate, _ *flight) { g.wantNotYet(g.send("a", client("orders"), false, nil)) },
		"a client is refused": func(g *gate, _ *flight) {
			g.wantKind(g.send("a", client("bad"), false, nil), pipedream.CredentialsRejected)
		},
	}
	for name, deed := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGate(t, pipedream.GateOptions{PerSecond: 10, Burst: 10, InFlight: 2})
			g.wantKind(g.try("bad", client("bad"), errRefused), pipedream.CredentialsRejected)
			g.Turns()
			g.hasChanged()
			busy := g.start("busy", client("orders"))
			if g.Enter(shop("a"), pipedream.DueRenewal); !g.hasChanged() {
				t.Error("somebody has come, and nobody looks")
			}
			g.wantTurn("a")
			if g.Enter(shop("b"), pipedream.DueRenewal); !g.hasChanged() {
				t.Error("another has come, and nobody looks")
			}
			g.wantNoTurn("b")
			if deed(g, busy); !g.hasChanged() {
				t.Error("the turn of b has come, and nobody looks")
			}
			g.wantTurn("b")
		})
	}
}
