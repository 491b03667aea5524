// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// errSent is the outcome of a request that must not be sent.
var errSent = errors.New("it was sent")

func TestRefusedCredentialsAreNotTriedAgainForAWhile(t *testing.T) {
	t.Parallel()
	const minute = time.Minute
	l := newLimiter(t, throttle.Options{})
	var waits []time.Duration
	for range 8 {
		first := l.wantKind(l.try("a", client("bad"), errRefused), pipedream.CredentialsRejected)
		waits = append(waits, first.RetryAt.Sub(l.now))
		if want := (pipedream.Error{Kind: errRefused.Kind, StatusCode: 401, RetryAt: first.RetryAt}); first != want {
			t.Errorf("the error is %+v, want %+v", first, want)
		}
		// No requester has the credentials sent again, and all get the same error.
		for _, name := range []string{"a", "b", "c"} {
			if again := l.wantKind(l.try(name, client("bad"), errSent), pipedream.CredentialsRejected); again != first {
				t.Errorf("the error of %s is %+v, want %+v", name, again, first)
			}
		}
		l.now = first.RetryAt.Add(-1)
		l.wantKind(l.try("a", client("bad"), errSent), pipedream.CredentialsRejected)
		l.now = first.RetryAt
	}
	want := []time.Duration{minute, 2 * minute, 4 * minute, 8 * minute, 15 * minute, 15 * minute, 15 * minute, 15 * minute}
	if diff := cmp.Diff(want, waits); diff != "" {
		t.Errorf("waits (-want +got):\n%s", diff)
	}
	// Other credentials are not refused.
	other := *client("bad")
	other.ClientSecret = pipedream.NewSensitive("another")
	l.wantNil(l.try("d", &other, nil))
	l.wantNil(l.try("e", &pipedream.Credentials{ClientID: "bads", ClientSecret: pipedream.NewSensitive("3cr3t")}, nil))
	// After an acceptance, the refusals are forgotten.
	l.wantNil(l.try("a", client("bad"), nil))
	got := l.wantKind(l.try("a", client("bad"), errRefused), pipedream.CredentialsRejected)
	if wait := got.RetryAt.Sub(l.now); wait != time.Minute {
		t.Errorf("after they were accepted the credentials are refused for %s, want 1m", wait)
	}
	l.now = got.RetryAt
	// A refused scope shows that the client is not refused.
	l.wantKind(l.tryScopes("b", client("bad"), errScope, "unknown"), pipedream.ScopeRejected)
	got = l.wantKind(l.try("a", client("bad"), errRefused), pipedream.CredentialsRejected)
	if wait := got.RetryAt.Sub(l.now); wait != time.Minute {
		t.Errorf("after a refused scope the credentials are refused for %s, want 1m", wait)
	}
}

// A failure that says nothing about the credentials changes nothing.
func TestOtherFailuresSayNothingAboutCredentials(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{})
	l.wantKind(l.try("a", client("bad"), errRefused), pipedream.CredentialsRejected)
	l.after(time.Minute)
	l.wantKind(l.try("a", client("bad"), errUnavailable), pipedream.Unavailable)
	got := l.wantKind(l.try("a", client("bad"), errRefused), pipedream.CredentialsRejected)
	if wait := got.RetryAt.Sub(l.now); wait != 2*time.Minute {
		t.Errorf("the credentials are refused for %s, want 2m", wait)
	}
	// A client about which nothing is known is not remembered.
	before := l.Clients()
	l.after(time.Hour)
	l.wantKind(l.try("b", client("unknown"), errUnavailable), pipedream.Unavailable)
	l.reserve(shop("c"), throttle.DueRenewal)
	busy := l.start("b", client("unknown"))
	l.wantNotReady(l.send("c", client("unknown"), false, nil))
	l.Cancel(shop("c"))
	l.wantKind(busy.end(errUnavailable), pipedream.Unavailable)
	if got := l.Clients(); got != before {
		t.Errorf("%d clients are remembered, want %d", got, before)
	}
}

