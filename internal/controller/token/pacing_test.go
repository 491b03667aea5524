// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

func (w *world) askForRenewal(request string) {
	w.Helper()
	change(w, w.token(), func(token *v1alpha1.PipedreamToken) {
		token.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: request}
	})
}

func TestTransientFailuresByTurnsAreBackedOff(t *testing.T) {
	w := newWorld(t)
	w.createCredentials()
	w.create()
	for range 50 {
		must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointToken, Status: 502, Calls: 1}))
		must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointToken, Status: 200, Body: "<html>", Calls: 1}))
	}
	w.live(5*time.Minute, func() {})
	w.wantExchangesBetween(13, 18) // 1, 2, 4, 8, 16, 30, 30, ... s apart without a token, less the jitter.
}

func TestNextAttemptTimeIsTrueWhenRequestsAreSpaced(t *testing.T) {
	w := newWorld(t)
	must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointToken, Status: 500}))
	w.createCredentials()
	w.create()
	w.live(20*time.Minute, func() {})
	for i := range 6 {
		before := w.exchanges()
		w.askForRenewal(fmt.Sprint(i))
		for w.exchanges() == before {
			w.pass(w.reconcile().RequeueAfter)
		}
	}
	w.reconcile()
	w.pipedream.ClearFaults()
	before := w.exchanges()
	w.passUntil(w.token().Status.NextAttemptTime)
	w.pass(-time.Second)
	w.reconcile()
	w.wantExchanges(before)
	w.pass(2 * time.Second) // The status shows whole seconds.
	w.reconcile()
	w.wantExchanges(before + 1)
}

func TestGenerationThatWasNotTriedYetDoesNotStall(t *testing.T) {
	w := newWorld(t)
	w.createCredentials()
	w.create()
	must(t, w.pipedream.AddFault(simulator.Fault{
		Endpoint: simulator.EndpointToken, Status: 400, Body: `{"error":"invalid_scope"}`, Calls: 1,
	}))
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonScopeRejected)
	w.occupy(30 * time.Second)
	change(w, w.token(), func(token *v1alpha1.PipedreamToken) { token.Spec.Scopes = []string{"connect:accounts:write"} })
	w.reconcile()
	w.wantExchanges(1)
	w.wantNoCondition(v1alpha1.ConditionStalled)
	if got := w.token().Status.NextAttemptTime; got != nil {
		t.Errorf("the next attempt is said to be at %v, want nothing said while it waits for its turn", got)
	}
	w.pass(30 * time.Second)
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
}

func TestSlowRehearsalDoesNotLoseTheTurnForGood(t *testing.T) {
	w := newWorld(t)
	w.issued()
	w.pass(time.Minute)
	must(t, w.admin.Delete(t.Context(), w.target()))
	w.wire.cut(func(call string, forward func() (*http.Response, error)) (*http.Response, error) {
		if call == "POST secrets" {
			w.pass(11 * time.Second) // A webhook that fails open after its default timeout.
		}
		return forward()
	})
	w.reconcile()
	w.wantExchanges(2)
	if got := w.wire.requests["POST secrets"]; got != 2 {
		t.Errorf("the Secret was created or rehearsed %d times, want once each", got)
	}
}

func TestRequestThatIsMadeBetweenTwoRunsIsHeard(t *testing.T) {
	w := newWorld(t)
	w.issued()
	w.pipedream.DeleteClient(clientID)
	w.passUntil(w.token().Status.RenewalTime)
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonCredentialsRejected)
	must(t, w.pipedream.SetClient(clientID, clientSecret))
	w.askForRenewal("now")
	w.restart()
	w.pass(time.Second)
	w.reconcile()
	w.wantExchanges(3)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
}

func TestTimeoutOfTheAPIServerIsNoRefusal(t *testing.T) {
	w := newWorld(t)
	w.issued()
	w.passUntil(w.token().Status.RenewalTime)
	w.wire.cut(func(call string, forward func() (*http.Response, error)) (*http.Response, error) {
		if call != "PUT secrets" {
			return forward()
		}
		return &http.Response{
			StatusCode: http.StatusInternalServerError, ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{"Content-Type": {"application/json"}},
			Body: io.NopCloser(strings.NewReader(
				`{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"etcdserver: request timed out","code":500}`)),
		}, nil
	})
	if _, err := w.tryReconcile(); err == nil {
		t.Error("the visit ends well, want an error, for the workqueue to try again")
	}
	w.wantNoCondition(v1alpha1.ConditionStalled)
	w.wire.cut(nil)
	w.reconcile()
	w.wantExchanges(2)
	w.wantAccepted()
}

func TestEditGetsAWaitingRenewalIntoAnotherLane(t *testing.T) {
	w := newWorld(t)
	w.issued()
	w.passUntil(w.token().Status.RenewalTime)
	ready := w.occupy(5 * time.Second)
	another := throttle.Requester{Group: "elsewhere", Name: "another"}
	w.reconciler.TokenRequests.Reserve(another, throttle.ReserveOptions{Lane: throttle.DueRenewal})
	w.reconcile()
	w.rewrite(1)
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNotIssued)
	w.pass(6 * time.Second)
	if requesters, _ := ready.Next(); len(requesters) != 1 || requesters[0].Name != "orders" {
		t.Errorf("the turn is that of %v, want it to be that of the one without a token", requesters)
	}
}

func TestTouchedCredentialsKeepTheirPlace(t *testing.T) {
	w := newWorld(t)
	w.createCredentials()
	w.create()
	w.occupy(10 * time.Minute)
	for i := range 5 {
		w.reconcile()
		w.pass(5 * time.Second)
		change(w, w.secret("credentials"), func(s *corev1.Secret) { annotate(s, i) })
	}
	w.reconcile()
	queued := w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionUnknown, v1alpha1.ReasonQueued)
	if !strings.Contains(queued.Message, "since 2026-01-02T03:04:05Z") {
		t.Errorf("it is not said since when it waits: %s", queued.Message)
	}
}

func TestEditsOfASecretThatCanNotBeWrittenAreSpaced(t *testing.T) {
	w := newWorld(t)
	w.issued()
	change(w, w.target(), func(s *corev1.Secret) { s.Immutable = new(true) })
	w.passUntil(w.token().Status.RenewalTime)
	w.reconcile()
	w.wire.reset()
	for i := range 50 {
		change(w, w.target(), func(s *corev1.Secret) { annotate(s, i) })
		w.reconcile()
		w.pass(time.Second)
	}
	if got := w.wire.requests["PUT secrets"]; got < 2 || got > 4 {
		t.Errorf("in 50 s of edits the Secret was written %d times, want at 0, 10 and 30 s", got)
	}
}

func TestShortWaitAfterAFailureIsNotWorthAStatus(t *testing.T) {
	w := newWorld(t)
	w.createCredentials()
	w.create()
	w.pipedream.DeleteClient(clientID)
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonCredentialsRejected)
	before := w.token()
	w.occupy(30 * time.Second)
	change(w, w.secret("credentials"), func(s *corev1.Secret) { s.Data["client_secret"] = []byte("rotated") })
	w.reconcile()
	if after := w.token(); after.ResourceVersion != before.ResourceVersion {
		t.Errorf("the status is %+v after %+v, though nothing was tried yet", after.Status, before.Status)
	}
	w.pass(longQueue)
	w.reconcile()
	if got := w.token().Status.NextAttemptTime; got != nil {
		t.Errorf("the next attempt is said to be at %v, want nothing said while it waits for its turn for long", got)
	}
}
