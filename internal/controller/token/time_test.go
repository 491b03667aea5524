// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// live lets time pass from one visit to the next, as the visits ask for it, and
// calls look after each.
func (w *world) live(duration time.Duration, look func()) {
	w.Helper()
	for end := w.clock.Now().Add(duration); w.clock.Now().Before(end); {
		sleep := w.reconcile().RequeueAfter
		if sleep > 5*time.Minute {
			w.Errorf("the next visit is in %v, want it within five minutes: clocks jump", sleep)
		}
		look()
		w.pass(sleep)
	}
}

// wantExchangesBetween checks that tokens are asked for, and not too often.
func (w *world) wantExchangesBetween(least, most int) {
	w.Helper()
	if got := w.exchanges(); got < least || got > most {
		w.Errorf("Pipedream was asked for %d tokens, want %d to %d", got, least, most)
	}
}

func (w *world) wantReady() {
	w.Helper()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	w.wantAccepted()
}

func TestTokenOfAnyLifetimeIsRenewedInTime(t *testing.T) {
	const day = 24 * time.Hour
	tests := map[string]struct {
		lifetime time.Duration
		// renewBefore is what the spec asks for, in seconds; zero for nothing.
		renewBefore int32
		// held is how long the token is believed to live, and a renewal is due from
		// earliest to latest.
		held, earliest, latest time.Duration
	}{
		"30 s":                        {lifetime: 30 * time.Second, held: 30 * time.Second, earliest: 17 * time.Second, latest: 20 * time.Second},
		"a minute":                    {lifetime: time.Minute, held: time.Minute, earliest: 34 * time.Second, latest: 40 * time.Second},
		"an hour":                     {lifetime: time.Hour, held: time.Hour, earliest: 34 * time.Minute, latest: 40 * time.Minute},
		"30 days":                     {lifetime: 30 * day, held: 30 * day, earliest: 17 * day, latest: 20 * day},
		"a year counts as 30 days":    {lifetime: 365 * day, held: 30 * day, earliest: 17 * day, latest: 20 * day},
		"renewed earlier than usual":  {lifetime: time.Hour, renewBefore: 1500, held: time.Hour, earliest: 29 * time.Minute, latest: 35 * time.Minute},
		"renewed longer before":       {lifetime: time.Hour, renewBefore: 7200, held: time.Hour, earliest: 24 * time.Minute, latest: 30 * time.Minute},
		"renewed longer before, 30 s": {lifetime: 30 * time.Second, renewBefore: 3600, held: 30 * time.Second, earliest: 12 * time.Second, latest: 15 * time.Second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			must(t, w.pipedream.SetTokenLifetime(test.lifetime))
			w.issued(func(p *v1alpha1.PipedreamToken) { p.Spec.RenewBeforeSeconds = test.renewBefore })
			for renewals := range 3 {
				status := w.token().Status
				issue := status.IssueTime.Time
				if got := status.ExpirationTime.Sub(issue); got != test.held {
					t.Errorf("the token is believed to live for %v, want %v", got, test.held)
				}
				if due := status.RenewalTime.Sub(issue); due < test.earliest || due > test.latest {
					t.Errorf("the renewal is due %v after the issue, want %v to %v", due, test.earliest, test.latest)
				}
				w.passUntil(status.RenewalTime)
				w.pass(-time.Second)
				if sleep := w.reconcile().RequeueAfter; sleep > time.Second {
					t.Errorf("a second before the renewal, the next visit is in %v", sleep)
				}
				w.wantExchanges(renewals + 1)
				w.wantReady()
				w.pass(time.Second)
				w.reconcile()
				w.wantExchanges(renewals + 2)
				w.wantReady()
			}
		})
	}
}

func TestShortLivedTokenIsAlwaysGood(t *testing.T) {
	for name, renewBefore := range map[string]int32{"by its age": 0, "longer before than it lives": 3600} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			must(t, w.pipedream.SetTokenLifetime(30*time.Second))
			w.issued(func(p *v1alpha1.PipedreamToken) { p.Spec.RenewBeforeSeconds = renewBefore })
			w.live(10*time.Minute, w.wantReady)
			w.wantExchangesBetween(600/20, 600/12+1)
		})
	}
}

func TestTokenThatLivesTooShortIsNamed(t *testing.T) {
	for _, lifetime := range []time.Duration{time.Second, 29 * time.Second} {
		t.Run(lifetime.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			must(t, w.pipedream.SetTokenLifetime(lifetime))
			w.createCredentials()
			w.create()
			w.live(time.Hour, func() {
				w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNotIssued)
				w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonMalformedResponse)
			})
			w.wantExchangesBetween(120, 156) // 1, 2, 4, 8, 16, 30, 30, ... s apart without a token, less the jitter.
		})
	}
}

