// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// restarts has the cases of a test that must end in the same way with a restart of the operator and without one.
var restarts = map[string]bool{"with a restart": true, "without a restart": false}

// TestALookThatHasFailedInAnOutageIsMadeAfterTheOutage has a look at the account fail in an outage. Other accounts of
// the project find out that the outage is over. The status must not say that Pipedream has answered the last look
// before the account was looked at again.
func TestALookThatHasFailedInAnOutageIsMadeAfterTheOutage(t *testing.T) {
	t.Parallel()
	for name, isRestarted := range restarts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fetched(eachTenMinutes)
			w.pass(10 * time.Minute)
			must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAny, Status: http.StatusServiceUnavailable}))
			w.live(5 * time.Minute)
			w.wantReasons(v1alpha1.ReasonEndpointUnavailable, v1alpha1.ReasonCredentialsValid)
			if isRestarted {
				w.restart()
			}
			w.outage(func() {
				w.reconcile()
				w.wantReasons(v1alpha1.ReasonEndpointUnavailable, v1alpha1.ReasonCredentialsValid)
			})
			fetches := w.fetches()
			w.pipedream.ClearFaults()
			w.live(2 * time.Minute)
			w.wantFetches(fetches + 1)
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
		})
	}
}

// TestALookThatHasFailedIsMadeThoughNobodyAsksForItAnyLonger has a look fail in an outage that somebody has asked for.
// The request is removed, so that nothing but the failure asks for a look.
func TestALookThatHasFailedIsMadeThoughNobodyAsksForItAnyLonger(t *testing.T) {
	t.Parallel()
	for name, isRestarted := range restarts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fetched()
			must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAny, Status: http.StatusServiceUnavailable}))
			w.pass(time.Minute)
			change(w, w.account(), func(account *v1alpha1.PipedreamAccount) {
				account.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "please"}
			})
			w.live(30 * time.Second)
			w.wantReasons(v1alpha1.ReasonEndpointUnavailable, v1alpha1.ReasonCredentialsValid)
			change(w, w.account(), func(account *v1alpha1.PipedreamAccount) { account.Annotations = nil })
			if isRestarted {
				w.restart()
			}
			w.outage(func() { w.reconcile() })
			fetches := w.fetches()
			w.pipedream.ClearFaults()
			w.live(2 * time.Minute)
			w.wantFetches(fetches + 1)
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
		})
	}
}

// outage has other accounts of the project meet the end of an outage. The given function is called in the outage.
func (w *world) outage(during func()) {
	w.Helper()
	requests, turns := throttle.NewProjects(throttle.ProjectsOptions{PerSecond: 100, Burst: 100, InFlight: 4, Now: w.clock.Now})
	w.reconciler.Requests = requests
	during()
	answer := error(&pipedream.Error{Kind: pipedream.Unavailable, StatusCode: http.StatusBadGateway})
	for i := range 60 {
		if i == 8 {
			answer = nil
		}
		other := throttle.Requester{Kind: kind, Group: w.namespace, Name: fmt.Sprint("other-", i)}
		if requests.Reserve(projectID, other, throttle.ReserveOptions{}).IsReady {
			_ = requests.Do(projectID, other, throttle.DoOptions{}, func() error { return answer })
		}
		requests.Cancel(other)
		turns.Next()
		w.pass(500 * time.Millisecond)
	}
	if requests.OutageEnded(projectID).IsZero() {
		w.Fatal("the outage is not over")
	}
}

// TestALookThatHasFailedAndWaitsForItsTurnIsMadeAfterARestart restarts the operator while the next attempt after a
// failed look waits for its turn, so that the status names no time for it.
func TestALookThatHasFailedAndWaitsForItsTurnIsMadeAfterARestart(t *testing.T) {
	t.Parallel()
	for reason, status := range map[string]int{
		v1alpha1.ReasonEndpointUnavailable: http.StatusServiceUnavailable,
		v1alpha1.ReasonRequestRejected:     http.StatusBadRequest,
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fetched(eachTenMinutes)
			w.pass(10 * time.Minute)
			must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAccount, Status: status}))
			w.reconcile()
			w.wantReasons(reason, v1alpha1.ReasonCredentialsValid)
			w.pass(70 * time.Second)
			w.reconciler.Requests.Pause(projectID, w.clock.Now().Add(5*time.Minute))
			w.live(30 * time.Second)
			w.wantReasons(reason, v1alpha1.ReasonCredentialsValid)
			if at := w.account().Status.NextAttemptTime; at != nil {
				t.Fatalf("the status names the next attempt: %s", at)
			}
			fetches := w.fetches()
			w.restart()
			w.live(2 * time.Minute)
			if fetched := w.condition(v1alpha1.ConditionFetched); w.fetches() == fetches || fetched.Status == metav1.ConditionTrue {
				t.Errorf("the last look has failed, %d were made since, and Fetched is %s %s: %s", w.fetches()-fetches, fetched.Status, fetched.Reason, fetched.Message)
			}
		})
	}
}