// bypass reserves a ticket, and sends a request with credentials that were refused, which
// bypasses the refusal cache.
func (l *limiter) bypass(name string, outcome error) error {
	l.t.Helper()
	l.reserve(shop(name), throttle.DueRenewal)
	return l.send(name, client("bad"), true, outcome)
}

func TestARequestThatBypassesTheRefusalCacheIsSentEarlier(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{})
	l.wantKind(l.try("a", client("bad"), errRefused), pipedream.CredentialsRejected)
	var waits []time.Duration
	for range 8 {
		begin := l.now
		l.now = l.now.Add(time.Second)
		l.wantNotReady(l.bypass("a", errSent))
		l.wantNotReady(l.bypass("a", errSent))
		// A request that does not bypass the cache is answered in the meantime.
		l.wantKind(l.try("b", client("bad"), errSent), pipedream.CredentialsRejected)
		for !l.hasTurn(shop("a")) {
			l.now = l.now.Add(time.Second)
		}
		waits = append(waits, l.now.Sub(begin))
		l.wantKind(l.send("a", client("bad"), true, errRefused), pipedream.CredentialsRejected)
	}
	want := []time.Duration{
		10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second,
		5 * time.Minute, 5 * time.Minute, 5 * time.Minute,
	}
	if diff := cmp.Diff(want, waits); diff != "" {
		t.Errorf("waits (-want +got):\n%s", diff)
	}
}

// An attempt answers the requesters that bypass the refusal cache if it began after their
// reservations. An attempt that was on its way before them is no answer: the requesters have
// a reason to think that the credentials have become good since.
func TestOneAttemptAnswersAllWhoBypassTheRefusalCache(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{PerSecond: 100, Burst: 100})
	f := l.start("a", client("bad"))
	l.after(time.Second)
	for i := range 5 {
		l.wantNotReady(l.bypass(fmt.Sprint("bypasses-", i), errSent))
	}
	l.reserve(shop("b"), throttle.DueRenewal)
	l.wantNotReady(l.send("b", client("bad"), false, errSent))
	l.ready.Next()
	l.after(2 * time.Second)
	l.wantKind(f.end(errRefused), pipedream.CredentialsRejected)
	if requesters, _ := l.ready.Next(); len(requesters) != 1 || requesters[0] != shop("b") {
		t.Errorf("the turn is that of %v, want b, which does not bypass the cache", requesters)
	}
	l.wantKind(l.send("b", client("bad"), false, errSent), pipedream.CredentialsRejected)
	l.after(12*time.Second - time.Millisecond)
	for i := range 5 {
		l.wantNoTurn(fmt.Sprint("bypasses-", i))
	}
	l.after(12 * time.Second)
	requesters, _ := l.ready.Next()
	if len(requesters) != 1 {
		t.Fatalf("the turn is that of %v, want one of the requesters that bypass the cache", requesters)
	}
	l.wantKind(l.send(requesters[0].Name, client("bad"), true, errRefused), pipedream.CredentialsRejected)
	for i := range 5 {
		if name := fmt.Sprint("bypasses-", i); name != requesters[0].Name {
			l.wantTurn(name)
			l.wantKind(l.send(name, client("bad"), true, errSent), pipedream.CredentialsRejected)
		}
	}
}

func TestCredentialsThatAreGoodAgain(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{PerSecond: 100, Burst: 100})
	for range 3 {
		for i := range 20 {
			l.wantNil(l.try(fmt.Sprint("good-", i), client("bad"), nil))
		}
		l.wantKind(l.try("a", client("bad"), errRefused), pipedream.CredentialsRejected)
		l.now = l.now.Add(time.Second)
		for i := range 20 {
			l.wantNotReady(l.bypass(fmt.Sprint("bypasses-", i), errSent))
		}
		l.now = l.now.Add(9 * time.Second)
		l.wantTurn("bypasses-0")
		l.wantNoTurn("bypasses-1", "bypasses-2")
		l.wantNil(l.send("bypasses-0", client("bad"), true, nil))
		for i := range 19 {
			l.wantNil(l.bypass(fmt.Sprint("bypasses-", i+1), nil))
		}
		l.now = l.now.Add(time.Minute)
	}
}

