// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

func TestObjectThatTheOperatorHasNotSeen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create()
	w.wantDefaultStatus()
	ready := w.condition(v1alpha1.ConditionReady)
	if ready == nil || ready.Status != metav1.ConditionFalse || ready.Reason != v1alpha1.ReasonNotIssued {
		t.Fatalf("Ready is %v, want it False from the first second", ready)
	}
	w.wantMessage(*ready, "watches this namespace")
	w.createCredentials()
	w.wantRecovery()
}

// missing are the ways in which credentials can be missing.
func missing() map[string]trouble {
	ways := map[string]trouble{
		"the Secret is absent": {
			begin:    func(w *world) { must(w.T, w.admin.Delete(w.Context(), w.secret("credentials"))) },
			end:      (*world).createCredentials,
			happened: "Secret `credentials` (`spec.clientSecretRef.name`) does not exist",
		},
	}
	fields := map[string]string{"client_id": "clientIDKey", "client_secret": "clientSecretKey"}
	for _, key := range []string{"client_id", "client_secret"} {
		for _, value := range []string{"absent", "", " \n"} {
			ways[fmt.Sprintf("%s is %q", key, value)] = trouble{
				begin: func(w *world) {
					change(w, w.secret("credentials"), func(s *corev1.Secret) {
						if s.Data[key] = []byte(value); value == "absent" {
							delete(s.Data, key)
						}
					})
				},
				end: func(w *world) {
					// The line feeds are no part of them.
					change(w, w.secret("credentials"), func(s *corev1.Secret) {
						s.Data = map[string][]byte{"client_id": []byte(clientID + "\n"), "client_secret": []byte(clientSecret + "\n")}
					})
				},
				happened: "Secret `credentials` has no value under key `" + key + "` (`spec.clientSecretRef." + fields[key] + "`)",
			}
		}
	}
	return ways
}

func TestMissingCredentials(t *testing.T) {
	t.Parallel()
	for name, test := range missing() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.reason = v1alpha1.ReasonCredentialsMissing
			w := newWorld(t)
			w.clock.SetTime(w.clock.Now().Truncate(time.Second))
			w.createCredentials()
			w.create()
			// First before there is a token, then while one is held.
			for exchanges := range 2 {
				test.begin(w)
				w.wantStallAfterGrace(test)
				w.wantExchanges(exchanges)
				test.end(w)
				w.wantRecovery()
				w.wantExchanges(1)
				w.wantAccepted()
			}
		})
	}
}

// wantStallAfterGrace has credentials missed, for so long that a person is called.
func (w *world) wantStallAfterGrace(tr trouble) {
	w.Helper()
	since := w.clock.Now()
	w.reconcile()
	if got := w.wantFailure(tr, since, true).Status.NextAttemptTime; got != nil {
		w.Errorf("nextAttemptTime is %v, though only a change of the Secret leads to an attempt", got)
	}
	w.wire.reset()
	w.reconcile()
	w.wantRequests(noRequests)

	w.pass(missingCredentialsGrace - time.Second)
	if wake := w.reconcile().RequeueAfter; wake != time.Second {
		w.Errorf("the next visit is in %v, want it when the grace ends", wake)
	}
	w.wantFailure(tr, since, false)
	w.pass(time.Second)
	w.reconcile()
	token := w.token()
	renewed := w.wantIn(token, v1alpha1.ConditionRenewed, metav1.ConditionFalse, tr.reason)
	w.wantMessage(w.wantIn(token, v1alpha1.ConditionStalled, metav1.ConditionTrue, tr.reason), renewed.Message)
	w.wantEvents()
}

