// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// verifiedEach returns a change of a PipedreamToken that sets its interval.
func verifiedEach(interval time.Duration) func(*v1alpha1.PipedreamToken) {
	return func(token *v1alpha1.PipedreamToken) {
		token.Spec.Verification = v1alpha1.Verification{IntervalSeconds: int32(interval / time.Second)} //nolint:gosec // A day at most.
	}
}

// refuse has Pipedream answer 401 to so many verifications; to all when it is 0.
func (w *world) refuse(verifications int) {
	w.Helper()
	must(w.T, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAccounts, Status: 401, Calls: verifications}))
}

// mature is an age from which on a token is verified and replaced without delay.
const mature = 11 * time.Second

func (w *world) verifications() int {
	return w.pipedream.Counters().Calls[simulator.EndpointAccounts].Total
}

func (w *world) wantVerifications(want int) {
	w.Helper()
	if got := w.verifications(); got != want {
		w.Errorf("tokens were verified %d times, want %d", got, want)
	}
}

// liveUntilVerified lets time pass until the next verification is over.
func (w *world) liveUntilVerified() {
	w.Helper()
	for before, end := w.verifications(), w.clock.Now().Add(48*time.Hour); w.verifications() == before; {
		if !w.clock.Now().Before(end) {
			w.Fatal("no token was verified for two days")
		}
		w.pass(w.reconcile().RequeueAfter)
	}
}

// accepted is a world whose token was accepted at a verification.
func accepted(t *testing.T, changes ...func(*v1alpha1.PipedreamToken)) *world {
	t.Helper()
	w := newWorld(t)
	if len(changes) == 0 {
		changes = append(changes, withVerification)
	}
	w.issued(changes...)
	w.liveUntilVerified()
	w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionTrue, v1alpha1.ReasonTokenAccepted)
	w.wantExchangesBetween(1, 1+w.renewals())
	return w
}

// renewals returns how many routine renewals there may have been before the first
// verification, which comes at most an interval after the token.
func (w *world) renewals() int {
	return int(w.token().Spec.Verification.IntervalSeconds) / (30 * 60)
}

// suspended is a world whose verification is suspended, since Pipedream refuses every
// token.
func suspended(t *testing.T, changes ...func(*v1alpha1.PipedreamToken)) *world {
	t.Helper()
	w := newWorld(t)
	if len(changes) == 0 {
		changes = append(changes, withVerification)
	}
	w.issued(changes...)
	w.pass(mature) // Else the replacement would be spaced.
	w.refuse(0)
	w.liveUntilVerified()
	w.live(70*time.Second, func() {})
	w.reconcile()
	w.wantSuspended()
	w.wantExchanges(2)
	// The current token, its replacement three times, and perhaps the first try of the hour.
	if got := w.verifications(); got < 4 || got > 5 {
		t.Errorf("tokens were verified %d times, want four or five times", got)
	}
	return w
}

func (w *world) wantSuspended() {
	w.Helper()
	w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionUnknown, v1alpha1.ReasonVerificationSuspended)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
}

func (w *world) wantVerified() {
	w.Helper()
	w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionTrue, v1alpha1.ReasonTokenAccepted)
	w.wantReady()
}

// A replacement that Pipedream refuses at first is not given up at once.
func TestReplacementThatIsRefusedAtFirst(t *testing.T) {
	tests := map[string]struct {
		// refusals is how many verifications are refused, the first one included.
		refusals int
		// verified is how long after the first refusal Verified is True again.
		verified time.Duration
	}{
		"once":  {refusals: 2, verified: 10 * time.Second},
		"twice": {refusals: 3, verified: time.Minute},
	}
	for name, test := range tests {
		for _, interval := range []time.Duration{10 * time.Second, time.Minute, time.Hour} {
			for _, wasAccepted := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, each %s, accepted before: %t", name, interval, wasAccepted), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t)
					w.issued(verifiedEach(interval))
					if wasAccepted {
						w.liveUntilVerified()
					}
					w.pass(mature) // Else the replacement would be spaced.
					w.refuse(test.refusals)
					w.liveUntilVerified()
					refused := w.condition(v1alpha1.ConditionVerified)
					w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
					w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionUnknown, v1alpha1.ReasonVerificationInconclusive)
					w.wantMessage(*refused, "just issued")
					exchanges := w.exchanges()
					w.live(test.verified, func() {
						w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
					})
					w.reconcile()
					w.wantVerified()
					w.wantExchanges(exchanges)
				})
			}
		}
	}
}