// TestReadyTurnsFalseWhenTheTokenExpires is about the visits alone: whatever keeps
// the token from being renewed, one comes at its expiry.
func TestReadyTurnsFalseWhenTheTokenExpires(t *testing.T) {
	fault := func(fault simulator.Fault) func(*world) {
		fault.Endpoint = simulator.EndpointToken
		return func(w *world) { must(w.T, w.pipedream.AddFault(fault)) }
	}
	tests := map[string]func(*world){
		"while Pipedream is out of order":       fault(simulator.Fault{Status: 500}),
		"while Pipedream limits the rate":       fault(simulator.Fault{Status: 429, Headers: map[string]string{"Retry-After": "7200"}}),
		"while the answers are of no use":       fault(simulator.Fault{Status: 200, Body: "{}"}),
		"while the scope is rejected":           fault(simulator.Fault{Status: 400, Body: `{"error":"invalid_scope"}`}),
		"while the credentials are rejected":    func(w *world) { must(w.T, w.pipedream.SetClient(clientID, "rotated")) },
		"while the credentials are missing":     func(w *world) { must(w.T, w.admin.Delete(w.Context(), w.secret("credentials"))) },
		"while the Secret can't be written":     func(w *world) { w.failWrites("PUT secrets") },
		"while the Secret can't be written now": func(w *world) { change(w, w.target(), func(s *corev1.Secret) { s.Immutable = new(true) }) },
	}
	for name, hinder := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, lifetime := range []time.Duration{30 * time.Second, time.Hour} {
				w := newWorld(t)
				must(t, w.pipedream.SetTokenLifetime(lifetime))
				w.issued()
				hinder(w)
				expiry := w.token().Status.ExpirationTime.Time
				w.live(lifetime+time.Minute, func() {
					if w.clock.Now().Before(expiry) {
						w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
						return
					}
					ready := w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTokenExpired)
					if late := ready.LastTransitionTime.Sub(expiry); late > time.Second {
						t.Errorf("Ready turned False %v after the expiry, want it within a second", late)
					}
				})
				if w.clock.Now().Before(expiry) {
					t.Error("the test has not come to the expiry")
				}
			}
		})
	}
}

// ownClock is a clock of the operator alone, which may be wrong.
type ownClock struct {
	clock.PassiveClock
	ahead time.Duration
}

func (c *ownClock) Now() time.Time { return c.PassiveClock.Now().Add(c.ahead) }

// giveOwnClock gives the operator a clock that can be set without that of Pipedream.
func (w *world) giveOwnClock(own *ownClock) {
	w.Helper()
	api, err := pipedream.NewClient(pipedream.Options{Address: w.address, AllowInsecure: true, Now: own.Now})
	must(w.T, err)
	w.api = api
	w.restart()
	w.reconciler.Clock = own
}

func TestClockThatJumps(t *testing.T) {
	const year = 365 * 24 * time.Hour
	tests := map[string]struct {
		// jump is what the machine slept for, and set is what its clock is then moved by,
		// and at last set back by.
		jump, set, setBack time.Duration
		// exchanges is what that costs.
		exchanges int
	}{
		"a short sleep":                      {jump: 4 * time.Minute},
		"a sleep past the renewal":           {jump: 45 * time.Minute, exchanges: 1},
		"a sleep past the expiry":            {jump: 2 * time.Hour, exchanges: 1},
		"a year's sleep":                     {jump: year, exchanges: 1},
		"a little forward":                   {set: 4 * time.Minute},
		"forward past the renewal":           {set: 45 * time.Minute, exchanges: 1},
		"forward by a year":                  {set: year, exchanges: 1},
		"a little back":                      {set: -4 * time.Minute},
		"back by more than clocks skew":      {set: -7 * time.Minute, exchanges: 1},
		"back by an hour":                    {set: -time.Hour, exchanges: 1},
		"back by a year":                     {set: -year, exchanges: 1},
		"forward by a year, and back":        {set: year, setBack: year, exchanges: 2},
		"forward past the renewal, and back": {set: 45 * time.Minute, setBack: 45 * time.Minute, exchanges: 2},
		"back by a year, and forward":        {set: -year, setBack: -year, exchanges: 2},
	}
	for name, test := range tests {
		for mode, restart := range map[string]struct{ before, after bool }{
			"": {}, ", restarted before": {before: true}, ", restarted after": {after: true},
		} {
			if test.set == 0 && mode != "" {
				continue // The clock is right, and so is all that was remembered by it.
			}
			t.Run(name+mode, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				own := &ownClock{PassiveClock: w.clock}
				w.giveOwnClock(own)
				w.issued()
				w.pass(time.Minute)
				if restart.before {
					w.giveOwnClock(own)
				}
				w.reconcile()
				w.pass(test.jump)
				own.ahead += test.set
				if restart.after {
					w.giveOwnClock(own)
				}
				w.reconcile()
				if test.setBack != 0 {
					w.pass(time.Minute)
					own.ahead -= test.setBack
					w.reconcile()
				}
				w.wantExchanges(1 + test.exchanges)
				w.wantReady()
				w.live(80*time.Minute, w.wantReady) // Without a storm, and without a standstill.
				w.wantExchangesBetween(1+test.exchanges+1, 1+test.exchanges+3)
			})
		}
	}
}
