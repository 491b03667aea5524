// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// errSent is the outcome of a request that is not to be sent.
var errSent = errors.New("it was sent")

func TestRefusedCredentialsAreNotTriedAgainForAWhile(t *testing.T) {
	t.Parallel()
	const minute = time.Minute
	g := newGate(t, pipedream.GateOptions{})
	var waits []time.Duration
	for range 8 {
		first := g.wantKind(g.try("a", client("bad"), errRefused), pipedream.CredentialsRejected)
		waits = append(waits, first.RetryAt.Sub(g.now))
		if want := (pipedream.Error{Kind: errRefused.Kind, StatusCode: 401, RetryAt: first.RetryAt}); first != want {
			t.Errorf("the error is %+v, want %+v", first, want)
		}
		// Nobody else has them tried, nor the same one, and all are told the same.
		for _, name := range []string{"a", "b", "c"} {
			if again := g.wantKind(g.try(name, client("bad"), errSent), pipedream.CredentialsRejected); again != first {
				t.Errorf("the error of %s is %+v, want %+v", name, again, first)
			}
		}
		g.now = first.RetryAt.Add(-1)
		g.wantKind(g.try("a", client("bad"), errSent), pipedream.CredentialsRejected)
		g.now = first.RetryAt
	}
	want := []time.Duration{minute, 2 * minute, 4 * minute, 8 * minute, 15 * minute, 15 * minute, 15 * minute, 15 * minute}
	if diff := cmp.Diff(want, waits); diff != "" {
		t.Errorf("waits (-want +got):\n%s", diff)
	}
	// Others are not refused with them.
	other := *client("bad")
	other.ClientSecret = pipedream.NewSensitive("another")
	g.wantNil(g.try("d", &other, nil))
	g.wantNil(g.try("e", &pipedream.Credentials{ClientID: "bads", ClientSecret: pipedream.NewSensitive("3cr3t")}, nil))
	// Accepted, they are as good as new.
	g.wantNil(g.try("a", client("bad"), nil))
	got := g.wantKind(g.try("a", client("bad"), errRefused), pipedream.CredentialsRejected)
	if wait := got.RetryAt.Sub(g.now); wait != time.Minute {
		t.Errorf("after they were accepted they are refused for %s, want 1m", wait)
	}
	g.now = got.RetryAt
	// A refused scope shows that the client is not refused.
	g.wantKind(g.try("b", client("bad"), errScope), pipedream.ScopeRejected)
	got = g.wantKind(g.try("a", client("bad"), errRefused), pipedream.CredentialsRejected)
	if wait := got.RetryAt.Sub(g.now); wait != time.Minute {
		t.Errorf("after a refused scope they are refused for %s, want 1m", wait)
	}
}

// What says nothing of the credentials leaves them as they were.
func TestOtherFailuresSayNothingOfCredentials(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{})
	g.wantKind(g.try("a", client("bad"), errRefused), pipedream.CredentialsRejected)
	g.after(time.Minute)
	g.wantKind(g.try("a", client("bad"), errUnavailable), pipedream.Unavailable)
	got := g.wantKind(g.try("a", client("bad"), errRefused), pipedream.CredentialsRejected)
	if wait := got.RetryAt.Sub(g.now); wait != 2*time.Minute {
		t.Errorf("they are refused for %s, want 2m", wait)
	}
	// Nothing is remembered of those of whom nothing is known.
	before := g.Clients()
	g.after(time.Hour)
	g.wantKind(g.try("b", client("unknown"), errUnavailable), pipedream.Unavailable)
	g.Enter(shop("c"), pipedream.DueRenewal)
	busy := g.start("b", client("unknown"))
	g.wantNotYet(g.send("c", client("unknown"), false, nil))
	g.Leave(shop("c"))
	g.wantKind(busy.end(errUnavailable), pipedream.Unavailable)
	if got := g.Clients(); got != before {
		t.Errorf("%d clients are remembered, want %d", got, before)
	}
}

// insist enters and sends with credentials that were refused.
func (g *gate) insist(name string, outcome error) error {
	g.t.Helper()
	g.Enter(shop(name), pipedream.DueRenewal)
	return g.send(name, client("bad"), true, outcome)
}