func TestForeignSecretIsNamed(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		owner, whose string
		isControlled bool
	}{
		"of nobody":                  {whose: "is not the operator's"},
		"of another PipedreamToken":  {owner: "billing", whose: "belongs to PipedreamToken `billing`"},
		"of an object of a new kind": {owner: "PipedreamAccount/orders", whose: "belongs to PipedreamAccount `orders`"},
		"with a controller": {
			isControlled: true,
			whose:        "belongs to ConfigMap `shop`",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.createCredentials()
			foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "orders-pipedream"}}
			if test.isControlled {
				controller := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "shop"}}
				must(t, w.admin.Create(t.Context(), controller))
				foreign.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "shop", UID: controller.UID, Controller: new(true)}}
			}
			if test.owner != "" {
				foreign.Annotations = map[string]string{v1alpha1.OwnerAnnotation: test.owner}
			}
			must(t, w.admin.Create(t.Context(), foreign))
			w.create()
			tr := trouble{reason: v1alpha1.ReasonSecretNotOwned, happened: "The name of the Secret is taken (Secret `orders-pipedream` " + test.whose + ")"}
			since := w.clock.Now()
			for round := range 3 {
				w.reconcile()
				if got := w.wantFailure(tr, since, round == 0).Status.NextAttemptTime; got != nil {
					t.Errorf("nextAttemptTime is %v, though only a change of the Secret leads to an attempt", got)
				}
				w.pass(10 * time.Minute)
			}
			must(t, w.admin.Delete(t.Context(), foreign))
			w.wantRecovery()
			w.wantExchanges(1)
		})
	}
}

// TestForeignSecretIsHandedOver follows the advice of the message: the Secret is never away.
func TestForeignSecretIsHandedOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.createCredentials()
	foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "orders-pipedream"}, StringData: map[string]string{"access_token": "old"}}
	must(t, w.admin.Create(t.Context(), foreign))
	w.create()
	w.reconcile()
	w.wantMessage(w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonSecretNotOwned), "annotation `pipedream-operator.io/owner`")
	change(w, foreign, func(s *corev1.Secret) { s.Annotations = map[string]string{v1alpha1.OwnerAnnotation: "orders"} })
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	if got := w.target(); got.UID != foreign.UID {
		t.Error("the Secret is another one")
	}
	w.wantAccepted()
}

// limitSecrets has a quota refuse every further Secret of the namespace.
func limitSecrets(w *world) {
	w.Helper()
	must(w.T, w.admin.Create(w.Context(), &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "secrets"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/secrets": resource.MustParse("1")}},
	}))
	w.waitUntilTokensAre("refused", apierrors.IsForbidden)
}

func unlimitSecrets(w *world) {
	w.Helper()
	must(w.T, w.admin.DeleteAllOf(w.Context(), &corev1.ResourceQuota{}, client.InNamespace(w.namespace)))
	w.waitUntilTokensAre("accepted", func(err error) bool { return err == nil })
}

// forbidTokens has an admission policy refuse Secrets with tokens, in words that
// nobody must see.
func forbidTokens(w *world) {
	w.Helper()
	policy := &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: w.namespace},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: w.namespace}},
				ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
					Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"secrets"}},
				}}},
			},
			Validations: []admissionv1.Validation{{
				Expression:        "!('access_token' in object.data)",
				MessageExpression: "'no token such as ' + string(object.data.access_token)",
			}},
		},
	}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: w.namespace},
		Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName:        w.namespace,
			ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
		},
	}
	admission := w.admissionClient()
	must(w.T, admission.Create(w.Context(), policy))
	must(w.T, admission.Create(w.Context(), binding))
	w.Cleanup(func() {
		// They belong to no namespace, and other tests share the cluster.
		_ = admission.Delete(context.WithoutCancel(w.Context()), binding)
		_ = admission.Delete(context.WithoutCancel(w.Context()), policy)
	})
	w.waitUntilTokensAre("refused", apierrors.IsInvalid)
}

func allowTokens(w *world) {
	w.Helper()
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}
	must(w.T, w.admissionClient().Delete(w.Context(), binding))
	w.waitUntilTokensAre("accepted", func(err error) bool { return err == nil })
}

func (w *world) admissionClient() client.Client {
	w.Helper()
	scheme := newScheme(w.T)
	must(w.T, admissionv1.AddToScheme(scheme))
	admission, err := client.New(cluster.Config, client.Options{Scheme: scheme})
	must(w.T, err)
	return admission
}

// waitUntilTokensAre waits until the API server acts on what it was told about
// Secrets with tokens.
func (w *world) waitUntilTokensAre(what string, isSo func(error) bool) {
	w.Helper()
	harness.Wait{Every: 20 * time.Millisecond}.Eventually(w.T, "Secrets with tokens to be "+what, func() string {
		probe := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "probe"},
			StringData: map[string]string{"access_token": "none"},
		}
		if err := w.admin.Create(w.Context(), probe, client.DryRunAll); !isSo(err) {
			return fmt.Sprintf("a dry run says %v", err)
		}
		return ""
	})
}

