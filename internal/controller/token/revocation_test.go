// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// TestClientThatIsLostWhileATokenIsHeld lets an hour pass after the client
// credentials have become worthless, and then delivers others.
func TestClientThatIsLostWhileATokenIsHeld(t *testing.T) {
	tests := map[string]struct {
		lose func(*world)
		// revoked tells whether the current token is lost with it.
		revoked bool
	}{
		"the client is deleted, and its tokens live on": {
			lose: func(w *world) { w.pipedream.DeleteClient(clientID) },
		},
		"the client is deleted, and its tokens are revoked": {
			lose: func(w *world) {
				w.pipedream.DeleteClient(clientID)
				w.pipedream.RevokeClient(clientID)
			},
			revoked: true,
		},
		"its secret is rotated": {
			lose: func(w *world) { must(w.T, w.pipedream.SetClient(clientID, "rotated")) },
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.issued(withVerification)
			status := w.token().Status
			w.pass(time.Minute)
			w.reconcile()
			w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionTrue, v1alpha1.ReasonTokenAccepted)
			test.lose(w)
			w.pass(time.Minute)
			w.live(time.Hour, func() {
				now := w.clock.Now()
				isHeld, isOld := now.Before(status.ExpirationTime.Time), !now.Before(status.RenewalTime.Time)
				switch {
				case test.revoked && isHeld:
					w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTokenRevoked)
					w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionFalse, v1alpha1.ReasonTokenRevoked)
				case isHeld:
					w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
					w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionTrue, v1alpha1.ReasonTokenAccepted)
				default:
					w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTokenExpired)
				}
				if test.revoked || isOld {
					w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonCredentialsRejected)
					w.wantCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonCredentialsRejected)
				} else {
					w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)
					w.wantExchanges(1)
				}
			})
			// The first token, and attempts 1, 2, 4, 8 and then 15 minutes apart.
			w.wantExchangesBetween(3, 9)

			before := w.exchanges()
			must(t, w.pipedream.SetClient("client-two", "another secret"))
			change(w, w.secret("credentials"), func(s *corev1.Secret) {
				s.Data = map[string][]byte{"client_id": []byte("client-two"), "client_secret": []byte("another secret")}
			})
			w.reconcile()
			w.wantExchanges(before + 1)
			w.wantReady()
			w.wantNoCondition(v1alpha1.ConditionStalled)
		})
	}
}

// TestConsumerOfARevokedTokenIsRefusedOnce revokes tokens at many moments between two
// verifications, beside a consumer that uses the token as often as it is verified, at
// many moments too: it never meets the same revocation twice.
func TestConsumerOfARevokedTokenIsRefusedOnce(t *testing.T) {
	const phases = 6
	for _, seconds := range []int32{10, 60} {
		interval := time.Duration(seconds) * time.Second
		for consumer := range phases {
			t.Run(fmt.Sprintf("every %v, phase %d of %d", interval, consumer, phases), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.issued(func(p *v1alpha1.PipedreamToken) { p.Spec.Verification.IntervalSeconds = seconds })
				for revocation := range phases {
					w.pass(retry.RepeatWindow) // Revocations that repeat are spaced.
					visit := w.clock.Now()
					poll := visit.Add(interval * time.Duration(consumer) / phases)
					// Each revocation comes at another moment after the verification before.
					revoke := visit.Add(2*interval + interval*time.Duration(revocation)/phases)
					refusals, revoked := 0, 0
					for end := revoke.Add(4 * interval); w.clock.Now().Before(end); {
						switch {
						case revoked == 0 && !w.clock.Now().Before(revoke):
							revoked = w.pipedream.RevokeAll()
						case !w.clock.Now().Before(poll):
							// At the same second, it comes before the operator.
							poll = poll.Add(interval)
							if !w.poll() {
								refusals++
							}
						case !w.clock.Now().Before(visit):
							visit = w.clock.Now().Add(w.reconcile().RequeueAfter)
						default:
							next := earlier(visit, poll)
							if revoked == 0 {
								next = earlier(next, revoke)
							}
							w.clock.SetTime(next)
						}
					}
					if refusals > 1 || revoked == 0 {
						t.Errorf("the consumer was refused %d times over %d revoked tokens, want once at most over one", refusals, revoked)
					}
				}
				w.wantReady()
			})
		}
	}
}

// A renewal that can't be had is no reason to look away from the token that is held.
func TestRevocationIsSeenWhileARenewalIsDue(t *testing.T) {
	tests := map[string]func(*world){
		"and credentials are rejected": func(w *world) {
			change(w, w.secret("credentials"), func(s *corev1.Secret) { s.Data["client_secret"] = []byte("wrong") })
		},
		"and credentials are missing": func(w *world) {
			must(w.T, w.admin.Delete(w.Context(), w.secret("credentials")))
			w.passUntil(w.token().Status.RenewalTime)
		},
		"and Pipedream issues none": func(w *world) {
			must(w.T, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointToken, Status: 503}))
			w.passUntil(w.token().Status.RenewalTime)
		},
		"and waits for its turn": func(w *world) {
			w.occupy(time.Hour)
			w.passUntil(w.token().Status.RenewalTime)
		},
		"and token requests pause": func(w *world) {
			w.passUntil(w.token().Status.RenewalTime)
			w.reconciler.TokenRequests.Pause(w.clock.Now().Add(15 * time.Minute))
		},
	}
	for name, hinder := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.issued(withVerification)
			hinder(w)
			w.reconcile()
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
			w.pipedream.RevokeAll()
			w.live(2*time.Minute, func() {})
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTokenRevoked)
			w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionFalse, v1alpha1.ReasonTokenRevoked)
		})
	}
}

// An endpoint that accepts a token when it is new, and not later, makes no storm.
func TestTokensThatAreRevokedAgainAndAgainAreSpaced(t *testing.T) {
	w := newWorld(t)
	w.issued(func(token *v1alpha1.PipedreamToken) { token.Spec.Verification.IntervalSeconds = 10 })
	before := w.exchanges()
	w.live(30*time.Minute, func() { w.pipedream.RevokeAll() })
	if got := w.exchanges() - before; got < 5 || got > 14 {
		t.Errorf("in half an hour %d tokens were replaced, want one each five minutes in the end", got)
	}
}

func TestVerificationDoesNotYieldToRequestsThatPause(t *testing.T) {
	w := newWorld(t)
	w.issued(withVerification)
	w.reconciler.Verifications, _ = throttle.NewLimiter(throttle.Options{
		PerSecond: 2, Burst: 2, InFlight: 2, Now: w.clock.Now, YieldTo: w.reconciler.TokenRequests,
	})
	w.reconciler.TokenRequests.Pause(w.clock.Now().Add(15 * time.Minute))
	w.reconciler.TokenRequests.Reserve(throttle.Requester{Group: "elsewhere", Name: "other"}, throttle.ReserveOptions{Lane: throttle.NearEnd})
	w.pass(time.Minute)
	w.reconcile()
	if got := w.pipedream.Counters().Calls[simulator.EndpointAccounts].Total; got != 1 {
		t.Errorf("the token was tried %d times, want once", got)
	}
}