func TestWhoInsistsIsTriedEarlier(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{})
	g.wantKind(g.try("a", client("bad"), errRefused), pipedream.CredentialsRejected)
	var waits []time.Duration
	for range 8 {
		begin := g.now
		g.now = g.now.Add(time.Second)
		g.wantNotYet(g.insist("a", errSent))
		g.wantNotYet(g.insist("a", errSent))
		// Who does not insist has its answer meanwhile.
		g.wantKind(g.try("b", client("bad"), errSent), pipedream.CredentialsRejected)
		for !g.hasTurn(shop("a")) {
			g.now = g.now.Add(time.Second)
		}
		waits = append(waits, g.now.Sub(begin))
		g.wantKind(g.send("a", client("bad"), true, errRefused), pipedream.CredentialsRejected)
	}
	want := []time.Duration{
		10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second,
		5 * time.Minute, 5 * time.Minute, 5 * time.Minute,
	}
	if diff := cmp.Diff(want, waits); diff != "" {
		t.Errorf("waits (-want +got):\n%s", diff)
	}
}

// An attempt that was made after an insistent one came is an answer to it. One that
// was on its way is none: it was made before what gave the reason to insist.
func TestOneAttemptAnswersAllWhoInsist(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{PerSecond: 100, Burst: 100})
	f := g.start("a", client("bad"))
	g.after(time.Second)
	for i := range 5 {
		g.wantNotYet(g.insist(fmt.Sprint("insists-", i), errSent))
	}
	g.Enter(shop("b"), pipedream.DueRenewal)
	g.wantNotYet(g.send("b", client("bad"), false, errSent))
	g.Turns()
	g.after(2 * time.Second)
	g.wantKind(f.end(errRefused), pipedream.CredentialsRejected)
	if askers, _ := g.Turns(); len(askers) != 1 || askers[0] != shop("b") {
		t.Errorf("the turn is that of %v, want that of who does not insist", askers)
	}
	g.wantKind(g.send("b", client("bad"), false, errSent), pipedream.CredentialsRejected)
	g.after(12*time.Second - time.Millisecond)
	for i := range 5 {
		g.wantNoTurn(fmt.Sprint("insists-", i))
	}
	g.after(12 * time.Second)
	askers, _ := g.Turns()
	if len(askers) != 1 {
		t.Fatalf("the turn is that of %v, want one of those who insist", askers)
	}
	g.wantKind(g.send(askers[0].Name, client("bad"), true, errRefused), pipedream.CredentialsRejected)
	for i := range 5 {
		if name := fmt.Sprint("insists-", i); name != askers[0].Name {
			g.wantTurn(name)
			g.wantKind(g.send(name, client("bad"), true, errSent), pipedream.CredentialsRejected)
		}
	}
}

func TestCredentialsThatAreGoodAgain(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{PerSecond: 100, Burst: 100})
	for range 3 {
		for i := range 20 {
			g.wantNil(g.try(fmt.Sprint("good-", i), client("bad"), nil))
		}
		g.wantKind(g.try("a", client("bad"), errRefused), pipedream.CredentialsRejected)
		g.now = g.now.Add(time.Second)
		for i := range 20 {
			g.wantNotYet(g.insist(fmt.Sprint("insists-", i), errSent))
		}
		g.now = g.now.Add(9 * time.Second)
		g.wantTurn("insists-0")
		g.wantNoTurn("insists-1", "insists-2")
		g.wantNil(g.send("insists-0", client("bad"), true, nil))
		for i := range 19 {
			g.wantNil(g.insist(fmt.Sprint("insists-", i+1), nil))
		}
		g.now = g.now.Add(time.Minute)
	}
}

