// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// TestWriteThatIsAlwaysOvertakenIsAnError has another writer be faster each time, without an event on the watch.
func TestWriteThatIsAlwaysOvertakenIsAnError(t *testing.T) {
	w := newWorld(t)
	w.createCredentials()
	w.create()
	w.wire.cut(func(call string, forward func() (*http.Response, error)) (*http.Response, error) {
		if call == "POST secrets" {
			return statusAnswer(apierrors.NewAlreadyExists(schema.GroupResource{Resource: "secrets"}, "orders-pipedream"))
		}
		return forward()
	})
	result, err := w.tryReconcile()
	if err == nil {
		t.Errorf("no error, and the pending token waits %v", result.RequeueAfter)
	}
}

// TestTokenIsWrittenInTheReconcileThatIssuedIt corrects credentials that were rejected. The wait after
// the rejection does not hold up the write.
func TestTokenIsWrittenInTheReconcileThatIssuedIt(t *testing.T) {
	w := newWorld(t)
	w.issued()
	w.pass(time.Minute)
	change(w, w.secret("credentials"), func(s *corev1.Secret) { s.Data["client_secret"] = []byte("wrong") })
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonCredentialsRejected)
	must(t, w.pipedream.SetClient("client-two", "another secret"))
	w.pass(20 * time.Second)
	change(w, w.secret("credentials"), func(s *corev1.Secret) {
		s.Data = map[string][]byte{"client_id": []byte("client-two"), "client_secret": []byte("another secret")}
	})
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)
}

// TestRestoredFailureThatQueuesWritesNothing lets the attempt after a failure wait for its turn, after a restart.
func TestRestoredFailureThatQueuesWritesNothing(t *testing.T) {
	w := newWorld(t)
	w.createCredentials()
	w.create()
	answers(simulator.Fault{Status: 503})(w)
	w.reconcile()
	before := w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonEndpointUnavailable)
	w.restart()
	w.occupy(5 * time.Second)
	w.wire.reset()
	w.pass(2 * time.Second)
	w.reconcile()
	after := w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonEndpointUnavailable)
	w.wantRequests(map[string]int{})
	if before.Message != after.Message {
		t.Error("the message has lost its detail")
	}
}

// TestOwnerWithALongName has a Secret belong to something with a name that no message can hold.
func TestOwnerWithALongName(t *testing.T) {
	for _, how := range []string{"annotation", "controller"} {
		t.Run(how, func(t *testing.T) {
			w := newWorld(t)
			w.createCredentials()
			taken := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "orders-pipedream"}}
			if how == "annotation" {
				taken.Annotations = map[string]string{v1alpha1.OwnerAnnotation: strings.Repeat("x", 40000)}
			} else {
				taken.OwnerReferences = []metav1.OwnerReference{{APIVersion: "a/v1", Kind: "A", Name: strings.Repeat("x", 40000), UID: "1", Controller: new(true)}}
			}
			must(t, w.admin.Create(t.Context(), taken))
			w.create()
			for range 3 {
				w.reconcile()
				w.pass(time.Minute)
			}
			w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonSecretNotOwned)
		})
	}
}

// TestTemplatesThatWereCorrectedBeforeARestart corrects the templates, and restarts the operator before it has written the Secret.
func TestTemplatesThatWereCorrectedBeforeARestart(t *testing.T) {
	w := newWorld(t)
	w.issued()
	change(w, w.token(), func(p *v1alpha1.PipedreamToken) {
		p.Spec.Secret.Data = map[string]v1alpha1.ValueTemplate{"config": "{{ .AccessToken | nothing }}"}
	})
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonTemplateInvalid)
	change(w, w.token(), func(p *v1alpha1.PipedreamToken) {
		p.Spec.Secret.Data = map[string]v1alpha1.ValueTemplate{"config": "{{ .AccessToken }}"}
	})
	w.wire.cut(func(call string, forward func() (*http.Response, error)) (*http.Response, error) {
		if call == "PUT secrets" {
			return statusAnswer(apierrors.NewTimeoutError("etcd is away", 1))
		}
		return forward()
	})
	if _, err := w.tryReconcile(); err == nil {
		t.Error("the write has failed, and there is no error")
	}
	w.wire.cut(nil)
	w.restart()
	for range 5 {
		w.pass(time.Minute)
		w.reconcile()
	}
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)
}

// TestMessageNamesTheOwnerAsItIs takes the owner of a foreign Secret away after a restart.
func TestMessageNamesTheOwnerAsItIs(t *testing.T) {
	w := newWorld(t)
	w.createCredentials()
	taken := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "orders-pipedream"}}
	taken.OwnerReferences = []metav1.OwnerReference{{APIVersion: "a/v1", Kind: "Widget", Name: "first", UID: "1", Controller: new(true)}}
	must(t, w.admin.Create(t.Context(), taken))
	w.create()
	w.reconcile()
	w.restart()
	w.reconcile()
	change(w, w.target(), func(s *corev1.Secret) { s.OwnerReferences = nil })
	w.reconcile()
	got := w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonSecretNotOwned)
	if strings.Contains(got.Message, "first") {
		t.Errorf("nobody controls the Secret any longer: %s", got.Message)
	}
}