// Pipedream may know a token only some seconds after it has issued it.
func TestTokenThatIsKnownLate(t *testing.T) {
	for _, interval := range []time.Duration{10 * time.Second, time.Minute, 7 * time.Minute} {
		for _, knownAfter := range []time.Duration{3 * time.Second, 9 * time.Second, 50 * time.Second} {
			t.Run(fmt.Sprintf("after %s, verified each %s", knownAfter, interval), func(t *testing.T) {
				t.Parallel()
				w := accepted(t, verifiedEach(interval))
				must(t, w.pipedream.SetTokenKnownAfter(knownAfter))
				w.pass(mature)
				w.pipedream.RevokeAll()
				w.liveUntilVerified()
				w.wantExchanges(2)
				w.live(70*time.Second, func() {})
				w.reconcile()
				w.wantVerified()
				w.wantExchanges(2)
			})
		}
	}
}

// A routine renewal whose token is known late is no revocation.
func TestRenewedTokenThatIsKnownLateIsNotReplaced(t *testing.T) {
	w := newWorld(t)
	must(t, w.pipedream.SetTokenKnownAfter(3*time.Second))
	w.issued(verifiedEach(10 * time.Second))
	w.live(4*time.Hour, func() {
		w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	})
	w.wantVerified()
	w.wantExchangesBetween(1+5, 1+8)
}

// However often, a revocation is seen once Pipedream has accepted a token for this spec.
func TestRevocationIsSeenAfterTwoRefusalsInARow(t *testing.T) {
	tests := map[string]struct {
		interval time.Duration
		restart  bool
	}{
		"each minute":                   {interval: time.Minute},
		"each ten seconds":              {interval: 10 * time.Second},
		"each minute, with restarts":    {interval: time.Minute, restart: true},
		"each ten seconds, with them":   {interval: 10 * time.Second, restart: true},
		"each five minutes, with them":  {interval: 5 * time.Minute, restart: true},
		"each hour, with restarts, too": {interval: time.Hour, restart: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := accepted(t, verifiedEach(test.interval))
			w.pass(mature)
			w.refuse(2) // The current token and its replacement.
			w.liveUntilVerified()
			if test.restart {
				w.restart()
			}
			w.live(min(test.interval, time.Hour)+time.Minute, func() {})
			w.wantVerified()
			for range 3 {
				exchanges := w.exchanges()
				token := string(w.target().Data["access_token"])
				if test.restart {
					w.restart()
				}
				w.pass(mature)
				w.pipedream.RevokeAll()
				w.live(test.interval+20*time.Second, func() {})
				w.wantReady()
				w.wantExchangesMore(exchanges, 1, 3) // The others are routine.
				if string(w.target().Data["access_token"]) == token {
					t.Error("the revoked token is still there")
				}
			}
		})
	}
}

func (w *world) wantExchangesMore(before, least, most int) {
	w.Helper()
	if got := w.exchanges() - before; got < least || got > most {
		w.Errorf("Pipedream was asked for %d more tokens, want %d to %d", got, least, most)
	}
}

// A replacement that is revoked as soon as it was issued is replaced, too.
func TestReplacementThatIsRevokedAtOnceIsReplaced(t *testing.T) {
	w := accepted(t)
	w.pass(mature)
	left := 2
	w.reconciler.Pipedream = slowAPI{PipedreamAPI: w.api, verifying: func() {
		if left > 0 {
			left--
			w.pipedream.RevokeAll()
		}
	}}
	w.live(3*time.Minute, func() {})
	w.wantVerified()
	w.wantExchanges(3)
	if left != 0 {
		t.Error("the replacement was not revoked")
	}
}

