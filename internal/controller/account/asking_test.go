// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// TestHealth has Pipedream say different things about the health of an account that gives its credentials out.
func TestHealth(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		healthy *bool
		status  metav1.ConditionStatus
		reason  string
	}{
		"unhealthy": {new(false), metav1.ConditionFalse, v1alpha1.ReasonAccountUnhealthy},
		"not said":  {nil, metav1.ConditionUnknown, v1alpha1.ReasonHealthUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fetched(eachTenMinutes)
			w.changeAccount(func(a *simulator.Account) { a.Healthy = test.healthy })
			w.look()
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
			w.wantCondition(v1alpha1.ConditionHealthy, test.status, test.reason)
			w.wantStalled(false)
			// A restart says the same, and asks for nothing.
			w.restart()
			w.wire.Reset()
			w.reconcile()
			w.wantRequests(map[string]int{})
			w.changeAccount(func(a *simulator.Account) { a.Healthy = new(true) })
			w.look()
			w.wantCondition(v1alpha1.ConditionHealthy, metav1.ConditionTrue, v1alpha1.ReasonAccountHealthy)
		})
	}
}

// TestTheScopeOfTheAccessToken has Pipedream refuse the scope for reading accounts.
func TestTheScopeOfTheAccessToken(t *testing.T) {
	t.Parallel()
	for reason, fault := range map[string]simulator.Fault{
		v1alpha1.ReasonScopeRejected:   {Status: http.StatusBadRequest, Body: `{"error":"invalid_scope"}`},
		v1alpha1.ReasonScopeNotGranted: {Status: http.StatusOK, Body: `{"access_token":"a-token","token_type":"Bearer","expires_in":3600,"scope":"connect:tokens:create"}`},
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.createCredentials()
			w.create()
			fault.Endpoint = simulator.EndpointToken
			must(t, w.pipedream.AddFault(fault))
			w.reconcile()
			w.wantReasons(reason, v1alpha1.ReasonNotFetched)
			w.wantStalled(true)
			w.wantFetches(0)
			w.pipedream.ClearFaults()
			w.live(5 * time.Minute)
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
			w.wantNoSecretSeen()
		})
	}
}

// TestALookWaitsForTheEndOfAPause has Pipedream want fewer requests about the project.
func TestALookWaitsForTheEndOfAPause(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.createCredentials()
	w.create()
	w.reconciler.Requests.Pause(projectID, w.clock.Now().Add(5*time.Minute))
	w.reconcile()
	w.wantReasons(v1alpha1.ReasonQueued, v1alpha1.ReasonNotFetched)
	if message := w.condition(v1alpha1.ConditionFetched).Message; !strings.Contains(message, "2026-01-02T03:09:05Z") {
		t.Errorf("the message does not say when the pause ends: %s", message)
	}
	w.wantFetches(0)
	w.live(5*time.Minute + time.Second)
	w.reconcile()
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
}

// TestAnAccessTokenIsReplacedInTheBackground has the Limiter for token requests be busy when a look finds that the access
// token is to be replaced soon. The look does not wait, and the exchange is made when its turn has come, although no look is
// due then.
func TestAnAccessTokenIsReplacedInTheBackground(t *testing.T) {
	t.Parallel()
	readsCredentials := map[string]int{"GET secrets": 1}
	for name, test := range map[string]struct {
		change        func(*world)
		wantExchanges int
		wantRequests  map[string]int
	}{
		"its turn comes": {func(*world) {}, 2, readsCredentials},
		"the client's Secret can't be read": {func(w *world) {
			w.wire.Respond(refuse("GET secrets", http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable))
		}, 1, readsCredentials},
		"Pipedream issues no access token": {func(w *world) {
			must(w.T, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointToken, Status: http.StatusBadGateway}))
		}, 2, readsCredentials},
		"it is suspended meanwhile": {func(w *world) {
			change(w, w.account(), func(account *v1alpha1.PipedreamAccount) { account.Spec.Suspend = true })
		}, 1, map[string]int{"GET secrets": 1, "PATCH pipedreamaccounts/status": 1}}, // It checks its own Secret for the new spec.
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fetched()
			w.live(39 * time.Minute)
			w.pass(2 * time.Minute)
			w.tokenRequests.Pause(w.clock.Now().Add(30 * time.Second))
			change(w, w.account(), func(account *v1alpha1.PipedreamAccount) {
				account.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "now"}
			})
			before := w.fetches()
			w.reconcile()
			w.wantFetches(before + 1)
			w.wantExchanges(1)
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
			w.reconcile()
			w.wantExchanges(1)
			w.pass(31 * time.Second)
			test.change(w)
			w.wire.Reset()
			w.reconcile()
			w.wantFetches(before + 1)
			w.wantExchanges(test.wantExchanges)
			w.wantRequests(test.wantRequests)
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonCredentialsValid)
			w.wantNoSecretSeen()
		})
	}
}
