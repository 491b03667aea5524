// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// turnsOf returns who of the askers has a turn, when all enter with their sources.
func (g *gate) turnsOf(sourceOf func(i int) string, count int) (with []string) {
	g.t.Helper()
	for i := range count {
		name := fmt.Sprint(i)
		if g.EnterAs(shop(name), pipedream.DueRenewal, sourceOf(i)).IsTurn {
			with = append(with, name)
		}
		g.check()
	}
	return with
}

func same(int) string { return "a Secret" }

func TestNobodyReadsCredentialsInVain(t *testing.T) {
	t.Parallel()
	const count = 40
	g := newGate(t, pipedream.GateOptions{PerSecond: 1000, Burst: 1000, InFlight: 10})
	sent, rounds := 0, 0
	for ; sent < count; rounds++ {
		if rounds > count {
			t.Fatalf("after %d rounds %d requests of %d were sent", rounds, sent, count)
		}
		g.after(time.Duration(rounds) * 20 * time.Millisecond)
		var flights []*flight
		for i := range count {
			name := fmt.Sprint(i)
			if g.EnterAs(shop(name), pipedream.DueRenewal, "a Secret").IsTurn {
				flights = append(flights, g.start(name, client("shared")))
			}
		}
		for _, f := range flights {
			g.wantNil(f.end(nil))
		}
		sent += len(flights)
		for i := range count {
			// Those who have sent theirs enter again above; they may.
			g.Leave(shop(fmt.Sprint(i)))
		}
	}
	if rounds > 9 {
		t.Errorf("it took %d rounds to send %d requests, ten at a time", rounds, count)
	}
}

func TestOneOfASourceGoesFirst(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{PerSecond: 1000, Burst: 1000})
	if with := g.turnsOf(same, 20); len(with) != 1 {
		t.Fatalf("%d of 20 have a turn before anybody has read the Secret: %v", len(with), with)
	}
	first := g.start("0", client("shared"))
	if with := g.turnsOf(same, 20); len(with) != 0 {
		t.Errorf("while the first request is on its way, it is the turn of %v", with)
	}
	g.wantNil(first.end(nil))
	if with := g.turnsOf(same, 20); len(with) != 2 {
		t.Errorf("after the first was accepted, it is the turn of %v; want two", with)
	}
}

func TestSourcesDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{PerSecond: 1000, Burst: 1000})
	if with := g.turnsOf(func(i int) string { return fmt.Sprint("Secret ", i) }, 20); len(with) != 20 {
		t.Errorf("it is the turn of %v; want all", with)
	}
}

func TestAllOfASourceHearThatItsClientIsRefused(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{})
	g.turnsOf(same, 5)
	g.wantKind(g.send("0", client("bad"), false, &pipedream.Error{Kind: pipedream.CredentialsRejected}), pipedream.CredentialsRejected)
	for i := 1; i < 5; i++ {
		name := fmt.Sprint(i)
		if !g.EnterAs(shop(name), pipedream.DueRenewal, "a Secret").IsTurn {
			t.Errorf("%s does not hear of it", name)
			continue
		}
		err := g.SendAs(shop(name), *client("bad"), false, func() error { return errors.New("it was sent") })
		g.wantKind(err, pipedream.CredentialsRejected)
	}
}

func TestARefusalThatIsKnownAnswersAllOfASource(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{})
	g.wantKind(g.try("elsewhere", client("bad"), &pipedream.Error{Kind: pipedream.CredentialsRejected}), pipedream.CredentialsRejected)
	if with := g.turnsOf(same, 3); len(with) != 1 {
		t.Fatalf("it is the turn of %v; the test needs two that wait", with)
	}
	unsent := func() error { return errors.New("it was sent") }
	g.wantKind(g.SendAs(shop("0"), *client("bad"), false, unsent), pipedream.CredentialsRejected)
	for name, lane := range map[string]pipedream.Lane{"1": pipedream.DueRenewal, "2": pipedream.DueRenewal, "new": pipedream.NearEnd} {
		if !g.EnterAs(shop(name), lane, "a Secret").IsTurn {
			t.Errorf("%s does not hear of it", name)
		}
	}
	for _, name := range []string{"1", "2", "new"} {
		g.wantKind(g.SendAs(shop(name), *client("bad"), false, unsent), pipedream.CredentialsRejected)
	}
}

func TestWhoInsistsWaitsForAnAttemptOfItsOwn(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{})
	g.wantKind(g.try("elsewhere", client("bad"), &pipedream.Error{Kind: pipedream.CredentialsRejected}), pipedream.CredentialsRejected)
	g.after(time.Second).EnterAs(shop("0"), pipedream.OnDemand, "a Secret")
	insist := func() error { return g.SendAs(shop("0"), *client("bad"), true, func() error { return nil }) }
	g.wantNotYet(insist())
	if g.EnterAs(shop("0"), pipedream.OnDemand, "a Secret").IsTurn {
		t.Error("it is its turn again to hear what it does not want to hear")
	}
	if g.after(10 * time.Second); !g.EnterAs(shop("0"), pipedream.OnDemand, "a Secret").IsTurn {
		t.Fatal("its client is not tried again")
	}
	g.wantNil(insist())
}

func TestWhoComesWithAnotherSourceNeedNotWaitForTheOld(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{})
	g.turnsOf(same, 2)
	f := g.start("0", client("old"))
	if with := g.turnsOf(same, 2); len(with) != 0 {
		t.Fatalf("it is the turn of %v; the test needs one that waits", with)
	}
	if !g.EnterAs(shop("1"), pipedream.DueRenewal, "a Secret, edited").IsTurn {
		t.Error("one that has other credentials now waits for what becomes of the old ones")
	}
	g.wantNil(f.end(nil))
}

func TestASourceWhoseFirstReaderGoesAway(t *testing.T) {
	t.Parallel()
	for name, goAway := range map[string]func(*gate){
		"by leaving":             func(g *gate) { g.Leave(shop("0")) },
		"by not using its turn":  func(g *gate) { g.after(11 * time.Second) },
		"by sending its request": func(g *gate) { g.wantNil(g.send("0", client("else"), false, nil)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGate(t, pipedream.GateOptions{})
			g.turnsOf(same, 2)
			goAway(g)
			if !g.EnterAs(shop("1"), pipedream.DueRenewal, "a Secret").IsTurn {
				t.Error("the next of the source has no turn")
			}
		})
	}
}

func TestAnUnreadSourceIsNoNewcomer(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{PerSecond: 4, Burst: 4})
	// All that newcomers may use at once.
	for i := range 2 {
		g.wantNil(g.try(fmt.Sprint("new ", i), client(fmt.Sprint("new ", i)), nil))
	}
	if !g.EnterAs(shop("known"), pipedream.DueRenewal, "a Secret").IsTurn {
		t.Error("it has no turn, though its client may have been accepted a thousand times")
	}
}