// A gateway answers 401 to everything for four minutes. No newer token can be had
// meanwhile, and the refused token is accepted as soon as the gateway lets it through.
func TestGatewayThatRefusesWhileNoTokenCanBeHad(t *testing.T) {
	tests := map[string]struct {
		hinder, mend func(*world)
		// exchanges is how many tokens may be issued in the end.
		exchanges int
	}{
		"since Pipedream limits the rate": {
			hinder: func(w *world) { w.reconciler.TokenRequests.Pause(w.clock.Now().Add(15 * time.Minute)) },
			mend:   func(*world) {}, exchanges: 1,
		},
		"since the credentials are missing": {
			hinder: func(w *world) { must(w.T, w.admin.Delete(w.Context(), w.secret("credentials"))) },
			mend:   func(*world) {}, exchanges: 1,
		},
		"since the credentials are rejected": {
			hinder: func(w *world) { must(w.T, w.pipedream.SetClient(clientID, "rotated")) },
			mend:   func(*world) {}, exchanges: 1,
		},
		"since others go first": {
			hinder: func(w *world) { w.occupy(time.Hour) },
			mend:   func(*world) {}, exchanges: 1,
		},
		"since the token endpoint is down": {
			hinder: func(w *world) {
				must(w.T, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointToken, Status: 503}))
			},
			mend: func(w *world) { w.pipedream.ClearFaults() }, exchanges: 2,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := accepted(t)
			w.pass(mature)
			w.refuse(0)
			test.hinder(w)
			w.live(4*time.Minute, func() {})
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTokenRevoked)
			w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionFalse, v1alpha1.ReasonTokenRevoked)
			w.pipedream.ClearFaults()
			test.mend(w)
			w.live(2*time.Minute, func() {})
			w.reconcile()
			w.wantVerified()
			if got := w.pipedream.Counters().Exchanges[clientID].Accepted; got > test.exchanges {
				t.Errorf("%d tokens were issued, want at most %d", got, test.exchanges)
			}
			if test.exchanges == 1 && w.condition(v1alpha1.ConditionRenewed).Reason == v1alpha1.ReasonQueued {
				t.Error("a token is still waited for, though the current one is good")
			}
		})
	}
}

func TestGatewayThatRefusesWhileTokensCanBeHad(t *testing.T) {
	for _, interval := range []time.Duration{10 * time.Second, time.Minute, time.Hour} {
		t.Run(interval.String(), func(t *testing.T) {
			t.Parallel()
			w := accepted(t, verifiedEach(interval))
			w.pass(mature)
			exchanges := w.exchanges()
			w.refuse(0)
			w.liveUntilVerified()
			w.live(4*time.Minute, func() {})
			w.wantExchangesMore(exchanges, 1, 7)
			w.pipedream.ClearFaults()
			w.live(3*time.Minute, func() {})
			w.reconcile()
			w.wantVerified()
			exchanges = w.exchanges()
			w.live(30*time.Minute, func() {
				w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
			})
			w.wantExchangesMore(exchanges, 0, 1)
		})
	}
}

// A refused token stays refused until it is accepted, whatever else is answered.
func TestRefusedTokenStaysRefusedInAnOutage(t *testing.T) {
	w := accepted(t)
	w.pipedream.RevokeAll()
	w.pipedream.DeleteClient(clientID)
	w.pass(time.Minute)
	w.reconcile()
	must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAccounts, Status: 503}))
	before := w.verifications()
	w.live(5*time.Minute, func() {
		w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTokenRevoked)
	})
	if got := w.verifications() - before; got < 4 || got > 6 {
		t.Errorf("the refused token was verified %d times in five minutes, want about 5", got)
	}
}

func TestSuspensionIsTold(t *testing.T) {
	w := suspended(t)
	if got := drain(w.events.Events); slices.Index(got, "Warning VerificationSuspended") != len(got)-1 || strings.Count(strings.Join(got, "\n"), "Suspended") != 1 {
		t.Errorf("the events are %q, want one at last that tells of the suspension", got)
	}
	if !strings.Contains(w.log.String(), `"reason":"VerificationSuspended"`) {
		t.Error("no log line tells of the suspension")
	}
	const series = `type="Verified"} 1`
	if got := scrape(t, w.reconciler.Metrics); !strings.Contains(got, `reason="VerificationSuspended",status="Unknown",`+series) {
		t.Errorf("no metric tells of the suspension:\n%s", got)
	}
	w.wantMessage(*w.condition(v1alpha1.ConditionVerified), "within an hour")
}

