// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// noRequest stands for the lane when no request waits: for all accounts of a project that denies access, one asks.
const noRequest throttle.Lane = -1

// laneSeen remembers in which lane the last request waited.
type laneSeen struct {
	Requests
	lane *throttle.Lane
}

func (l laneSeen) Reserve(project string, requester throttle.Requester, options throttle.ReserveOptions) throttle.Ticket {
	*l.lane = options.Lane
	return l.Requests.Reserve(project, requester, options)
}

// lanesSeen remembers all lanes in which requests have waited.
type lanesSeen struct {
	Requests
	lanes map[throttle.Lane]bool
}

func (l lanesSeen) Reserve(project string, requester throttle.Requester, options throttle.ReserveOptions) throttle.Ticket {
	l.lanes[options.Lane] = true
	return l.Requests.Reserve(project, requester, options)
}

// TestARequestThatHardlyHelpsIsNotUrgent has an account whose credentials have expired be looked at again and again
// in vain. Nothing that the operator does helps it, so that it must not go before the first credentials of other
// accounts. When somebody asks for a look, it is urgent again.
func TestARequestThatHardlyHelpsIsNotUrgent(t *testing.T) {
	t.Parallel()
	for reason, test := range map[string]struct {
		happen func(*world)
		// lane is where the request waits, and asked is where it waits when somebody has asked for a look.
		lane, asked throttle.Lane
	}{
		v1alpha1.ReasonAccountDead: {
			func(w *world) { w.changeAccount(func(a *simulator.Account) { a.Dead = new(true) }) }, throttle.OnDemand, throttle.NearEnd,
		},
		v1alpha1.ReasonAccountNotFound: {func(w *world) { w.pipedream.Accounts.Delete(accountID) }, throttle.OnDemand, throttle.NearEnd},
		v1alpha1.ReasonAccessDenied: {func(w *world) {
			must(w.T, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAccount, Status: http.StatusForbidden}))
		}, throttle.OnDemand, noRequest},
		v1alpha1.ReasonCredentialsStale: {func(w *world) {
			w.changeAccount(func(a *simulator.Account) { a.Refresh = "never" })
		}, throttle.DueRenewal, throttle.NearEnd},
		v1alpha1.ReasonEndpointUnavailable: {func(w *world) {
			must(w.T, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAccount, Status: http.StatusServiceUnavailable}))
		}, throttle.NearEnd, throttle.NearEnd},
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fetched(eachTenMinutes)
			test.happen(w)
			w.live(2 * time.Hour)
			lane := noRequest
			w.reconciler.Requests = laneSeen{w.reconciler.Requests, &lane}
			fetches := w.fetches()
			w.live(31 * time.Minute)
			if w.fetches() == fetches {
				t.Fatal("the account was not looked at")
			}
			w.wantReasons(reason, v1alpha1.ReasonCredentialsExpired)
			if lane != test.lane {
				t.Errorf("the request waits in lane %s, want %s", lane, test.lane)
			}

			lane = noRequest
			change(w, w.account(), func(account *v1alpha1.PipedreamAccount) {
				account.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "now"}
			})
			w.live(11 * time.Second)
			if want := test.asked; lane != want {
				t.Errorf("when somebody asks for a look, the request waits in lane %d, want %d", lane, want)
			}
		})
	}
}

// TestAFailedLookDoesNotMakeADeadAccountUrgent has Pipedream not answer any longer after it has said that the account
// is dead, or that there is none. One answer that there is none may be a fault, and is urgent.
func TestAFailedLookDoesNotMakeADeadAccountUrgent(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		happen func(*world)
		lane   throttle.Lane
	}{
		"dead":                                  {func(w *world) { w.changeAccount(func(a *simulator.Account) { a.Dead = new(true) }) }, throttle.OnDemand},
		"not found, as Pipedream has said once": {func(w *world) { w.pipedream.Accounts.Delete(accountID) }, throttle.NearEnd},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.connect(accountID, "lazy")
			w.fetched()
			w.live(time.Hour - time.Minute)
			test.happen(w)
			w.pass(2 * time.Minute)
			w.reconcile()
			must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAny, Status: http.StatusServiceUnavailable}))
			w.live(5 * time.Minute)
			lane := noRequest
			w.reconciler.Requests = laneSeen{w.reconciler.Requests, &lane}
			w.live(5 * time.Minute)
			w.wantReasons(v1alpha1.ReasonEndpointUnavailable, v1alpha1.ReasonCredentialsExpired)
			if lane != test.lane {
				t.Errorf("the request waits in lane %s, want %s", lane, test.lane)
			}
		})
	}
}

// TestARefusalThatMayEndByItselfIsUrgent has the API server not write the new credentials. When it can't ask an admission
// webhook, no person has to change anything: the webhook may be back at any time. So the look at an account whose
// credentials are about to expire must not wait behind the routine looks at all other accounts. After a restart, the
// status does not tell why the Secret was refused.
func TestARefusalThatMayEndByItselfIsUrgent(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		code      int
		status    metav1.StatusReason
		isRestart bool
		reason    string
		lane      throttle.Lane
	}{
		"the API server does not answer": {
			http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, false, v1alpha1.ReasonClusterUnavailable, throttle.NearEnd,
		},
		"the webhook can't be asked": {
			http.StatusInternalServerError, metav1.StatusReasonInternalError, false, v1alpha1.ReasonSecretWriteRefused, throttle.NearEnd,
		},
		"the webhook can't be asked, and the operator restarts": {
			http.StatusInternalServerError, metav1.StatusReasonInternalError, true, v1alpha1.ReasonSecretWriteRefused, throttle.NearEnd,
		},
		"a policy refuses the Secret": {
			http.StatusForbidden, metav1.StatusReasonForbidden, false, v1alpha1.ReasonSecretWriteRefused, throttle.OnDemand,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fetched()
			w.wire.Respond(refuse("PUT secrets", test.code, test.status))
			until := func(end time.Time) {
				for w.clock.Now().Before(end) {
					sleep := 10 * time.Second
					if result, err := w.tryReconcile(); err == nil {
						sleep = result.RequeueAfter
					}
					w.pass(min(sleep, end.Sub(w.clock.Now())))
				}
			}
			end := w.account().Status.ExpirationTime.Time
			until(end.Add(-nearEnd))
			w.wantReasons(test.reason, v1alpha1.ReasonCredentialsValid)
			if test.isRestart {
				w.restart()
			}
			lanes := map[throttle.Lane]bool{}
			w.reconciler.Requests = lanesSeen{w.reconciler.Requests, lanes}

			until(end.Add(15 * time.Minute))

			if !lanes[test.lane] || len(lanes) != 1 {
				t.Errorf("from a minute before the credentials expire on, the requests wait in the lanes %v, want %s", lanes, test.lane)
			}
		})
	}
}
