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

// refusalsOfARequest are the answers that refuse a request, and not its client.
var refusalsOfARequest = map[string]*pipedream.Error{
	"a refused scope":             errScope,
	"a scope that is not granted": {Kind: pipedream.ScopeNotGranted, StatusCode: 200},
	"a bad request":               {Kind: pipedream.RequestRejected, StatusCode: 400},
	"a forbidden request":         {Kind: pipedream.RequestRejected, StatusCode: 403},
	"a request without a meaning": {Kind: pipedream.RequestRejected, StatusCode: 422},
}

// Refused scopes have the waits of refused credentials, whoever asks for them, and in
// whatever order. Other scopes of the same client are not refused.
func TestRefusedScopesAreNotTriedAgainForAWhile(t *testing.T) {
	t.Parallel()
	for name, refusal := range refusalsOfARequest {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLimiter(t, throttle.Options{})
			var waits []time.Duration
			for range 6 {
				first := l.wantKind(l.tryScopes("a", client("good"), refusal, "x", "bad"), refusal.Kind)
				waits = append(waits, first.RetryAt.Sub(l.now))
				for i, scopes := range [][]string{{"x", "bad"}, {"bad", "x"}, {"bad", "x", "bad"}} {
					if again := l.wantKind(l.tryScopes(fmt.Sprint("b-", i), client("good"), errSent, scopes...), refusal.Kind); again != first {
						t.Errorf("the error for %v is %+v, want %+v", scopes, again, first)
					}
				}
				for i, scopes := range [][]string{{"x"}, {"bad"}, nil, {"x bad y"}} {
					l.wantNil(l.tryScopes(fmt.Sprint("c-", i), client("good"), nil, scopes...))
				}
				l.wantNil(l.tryScopes("d", client("another"), nil, "x", "bad"))
				l.now = first.RetryAt
			}
			const minute = time.Minute
			want := []time.Duration{minute, 2 * minute, 4 * minute, 8 * minute, 15 * minute, 15 * minute}
			if diff := cmp.Diff(want, waits); diff != "" {
				t.Errorf("waits (-want +got):\n%s", diff)
			}
			// After an acceptance, the refusals are forgotten.
			l.wantNil(l.tryScopes("a", client("good"), nil, "x", "bad"))
			again := l.wantKind(l.tryScopes("a", client("good"), refusal, "x", "bad"), refusal.Kind)
			if wait := again.RetryAt.Sub(l.now); wait != minute {
				t.Errorf("after they were accepted the scopes are refused for %s, want 1m", wait)
			}
		})
	}
}

// A requester that waits learns of the refusal from its ticket, and sends nothing.
func TestARefusedRequestAnswersAllWhoWaitForIt(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{PerSecond: 100, Burst: 100})
	reserve := func(name string, scopes ...string) throttle.Ticket {
		return l.Reserve(shop(name), throttle.ReserveOptions{Lane: throttle.FirstToken, CredentialReference: "shop/credentials/1", Scopes: scopes})
	}
	send := func(name string, outcome error, scopes ...string) error {
		return l.Do(shop(name), throttle.DoOptions{Credentials: client("good"), Scopes: scopes}, func() error { return outcome })
	}
	if !reserve("a", "bad").IsReady {
		t.Fatal("the first one has no turn")
	}
	for i := range 50 {
		reserve(fmt.Sprint("bad-", i), "bad")
	}
	reserve("good", "good")
	l.ready.Next()
	l.wantKind(send("a", errScope, "bad"), pipedream.ScopeRejected)
	turns, _ := l.ready.Next()
	if len(turns) != 51 {
		t.Errorf("it is the turn of %d, want the 50 with the same scopes, and the other one", len(turns))
	}
	for i := range 50 {
		l.wantKind(send(fmt.Sprint("bad-", i), errSent, "bad"), pipedream.ScopeRejected)
	}
	l.wantNil(send("good", nil, "good"))
	// A requester that waits, and asks for other scopes now, goes at once.
	l.after(time.Second)
	if reserve("late", "bad").IsReady {
		l.wantKind(send("late", errSent, "bad"), pipedream.ScopeRejected)
	}
	reserve("corrects", "bad")
	if !reserve("corrects", "good").IsReady {
		t.Error("a requester with corrected scopes has no turn")
	}
	l.wantNil(send("corrects", nil, "good"))
	l.check()
}

