// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

var (
	newObjectRequests = map[string]int{"GET secrets": 1, "POST secrets": 1, "PATCH pipedreamtokens/status": 1}
	renewalRequests   = map[string]int{"GET secrets": 1, "PUT secrets": 1, "PATCH pipedreamtokens/status": 1}
	noRequests        = map[string]int{}
)

func TestNewObjectGetsAToken(t *testing.T) {
	w := newWorld(t)
	w.createCredentials()
	w.create(func(token *v1alpha1.PipedreamToken) { token.Spec.Environment = v1alpha1.EnvironmentDevelopment })
	w.reconcile()

	w.wantExchanges(1)
	w.wantRequests(newObjectRequests)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)
	w.wantNoCondition(v1alpha1.ConditionStalled)
	w.wantNoCondition(v1alpha1.ConditionVerified)
	w.wantAccepted()

	token, secret := w.token(), w.target()
	issue := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if got := token.Status.IssueTime; got == nil || !got.Time.Equal(issue) {
		t.Errorf("issueTime is %v, want %v", got, issue)
	}
	if got := token.Status.ExpirationTime; got == nil || !got.Time.Equal(issue.Add(lifetime)) {
		t.Errorf("expirationTime is %v, want %v", got, issue.Add(lifetime))
	}
	if got, want := token.Status.Secret, (v1alpha1.CheckedSecret{Name: secret.Name, ResourceVersion: secret.ResourceVersion}); !cmp.Equal(got, want) {
		t.Errorf("status.secret is %v, want %v", got, want)
	}
	if token.Status.NextAttemptTime != nil {
		t.Errorf("nextAttemptTime is %v without a failure", token.Status.NextAttemptTime)
	}
	got := map[string]string{}
	for key, value := range secret.Data {
		got[key] = string(value)
	}
	want := map[string]string{
		"access_token": got["access_token"],
		"token_type":   "Bearer",
		"expires_at":   "2026-01-02T04:04:05Z",
		"scope":        "connect:accounts:read",
		"project_id":   "proj_abc123",
		"environment":  "development",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the Secret's data (-want +got):\n%s", diff)
	}
	if len(secret.Labels) != 0 {
		t.Errorf("the Secret has labels %v, want none", secret.Labels)
	}
	if owner := metav1.GetControllerOf(secret); owner == nil || owner.UID != token.UID || *owner.BlockOwnerDeletion {
		t.Errorf("the Secret's controller is %+v, want the PipedreamToken, with blockOwnerDeletion false", owner)
	}
}

func TestFirstTokenCostsNoMoreAfterAWait(t *testing.T) {
	w := newWorld(t)
	w.create()
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonCredentialsMissing)
	w.createCredentials()
	w.wire.reset()
	w.reconcile()
	w.wantExchanges(1)
	w.wantRequests(newObjectRequests)
}

func TestTokenThatIsNotDueIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.issued()
	before := w.target().ResourceVersion
	for range 10 {
		w.pass(3 * time.Minute)
		w.reconcile()
	}
	w.wantExchanges(1)
	w.wantRequests(noRequests)
	if after := w.target().ResourceVersion; after != before {
		t.Error("the Secret was written though nothing was due")
	}
}

func TestDueTokenIsRenewedExactlyOnce(t *testing.T) {
	w := newWorld(t)
	w.issued()
	first := w.target()
	w.passUntil(w.token().Status.RenewalTime)
	w.pass(-time.Second)
	w.reconcile()
	w.wantExchanges(1)

	w.pass(time.Second)
	w.reconcile()
	w.wantExchanges(2)
	w.wantRequests(renewalRequests)
	second := w.target()
	if second.UID != first.UID {
		t.Error("the Secret was made anew, want it replaced in place")
	}
	if string(second.Data["access_token"]) == string(first.Data["access_token"]) {
		t.Error("the Secret still holds the first token")
	}
	w.wantAccepted()
	for range 3 {
		w.reconcile()
	}
	w.wantExchanges(2)
	w.wantRequests(renewalRequests)
}

