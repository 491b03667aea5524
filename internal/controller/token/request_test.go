// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// removeRequest removes the annotation that asks for a renewal, as Argo CD does with
// Replace=true.
func (w *world) removeRequest() {
	w.Helper()
	change(w, w.token(), func(token *v1alpha1.PipedreamToken) { token.Annotations = nil })
}

func TestRemovingTheRequestToRenewCostsNothing(t *testing.T) {
	w := newWorld(t)
	w.issued()
	w.pass(time.Minute)
	w.askForRenewal("first")
	w.reconcile()
	w.wantExchanges(2)

	w.pass(time.Minute)
	w.removeRequest()
	written := w.target().ResourceVersion
	w.reconcile()
	w.restart()
	w.reconcile()
	w.wantExchanges(2)
	if got := w.target().ResourceVersion; got != written {
		t.Error("the Secret was written though nothing was asked for")
	}
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)

	w.askForRenewal("") // An empty value asks for nothing either.
	w.reconcile()
	w.askForRenewal("first") // The current token was issued for this value.
	w.reconcile()
	w.wantExchanges(2)

	w.askForRenewal("second")
	w.reconcile()
	w.wantExchanges(3)
}

func TestRemovingTheRequestToRenewCutsNoWaitShort(t *testing.T) {
	w := newWorld(t)
	w.createCredentials()
	w.create(func(token *v1alpha1.PipedreamToken) {
		token.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "first"}
	})
	must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointToken, Status: 400}))
	w.reconcile()
	w.wantExchanges(1)

	w.pass(30 * time.Second)
	w.removeRequest()
	w.reconcile()
	// Nor is the wait cut short when the API server gives the credentials a new version.
	change(w, w.secret("credentials"), func(secret *corev1.Secret) { secret.Labels = map[string]string{"touched": "yes"} })
	w.reconcile()
	w.restart()
	w.reconcile()
	w.wantExchanges(1)

	w.passUntil(w.token().Status.NextAttemptTime)
	w.pass(time.Second)
	w.reconcile()
	w.wantExchanges(2)
	w.reconcile()
	if wait := w.token().Status.NextAttemptTime.Sub(w.clock.Now()); wait < 90*time.Second {
		t.Errorf("after the second failure the operator waits %v, want about two minutes: the wait has to double", wait)
	}
}

func TestARequestThatWasRemovedBeforeItsTurnIsNotAnswered(t *testing.T) {
	w := newWorld(t)
	w.issued()
	w.pass(time.Minute)
	w.askForRenewal("first")
	w.reconcile()
	w.wantExchanges(2)
	w.pass(time.Minute)
	w.occupy(20 * time.Second)
	w.askForRenewal("second")
	w.reconcile()
	w.removeRequest()
	w.pass(20 * time.Second)
	w.reconcile()
	w.wantExchanges(2)
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)
}