// After a quiet time, and at the beginning, one request goes alone, and two after it,
// and more: what has become bad costs few.
func TestTheFirstRequestGoesAlone(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{PerSecond: 100, Burst: 100})
	for range 3 {
		first := g.start("a", client("orders"))
		for _, name := range []string{"b", "c", "d", "e"} {
			g.Enter(shop(name), pipedream.DueRenewal)
			g.wantNotYet(g.send(name, client("orders"), false, errSent))
		}
		// Another client is not held up.
		g.wantNil(g.try("other", client("other"), nil))
		g.wantNil(first.end(nil))
		g.wantTurn("b", "c")
		g.wantNoTurn("d", "e")
		second, third := g.start("b", client("orders")), g.start("c", client("orders"))
		g.wantNil(second.end(nil))
		g.wantTurn("d", "e")
		g.Enter(shop("f"), pipedream.DueRenewal)
		g.wantNotYet(g.send("f", client("orders"), false, errSent))
		g.wantNil(third.end(nil))
		g.wantTurn("f")
		for _, name := range []string{"d", "e", "f"} {
			g.wantNil(g.send(name, client("orders"), false, nil))
		}
		g.now = g.now.Add(5*time.Second + 1)
	}
	first := g.start("a", client("orders"))
	for _, name := range []string{"b", "c"} {
		g.Enter(shop(name), pipedream.DueRenewal)
		g.wantNotYet(g.send(name, client("orders"), false, errSent))
	}
	g.Turns()
	g.wantKind(first.end(errRefused), pipedream.CredentialsRejected)
	if askers, _ := g.Turns(); len(askers) != 2 {
		t.Errorf("%v are told at once, want b and c", askers)
	}
	for _, name := range []string{"b", "c"} {
		g.wantKind(g.send(name, client("orders"), false, errSent), pipedream.CredentialsRejected)
	}
}

// Of clients that were never accepted, and of those that are refused now, half of the
// rate is kept from.
func TestNewClientsUseHalfOfTheRate(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{PerSecond: 10, Burst: 10})
	requests := 0
	for i := range 600 { // a minute
		for j := range 3 {
			name := fmt.Sprintf("new-%d-%d", i, j)
			if err := g.try(name, client(name), errUnavailable); !errors.Is(err, pipedream.ErrNotYet) {
				requests++
			}
			g.Leave(shop(name))
		}
		g.now = g.now.Add(100 * time.Millisecond)
	}
	if requests < 290 || requests > 310 {
		t.Errorf("in a minute %d requests with new clients were sent, want 300", requests)
	}
}

func TestAtMostAThousandRefusedClientsAreRemembered(t *testing.T) {
	t.Parallel()
	const most = 1024
	g := newGate(t, pipedream.GateOptions{PerSecond: 1e6, Burst: 1e6, InFlight: 10_000})
	try := func(name string, outcome error) error {
		g.now = g.now.Add(time.Millisecond)
		g.Enter(shop(name), pipedream.DueRenewal)
		return g.SendAs(shop(name), *client(name), false, func() error { return outcome })
	}
	for i := range most + 100 {
		g.wantKind(try(fmt.Sprint("bad-", i), errRefused), pipedream.CredentialsRejected)
		g.wantNil(try("good", nil))
	}
	g.check()
	if got := g.Clients(); got != most+1 {
		t.Errorf("%d clients are remembered, want %d and a good one", got, most)
	}
	if err := try(fmt.Sprint("bad-", 101), errSent); errors.Is(err, errSent) {
		t.Error("one of those that came last was forgotten")
	}
	if err := try(fmt.Sprint("bad-", 99), errSent); !errors.Is(err, errSent) {
		t.Errorf("one of those that came first is remembered: %v", err)
	}
	// Nor are more remembered when they are tried at the same time, and waited for.
	var flights []*flight
	for i := range most + 100 {
		name := fmt.Sprint("together-", i)
		g.now = g.now.Add(time.Millisecond)
		flights = append(flights, g.start(name, client(name)))
	}
	for _, f := range flights {
		g.wantKind(f.end(errRefused), pipedream.CredentialsRejected)
	}
	if got := g.Clients(); got > most+1 {
		t.Errorf("%d clients are remembered, want at most %d", got, most+1)
	}
}

func TestAcceptedClientsAreRememberedUpToABound(t *testing.T) {
	t.Parallel()
	const most = 8192
	g := newGate(t, pipedream.GateOptions{PerSecond: 1e6, Burst: 1e6})
	for i := range most + 100 {
		g.now = g.now.Add(time.Millisecond)
		name := fmt.Sprint("good-", i)
		g.Enter(shop(name), pipedream.DueRenewal)
		g.wantNil(g.SendAs(shop(name), *client(name), false, func() error { return nil }))
	}
	g.check()
	if got := g.Clients(); got != most {
		t.Errorf("%d clients are remembered, want %d", got, most)
	}
}

