// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// turnsOf reserves a ticket for each requester, with its credential reference, and returns
// the names of the requesters whose ticket is ready.
func (l *limiter) turnsOf(referenceOf func(i int) string, count int) (with []string) {
	l.t.Helper()
	for i := range count {
		name := fmt.Sprint(i)
		if l.reserveAs(shop(name), throttle.DueRenewal, referenceOf(i)).IsReady {
			with = append(with, name)
		}
		l.check()
	}
	return with
}

func same(int) string { return "a Secret" }

func TestNobodyReadsCredentialsInVain(t *testing.T) {
	t.Parallel()
	const count = 40
	l := newLimiter(t, throttle.Options{PerSecond: 1000, Burst: 1000, InFlight: 10})
	sent, rounds := 0, 0
	for ; sent < count; rounds++ {
		if rounds > count {
			t.Fatalf("after %d rounds %d requests of %d were sent", rounds, sent, count)
		}
		l.after(time.Duration(rounds) * 20 * time.Millisecond)
		var flights []*flight
		for i := range count {
			name := fmt.Sprint(i)
			if l.reserveAs(shop(name), throttle.DueRenewal, "a Secret").IsReady {
				flights = append(flights, l.start(name, client("shared")))
			}
		}
		for _, f := range flights {
			l.wantNil(f.end(nil))
		}
		sent += len(flights)
		for i := range count {
			// Requesters that have sent their request reserved a ticket again above.
			l.Cancel(shop(fmt.Sprint(i)))
		}
	}
	if rounds > 9 {
		t.Errorf("it took %d rounds to send %d requests, ten at a time", rounds, count)
	}
}

func TestOneRequesterWithAReferenceGoesFirst(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{PerSecond: 1000, Burst: 1000})
	if with := l.turnsOf(same, 20); len(with) != 1 {
		t.Fatalf("%d of 20 have a turn before anybody has read the Secret: %v", len(with), with)
	}
	first := l.start("0", client("shared"))
	if with := l.turnsOf(same, 20); len(with) != 0 {
		t.Errorf("while the first request is on its way, it is the turn of %v", with)
	}
	l.wantNil(first.end(nil))
	if with := l.turnsOf(same, 20); len(with) != 2 {
		t.Errorf("after the first was accepted, it is the turn of %v; want two", with)
	}
}

func TestReferencesDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{PerSecond: 1000, Burst: 1000})
	if with := l.turnsOf(func(i int) string { return fmt.Sprint("Secret ", i) }, 20); len(with) != 20 {
		t.Errorf("it is the turn of %v; want all", with)
	}
}

func TestAllWithAReferenceGetTheRefusalOfItsClient(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{})
	l.turnsOf(same, 5)
	l.wantKind(l.send("0", client("bad"), false, &pipedream.Error{Kind: pipedream.CredentialsRejected}), pipedream.CredentialsRejected)
	for i := 1; i < 5; i++ {
		name := fmt.Sprint(i)
		if !l.reserveAs(shop(name), throttle.DueRenewal, "a Secret").IsReady {
			t.Errorf("%s does not get the refusal", name)
			continue
		}
		err := l.doAs(shop(name), *client("bad"), false, func() error { return errors.New("it was sent") })
		l.wantKind(err, pipedream.CredentialsRejected)
	}
}

func TestAKnownRefusalAnswersAllWithAReference(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{})
	l.wantKind(l.try("elsewhere", client("bad"), &pipedream.Error{Kind: pipedream.CredentialsRejected}), pipedream.CredentialsRejected)
	if with := l.turnsOf(same, 3); len(with) != 1 {
		t.Fatalf("it is the turn of %v; the test needs two that wait", with)
	}
	unsent := func() error { return errors.New("it was sent") }
	l.wantKind(l.doAs(shop("0"), *client("bad"), false, unsent), pipedream.CredentialsRejected)
	for name, lane := range map[string]throttle.Lane{"1": throttle.DueRenewal, "2": throttle.DueRenewal, "new": throttle.NearEnd} {
		if !l.reserveAs(shop(name), lane, "a Secret").IsReady {
			t.Errorf("%s does not get the refusal", name)
		}
	}
	for _, name := range []string{"1", "2", "new"} {
		l.wantKind(l.doAs(shop(name), *client("bad"), false, unsent), pipedream.CredentialsRejected)
	}
}

func TestARequesterThatBypassesTheRefusalCacheWaitsForAnAttempt(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{})
	l.wantKind(l.try("elsewhere", client("bad"), &pipedream.Error{Kind: pipedream.CredentialsRejected}), pipedream.CredentialsRejected)
	l.after(time.Second).reserveAs(shop("0"), throttle.OnDemand, "a Secret")
	bypass := func() error { return l.doAs(shop("0"), *client("bad"), true, func() error { return nil }) }
	l.wantNotReady(bypass())
	if l.reserveAs(shop("0"), throttle.OnDemand, "a Secret").IsReady {
		t.Error("it gets a turn again for a refusal that it does not accept")
	}
	if l.after(10 * time.Second); !l.reserveAs(shop("0"), throttle.OnDemand, "a Secret").IsReady {
		t.Fatal("its client is not tried again")
	}
	l.wantNil(bypass())
}

func TestARequesterWithANewReferenceDoesNotWaitForTheOldOne(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{})
	l.turnsOf(same, 2)
	f := l.start("0", client("old"))
	if with := l.turnsOf(same, 2); len(with) != 0 {
		t.Fatalf("it is the turn of %v; the test needs one that waits", with)
	}
	if !l.reserveAs(shop("1"), throttle.DueRenewal, "a Secret, edited").IsReady {
		t.Error("the requester has new credentials, and waits for an answer about the old ones")
	}
	l.wantNil(f.end(nil))
}

func TestTheFirstRequesterWithAReferenceGoesAway(t *testing.T) {
	t.Parallel()
	for name, goAway := range map[string]func(*limiter){
		"by giving up its ticket": func(l *limiter) { l.Cancel(shop("0")) },
		"by not using its turn":   func(l *limiter) { l.after(11 * time.Second) },
		"by sending its request":  func(l *limiter) { l.wantNil(l.send("0", client("else"), false, nil)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLimiter(t, throttle.Options{})
			l.turnsOf(same, 2)
			goAway(l)
			if !l.reserveAs(shop("1"), throttle.DueRenewal, "a Secret").IsReady {
				t.Error("the next requester with the reference has no turn")
			}
		})
	}
}

func TestAnUnreadReferenceIsNoUnprovenClient(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{PerSecond: 4, Burst: 4})
	// Unproven clients may use this much at once.
	for i := range 2 {
		l.wantNil(l.try(fmt.Sprint("new ", i), client(fmt.Sprint("new ", i)), nil))
	}
	if !l.reserveAs(shop("known"), throttle.DueRenewal, "a Secret").IsReady {
		t.Error("it has no turn, though its client may have been accepted a thousand times")
	}
}
