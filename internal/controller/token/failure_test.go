// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// blindToSecret is a cache that has not seen a Secret yet.
type blindToSecret struct {
	client.Reader
	name string
}

func (b blindToSecret) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	if key.Name == b.name {
		return apierrors.NewNotFound(corev1.Resource("secrets"), key.Name)
	}
	return b.Reader.Get(ctx, key, object, options...)
}

func TestCredentialsUnderOtherKeys(t *testing.T) {
	w := newWorld(t)
	must(t, w.admin.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "credentials"},
		StringData: map[string]string{"id": clientID, "secret": clientSecret},
	}))
	w.create(func(p *v1alpha1.PipedreamToken) {
		p.Spec.ClientSecretRef.ClientIDKey, p.Spec.ClientSecretRef.ClientSecretKey = "id", "wrong"
	})
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonCredentialsMissing)
	change(w, w.token(), func(p *v1alpha1.PipedreamToken) { p.Spec.ClientSecretRef.ClientSecretKey = "secret" })
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
}

func TestCredentialsThatGoAwayAreMissedAtOnce(t *testing.T) {
	w := newWorld(t)
	w.issued()
	must(t, w.admin.Delete(t.Context(), w.secret("credentials")))
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonCredentialsMissing)
	w.createCredentials()
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)
	w.wantExchanges(1)
}

func TestChangedCredentials(t *testing.T) {
	w := newWorld(t)
	w.issued()
	w.pass(time.Minute)

	change(w, w.secret("credentials"), func(s *corev1.Secret) { s.Labels = map[string]string{"touched": "yes"} })
	w.reconcile()
	w.wantExchanges(1)

	must(t, w.pipedream.SetClient("client-two", "another secret"))
	change(w, w.secret("credentials"), func(s *corev1.Secret) {
		s.Data = map[string][]byte{"client_id": []byte("client-two"), "client_secret": []byte("another secret")}
	})
	w.reconcile()
	w.wantExchanges(2)
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)
	w.wantAccepted()
}

// TestRotatedClientSecret is the story of a client secret that is rotated at
// Pipedream, seen too late, and repaired.
func TestRotatedClientSecret(t *testing.T) {
	w := newWorld(t)
	w.issued()
	must(t, w.pipedream.SetClient(clientID, "rotated"))
	w.passUntil(w.token().Status.RenewalTime)
	w.reconcile()
	w.wantExchanges(2)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	renewed := w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonCredentialsRejected)
	w.wantCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonCredentialsRejected)
	for _, part := range []string{"401", "invalid_client", "since " + w.clock.Now().Format(time.RFC3339), "valid until 2026-01-02T04:04:05Z", "spec.clientSecretRef"} {
		if !strings.Contains(renewed.Message, part) {
			t.Errorf("the message does not say %q: %s", part, renewed.Message)
		}
	}
	if got := w.token().Status.NextAttemptTime; got == nil || !got.Time.Equal(w.clock.Now().Add(time.Minute)) {
		t.Errorf("nextAttemptTime is %v, want a minute from now", got)
	}

	for range 5 {
		w.reconcile()
	}
	w.wantExchanges(2)
	expiry := w.token().Status.ExpirationTime.Time
	for w.clock.Now().Before(expiry.Add(-time.Second)) {
		w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
		wake := w.reconcile().RequeueAfter
		w.pass(min(wake, expiry.Add(-time.Second).Sub(w.clock.Now())))
	}
	if wake := w.reconcile().RequeueAfter; wake > time.Second {
		t.Errorf("the next visit is in %v, want it at the token's expiry, in a second", wake)
	}
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	w.pass(time.Second)
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTokenExpired)
	if got := w.condition(v1alpha1.ConditionReady).LastTransitionTime; !got.Time.Equal(expiry) {
		t.Errorf("Ready turned False at %v, want the second of expiry, %v", got, expiry)
	}
	if got := w.exchanges(); got > 7 {
		t.Errorf("%d attempts within 20 minutes of rejection, want them spaced", got)
	}

	before := w.exchanges()
	change(w, w.secret("credentials"), func(s *corev1.Secret) { s.Data["client_secret"] = []byte("rotated") })
	w.reconcile()
	w.wantExchanges(before + 1)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)
	w.wantNoCondition(v1alpha1.ConditionStalled)
	if got := w.token().Status.NextAttemptTime; got != nil {
		t.Errorf("nextAttemptTime is %v after it worked", got)
	}
}

func TestRestartDoesNotForgetAFailure(t *testing.T) {
	w := newWorld(t)
	w.createCredentials()
	w.create()
	must(t, w.pipedream.SetClient(clientID, "rotated"))
	w.reconcile()
	want := w.token().Status
	w.pass(30 * time.Second)
	w.restart()
	w.reconcile()
	w.wantExchanges(1)
	if got := w.token().Status; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the restart has changed the status from\n%v\nto\n%v", want, got)
	}
	w.pass(31 * time.Second)
	w.reconcile()
	w.wantExchanges(2)
}