// askAsAController serves askers who try again when they are told to.
func askAsAController(g *pipedream.Gate, s *staff, api *remote, insists func(pipedream.Asker) bool, told func(pipedream.Asker, error)) {
	s.serve = func(asker pipedream.Asker) {
		if !g.Enter(asker, pipedream.FirstToken).IsTurn {
			return
		}
		time.Sleep(3 * time.Millisecond) // reads the credentials
		err := g.SendAs(asker, *client(asker.Group), insists(asker), api.request(asker, asker.Group))
		if errors.Is(err, pipedream.ErrNotYet) {
			s.add(asker)
			return
		}
		told(asker, err)
		if failed, ok := errors.AsType[*pipedream.Error](err); ok {
			s.after(time.Until(failed.RetryAt), asker)
		}
	}
}

func never(pipedream.Asker) bool { return false }

func addAll(s *staff, group string, count int) {
	for i := range count {
		s.add(pipedream.Asker{Group: group, Name: fmt.Sprint(group, "-", i)})
	}
}

// A thousand with one bad client cost one request, and then one whenever it is time to
// try again. All are told at once, and those with a good one do not notice.
func TestAThousandWithABadClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const askers = 1000
		g := pipedream.NewGate(withDefaults(pipedream.GateOptions{}))
		api := newRemote(300*time.Millisecond, func(_ pipedream.Asker, name string) error {
			if name == "bad" {
				return errRefused
			}
			return nil
		})
		s := hire(t, g, 10, nil)
		var bad, good atomic.Int64
		askAsAController(g, s, api, never, func(asker pipedream.Asker, _ error) {
			if asker.Group == "bad" {
				bad.Add(1)
			} else {
				good.Add(1)
			}
		})
		addAll(s, "bad", askers)
		time.Sleep(2 * time.Second)
		if got := bad.Load(); got != askers {
			t.Errorf("after two seconds %d were told, want all %d", got, askers)
		}
		time.Sleep(58 * time.Second)
		// Those with good credentials come when the bad ones are tried again.
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

func TestManyWhoInsistWithABadClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := pipedream.NewGate(withDefaults(pipedream.GateOptions{}))
		api := newRemote(300*time.Millisecond, func(pipedream.Asker, string) error { return errRefused })
		s := hire(t, g, 10, nil)
		// They never give up, and insist each time.
		askAsAController(g, s, api, func(pipedream.Asker) bool { return true }, func(asker pipedream.Asker, _ error) {
			s.after(time.Second, asker)
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

// A good client, of which nothing is known, gets to the full rate.
func TestAGoodClientGetsTheFullRate(t *testing.T) {
	t.Parallel()
	for _, latency := range []time.Duration{50 * time.Millisecond, time.Second, 6 * time.Second} {
		t.Run(fmt.Sprint(latency), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const askers = 300
				g := pipedream.NewGate(withDefaults(pipedream.GateOptions{}))
				api := newRemote(latency, func(pipedream.Asker, string) error { return nil })
				s := hire(t, g, 40, nil)
				askAsAController(g, s, api, never, func(pipedream.Asker, error) {})
				addAll(s, "good", askers)
				time.Sleep(askers/5*time.Second + 6*latency)
				s.stopAll(t)
				if got := api.count(0, time.Hour, isAccepted); got != askers {
					t.Errorf("%d requests were answered, want all %d", got, askers)
				}
			})
		})
	}
}