func TestReconcilerReturnsInTimeForEachRenewal(t *testing.T) {
	w := newWorld(t)
	w.issued()
	for w.exchanges() < 5 {
		w.pass(w.reconcile().RequeueAfter)
		w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
		if left := w.token().Status.ExpirationTime.Sub(w.clock.Now()); left < lifetime/4 {
			t.Fatalf("only %v of the token's life are left", left)
		}
	}
}

func TestRestartWithAGoodTokenAsksAndReadsNothing(t *testing.T) {
	w := newWorld(t)
	w.issued()
	w.pass(10 * time.Minute)
	w.restart()
	w.reconcile()
	w.wantExchanges(1)
	w.wantRequests(noRequests)
}

func TestLostStatusCostsTwoReadsAndNoToken(t *testing.T) {
	w := newWorld(t)
	w.issued()
	want := w.token().Status
	token := w.token()
	token.Status = v1alpha1.PipedreamTokenStatus{}
	must(t, w.admin.Status().Update(t.Context(), token))
	w.restart()
	w.reconcile()
	w.wantExchanges(1)
	w.wantRequests(map[string]int{"GET secrets": 2, "PATCH pipedreamtokens/status": 1})
	if diff := cmp.Diff(want, w.token().Status); diff != "" {
		t.Errorf("the status (-before +after it was lost):\n%s", diff)
	}
}

func TestForgedStatusIsCorrected(t *testing.T) {
	w := newWorld(t)
	w.issued()
	want := w.token().Status
	token := w.token()
	token.Status.ExpirationTime = new(metav1.NewTime(w.clock.Now().Add(1000 * time.Hour)))
	must(t, w.admin.Status().Update(t.Context(), token))
	w.reconcile()
	if diff := cmp.Diff(want, w.token().Status); diff != "" {
		t.Errorf("the status (-before +after it was forged):\n%s", diff)
	}
	w.wantExchanges(1)
}

func TestSecretIsRepaired(t *testing.T) {
	tests := map[string]func(*corev1.Secret){
		"when its token is edited":       func(s *corev1.Secret) { s.Data["access_token"] = []byte("edited") },
		"when a key is added":            func(s *corev1.Secret) { s.Data["more"] = []byte("x") },
		"when a key is removed":          func(s *corev1.Secret) { delete(s.Data, "expires_at") },
		"when its expiry is forged":      func(s *corev1.Secret) { s.Annotations[v1alpha1.ExpiresAtAnnotation] = "2030-01-01T00:00:00Z" },
		"when its record is removed":     func(s *corev1.Secret) { delete(s.Annotations, v1alpha1.IssuedAtAnnotation) },
		"when its record is unreadable":  func(s *corev1.Secret) { s.Annotations[v1alpha1.IssuedAtAnnotation] = "yesterday" },
		"when its digest is removed":     func(s *corev1.Secret) { delete(s.Annotations, v1alpha1.ContentAnnotation) },
		"when its issue time is forged":  func(s *corev1.Secret) { s.Annotations[v1alpha1.IssuedAtAnnotation] = "2026-01-02T03:04:04Z" },
		"when its scopes are forged":     func(s *corev1.Secret) { s.Annotations[v1alpha1.ScopesAnnotation] = "connect:*" },
		"when its inputs are forged":     func(s *corev1.Secret) { s.Annotations[v1alpha1.InputsAnnotation] = "forged" },
		"when its API is forged":         func(s *corev1.Secret) { s.Annotations[v1alpha1.APIAnnotation] = "https://example.com" },
		"when its request is made up":    func(s *corev1.Secret) { s.Annotations[v1alpha1.RenewRequestAnnotation] = "made up" },
		"when its data is all gone":      func(s *corev1.Secret) { s.Data = nil },
		"when its data is applied again": func(s *corev1.Secret) { s.Data["access_token"] = s.Data["expires_at"] },
	}
	for name, edit := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.issued()
			w.pass(time.Minute)
			change(w, w.target(), edit)
			w.reconcile()
			w.wantExchanges(2)
			w.wantAccepted()
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
			w.reconcile()
			w.wantExchanges(2)
		})
	}
}