// At the beginning, and after a quiet time, one request goes alone. Two requests go after
// it, and then more. So credentials that have become bad cost few requests.
func TestTheFirstRequestGoesAlone(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{PerSecond: 100, Burst: 100})
	for range 3 {
		first := l.start("a", client("orders"))
		for _, name := range []string{"b", "c", "d", "e"} {
			l.reserve(shop(name), throttle.DueRenewal)
			l.wantNotReady(l.send(name, client("orders"), false, errSent))
		}
		// Another client is not held up.
		l.wantNil(l.try("other", client("other"), nil))
		l.wantNil(first.end(nil))
		l.wantTurn("b", "c")
		l.wantNoTurn("d", "e")
		second, third := l.start("b", client("orders")), l.start("c", client("orders"))
		l.wantNil(second.end(nil))
		l.wantTurn("d", "e")
		l.reserve(shop("f"), throttle.DueRenewal)
		l.wantNotReady(l.send("f", client("orders"), false, errSent))
		l.wantNil(third.end(nil))
		l.wantTurn("f")
		for _, name := range []string{"d", "e", "f"} {
			l.wantNil(l.send(name, client("orders"), false, nil))
		}
		l.now = l.now.Add(5*time.Second + 1)
	}
	first := l.start("a", client("orders"))
	for _, name := range []string{"b", "c"} {
		l.reserve(shop(name), throttle.DueRenewal)
		l.wantNotReady(l.send(name, client("orders"), false, errSent))
	}
	l.ready.Next()
	l.wantKind(first.end(errRefused), pipedream.CredentialsRejected)
	if requesters, _ := l.ready.Next(); len(requesters) != 2 {
		t.Errorf("%v are told at once, want b and c", requesters)
	}
	for _, name := range []string{"b", "c"} {
		l.wantKind(l.send(name, client("orders"), false, errSent), pipedream.CredentialsRejected)
	}
}

func TestUnprovenClientsUseHalfOfTheRate(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{PerSecond: 10, Burst: 10})
	requests := 0
	for i := range 600 { // a minute
		for j := range 3 {
			name := fmt.Sprintf("new-%d-%d", i, j)
			if err := l.try(name, client(name), errRejected); !errors.Is(err, throttle.ErrNotReady) {
				requests++
			}
			l.Cancel(shop(name))
		}
		l.now = l.now.Add(100 * time.Millisecond)
	}
	if requests < 290 || requests > 310 {
		t.Errorf("in a minute %d requests with unproven clients were sent, want 300", requests)
	}
}

func TestAtMostAThousandRefusedClientsAreRemembered(t *testing.T) {
	t.Parallel()
	const most = 1024
	l := newLimiter(t, throttle.Options{PerSecond: 1e6, Burst: 1e6, InFlight: 10_000})
	try := func(name string, outcome error) error {
		l.now = l.now.Add(time.Millisecond)
		l.reserve(shop(name), throttle.DueRenewal)
		return l.doAs(shop(name), *client(name), false, func() error { return outcome })
	}
	for i := range most + 100 {
		l.wantKind(try(fmt.Sprint("bad-", i), errRefused), pipedream.CredentialsRejected)
		l.wantNil(try("good", nil))
	}
	l.check()
	if got := l.Clients(); got != most+1 {
		t.Errorf("%d clients are remembered, want %d and a good one", got, most)
	}
	if err := try(fmt.Sprint("bad-", 101), errSent); errors.Is(err, errSent) {
		t.Error("one of the last clients was forgotten")
	}
	if err := try(fmt.Sprint("bad-", 99), errSent); !errors.Is(err, errSent) {
		t.Errorf("one of the first clients is remembered: %v", err)
	}
	// The bound also holds for requests that are on their way at the same time.
	var flights []*flight
	for i := range most + 100 {
		name := fmt.Sprint("together-", i)
		l.now = l.now.Add(time.Millisecond)
		flights = append(flights, l.start(name, client(name)))
	}
	for _, f := range flights {
		l.wantKind(f.end(errRefused), pipedream.CredentialsRejected)
	}
	if got := l.Clients(); got > most+1 {
		t.Errorf("%d clients are remembered, want at most %d", got, most+1)
	}
}

