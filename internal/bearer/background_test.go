// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bearer_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// TestATokenIsReplacedInTheBackgroundAlsoWhenTheLimiterIsBusy has an account ask once a second for the last third of
// the life of its access token, while first tokens of PipedreamTokens always wait at the Limiter. The turn of the account
// comes within minutes, so that nobody ever has to wait for an access token.
func TestATokenIsReplacedInTheBackgroundAlsoWhenTheLimiterIsBusy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	account := need("account")
	account.Lane = throttle.DueRenewal
	w.must(account, "acme", "acme-1")
	w.now = w.now.Add(41 * time.Minute)
	made := 0
	reserve := func() {
		made++
		token := throttle.Requester{Kind: "PipedreamToken", Group: "tokens", Name: fmt.Sprint(made)}
		if w.limiter.Reserve(token, throttle.ReserveOptions{Lane: throttle.FirstToken}).IsReady {
			_ = w.limiter.Do(token, throttle.DoOptions{}, func() error { return nil })
		}
	}
	for range 100 {
		reserve()
	}
	for range 15 * 60 {
		turns, _ := w.turns.Next()
		for _, requester := range turns {
			if requester == account.Requester {
				_, _ = w.acquire(account, "acme")
				continue
			}
			_ = w.limiter.Do(requester, throttle.DoOptions{}, func() error { return nil })
			reserve() // Another one comes for each one that was served.
		}
		if _, err := w.acquire(account, "acme"); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(time.Second)
	}
	if w.issued < 2 {
		t.Errorf("15 minutes of asking have brought no new access token, and the current one expires in %s", begin.Add(w.life).Sub(w.now))
	}
}

// TestWhoReplacesATokenNeedsNone checks that an account goes on to replace a token although it needs none, until it says
// that it will not call Acquire again.
func TestWhoReplacesATokenNeedsNone(t *testing.T) {
	t.Parallel()
	replacing := func(w *world, name string, want bool) {
		w.t.Helper()
		if got := w.IsReplacing(requester(name)); got != want {
			w.t.Errorf("%s replaces a token: %v, want %v", name, got, want)
		}
	}
	for name, test := range map[string]struct {
		leave  func(*world)
		leader string
	}{
		"it goes on":            {func(w *world) { w.Release(requester("a")) }, "a"},
		"it goes on after that": {func(w *world) { w.must(need("a"), "acme", "acme-1"); w.Release(requester("a")) }, "a"},
		"it goes away":          {func(w *world) { w.Cancel(requester("a")) }, "b"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.must(need("a"), "acme", "acme-1")
			replacing(w, "a", false)
			w.now = begin.Add(41 * time.Minute)
			w.limiter.Pause(w.now.Add(30 * time.Second))
			w.must(need("a"), "acme", "acme-1")
			w.must(need("b"), "acme", "acme-1")
			w.Release(requester("b"))
			replacing(w, "a", true)
			replacing(w, "b", false)
			test.leave(w)
			w.must(need("b"), "acme", "acme-1")
			w.must(need("c"), "acme", "acme-1")
			replacing(w, test.leader, true)
			replacing(w, "c", false)
			w.now = w.now.Add(31 * time.Second)
			if turns, _ := w.turns.Next(); len(turns) != 1 || turns[0] != requester(test.leader) {
				t.Errorf("the turn of %v has come, want %s", turns, test.leader)
			}
			w.must(need(test.leader), "acme", "acme-1") // Pipedream may not know the new token at once.
			w.wantIssued(2)
			replacing(w, test.leader, false)
			w.wantWoken()
		})
	}
	w := newWorld(t)
	w.limiter.Pause(w.now.Add(30 * time.Second))
	w.mustWait(need("a"))
	replacing(w, "a", false)
	w.mustWait(need("b"))
	w.Release(requester("a"))
	w.wantWoken("b")
}

// TestATokenThatExpiresWhileItIsReplaced has the turn of the account that replaces the token come after the token has
// expired, so that others wait for that turn.
func TestATokenThatExpiresWhileItIsReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(need("a"), "acme", "acme-1")
	w.now = begin.Add(59 * time.Minute)
	w.limiter.Pause(w.now.Add(2 * time.Minute))
	w.must(need("a"), "acme", "acme-1")
	w.Release(requester("a"))
	w.now = begin.Add(60 * time.Minute)
	w.mustWait(need("b"))
	w.mustWait(need("a"))
	w.Release(requester("a"))
	w.wantWoken()
	w.now = begin.Add(61 * time.Minute)
	w.must(need("a"), "acme", "acme-2")
	w.wantWoken("b")
	w.must(need("b"), "acme", "acme-2")
	w.wantIssued(2)
}