func TestRenewRequestCutsAWaitShort(t *testing.T) {
	w := newWorld(t)
	w.createCredentials()
	w.create()
	must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointToken, Status: 400, Calls: 1}))
	w.reconcile()
	w.reconcile()
	w.wantExchanges(1)
	w.pass(time.Second)
	change(w, w.token(), func(p *v1alpha1.PipedreamToken) {
		p.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "now"}
	})
	w.reconcile()
	w.pass(10 * time.Second) // The limiter does not send a refused request more often, whoever asks.
	w.reconcile()
	w.wantExchanges(2)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
}

func TestLongQueueIsReported(t *testing.T) {
	w := newWorld(t)
	w.createCredentials()
	w.create()
	w.occupy(20 * time.Second)
	if wake := w.reconcile().RequeueAfter; wake != 10*time.Second {
		t.Errorf("the next visit is in %v, want it when the wait is worth a status, in 10 s", wake)
	}
	w.wantDefaultStatus()
	w.pass(10 * time.Second)
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionUnknown, v1alpha1.ReasonQueued)
	w.wantExchanges(0)
	w.pass(10 * time.Second)
	w.reconcile()
	w.wantExchanges(1)
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)
}

func TestShortQueueIsNotReported(t *testing.T) {
	w := newWorld(t)
	w.createCredentials()
	w.create()
	w.occupy(5 * time.Second)
	w.reconcile()
	w.wantRequests(noRequests)
	w.wantDefaultStatus()
}

// wantDefaultStatus checks that the status is still the one of the schema.
func (w *world) wantDefaultStatus() {
	w.Helper()
	if got := w.condition(v1alpha1.ConditionRenewed); got == nil || got.Reason != v1alpha1.ReasonNotAttempted || got.LastTransitionTime.Unix() != 0 {
		w.Errorf("Renewed is %v, want it as the schema has it", got)
	}
}

func TestRevokedTokenIsReplaced(t *testing.T) {
	w := newWorld(t)
	w.issued(withVerification)
	w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionUnknown, v1alpha1.ReasonVerificationInconclusive)
	w.pass(time.Minute)
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionTrue, v1alpha1.ReasonTokenAccepted)
	w.wantExchanges(1)

	w.pipedream.RevokeAll()
	w.pass(time.Minute)
	w.reconcile()
	w.wantExchanges(2)
	w.wantAccepted()
	w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionTrue, v1alpha1.ReasonTokenAccepted)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
}

func TestRevokedTokenThatCanNotBeReplaced(t *testing.T) {
	w := newWorld(t)
	w.issued(withVerification)
	w.pipedream.RevokeAll()
	w.pipedream.DeleteClient(clientID)
	w.pass(time.Minute)
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTokenRevoked)
	w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionFalse, v1alpha1.ReasonTokenRevoked)
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonCredentialsRejected)

	w.restart()
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTokenRevoked)
	w.wantExchanges(2)

	must(t, w.pipedream.SetClient(clientID, clientSecret))
	w.pass(time.Minute)
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionTrue, v1alpha1.ReasonTokenAccepted)
	w.wantAccepted()
}

func TestVerificationThatIsTurnedOffLeavesNoCondition(t *testing.T) {
	w := newWorld(t)
	w.issued(withVerification)
	w.pass(time.Minute)
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionTrue, v1alpha1.ReasonTokenAccepted)
	change(w, w.token(), func(p *v1alpha1.PipedreamToken) { p.Spec.Verification = v1alpha1.Verification{} })
	w.reconcile()
	w.wantNoCondition(v1alpha1.ConditionVerified)
}

var errCut = errors.New("the connection was cut")

// answered forwards a call, and loses the answer.
func answered(forward func() (*http.Response, error)) (*http.Response, error) {
	response, err := forward()
	if err == nil {
		_ = response.Body.Close()
	}
	return nil, errCut
}

func TestIssuedTokenIsNotWasted(t *testing.T) {
	tests := map[string]struct {
		call string
		lose bool
	}{
		"when the Secret can't be created":          {call: "POST secrets"},
		"when the answer to the creation is lost":   {call: "POST secrets", lose: true},
		"when the status can't be applied":          {call: "PATCH pipedreamtokens/status"},
		"when the answer to the status is lost":     {call: "PATCH pipedreamtokens/status", lose: true},
		"when the credentials can't be read at all": {call: "GET secrets"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.createCredentials()
			w.create()
			w.wire.cut(func(call string, forward func() (*http.Response, error)) (*http.Response, error) {
				switch {
				case call != test.call:
					return forward()
				case test.lose:
					return answered(forward)
				}
				return nil, errCut
			})
			if _, err := w.tryReconcile(); !errors.Is(err, errCut) {
				t.Fatalf("the visit ends with %v, want the error of the API server", err)
			}
			w.wire.cut(nil)
			w.pass(time.Second)
			w.reconcile()
			w.wantExchanges(1)
			w.wantAccepted()
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
		})
	}
}

