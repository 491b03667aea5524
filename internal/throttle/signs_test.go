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

// failWith sends a request with each of these clients, which all fail.
func (l *limiter) failWith(clients ...string) {
	l.t.Helper()
	for _, name := range clients {
		l.wantKind(l.try("fails-"+name, client(name), errNoAnswer), pipedream.Unavailable)
	}
}

// isOutage reports whether a ticket says that nobody gets an answer.
func (l *limiter) isOutage() bool {
	l.t.Helper()
	ticket := l.Reserve(inGroup("asks", "asks"), throttle.ReserveOptions{Lane: throttle.OnDemand})
	l.Cancel(inGroup("asks", "asks"))
	return !ticket.IsReady && !ticket.Failing.Since.IsZero() && !ticket.Failing.IsAlone
}

// Requests that have never succeeded stop others at most once. After that, they are believed
// only when nobody has had a good answer for ten seconds.
func TestAFalseAlarmIsNotRepeated(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{PerSecond: 100, Burst: 100})
	l.wantNil(l.try("good", client("good"), nil))
	l.failWith("a", "b", "c")
	if !l.isOutage() {
		t.Fatal("three clients have failed, and there is no outage")
	}
	l.after(time.Second)
	l.wantNil(l.try("good", client("good"), nil))
	for i := range 20 {
		l.now = l.now.Add(100 * time.Millisecond)
		l.failWith(fmt.Sprint("more-", i))
		if l.isOutage() {
			t.Fatalf("after a false alarm, the failures of %d other clients make an outage", i+1)
		}
	}
	l.now = l.now.Add(10 * time.Second)
	l.failWith("d", "e", "f")
	if !l.isOutage() {
		t.Error("nobody has had a good answer for ten seconds, three more clients fail, and there is no outage")
	}
}

// The failures of one client that has never succeeded make no outage beside others.
func TestOneNewClientThatFailsMakesNoOutage(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ wasGood, want bool }{
		"it has never succeeded":    {},
		"it has succeeded just now": {wasGood: true, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLimiter(t, throttle.Options{PerSecond: 100, Burst: 100})
			if test.wasGood {
				l.wantNil(l.try("a", client("a"), nil))
			}
			l.wantNil(l.try("good", client("good"), nil))
			for range 3 {
				l.now = l.now.Add(2 * time.Second)
				l.failWith("a")
			}
			if got := l.isOutage(); got != test.want {
				t.Errorf("after three failures there is an outage: %v, want %v", got, test.want)
			}
		})
	}
}

// The first probe of an outage is a request that has succeeded before, though another one
// is more urgent.
func TestAProbeIsARequestThatHasSucceededBefore(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{PerSecond: 100, Burst: 100})
	reserve := func(name string, lane throttle.Lane) bool { return l.reserveAs(shop(name), lane, name).IsReady }
	reserve("good", throttle.DueRenewal)
	l.reserveAs(shop("good, too"), throttle.DueRenewal, "good") // The limiter knows its client from now on.
	l.wantNil(l.send("good", client("good"), false, nil))
	l.failWith("a", "b", "c")
	reserve("new", throttle.NearEnd)
	l.after(time.Second)
	if reserve("new", throttle.NearEnd) {
		t.Error("a client that has never succeeded sends the first probe")
	}
	l.wantNil(l.send("good, too", client("good"), false, nil))
	if !reserve("new", throttle.NearEnd) {
		t.Error("the outage is over, and the other client has no turn")
	}
}

// A request that is known to fail alone does not put off the probes of the others.
func TestARequestThatFailsAloneDoesNotProlongAnOutage(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{PerSecond: 100, Burst: 100})
	for range 4 {
		l.wantNil(l.try("good", client("good"), nil))
		l.failWith("sick")
		l.now = l.now.Add(5 * time.Second)
	}
	l.now = l.now.Add(time.Minute)
	l.failWith("a", "b", "c")
	if !l.isOutage() {
		t.Fatal("three clients have failed, and there is no outage")
	}
	l.now = l.now.Add(time.Second)
	l.failWith("sick")
	l.wantNil(l.try("good", client("good"), nil))
	if l.isOutage() {
		t.Error("a request has succeeded, and the outage goes on")
	}
}

// Failing scopes of a client that is accepted for others use a quarter of the rate.
func TestFailingRequestsUseAQuarterOfTheRate(t *testing.T) {
	t.Parallel()
	const scopes, perSecond = 100, 4
	l := newLimiter(t, throttle.Options{PerSecond: perSecond, Burst: 4, InFlight: 10})
	sent := 0
	from, to := second.Add(4*time.Minute), second.Add(6*time.Minute)
	send := func(name string, outcome error, scope string) {
		requester := inGroup(name, name)
		options := throttle.ReserveOptions{Lane: throttle.DueRenewal, CredentialReference: "one", Scopes: []string{scope}}
		if !l.Reserve(requester, options).IsReady {
			return
		}
		err := l.Do(requester, throttle.DoOptions{Credentials: client("one"), Scopes: options.Scopes}, func() error { return outcome })
		if outcome != nil && l.now.After(from) && !errors.Is(err, throttle.ErrNotReady) {
			sent++
		}
	}
	for ; l.now.Before(to); l.now = l.now.Add(200 * time.Millisecond) {
		send("good", nil, "good")
		for i := range scopes {
			send(fmt.Sprint("sick-", i), errServer, fmt.Sprint("scope-", i))
		}
	}
	if most := perSecond/4*120 + 2; sent > most || sent < most/2 {
		t.Errorf("failing requests were sent %d times in two minutes, want at most %d", sent, most)
	}
}

// Requests of a group without credentials wait one after another once they fail, and go
// together again after a good answer. Those of another group do not wait.
func TestAGroupThatFailsWithoutCredentialsWaitsAlone(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{PerSecond: 100, Burst: 100})
	send := func(group, name string, outcome error) error {
		l.reserve(inGroup(group, name), throttle.DueRenewal)
		defer l.check()
		return l.do(inGroup(group, name), func() error { return outcome })
	}
	l.wantNil(send("good", "a", nil))
	for i := range 2 {
		l.now = l.now.Add(time.Millisecond)
		l.wantKind(send("sick", fmt.Sprint(i), errServer), pipedream.Unavailable)
	}
	l.wantNotReady(send("sick", "b", errSent))
	l.wantNil(send("good", "a", nil))
	l.now = l.now.Add(2 * time.Second)
	l.wantNil(send("sick", "b", nil))
	for i := range 5 {
		l.wantNil(send("sick", fmt.Sprint("c-", i), nil))
	}
	for i := range 5 { // A refusal is about one account.
		l.wantKind(send("sick", fmt.Sprint("d-", i), errRejected), pipedream.RequestRejected)
	}
}

// Entries of one group keep their order when the limiter learns which client some have.
func TestTheOrderOfAGroupStaysWhenAClientIsLearned(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{PerSecond: 1, Burst: 1})
	for i, name := range []string{"a", "b", "c", "d", "e", "f"} {
		l.reserveAs(shop(name), throttle.DueRenewal, fmt.Sprint("reference-", i%2))
	}
	for i, name := range []string{"a", "b", "c", "d", "e", "f"} {
		l.after(time.Duration(i) * 3 * time.Second)
		l.ready.Next()
		l.wantNil(l.send(name, client(fmt.Sprint("client-", i%2)), false, nil))
	}
}