// Suspension is a long wait, and costs neither tokens nor writes.
func TestSuspensionEndsAfterAnHour(t *testing.T) {
	for _, interval := range []time.Duration{10 * time.Second, time.Minute, 5 * time.Minute} {
		t.Run(interval.String(), func(t *testing.T) {
			t.Parallel()
			w := suspended(t, verifiedEach(interval))
			before, exchanges := w.verifications(), w.exchanges()
			w.live(6*time.Hour, w.wantSuspended)
			if got := w.verifications() - before; got < 6 || got > 7 {
				t.Errorf("tokens were verified %d times in six hours, want once an hour", got)
			}
			w.wantExchangesMore(exchanges, 9, 11) // The routine ones: a token lives for 34 to 40 minutes.
			w.pipedream.ClearFaults()
			w.live(time.Hour, func() {})
			w.wantVerified()

			exchanges = w.exchanges()
			w.pass(mature)
			w.pipedream.RevokeAll()
			w.live(interval+20*time.Second, func() {})
			w.wantVerified()
			w.wantExchangesMore(exchanges, 1, 2)
		})
	}
}

func TestSpecChangeEndsSuspension(t *testing.T) {
	tests := map[string]struct {
		change  func(*v1alpha1.PipedreamToken)
		restart bool
		// young tells that the change asks for a new token, which is not verified in its
		// first ten seconds.
		young bool
	}{
		"of the environment":           {change: func(p *v1alpha1.PipedreamToken) { p.Spec.Environment = v1alpha1.EnvironmentDevelopment }},
		"of the project":               {change: func(p *v1alpha1.PipedreamToken) { p.Spec.ProjectID = "proj_other1" }},
		"of the scopes":                {change: func(p *v1alpha1.PipedreamToken) { p.Spec.Scopes = []string{"connect:*"} }, young: true},
		"while no operator runs":       {change: func(p *v1alpha1.PipedreamToken) { p.Spec.ProjectID = "proj_other1" }, restart: true},
		"of the scopes, without a run": {change: func(p *v1alpha1.PipedreamToken) { p.Spec.Scopes = nil }, restart: true, young: true},
	}
	for name, test := range tests {
		for _, isMended := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, mended: %t", name, isMended), func(t *testing.T) {
				t.Parallel()
				w := suspended(t)
				if isMended {
					w.pipedream.ClearFaults()
				}
				before, exchanges := w.verifications(), w.exchanges()
				change(w, w.token(), test.change)
				if test.restart {
					w.restart()
				}
				w.pass(w.reconcile().RequeueAfter)
				if test.young {
					w.live(11*time.Second, func() {})
				}
				if got := w.verifications(); got == before {
					t.Error("no token was verified after the spec has changed")
				}
				w.live(2*time.Minute, func() {})
				if isMended {
					w.wantVerified()
					w.wantExchangesMore(exchanges, 0, 1)
					return
				}
				w.wantSuspended()
				w.wantExchangesMore(exchanges, 1, 2) // For the new scopes, and one for the try.
			})
		}
	}
}