func TestRenewedTokenIsNotWastedWhenTheAnswerIsLost(t *testing.T) {
	for _, lose := range []bool{false, true} {
		t.Run(fmt.Sprintf("the write is made: %v", lose), func(t *testing.T) {
			w := newWorld(t)
			w.issued()
			w.passUntil(w.token().Status.RenewalTime)
			w.wire.cut(func(call string, forward func() (*http.Response, error)) (*http.Response, error) {
				switch {
				case call != "PUT secrets":
					return forward()
				case lose:
					return answered(forward)
				}
				return nil, errCut
			})
			if _, err := w.tryReconcile(); !errors.Is(err, errCut) {
				t.Fatalf("the visit ends with %v, want the error of the API server", err)
			}
			w.wire.cut(nil)
			w.reconcile()
			w.wantExchanges(2)
			w.wantAccepted()
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
		})
	}
}

// interruptedAPI is told to stop while it is asked.
type interruptedAPI struct {
	PipedreamAPI
	interrupt func()
}

func (a interruptedAPI) Issue(ctx context.Context, credentials pipedream.Credentials, scopes []string) (pipedream.Token, error) {
	a.interrupt()
	return a.PipedreamAPI.Issue(ctx, credentials, scopes)
}

func TestShutdownBetweenExchangeAndWriteLosesNoToken(t *testing.T) {
	w := newWorld(t)
	w.createCredentials()
	w.create()
	ctx, interrupt := context.WithCancel(t.Context())
	w.reconciler.Pipedream = interruptedAPI{PipedreamAPI: w.api, interrupt: interrupt}
	_, err := w.reconciler.Reconcile(ctx, requestFor(w))
	must(t, err)
	if ctx.Err() == nil {
		t.Fatal("the visit was not interrupted")
	}
	w.wantAccepted()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	w.restart()
	w.reconcile()
	w.wantExchanges(1)
}

func TestEventsAreForChangesOfState(t *testing.T) {
	w := newWorld(t)
	w.issued()
	if got, want := drain(w.events.Events), []string{"Normal Issued"}; !slices.Equal(got, want) {
		t.Errorf("the first token gave the events %v, want %v", got, want)
	}
	for range 3 {
		w.passUntil(w.token().Status.RenewalTime)
		w.reconcile()
	}
	if got := drain(w.events.Events); len(got) != 0 {
		t.Errorf("routine renewals gave the events %v, want none", got)
	}
	must(t, w.pipedream.SetClient(clientID, "rotated"))
	w.passUntil(w.token().Status.RenewalTime)
	w.reconcile()
	w.pass(time.Minute)
	w.reconcile()
	if got, want := drain(w.events.Events), []string{"Warning CredentialsRejected"}; !slices.Equal(got, want) {
		t.Errorf("two rejections gave the events %v, want %v", got, want)
	}
}

// drain returns type and reason of the recorded events.
func drain(recorded chan string) []string {
	var got []string
	for {
		select {
		case event := <-recorded:
			got = append(got, strings.Join(strings.Fields(event)[:2], " "))
		default:
			return got
		}
	}
}

func TestNothingSecretIsShown(t *testing.T) {
	w := newWorld(t)
	w.issued(withVerification)
	token := string(w.target().Data["access_token"])
	// A server that sends back all that it gets.
	must(t, w.pipedream.AddFault(simulator.Fault{
		Endpoint: simulator.EndpointAny, Status: 400,
		Headers: map[string]string{"Retry-After": clientSecret, "Location": "https://" + clientSecret},
		Body:    `{"error":"` + clientSecret + `","error_description":"` + token + `"}`,
	}))
	w.passUntil(w.token().Status.RenewalTime)
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonRequestRejected)
	shown, err := json.Marshal(w.token())
	must(t, err)
	public := string(shown) + fmt.Sprint(w.target().ObjectMeta) + w.log.String() + scrape(t, w.reconciler.Metrics)
	if !strings.Contains(public, "condition changed") {
		t.Error("the log says nothing of the change")
	}
	for len(w.events.Events) > 0 {
		public += <-w.events.Events
	}
	for _, secret := range []string{clientSecret, token} {
		for _, form := range []string{secret, hex.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString([]byte(secret))} {
			if strings.Contains(public, form[:len(form)-3]) {
				t.Errorf("a secret is shown: %s", public)
			}
		}
	}
}
