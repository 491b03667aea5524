// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// tokensLimited has Pipedream limit the rate of the requests for access tokens for ten minutes.
func (w *world) tokensLimited() {
	w.Helper()
	w.createCredentials()
	w.create()
	must(w.T, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointToken, Status: 429, Headers: map[string]string{"Retry-After": "600"}, Calls: 1}))
	w.reconcile()
	w.wantReasons(v1alpha1.ReasonTokenRateLimited, v1alpha1.ReasonNotFetched)
	w.wantTokensPaused()
}

// wantTokensPaused checks that nobody may ask for a token.
func (w *world) wantTokensPaused() {
	w.Helper()
	somebody := throttle.Requester{Kind: v1alpha1.KindPipedreamToken, Group: "other-namespace", Name: "other"}
	ticket := w.tokenRequests.Reserve(somebody, throttle.ReserveOptions{})
	w.tokenRequests.Cancel(somebody)
	if ticket.PausedUntil.IsZero() {
		w.Error("the requests for tokens are not paused")
	}
}

// TestARateLimitOfTokensPausesNoProject has Pipedream limit the rate of the requests for access tokens. It has limited no
// project, neither before nor after a restart of the operator.
func TestARateLimitOfTokensPausesNoProject(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tokensLimited()
	w.wantPaused(projectID, false)

	w.restart()
	w.reconcile()

	w.wantPaused(projectID, false)
	w.wantTokensPaused()
	w.live(9 * time.Minute)
	w.wantReasons(v1alpha1.ReasonTokenRateLimited, v1alpha1.ReasonNotFetched)
	w.wantExchanges(1)
	w.live(2 * time.Minute)
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
	w.wantExchanges(2)
}

// TestARateLimitOfTokensIsNotLeftWithTheProject has the spec name another project while Pipedream limits the rate of the
// requests for access tokens, with and without a restart of the operator. The limit holds for each project.
func TestARateLimitOfTokensIsNotLeftWithTheProject(t *testing.T) {
	t.Parallel()
	for name, isRestart := range map[string]bool{"the operator goes on": false, "the operator restarts": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.connect("apn_other", "lead:20m", func(a *simulator.Account) { a.ProjectID = otherProject })
			w.tokensLimited()
			w.leaveProject()
			if isRestart {
				w.restart()
			}
			w.live(9 * time.Minute)
			w.wantReasons(v1alpha1.ReasonTokenRateLimited, v1alpha1.ReasonNotFetched)
			w.wantPaused(otherProject, false)
			w.wantExchanges(1)
			w.live(2 * time.Minute)
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
		})
	}
}