// What a restart finds costs no request, and what it does not know costs little.
func TestRestartInEveryStateOfVerification(t *testing.T) {
	// The token of each of these is mature.
	refusedReplacement := func(w *world) {
		w.pass(mature)
		w.refuse(0)
		w.liveUntilVerified()
		w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionUnknown, v1alpha1.ReasonVerificationInconclusive)
	}
	tests := map[string]struct {
		prepare func(t *testing.T) *world
		// revoked tells that the current token is revoked afterwards, and seen then, and
		// replaced that so many tokens are issued.
		revoked bool
		spent   int
	}{
		"not verified yet": {
			prepare: func(t *testing.T) *world {
				t.Helper()
				w := newWorld(t)
				w.issued(withVerification)
				w.pass(mature)
				return w
			},
			revoked: true, spent: 1,
		},
		"accepted": {prepare: func(t *testing.T) *world {
			t.Helper()
			return accepted(t)
		}, revoked: true, spent: 1},
		"accepted, and then no answer for ten minutes": {
			prepare: func(t *testing.T) *world {
				t.Helper()
				w := accepted(t)
				must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAccounts, Status: 503}))
				w.live(10*time.Minute, func() {})
				w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionUnknown, v1alpha1.ReasonVerificationInconclusive)
				return w
			}, revoked: true, spent: 1,
		},
		"accepted, and the replacement of a refused one is refused": {
			prepare: func(t *testing.T) *world {
				t.Helper()
				w := accepted(t)
				refusedReplacement(w)
				return w
			}, revoked: true, spent: 1,
		},
		"the replacement of a refused one is refused": {
			prepare: func(t *testing.T) *world {
				t.Helper()
				w := newWorld(t)
				w.issued(withVerification)
				refusedReplacement(w)
				return w
			},
		},
		"suspended": {prepare: func(t *testing.T) *world {
			t.Helper()
			return suspended(t)
		}},
		"suspended, and accepted again": {
			prepare: func(t *testing.T) *world {
				t.Helper()
				w := suspended(t)
				w.pipedream.ClearFaults()
				w.live(time.Hour, func() {})
				w.wantVerified()
				w.pass(mature)
				return w
			}, revoked: true, spent: 1,
		},
		"refused, and no newer one can be had": {
			prepare: func(t *testing.T) *world {
				t.Helper()
				w := accepted(t)
				w.reconciler.TokenRequests.Pause(w.clock.Now().Add(time.Hour))
				w.pass(mature)
				w.pipedream.RevokeAll()
				w.liveUntilVerified()
				w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTokenRevoked)
				return w
			}, spent: 1,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := test.prepare(t)
			before, verifications, exchanges := w.token(), w.verifications(), w.exchanges()
			w.restart()
			w.wire.reset()
			w.reconcile()
			if isReady := meta.IsStatusConditionTrue(before.Status.Conditions, v1alpha1.ConditionReady); isReady {
				w.wantVerifications(verifications)
				w.wantRequests(map[string]int{})
				w.wantExchanges(exchanges)
			}
			w.pipedream.ClearFaults()
			if test.revoked {
				w.pipedream.RevokeAll()
			}
			w.live(70*time.Second, func() {})
			if name == "suspended" {
				w.wantSuspended()
				w.wantVerifications(verifications)
				w.live(time.Hour, func() {})
			}
			w.wantVerified()
			if name != "suspended" {
				w.wantExchangesMore(exchanges, test.spent, test.spent)
			}
		})
	}
}

// What Pipedream has accepted for one spec says nothing about the next one, also when the
// operator restarts before it has verified a token for the next one.
func TestRestartBeforeTheNewSpecWasVerified(t *testing.T) {
	tests := map[string]func(*world){
		"the new token is not old enough": func(w *world) { w.reconcile() },
		"no new token can be had": func(w *world) {
			must(w.T, w.pipedream.SetScopeAnswer(simulator.ScopeFewer))
			w.reconcile()
			w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonScopeNotGranted)
			w.restart()
			w.reconcile()
			must(w.T, w.pipedream.SetScopeAnswer(simulator.ScopeAbsent))
		},
	}
	for name, before := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := accepted(t)
			w.pass(mature)
			w.refuse(0)
			exchanges := w.exchanges()
			change(w, w.token(), func(p *v1alpha1.PipedreamToken) {
				p.Spec.Scopes = []string{"connect:accounts:read", "connect:users:read"}
			})
			before(w)
			w.restart()
			w.live(20*time.Minute, func() {})
			w.wantSuspended()
			w.wantExchangesMore(exchanges, 1, 4) // For the scopes, and one to find out whether all are refused.
		})
	}
}

// A token that was never verified is replaced when it is revoked, also after a restart.
func TestRestartBeforeTheFirstVerification(t *testing.T) {
	w := newWorld(t)
	w.create(withVerification)
	w.live(10*time.Minute, func() {})
	w.createCredentials()
	w.reconcile()
	w.wantExchanges(1)
	w.pass(5 * time.Second)
	w.restart()
	w.pass(mature)
	w.pipedream.RevokeAll()
	w.live(2*time.Minute, func() {})
	w.wantVerified()
	w.wantExchanges(2)
}

// A crash loop spends no token on an endpoint that refuses all, and ends in suspension.
func TestRestartsAgainAndAgainWhileEveryTokenIsRefused(t *testing.T) {
	w := newWorld(t)
	w.issued(withVerification)
	w.refuse(0)
	for range 10 {
		w.reconcile()
		w.pass(70 * time.Second)
		w.reconcile()
		w.restart()
	}
	w.wantExchanges(2)
	w.wantSuspended()
	// The current token, its replacement, and that one again; perhaps once more at its interval.
	if got := w.verifications(); got < 3 || got > 4 {
		t.Errorf("tokens were verified %d times, want three or four times", got)
	}
}