func freeze(w *world) {
	w.Helper()
	change(w, w.target(), func(s *corev1.Secret) { s.Immutable = new(true) })
}

func deleteTarget(w *world) {
	w.Helper()
	must(w.T, w.admin.Delete(w.Context(), w.target()))
}

// A token that can't be stored is kept, and stored when the obstacle has gone.
func TestTokenThatTheAPIServerDoesNotStore(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		begin, end func(*world)
		status     string
		isHeld     bool
		// isNoticed tells that the end is seen at once, without waiting for the next
		// attempt.
		isNoticed bool
	}{
		"because of a quota":                                    {begin: limitSecrets, end: unlimitSecrets, status: "403 Forbidden"},
		"because of an admission policy":                        {begin: forbidTokens, end: allowTokens, status: "422 Invalid"},
		"because of an admission policy, while another is held": {begin: forbidTokens, end: allowTokens, status: "422 Invalid", isHeld: true},
		"because the Secret is immutable":                       {begin: freeze, end: deleteTarget, status: "422 Invalid, about immutable, data", isHeld: true, isNoticed: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.createCredentials()
			w.create()
			want := 1
			if test.isHeld {
				want = 2
				w.wantRecovery()
			}
			test.begin(w)
			if test.isHeld {
				w.reconcile()
				w.passUntil(w.token().Status.RenewalTime)
			}
			w.wantFailures(trouble{
				begin:    nothing,
				reason:   v1alpha1.ReasonSecretWriteRefused,
				happened: "The API server refuses to store the Secret (HTTP status " + test.status + ")",
			}, 2)
			w.wantExchanges(want)
			test.end(w)
			if !test.isNoticed {
				w.passToNextAttempt()
			}
			w.wantRecovery()
			w.wantExchanges(want)
			w.wantAccepted()
		})
	}
}

// unavailable makes all further token requests fail.
func unavailable(w *world) {
	w.Helper()
	must(w.T, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointToken, Status: 500}))
}

func TestReadyTellsWhatTheHeldTokenIsWorth(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		spoil           func(*world)
		reason, message string
		// events are those since the token was good, and those of the recovery.
		events, recovery []string
	}{
		"it has expired": {
			spoil: func(w *world) {
				w.passUntil(w.token().Status.RenewalTime)
				w.reconcile()
				expiry := w.token().Status.ExpirationTime
				w.clock.SetTime(expiry.Add(-time.Second))
				if wake := w.reconcile().RequeueAfter; wake > time.Second {
					w.Errorf("the next visit is in %v, want it when the token expires, in a second", wake)
				}
				w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
				w.passUntil(expiry)
			},
			reason:   v1alpha1.ReasonTokenExpired,
			message:  "The token in the Secret expired at 2026-01-02T04:04:05Z,",
			events:   []string{"Warning EndpointUnavailable", "Warning TokenExpired"},
			recovery: []string{"Normal Issued"},
		},
		"it was revoked": {
			spoil: func(w *world) {
				change(w, w.token(), withVerification)
				w.pipedream.RevokeAll()
				w.pass(time.Minute)
			},
			reason:  v1alpha1.ReasonTokenRevoked,
			message: "Pipedream refuses the token in the Secret,",
			// Ready and Verified have changed, and each says so.
			events:   []string{"Warning EndpointUnavailable", "Warning TokenRevoked", "Warning TokenRevoked"},
			recovery: []string{"Normal Issued", "Normal TokenAccepted"},
		},
		"other scopes are wanted": {
			spoil: func(w *world) {
				w.pass(time.Minute)
				change(w, w.token(), func(p *v1alpha1.PipedreamToken) { p.Spec.Scopes = append(p.Spec.Scopes, "connect:users:read") })
			},
			reason:   v1alpha1.ReasonTokenOutdated,
			message:  "The token in the Secret was issued for other scopes",
			events:   []string{"Warning EndpointUnavailable", "Warning TokenOutdated"},
			recovery: []string{"Normal Issued"},
		},
		"somebody has deleted the Secret": {
			spoil: func(w *world) {
				w.pass(time.Minute)
				deleteTarget(w)
			},
			reason:   v1alpha1.ReasonNotIssued,
			message:  "There is no Secret with a token for this PipedreamToken.",
			events:   []string{"Warning EndpointUnavailable", "Warning NotIssued"},
			recovery: []string{"Normal Issued"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.issued()
			drain(w.events.Events)
			unavailable(w)
			test.spoil(w)
			for range 2 {
				w.reconcile()
				ready := w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, test.reason)
				w.wantMessage(ready, test.message)
				w.wantMessage(ready, "Condition Renewed says why.")
				renewed := w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonEndpointUnavailable)
				w.wantMessage(renewed, "The Secret holds no usable token.")
			}
			if got := drain(w.events.Events); !slices.Equal(got, test.events) {
				t.Errorf("the events are %v, want %v", got, test.events)
			}
			w.pipedream.ClearFaults()
			w.passToNextAttempt()
			w.reconcile()
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
			w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)
			w.wantAccepted()
			if got := drain(w.events.Events); !slices.Equal(got, test.recovery) {
				t.Errorf("the events of the recovery are %v, want %v", got, test.recovery)
			}
		})
	}
}