// TestALookThatIsUndoneIsMadeAfterARestart restarts the operator while a look that is due has failed or can't be made.
// The interval tells a new process nothing of such a look, because a restart makes no look early.
func TestALookThatIsUndoneIsMadeAfterARestart(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		prevent, allow func(*world)
		because        string
	}{
		"the client credentials are deleted": {
			prevent: func(w *world) { must(w.T, w.admin.Delete(w.Context(), w.secret("credentials"))) },
			allow:   func(w *world) { w.createCredentials() },
			because: v1alpha1.ReasonCredentialsMissing,
		},
		"it is suspended after a look has failed": {
			prevent: func(w *world) {
				must(w.T, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAccount, Status: http.StatusServiceUnavailable}))
				w.reconcile()
				w.pipedream.ClearFaults()
				change(w, w.account(), func(account *v1alpha1.PipedreamAccount) { account.Spec.Suspend = true })
			},
			allow: func(w *world) {
				change(w, w.account(), func(account *v1alpha1.PipedreamAccount) { account.Spec.Suspend = false })
			},
			because: v1alpha1.ReasonSuspended,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fetched(eachTenMinutes)
			must(t, w.pipedream.Accounts.Refresh(accountID))
			w.pass(10 * time.Minute)
			test.prevent(w)
			w.live(30 * time.Second)
			w.wantReasons(test.because, v1alpha1.ReasonCredentialsValid)
			fetches := w.fetches()
			for range 2 {
				w.restart()
				w.reconcile()
				w.wantReasons(test.because, v1alpha1.ReasonCredentialsValid)
			}
			w.wantFetches(fetches)
			test.allow(w)
			w.live(2 * time.Minute)
			w.wantFetches(fetches + 1)
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
			if !w.accepted() {
				t.Error("the app refuses the credentials in the Secret")
			}
		})
	}
}

// TestAQueuedLookIsNotForgottenByTwoRestarts restarts the operator twice while a look waits because Pipedream limits
// the rate of requests. The first restart must not lead to a status that says that the last look was answered.
func TestAQueuedLookIsNotForgottenByTwoRestarts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fetched(eachTenMinutes)
	w.pass(10 * time.Minute)
	for range 3 {
		w.reconciler.Requests.Pause(projectID, w.clock.Now().Add(5*time.Minute))
		w.live(30 * time.Second)
		w.wantReasons(v1alpha1.ReasonQueued, v1alpha1.ReasonCredentialsValid)
		w.restart()
	}
	w.reconciler.Requests = nobodysTurn{w.reconciler.Requests, w}
	w.reconcile()
	w.wantReasons(v1alpha1.ReasonQueued, v1alpha1.ReasonCredentialsValid)
	w.wantFetches(1)
	w.restart()
	w.live(time.Minute)
	w.wantFetches(2)
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
}

// TestCredentialsThatCouldNotBeWrittenAreWrittenAfterARestart has Pipedream refresh the account, and the API server not
// answer when the new credentials are written. The status says so, and the operator is restarted.
func TestCredentialsThatCouldNotBeWrittenAreWrittenAfterARestart(t *testing.T) {
	t.Parallel()
	for name, isRestarted := range restarts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fetched(eachTenMinutes)
			older := string(w.target().Data["oauth_access_token"])
			must(t, w.pipedream.Accounts.Refresh(accountID))
			w.pass(10 * time.Minute)
			w.wire.Respond(refuse("PUT secrets", http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable))
			_, _ = w.tryReconcile()
			w.wantReasons(v1alpha1.ReasonClusterUnavailable, v1alpha1.ReasonCredentialsValid)
			w.wantFetches(2)
			w.wire.Respond(nil)
			if isRestarted {
				w.restart()
			}
			w.live(5 * time.Minute)
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
			if string(w.target().Data["oauth_access_token"]) == older {
				t.Errorf("the Secret holds the credentials from before the refresh, and Pipedream was asked %d times", w.fetches())
			}
		})
	}
}
