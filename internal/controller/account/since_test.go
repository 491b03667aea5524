// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"net/http"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// TestARestartDoesNotMakeADoubtOlder restarts the operator after the first 404, which has come at the end of an outage.
// An outage is no doubt: the two minutes begin with the 404.
func TestARestartDoesNotMakeADoubtOlder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fetched(eachTenMinutes)
	must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAccount, Status: http.StatusServiceUnavailable}))
	w.look()
	w.live(3 * time.Minute)
	w.wantReasons(v1alpha1.ReasonEndpointUnavailable, v1alpha1.ReasonCredentialsValid)
	w.pipedream.ClearFaults()
	w.pipedream.Accounts.Delete(accountID)
	for w.condition(v1alpha1.ConditionFetched).Reason != v1alpha1.ReasonAccountNotFound {
		w.pass(w.reconcile().RequeueAfter)
	}
	w.restart()
	w.reconcile()
	w.wantStalled(false)
	w.live(90 * time.Second)
	w.wantReasons(v1alpha1.ReasonAccountNotFound, v1alpha1.ReasonCredentialsValid)
}

// TestARestartDoesNotMakeMissingCredentialsOlder deletes the client credentials at the end of an outage.
func TestARestartDoesNotMakeMissingCredentialsOlder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fetched(eachTenMinutes)
	must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAccount, Status: http.StatusServiceUnavailable}))
	w.look()
	w.live(3 * time.Minute)
	must(t, w.admin.Delete(t.Context(), w.secret("credentials")))
	w.reconcile()
	w.wantReasons(v1alpha1.ReasonCredentialsMissing, v1alpha1.ReasonCredentialsValid)
	for _, isCalled := range []bool{false, true, true} {
		w.restart()
		w.reconcile()
		w.wantStalled(isCalled)
		w.pass(2 * time.Minute)
		w.reconcile()
		w.wantReasons(v1alpha1.ReasonCredentialsMissing, v1alpha1.ReasonCredentialsValid)
		w.wantStalled(true)
	}
}