func TestAcceptedClientsAreRememberedUpToABound(t *testing.T) {
	t.Parallel()
	const most = 8192
	l := newLimiter(t, throttle.Options{PerSecond: 1e6, Burst: 1e6})
	for i := range most + 100 {
		l.now = l.now.Add(time.Millisecond)
		name := fmt.Sprint("good-", i)
		l.reserve(shop(name), throttle.DueRenewal)
		l.wantNil(l.doAs(shop(name), *client(name), false, func() error { return nil }))
	}
	l.check()
	if got := l.Clients(); got != most {
		t.Errorf("%d clients are remembered, want %d", got, most)
	}
}

// Refusals of requests that were on their way together say the same, and count once.
func TestRefusalsOfTheSameTimeCountOnce(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{})
	for i := range 3 {
		l.wantNil(l.try(fmt.Sprint("good-", i), client("bad"), nil))
	}
	flights := []*flight{l.start("a", client("bad")), l.start("b", client("bad")), l.start("c", client("bad"))}
	l.after(time.Second)
	for _, f := range flights {
		if at := l.wantKind(f.end(errRefused), pipedream.CredentialsRejected).RetryAt; at.Sub(l.now) > time.Minute {
			t.Errorf("the credentials are refused for %s, want 1m", at.Sub(l.now))
		}
		l.now = l.now.Add(time.Millisecond)
	}
}

// A client that was accepted and then refused is unproven again, and uses half of the rate.
func TestRefusedClientsAreTriedAtHalfOfTheRate(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{PerSecond: 10, Burst: 10})
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	for _, name := range names {
		l.wantNil(l.try(name, client(name), nil))
		l.now = l.now.Add(time.Second)
		l.wantKind(l.try(name, client(name), errRefused), pipedream.CredentialsRejected)
		l.now = l.now.Add(time.Second)
	}
	l.now = l.now.Add(time.Hour)
	var waiting []string
	for _, name := range names {
		if err := l.try(name, client(name), errRejected); errors.Is(err, throttle.ErrNotReady) {
			waiting = append(waiting, name)
		}
	}
	if len(waiting) != 3 {
		t.Errorf("%d of 8 have to wait, want 3", len(waiting))
	}
	// A requester gets no turn in which it could not send.
	l.ready.Next()
	l.now = l.now.Add(201 * time.Millisecond)
	if turns, _ := l.ready.Next(); len(turns) != 1 {
		t.Errorf("the turn is that of %v, want one", turns)
	}
}

func TestATokenThatIsDroppedShowsThatTheClientIsAccepted(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{})
	refused := l.wantKind(l.try("a", client("narrow"), errRefused), pipedream.CredentialsRejected)
	l.now = refused.RetryAt
	notGranted := &pipedream.Error{Kind: pipedream.ScopeNotGranted, StatusCode: 200}
	l.wantKind(l.tryScopes("b", client("narrow"), notGranted, "unknown"), pipedream.ScopeNotGranted)
	refused = l.wantKind(l.try("a", client("narrow"), errRefused), pipedream.CredentialsRejected)
	if wait := refused.RetryAt.Sub(l.now); wait.Minutes() != 1 {
		t.Errorf("after a token was issued the client is refused for %s, want 1m", wait)
	}
}
