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

const otherProject = "proj_other"

// limited has Pipedream limit the rate of the project for ten minutes.
func (w *world) limited() {
	w.Helper()
	w.connect("apn_other", "lead:20m", func(a *simulator.Account) { a.ProjectID = otherProject })
	w.createCredentials()
	w.create()
	must(w.T, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAccount, Status: 429, Headers: map[string]string{"Retry-After": "600"}, Calls: 1}))
	w.reconcile()
	w.wantReasons(v1alpha1.ReasonRateLimited, v1alpha1.ReasonNotFetched)
}

// leaveProject has the spec name another project.
func (w *world) leaveProject() {
	w.Helper()
	change(w, w.account(), func(account *v1alpha1.PipedreamAccount) {
		account.Spec.ProjectID, account.Spec.AccountID = otherProject, "apn_other"
	})
}

// wantPaused checks whether another PipedreamAccount of a project has to wait for the end of a pause.
func (w *world) wantPaused(project string, want bool) {
	w.Helper()
	somebody := throttle.Requester{Kind: kind, Group: "other-namespace", Name: "other-" + project}
	ticket := w.reconciler.Requests.Reserve(project, somebody, throttle.ReserveOptions{})
	w.reconciler.Requests.Cancel(somebody)
	if isPaused := !ticket.PausedUntil.IsZero(); isPaused != want {
		w.Errorf("the requests about %s are paused until %s for all namespaces, want a pause: %v", project, ticket.PausedUntil, want)
	}
}

// TestARateLimitIsOfOneProject has the spec leave a project whose rate Pipedream limits.
func TestARateLimitIsOfOneProject(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.limited()
	w.leaveProject()
	w.pass(time.Minute)
	w.live(30 * time.Second)
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
	w.wantPaused(projectID, true)
	w.wantPaused(otherProject, false)
}

// TestARateLimitIsNotLeftByAnotherAccount has the spec name another account of a project whose rate Pipedream limits.
func TestARateLimitIsNotLeftByAnotherAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.limited()
	w.connect("apn_second", "lead:20m")
	change(w, w.account(), func(account *v1alpha1.PipedreamAccount) { account.Spec.AccountID = "apn_second" })
	w.pass(time.Minute)
	w.live(8 * time.Minute)
	w.wantReasons(v1alpha1.ReasonRateLimited, v1alpha1.ReasonNotFetched)
	w.wantFetches(1)
	w.live(2 * time.Minute)
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
}

// TestARestartPausesNoOtherProject has the spec leave a project whose rate Pipedream limits, before or after the
// operator is restarted.
func TestARestartPausesNoOtherProject(t *testing.T) {
	t.Parallel()
	for name, isReported := range map[string]bool{"it was not reconciled since": false, "it was reconciled since": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.limited()
			w.leaveProject()
			if isReported {
				// Nothing can be fetched now, so that the status is about the new generation and the old attempt.
				must(t, w.admin.Delete(t.Context(), w.secret("credentials")))
				w.reconcile()
			}
			w.restart()
			w.reconcile()
			w.wantPaused(otherProject, false)
			if isReported {
				w.createCredentials()
			}
			w.live(time.Minute)
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
		})
	}
}

// TestARestartKeepsThePauseOfTheProject restarts the operator while Pipedream limits the rate of a project.
func TestARestartKeepsThePauseOfTheProject(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.limited()
	w.restart()
	w.reconcile()
	w.wantPaused(projectID, true)
	w.wantPaused(otherProject, false)
	w.live(9 * time.Minute)
	w.wantReasons(v1alpha1.ReasonRateLimited, v1alpha1.ReasonNotFetched)
	w.wantFetches(1)
}

// TestARateLimitIsNotTakenForMended restarts the operator after a rate limit, when the spec has changed in the same
// project. The status does not tell which project was limited, so a look is made at once, and none is left out.
func TestARateLimitIsNotTakenForMended(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fetched()
	w.pass(5 * time.Minute)
	must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAccount, Status: 429, Headers: map[string]string{"Retry-After": "600"}, Calls: 2}))
	change(w, w.account(), func(account *v1alpha1.PipedreamAccount) {
		account.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "now"}
	})
	w.reconcile()
	w.wantReasons(v1alpha1.ReasonRateLimited, v1alpha1.ReasonCredentialsValid)
	change(w, w.account(), func(account *v1alpha1.PipedreamAccount) { account.Spec.FetchIntervalSeconds = 86400 })
	w.restart()
	w.live(time.Second)
	w.wantFetches(3)
	w.wantReasons(v1alpha1.ReasonRateLimited, v1alpha1.ReasonCredentialsValid)
	w.wantPaused(projectID, true)
}