// previousVersion writes the status of a version before verification could be suspended.
func (w *world) previousVersion(since time.Duration) {
	w.Helper()
	token := w.token()
	verified := meta.FindStatusCondition(token.Status.Conditions, v1alpha1.ConditionVerified)
	verified.Status, verified.Reason = metav1.ConditionUnknown, v1alpha1.ReasonVerificationInconclusive
	verified.Message = "Pipedream answers 401 to a token that it has just issued, so that the answer says nothing about the token. " +
		"Verification rests until the spec changes: check that `spec.scopes` may list the project's accounts."
	verified.LastTransitionTime = metav1.NewTime(w.clock.Now().Add(-since).Truncate(time.Second))
	verified.ObservedGeneration = token.Generation // As of all conditions, whatever they were about.
	must(w.T, w.admin.Status().Update(w.Context(), token))
	w.restart()
	w.wire.reset()
}

func TestStatusOfThePreviousVersionWhileVerificationRested(t *testing.T) {
	for _, interval := range []time.Duration{10 * time.Second, time.Minute, time.Hour, 24 * time.Hour} {
		for _, isMended := range []bool{true, false} {
			t.Run(fmt.Sprintf("each %s, mended: %t", interval, isMended), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.issued(verifiedEach(interval))
				w.pass(time.Minute)
				w.previousVersion(3 * time.Hour)
				if !isMended {
					w.refuse(0)
				}
				w.reconcile()
				w.wantRequests(map[string]int{})
				w.wantVerifications(0)
				w.wantExchanges(1)
				w.live(min(interval, time.Hour), func() {
					w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
				})
				w.reconcile()
				if isMended {
					w.wantVerified()
				} else {
					w.wantSuspended()
					// Perhaps once more, when the grid of an hour has its first moment.
					if got := w.verifications(); got < 1 || got > 2 {
						t.Errorf("tokens were verified %d times, want once or twice", got)
					}
				}
				w.wantExchangesBetween(1, 3) // Routine renewals: one at least each 40 minutes.
				if interval <= time.Minute {
					w.wantExchanges(1)
				}
			})
		}
	}
}

// What could not be verified is told once, also when the operator restarts.
func TestLongUnknownVerificationIsToldOnce(t *testing.T) {
	tests := map[string]struct {
		prepare func(w *world)
		reason  string
	}{
		"without an answer": {
			prepare: func(w *world) {
				must(w.T, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAccounts, Status: 404}))
			},
			reason: v1alpha1.ReasonVerificationInconclusive,
		},
		"suspended":         {prepare: func(w *world) { w.refuse(0) }, reason: v1alpha1.ReasonVerificationSuspended},
		"that was accepted": {prepare: func(*world) {}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := accepted(t)
			change(w, w.token(), func(p *v1alpha1.PipedreamToken) { p.Spec.Environment = v1alpha1.EnvironmentDevelopment })
			w.pass(mature)
			test.prepare(w)
			told := func() int {
				count := strings.Count(w.log.String(), "verification has had no result for an hour")
				events := 0
				for _, event := range drainWhole(w.events.Events) {
					if strings.HasPrefix(event, "Warning "+test.reason+" For an hour") {
						events++
					}
				}
				if w.token().Status.ObservedGeneration != 2 {
					t.Error("the change was not seen")
				}
				return count + events
			}
			w.live(59*time.Minute, func() {})
			if got := told(); got != 0 {
				t.Errorf("%d things were told before the hour was over", got)
			}
			w.live(10*time.Minute, func() {})
			want := 2
			if test.reason == "" {
				want = 0
			}
			if got := told(); got != want {
				t.Errorf("%d things were told when the hour was over, want %d: an event and a log line", got, want)
			}
			w.live(3*time.Hour, func() {})
			for range 3 {
				w.restart()
				w.live(time.Hour, func() {})
			}
			if got := told(); got != want/2 { // The log is the whole one.
				t.Errorf("%d things were told in the end", got)
			}
		})
	}
}