func TestEditOfASecretIsSeenAfterARestart(t *testing.T) {
	w := newWorld(t)
	w.issued()
	w.pass(time.Minute)
	change(w, w.target(), func(s *corev1.Secret) { s.Data["access_token"] = []byte("edited") })
	w.restart()
	w.reconcile()
	w.wantExchanges(2)
	w.wantAccepted()
}

func TestRelabelledSecretCostsNoToken(t *testing.T) {
	w := newWorld(t)
	w.issued()
	change(w, w.target(), func(s *corev1.Secret) {
		s.Labels = map[string]string{"team": "orders"}
		s.Annotations["example.com/note"] = "kept"
		s.Finalizers = []string{"example.com/finalizer"}
	})
	w.reconcile()
	w.wantExchanges(1)
	if got := w.token().Status.Secret.ResourceVersion; got != w.target().ResourceVersion {
		t.Error("the status does not show that the Secret was checked")
	}
	w.passUntil(w.token().Status.RenewalTime)
	w.reconcile()
	w.wantExchanges(2)
	secret := w.target()
	if secret.Labels["team"] != "orders" || secret.Annotations["example.com/note"] != "kept" || len(secret.Finalizers) != 1 {
		t.Errorf("the renewal has changed what others have put on the Secret: %v %v %v", secret.Labels, secret.Annotations, secret.Finalizers)
	}
	change(w, secret, func(s *corev1.Secret) { s.Finalizers = nil })
}

func TestDeletedSecretComesBack(t *testing.T) {
	w := newWorld(t)
	w.issued()
	w.pass(time.Minute)
	must(t, w.admin.Delete(t.Context(), w.target()))
	w.reconcile()
	w.wantExchanges(2)
	w.wantAccepted()
}

func TestForeignSecretIsNeverTouched(t *testing.T) {
	tests := map[string]struct {
		annotations map[string]string
		controlled  bool
	}{
		"without any sign of us":               {},
		"of another PipedreamToken":            {annotations: map[string]string{v1alpha1.OwnerAnnotation: "invoices"}},
		"with our name and another controller": {annotations: map[string]string{v1alpha1.OwnerAnnotation: "orders"}, controlled: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.createCredentials()
			foreign := &corev1.Secret{StringData: map[string]string{"mine": "yes"}}
			foreign.Namespace, foreign.Name, foreign.Annotations = w.namespace, "orders-pipedream", test.annotations
			if test.controlled {
				controller := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "orders"}}
				must(t, w.admin.Create(t.Context(), controller))
				foreign.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(controller, corev1.SchemeGroupVersion.WithKind("ConfigMap"))}
			}
			must(t, w.admin.Create(t.Context(), foreign))
			w.create()
			for range 3 {
				w.reconcile()
				w.pass(10 * time.Minute)
			}
			w.wantExchanges(0)
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNotIssued)
			w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonSecretNotOwned)
			w.wantCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonSecretNotOwned)
			if got := w.target(); got.ResourceVersion != foreign.ResourceVersion {
				t.Error("the foreign Secret was written")
			}

			must(t, w.admin.Delete(t.Context(), foreign))
			w.reconcile()
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
			w.wantNoCondition(v1alpha1.ConditionStalled)
			w.wantExchanges(1)
		})
	}
}

func TestForeignSecretThatTheCacheDoesNotShowIsNotOverwritten(t *testing.T) {
	w := newWorld(t)
	w.createCredentials()
	w.create()
	w.reconciler.Cache = blindToSecret{Reader: w.admin, name: "orders-pipedream"}
	foreign := &corev1.Secret{StringData: map[string]string{"mine": "yes"}}
	foreign.Namespace, foreign.Name = w.namespace, "orders-pipedream"
	must(t, w.admin.Create(t.Context(), foreign))
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonSecretNotOwned)
	if got := w.target(); got.ResourceVersion != foreign.ResourceVersion {
		t.Error("the foreign Secret was written")
	}
}