// A client that becomes bad while many use it is found out by the requests on their way.
func TestAClientThatBecomesBad(t *testing.T) {
	t.Parallel()
	for _, quiet := range []time.Duration{0, 10 * time.Second} {
		t.Run(fmt.Sprintf("after %s without a request", quiet), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := pipedream.NewGate(withDefaults(pipedream.GateOptions{}))
				var isBad atomic.Bool
				api := newRemote(300*time.Millisecond, func(pipedream.Asker, string) error {
					if isBad.Load() {
						return errRefused
					}
					return nil
				})
				s := hire(t, g, 10, nil)
				askAsAController(g, s, api, never, func(pipedream.Asker, error) {})
				count := 1000
				if quiet > 0 {
					count = 100
				}
				addAll(s, "orders", count)
				time.Sleep(time.Minute + quiet)
				isBad.Store(true)
				for i := range 1000 {
					s.add(pipedream.Asker{Group: "orders", Name: fmt.Sprint("late-", i)})
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

// Five thousand with a bad client each do not use more than half of what the renewals
// of an accepted client need.
func TestBogusClientsDoNotDelayAnAcceptedOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const minutes = 2
		g := pipedream.NewGate(withDefaults(pipedream.GateOptions{}))
		api := newRemote(200*time.Millisecond, func(asker pipedream.Asker, _ string) error {
			if asker.Group != "good" {
				return errRefused
			}
			return nil
		})
		s := hire(t, g, 8, nil)
		var waited atomic.Int64
		s.serve = func(asker pipedream.Asker) {
			lane, name := pipedream.FirstToken, asker.Name
			if asker.Group == "good" {
				lane, name = pipedream.DueRenewal, "good"
			}
			place := g.Enter(asker, lane)
			if !place.IsTurn {
				return
			}
			time.Sleep(3 * time.Millisecond)
			err := g.SendAs(asker, *client(name), false, api.request(asker, name))
			switch failed, ok := errors.AsType[*pipedream.Error](err); {
			case errors.Is(err, pipedream.ErrNotYet):
				s.add(asker)
			case ok:
				s.after(time.Until(failed.RetryAt), asker)
			case time.Since(api.begun) > time.Minute:
				if took := int64(time.Since(place.Since)); took > waited.Load() {
					waited.Store(took)
				}
			}
		}
		s.add(pipedream.Asker{Group: "good", Name: "first"})
		time.Sleep(time.Second)
		for i := range 5000 {
			s.add(pipedream.Asker{Group: "bogus", Name: fmt.Sprint("bogus-", i)})
		}
		for i := range minutes * 60 * 2 {
			s.after(time.Duration(i)*time.Second/2, pipedream.Asker{Group: "good", Name: fmt.Sprint("good-", i)})
		}
		time.Sleep(minutes*time.Minute + 10*time.Second)
		s.stopAll(t)
		isGood := func(r sent) bool { return r.asker.Group == "good" }
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

// Those that are on their way when one is refused tell nothing new.
func TestRefusalsOfTheSameTimeCountOnce(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{})
	for i := range 3 {
		g.wantNil(g.try(fmt.Sprint("good-", i), client("bad"), nil))
	}
	flights := []*flight{g.start("a", client("bad")), g.start("b", client("bad")), g.start("c", client("bad"))}
	g.after(time.Second)
	for _, f := range flights {
		if at := g.wantKind(f.end(errRefused), pipedream.CredentialsRejected).RetryAt; at.Sub(g.now) > time.Minute {
			t.Errorf("they are refused for %s, want 1m", at.Sub(g.now))
		}
		g.now = g.now.Add(time.Millisecond)
	}
}

// Clients that were accepted, and then refused, are like those that never were: they
// are tried at half of the rate.
func TestRefusedClientsAreTriedAtHalfOfTheRate(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{PerSecond: 10, Burst: 10})
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	for _, name := range names {
		g.wantNil(g.try(name, client(name), nil))
		g.now = g.now.Add(time.Second)
		g.wantKind(g.try(name, client(name), errRefused), pipedream.CredentialsRejected)
		g.now = g.now.Add(time.Second)
	}
	g.now = g.now.Add(time.Hour)
	var waiting []string
	for _, name := range names {
		if err := g.try(name, client(name), errUnavailable); errors.Is(err, pipedream.ErrNotYet) {
			waiting = append(waiting, name)
		}
	}
	if len(waiting) != 3 {
		t.Errorf("%d of 8 have to wait, want 3", len(waiting))
	}
	// Nor are they given turns in which they could not send.
	g.Turns()
	g.now = g.now.Add(201 * time.Millisecond)
	if turns, _ := g.Turns(); len(turns) != 1 {
		t.Errorf("the turn is that of %v, want one", turns)
	}
}
