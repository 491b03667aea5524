// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// TestAnAnnotationOfTheClientsSecretCostsNothing has somebody annotate the Secret with the client credentials, while
// nothing is due. All accounts of the client are reconciled then.
func TestAnAnnotationOfTheClientsSecretCostsNothing(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*world){
		"the account was fetched": func(w *world) { w.fetched(eachTenMinutes) },
		"the account was fetched by an earlier process": func(w *world) {
			w.fetched(eachTenMinutes)
			w.restart()
		},
		"the target is not the operator's": func(w *world) {
			w.fetched(eachTenMinutes)
			change(w, w.target(), func(s *corev1.Secret) { delete(s.Annotations, v1alpha1.OwnerAnnotation); s.OwnerReferences = nil })
			w.reconcile()
			w.wantReasons(v1alpha1.ReasonSecretNotOwned, v1alpha1.ReasonNotFetched)
			w.wire.Reset()
		},
	}
	for name, given := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			given(w)
			before := w.account().Status.ReferencedSecretResourceVersion
			for _, value := range []string{"one", "two", "three"} {
				w.annotateCredentials(value)
				w.pass(15 * time.Second)
				w.reconcile()
			}
			w.wantRequests(map[string]int{})
			if after := w.account().Status.ReferencedSecretResourceVersion; after != before || before == "" {
				t.Errorf("the status names version %q of the Secret, want %q: nobody has read another one", after, before)
			}
		})
	}
}

// TestTheNextLookReportsTheVersionOfTheClientsSecret has the operator look at the account with the new version.
func TestTheNextLookReportsTheVersionOfTheClientsSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fetched(eachTenMinutes)
	w.annotateCredentials("one")
	w.pass(11 * time.Minute)
	w.reconcile()
	w.wantFetches(2)
	w.wantVersionRead(w.secret("credentials").ResourceVersion)

	// The version of another Secret says nothing about the one that the spec names now.
	other := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "others"}, Data: w.secret("credentials").Data}
	must(t, w.admin.Create(w.Context(), other))
	change(w, w.account(), func(account *v1alpha1.PipedreamAccount) { account.Spec.ClientSecretRef.Name = "others" })
	w.reconcile()
	w.wantFetches(2)
	w.wantVersionRead("")
	w.pass(11 * time.Minute)
	w.reconcile()
	w.wantFetches(3)
	w.wantVersionRead(other.ResourceVersion)
}

func (w *world) annotateCredentials(value string) {
	w.Helper()
	change(w, w.secret("credentials"), func(s *corev1.Secret) { s.Annotations = map[string]string{"example.com/touched": value} })
}

// wantVersionRead checks which version of the client's Secret was read, as the status says.
func (w *world) wantVersionRead(want string) {
	w.Helper()
	if got := w.account().Status.ReferencedSecretResourceVersion; got != want {
		w.Errorf("the status names version %q of the Secret, want %q", got, want)
	}
}

// TestALookAfterAChangeWhileNoOperatorRan changes the interval while no operator runs. The status still names the version
// of the client's Secret that was read, so that a look which brings nothing new has nothing to report.
func TestALookAfterAChangeWhileNoOperatorRan(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fetched(eachTenMinutes)
	read := w.account().Status.ReferencedSecretResourceVersion
	change(w, w.account(), func(account *v1alpha1.PipedreamAccount) { account.Spec.FetchIntervalSeconds = 300 })
	w.restart()
	w.reconcile()
	w.live(4 * time.Minute)
	if got := w.account().Status.ReferencedSecretResourceVersion; got != read || read == "" {
		t.Errorf("the status names version %q of the client's Secret, want %q as before", got, read)
	}
	w.wire.Reset()
	fetches := w.fetches()
	w.live(20 * time.Minute)
	if w.fetches() == fetches {
		t.Error("there was no look")
	}
	if got := w.wire.Requests()["PATCH pipedreamaccounts/status"]; got != 0 {
		t.Errorf("looks that bring nothing new wrote %d statuses", got)
	}
}