func TestAnswersThatSayNothingAboutTheToken(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fault  simulator.Fault
		detail string
		// pause is how long the verifications of all tokens pause in the end.
		pause time.Duration
	}{
		"403":                   {fault: simulator.Fault{Status: 403}, detail: "HTTP status 403 Forbidden"},
		"404":                   {fault: simulator.Fault{Status: 404}, detail: "HTTP status 404 Not Found"},
		"408":                   {fault: simulator.Fault{Status: 408}, detail: "HTTP status 408 Request Timeout"},
		"429":                   {fault: simulator.Fault{Status: 429}, detail: "HTTP status 429 Too Many Requests", pause: 2 * time.Minute},
		"500":                   {fault: simulator.Fault{Status: 500}, detail: "HTTP status 500 Internal Server Error"},
		"503":                   {fault: simulator.Fault{Status: 503}, detail: "HTTP status 503 Service Unavailable"},
		"a redirect":            {fault: simulator.Fault{Status: 302, Headers: map[string]string{"Location": "/"}}, detail: "HTTP status 302 Found"},
		"a dropped connection":  {fault: simulator.Fault{Drop: simulator.DropBeforeAnswer}, detail: "the connection was closed before the answer was complete"},
		"half of a good answer": {fault: simulator.Fault{Drop: simulator.DropMidBody}, detail: "the connection was closed before the answer was complete"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.issued(withVerification)
			drain(w.events.Events)
			for range 2 {
				w.pass(time.Minute)
				w.reconcile()
				w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionTrue, v1alpha1.ReasonTokenAccepted)
				if got, want := drain(w.events.Events), []string{"Normal TokenAccepted"}; !slices.Equal(got, want) {
					t.Errorf("the events are %v, want %v", got, want)
				}
				test.fault.Endpoint = simulator.EndpointAccounts
				must(t, w.pipedream.AddFault(test.fault))
				for range 2 {
					w.pass(time.Minute)
					w.reconcile()
					w.wantMessage(w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionUnknown, v1alpha1.ReasonVerificationInconclusive), "("+test.detail+")")
					w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
					w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)
				}
				if got := drain(w.events.Events); len(got) != 0 {
					t.Errorf("the events are %v, want none", got)
				}
				w.pipedream.ClearFaults()
				w.pass(test.pause)
			}
			w.wantExchanges(1)
		})
	}
}

// The digest of a Secret has no key, so that whoever may write the Secret can make
// one that fits. A time that no status can show must not silence the operator.
func TestForgedTimeIsNoRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issued()
	w.pass(time.Minute)
	change(w, w.target(), func(s *corev1.Secret) {
		s.Annotations[v1alpha1.ExpiresAtAnnotation] = "9999-12-31T23:59:59-01:00"
		s.Annotations[v1alpha1.ContentAnnotation] = layout.Digest(s.Annotations, s.Data)
	})
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	w.wantExchanges(2)
	w.wantAccepted()
}