func TestChangedWishesReachTheSecret(t *testing.T) {
	tests := map[string]struct {
		change        func(*v1alpha1.PipedreamToken)
		wantExchanges int
		wantKey       string
		wantValue     string
	}{
		"new scopes are asked for": {
			change:        func(p *v1alpha1.PipedreamToken) { p.Spec.Scopes = []string{"connect:accounts:read", "connect:*"} },
			wantExchanges: 2, wantKey: "scope", wantValue: "connect:* connect:accounts:read",
		},
		"no scopes are Pipedream's default": {
			change:        func(p *v1alpha1.PipedreamToken) { p.Spec.Scopes = nil },
			wantExchanges: 2, wantKey: "scope", wantValue: "*",
		},
		"another project is written without a new token": {
			change:        func(p *v1alpha1.PipedreamToken) { p.Spec.ProjectID = "proj_other" },
			wantExchanges: 1, wantKey: "project_id", wantValue: "proj_other",
		},
		"an environment is written without a new token": {
			change:        func(p *v1alpha1.PipedreamToken) { p.Spec.Environment = v1alpha1.EnvironmentProduction },
			wantExchanges: 1, wantKey: "environment", wantValue: "production",
		},
		"an absent project leaves no key": {
			change:        func(p *v1alpha1.PipedreamToken) { p.Spec.ProjectID = "" },
			wantExchanges: 1, wantKey: "project_id", wantValue: "",
		},
		"an earlier renewal changes nothing now": {
			change:        func(p *v1alpha1.PipedreamToken) { p.Spec.RenewBeforeSeconds = 1500 },
			wantExchanges: 1, wantKey: "project_id", wantValue: "proj_abc123",
		},
		"a requested renewal is made": {
			change: func(p *v1alpha1.PipedreamToken) {
				p.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "2026-01-02"}
			},
			wantExchanges: 2, wantKey: "project_id", wantValue: "proj_abc123",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.issued()
			w.pass(time.Minute)
			change(w, w.token(), test.change)
			for range 3 {
				w.reconcile()
			}
			w.wantExchanges(test.wantExchanges)
			w.wantAccepted()
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
			if got := string(w.target().Data[test.wantKey]); got != test.wantValue {
				t.Errorf("the Secret's %s is %q, want %q", test.wantKey, got, test.wantValue)
			}
			if got := w.token().Status.ObservedGeneration; got != w.token().Generation {
				t.Errorf("observedGeneration is %d, want %d", got, w.token().Generation)
			}
			w.restart()
			w.wire.reset()
			w.reconcile()
			w.wantRequests(noRequests)
		})
	}
}

func TestOrderOfScopesIsNoChange(t *testing.T) {
	w := newWorld(t)
	w.issued(func(p *v1alpha1.PipedreamToken) {
		p.Spec.Scopes = []string{"connect:users:read", "connect:accounts:read"}
	})
	w.pass(time.Minute)
	change(w, w.token(), func(p *v1alpha1.PipedreamToken) {
		p.Spec.Scopes = []string{"connect:accounts:read", "connect:users:read"}
	})
	w.reconcile()
	w.wantExchanges(1)
}

func TestTokenOfAnotherAPIAddressIsOutdated(t *testing.T) {
	w := newWorld(t)
	w.issued()
	w.pass(time.Minute)
	w.api = w.apiAt(strings.Replace(w.address, "127.0.0.1", "localhost", 1))
	w.restart()
	w.reconcile()
	w.wantExchanges(2)
}

func TestRepeatedDeletionsAreSpaced(t *testing.T) {
	w := newWorld(t)
	w.issued()
	for range 600 {
		if w.hasTarget() {
			must(t, w.admin.Delete(t.Context(), w.target()))
		}
		w.reconcile()
		w.pass(time.Second)
	}
	// 10 s after the first, then 10, 20, 40, 80, 160 and 300 s.
	if got := w.exchanges(); got < 6 || got > 7 {
		t.Errorf("ten minutes of deletions cost %d tokens, want 6 or 7", got)
	}
}