// TestReadyKnowsWhetherThereIsASecret deletes an edited Secret after a restart.
func TestReadyKnowsWhetherThereIsASecret(t *testing.T) {
	w := newWorld(t)
	w.issued()
	change(w, w.target(), func(s *corev1.Secret) { s.Data["access_token"] = []byte("x") })
	must(t, w.admin.Delete(t.Context(), w.secret("credentials")))
	w.reconcile()
	w.restart()
	must(t, w.admin.Delete(t.Context(), w.target()))
	for range 3 {
		w.reconcile()
		w.pass(time.Hour)
	}
	got := w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNotIssued)
	if strings.Contains(got.Message, "has changed the Secret") {
		t.Errorf("there is no Secret: %s", got.Message)
	}
}

// TestMessageNamesTheEndOfThePauseAsItIs restarts the operator in a pause, which is then a longer one.
func TestMessageNamesTheEndOfThePauseAsItIs(t *testing.T) {
	w := newWorld(t)
	w.createCredentials()
	w.create()
	w.reconciler.TokenRequests.Pause(w.clock.Now().Add(5 * time.Minute))
	w.reconcile()
	w.restart()
	w.reconciler.TokenRequests.Pause(w.clock.Now().Add(12 * time.Minute))
	w.reconcile()
	w.pass(6 * time.Minute)
	w.reconcile()
	got := w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionUnknown, v1alpha1.ReasonQueued)
	if strings.Contains(got.Message, "03:09:05") {
		t.Errorf("it is %v: %s", w.clock.Now(), got.Message)
	}
}

// lagging shows the metadata of one Secret as they were.
type lagging struct {
	client.Reader
	name string
	as   *metav1.PartialObjectMetadata
}

func (l lagging) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	if into, ok := object.(*metav1.PartialObjectMetadata); ok && key.Name == l.name {
		l.as.DeepCopyInto(into)
		return nil
	}
	return l.Reader.Get(ctx, key, object, options...)
}

// TestTurnIsGivenUpWithoutCredentials lets the turn come in the same reconcile that finds no credentials.
func TestTurnIsGivenUpWithoutCredentials(t *testing.T) {
	w := newWorld(t)
	w.issued()
	w.passUntil(w.token().Status.RenewalTime)
	w.pass(time.Second)
	change(w, w.token(), func(p *v1alpha1.PipedreamToken) { p.Spec.RenewBeforeSeconds = 1900 })
	w.reconciler.Cache = lagging{w.reconciler.Cache, "credentials", &metav1.PartialObjectMetadata{ObjectMeta: w.secret("credentials").ObjectMeta}}
	must(t, w.admin.Delete(t.Context(), w.secret("credentials")))
	w.occupy(5 * time.Second)
	advanced := false
	w.wire.cut(func(call string, forward func() (*http.Response, error)) (*http.Response, error) {
		if call == "GET secrets" && !advanced {
			advanced = true
			w.pass(5100 * time.Millisecond)
		}
		return forward()
	})
	w.reconcile()
	other := throttle.Requester{Kind: "x", Group: "elsewhere", Name: "another"}
	ticket := w.reconciler.TokenRequests.Reserve(other, throttle.ReserveOptions{Lane: throttle.NearEnd})
	if !ticket.IsReady {
		t.Errorf("the turn is still taken")
	}
}

// TestSecretThatHasLostItsAnnotations takes the operator's annotations away. The owner reference
// stays.
func TestSecretThatHasLostItsAnnotations(t *testing.T) {
	w := newWorld(t)
	w.issued()
	change(w, w.target(), func(s *corev1.Secret) { s.Annotations = nil })
	w.reconcile()
	w.wantMessage(w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonSecretNotOwned),
		"Secret `orders-pipedream` has lost its annotation `pipedream-operator.io/owner`")
}

func TestRejectedScopesOfASpecWithoutScopes(t *testing.T) {
	w := newWorld(t)
	w.createCredentials()
	w.create(func(p *v1alpha1.PipedreamToken) { p.Spec.Scopes = nil })
	answers(simulator.Fault{Status: 400, Body: `{"error":"invalid_scope"}`})(w)
	w.reconcile()
	w.wantMessage(w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonScopeRejected), "(HTTP status 400")
}

// TestEndOfAPauseWritesNothing lets a request queue that was rate limited before a restart.
func TestEndOfAPauseWritesNothing(t *testing.T) {
	w := newWorld(t)
	w.createCredentials()
	w.create()
	answers(simulator.Fault{Status: 429, Headers: map[string]string{"Retry-After": "60"}})(w)
	w.reconcile()
	w.restart()
	w.reconcile()
	w.pass(61 * time.Second)
	w.occupy(5 * time.Second)
	w.wire.reset()
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonRateLimited)
	w.wantRequests(map[string]int{})
}
