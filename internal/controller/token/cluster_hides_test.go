// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

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

// failOneRead has one read of the Secret fail: somebody has labelled the Secret, so that it is read.
func (w *world) failOneRead() {
	w.Helper()
	w.label()
	w.wire.answerWith(func(r *http.Request) (*http.Response, error) {
		if reads("orders-pipedream")(r) {
			return says(503, metav1.StatusReasonServiceUnavailable)()
		}
		return nil, nil
	})
	_, _ = w.tryReconcile()
	w.wire.answerWith(nil)
}

// A read of the cluster that fails once must not replace what is known of Pipedream's answer: a
// restart in the time that Pipedream has asked for would send a request.
func TestFailedReadForgetsNoRetryAfter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issued()
	w.passUntil(w.token().Status.RenewalTime)
	answers(simulator.Fault{Status: 429, Headers: map[string]string{"Retry-After": "600"}})(w)
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonRateLimited)
	w.wantExchanges(2)
	w.pass(30 * time.Second)
	w.failOneRead()
	w.pass(10 * time.Second)
	w.reconcile() // The cluster answers.
	got := w.condition(v1alpha1.ConditionRenewed)
	if got.Reason == v1alpha1.ReasonClusterUnavailable {
		t.Errorf("the cluster works, and Pipedream wants a pause: %s: %s, next attempt %v", got.Reason, got.Message, w.token().Status.NextAttemptTime)
	}
	w.restart()
	w.reconcile()
	w.wantExchanges(2)
}

// The same for a refusal: its wait, and the count of refusals, begin anew.
func TestFailedReadHidesNoRefusedCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issued()
	w.passUntil(w.token().Status.RenewalTime)
	must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointToken, Status: 401, Body: `{"error":"invalid_client"}`}))
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonCredentialsRejected)
	w.wantCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonCredentialsRejected)
	w.pass(15 * time.Second)
	before := w.exchanges()
	w.failOneRead()
	w.wantCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonCredentialsRejected)
	w.restart()
	w.pass(2 * time.Second)
	w.reconcile()
	w.wantExchanges(before)
}

// While Pipedream does not answer, waiting is EndpointUnavailable: not ClusterUnavailable for as long
// as the outage lasts, because one read has failed once.
func TestFailedReadHidesNoOutage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issued()
	w.passUntil(w.token().Status.RenewalTime)
	failed := &pipedream.Error{Kind: pipedream.Unavailable, StatusCode: 503}
	limiter := w.reconciler.TokenRequests
	send := func(name string, request func()) {
		requester := throttle.Requester{Kind: kind, Group: "elsewhere", Name: name}
		limiter.Reserve(requester, throttle.ReserveOptions{})
		_ = limiter.Do(requester, throttle.DoOptions{}, func() error { request(); return failed })
	}
	for i := range 3 {
		send(fmt.Sprint(i), func() {})
	}
	w.pass(2 * time.Second)
	send("probe", func() {
		w.failOneRead()
		w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonClusterUnavailable)
		for range 6 {
			w.pass(5 * time.Minute / 6)
			w.reconcile()
		}
		renewed := w.condition(v1alpha1.ConditionRenewed)
		if renewed.Reason != v1alpha1.ReasonEndpointUnavailable {
			t.Errorf("five minutes after one failed read, in an outage of Pipedream: %s %s", renewed.Reason, renewed.Message)
		}
	})
}