// Whoever has changed something has the request sent ten seconds after the refusal.
func TestARefusedRequestIsSentEarlierForAChange(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{})
	bypass := func(name string, outcome error) error {
		l.Reserve(shop(name), throttle.ReserveOptions{Scopes: []string{"bad"}})
		return l.Do(shop(name), throttle.DoOptions{Credentials: client("good"), Scopes: []string{"bad"}, BypassRefusalCache: true},
			func() error { return outcome })
	}
	l.wantKind(l.tryScopes("a", client("good"), errScope, "bad"), pipedream.ScopeRejected)
	l.after(time.Second)
	l.wantNotReady(bypass("b", errSent))
	l.after(10*time.Second - time.Millisecond)
	l.wantNotReady(bypass("b", errSent))
	l.after(10 * time.Second)
	l.wantKind(bypass("b", errScope), pipedream.ScopeRejected)
	l.after(29 * time.Second)
	l.wantNotReady(bypass("b", errSent))
	l.after(30 * time.Second)
	l.wantNil(bypass("b", nil))
	l.wantNil(l.tryScopes("a", client("good"), nil, "bad"))
}

func TestAtMostAThousandRefusedRequestsAreRemembered(t *testing.T) {
	t.Parallel()
	const most = 1024
	for name, outcome := range map[string]error{"refused": errScope, "failing": errServer} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLimiter(t, throttle.Options{PerSecond: 1e6, Burst: 1e6})
			for i := range most + 100 {
				l.now = l.now.Add(time.Millisecond)
				l.wantNil(l.tryScopes("good", client("good"), nil))
				if _, ok := errors.AsType[*pipedream.Error](l.tryScopes("a", client("good"), outcome, fmt.Sprint("bad-", i))); !ok {
					t.Fatalf("request %d was not sent", i)
				}
			}
			l.check()
			if got := l.Requests(); got != most+1 {
				t.Errorf("%d requests are remembered, want %d and a good one", got, most)
			}
			if name == "failing" {
				return
			}
			if err := l.tryScopes("a", client("good"), errSent, "bad-101"); errors.Is(err, errSent) {
				t.Error("one of the last requests was forgotten")
			}
			if err := l.tryScopes("a", client("good"), errSent, "bad-99"); !errors.Is(err, errSent) {
				t.Errorf("one of the first requests is remembered: %v", err)
			}
		})
	}
}

// From the second server error in a row on, one requester at a time sends the request. The
// others keep their places.
func TestAFailingRequestIsSentByOneRequesterAtATime(t *testing.T) {
	t.Parallel()
	for name, outcome := range map[string]*pipedream.Error{
		"a server error": errServer,
		"a bad gateway":  {Kind: pipedream.Unavailable, StatusCode: 502},
		"a bad answer":   {Kind: pipedream.Malformed, StatusCode: 200},
		"no answer":      {Kind: pipedream.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLimiter(t, throttle.Options{PerSecond: 100, Burst: 100})
			l.wantNil(l.tryScopes("good", client("good"), nil))
			for i := range 2 {
				l.now = l.now.Add(time.Millisecond)
				l.wantKind(l.tryScopes(fmt.Sprint("a-", i), client("sick"), outcome), outcome.Kind)
			}
			var waits []time.Duration
			for i := range 9 {
				failedAt := l.now
				for {
					l.now = l.now.Add(250 * time.Millisecond)
					l.wantNil(l.tryScopes("good", client("good"), nil))
					err := l.tryScopes(fmt.Sprint("b-", i), client("sick"), outcome)
					if !errors.Is(err, throttle.ErrNotReady) {
						break
					}
					ticket := l.Reserve(shop(fmt.Sprint("b-", i)), throttle.ReserveOptions{Lane: throttle.DueRenewal})
					if want := (throttle.Failing{Since: second.Add(time.Millisecond), Kind: outcome.Kind, IsAlone: true}); ticket.Failing != want {
						t.Fatalf("the ticket says %+v, want %+v", ticket.Failing, want)
					}
				}
				waits = append(waits, l.now.Sub(failedAt).Truncate(time.Second))
			}
			s := time.Second
			if diff := cmp.Diff([]time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s, 30 * s, 30 * s, 30 * s, 30 * s}, waits); diff != "" {
				t.Errorf("waits (-want +got):\n%s", diff)
			}
			// The first good answer ends that.
			l.now = l.now.Add(30 * time.Second)
			l.wantNil(l.tryScopes("c", client("sick"), nil))
			for i := range 5 {
				l.wantNil(l.tryScopes(fmt.Sprint("d-", i), client("sick"), nil))
			}
		})
	}
}