// drainWhole returns the events with their texts.
func drainWhole(from chan string) (events []string) {
	for len(from) > 0 {
		events = append(events, <-from)
	}
	return events
}

// An object whose verification says nothing is verified once an hour at least.
func TestUnknownVerificationIsRepeatedEachHour(t *testing.T) {
	w := newWorld(t)
	w.issued(verifiedEach(24 * time.Hour))
	w.live(time.Hour+time.Minute, func() {})
	w.wantVerified()
	before := w.verifications()
	w.live(22*time.Hour, func() {})
	if got := w.verifications() - before; got > 1 {
		t.Errorf("accepted tokens were verified %d times within a day, want once at most", got)
	}
}

func TestVerificationNeedsAScopeThatCanList(t *testing.T) {
	tests := map[string]struct {
		scopes []string
		// endpoint is where the token is tried; empty for nowhere.
		endpoint simulator.Endpoint
	}{
		"no scopes":              {endpoint: simulator.EndpointAccounts},
		"everything":             {scopes: []string{"*"}, endpoint: simulator.EndpointAccounts},
		"everything of Connect":  {scopes: []string{"connect:*"}, endpoint: simulator.EndpointAccounts},
		"accounts":               {scopes: []string{"connect:proxy", "connect:accounts:read"}, endpoint: simulator.EndpointAccounts},
		"projects":               {scopes: []string{"connect:projects:read"}, endpoint: simulator.EndpointProjects},
		"neither":                {scopes: []string{"connect:proxy"}},
		"to write accounts only": {scopes: []string{"connect:accounts:write"}},
		"everything of another":  {scopes: []string{"connect:apps:*", "connect:triggers:*"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.issued(withVerification, func(p *v1alpha1.PipedreamToken) { p.Spec.Scopes = test.scopes })
			if test.endpoint == "" {
				// A 401 must not be taken for a revocation.
				w.refuse(0)
				must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointProjects, Status: 401}))
			}
			w.live(10*time.Minute, func() {})
			calls := w.pipedream.Counters().Calls
			if test.endpoint != "" {
				w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionTrue, v1alpha1.ReasonTokenAccepted)
				if got := calls[test.endpoint].Accepted; got < 9 {
					t.Errorf("the token was accepted %d times by %s, want once a minute", got, test.endpoint)
				}
				return
			}
			verified := w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionUnknown, v1alpha1.ReasonVerificationInconclusive)
			w.wantMessage(verified, "`connect:accounts:read`")
			w.wantMessage(verified, "`spec.scopes`")
			if got := calls[simulator.EndpointAccounts].Total + calls[simulator.EndpointProjects].Total; got != 0 {
				t.Errorf("the token was tried %d times, though no answer tells anything", got)
			}
			w.wantExchanges(1)
			change(w, w.token(), func(p *v1alpha1.PipedreamToken) { p.Spec.Scopes = append(p.Spec.Scopes, "connect:accounts:read") })
			w.pipedream.ClearFaults()
			w.live(70*time.Second, func() {})
			w.wantVerified()
		})
	}
}

// A verification that changes nothing reads the Secret, and writes nothing.
func TestVerificationThatChangesNothingWritesNothing(t *testing.T) {
	tests := map[string]func(t *testing.T) *world{
		"accepted": func(t *testing.T) *world {
			t.Helper()
			return accepted(t)
		},
		"suspended": func(t *testing.T) *world {
			t.Helper()
			return suspended(t)
		},
		"no answer": func(t *testing.T) *world {
			t.Helper()
			w := accepted(t)
			must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAccounts, Status: 503}))
			w.liveUntilVerified()
			return w
		},
	}
	for name, prepare := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := prepare(t)
			w.reconcile()
			w.reconcile()
			for end := w.clock.Now().Add(12 * time.Hour); ; {
				w.wire.reset()
				version, before, exchanges := w.token().ResourceVersion, w.verifications(), w.exchanges()
				sleep := w.reconcile().RequeueAfter
				if w.verifications() > before && w.exchanges() == exchanges {
					w.wantRequests(map[string]int{"GET secrets": 1})
					if got := w.token().ResourceVersion; got != version {
						t.Error("the status was written")
					}
					return
				}
				if w.pass(sleep); w.clock.Now().After(end) {
					t.Fatal("no token was verified for twelve hours")
				}
			}
		})
	}
}
