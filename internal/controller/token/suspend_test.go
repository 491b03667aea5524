// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

func withSuspend(p *v1alpha1.PipedreamToken) { p.Spec.Suspend = true }

// suspend sets spec.suspend, and reconciles.
func (w *world) suspend(isSuspended bool) {
	w.Helper()
	change(w, w.token(), func(p *v1alpha1.PipedreamToken) { p.Spec.Suspend = isSuspended })
	w.reconcile()
}

// wantAtRest checks that nothing is said but that the PipedreamToken is suspended.
func (w *world) wantAtRest(says string) {
	w.Helper()
	renewed := w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionUnknown, v1alpha1.ReasonSuspended)
	w.wantMessage(renewed, "`spec.suspend` is true")
	w.wantMessage(renewed, says)
	w.wantNoCondition(v1alpha1.ConditionStalled)
	if status := w.token().Status; status.RenewalTime != nil || status.NextAttemptTime != nil {
		w.Errorf("the status says when something is done next: %v, %v", status.RenewalTime, status.NextAttemptTime)
	}
}

// watchAtRest lets time pass in steps, and checks that Pipedream is asked for nothing and that the
// Secret is not written.
func (w *world) watchAtRest(duration time.Duration) {
	w.Helper()
	exchanges, verifications := w.exchanges(), w.verifications()
	w.wire.reset()
	for end := w.clock.Now().Add(duration); w.clock.Now().Before(end); {
		w.pass(min(w.reconcile().RequeueAfter, end.Sub(w.clock.Now())))
	}
	w.wantExchanges(exchanges)
	if got := w.verifications(); got != verifications {
		w.Errorf("%d tokens were verified while suspended", got-verifications)
	}
	w.wire.mu.Lock()
	defer w.wire.mu.Unlock()
	for call, count := range w.wire.requests {
		if strings.HasSuffix(call, " secrets") && call != "GET secrets" {
			w.Errorf("while suspended, %s was done %d times", call, count)
		}
	}
	if got := w.wire.requests["PATCH pipedreamtokens/status"]; got > 1 {
		w.Errorf("while suspended, the status was written %d times", got)
	}
}

func TestSuspendedTokenIsKeptUntilItExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issued(withVerification)
	w.wantEvents("Normal Issued " + w.condition(v1alpha1.ConditionRenewed).Message)
	secret := w.target()
	w.suspend(true)
	expires := w.token().Status.ExpirationTime
	w.wantAtRest("The current token is valid until " + show(expires))
	w.wantEvents("Normal Suspended " + w.condition(v1alpha1.ConditionRenewed).Message)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	w.watchAtRest(expires.Sub(w.clock.Now()) - time.Second)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)

	// A restart knows the same, and writes nothing.
	w.restart()
	w.wire.reset()
	w.reconcile()
	w.wantRequests(map[string]int{})

	w.passUntil(expires)
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTokenExpired)
	w.wantAtRest("The Secret holds no usable token")
	w.watchAtRest(2 * time.Hour)
	if got := w.target(); got.ResourceVersion != secret.ResourceVersion {
		t.Error("the Secret was written")
	}

	w.suspend(false)
	w.wantExchanges(2)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)
}

func TestResumedTokenThatIsGoodCostsNoExchange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issued(withVerification)
	w.liveUntilVerified()
	w.suspend(true)
	w.pass(time.Minute)
	w.restart()
	w.suspend(false)
	w.wantExchanges(1)
	renewed := w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)
	w.wantMessage(renewed, "and is renewed at "+show(w.token().Status.RenewalTime))
	if got := w.verifications(); got != 2 {
		t.Errorf("the token was verified %d times, want once before, and at once when it goes on", got)
	}
}

// TestSuspendedFromTheBeginning also has no credentials, whose absence is not reported meanwhile.
func TestSuspendedFromTheBeginning(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create(withSuspend)
	w.reconcile()
	w.wantAtRest("The Secret holds no usable token")
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNotIssued)
	w.watchAtRest(time.Hour)
	w.wantAtRest("The Secret holds no usable token")
	w.suspend(false)
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonCredentialsMissing)
	w.createCredentials()
	w.reconcile()
	w.wantExchanges(1)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
}

// TestResumedTokenThatWaitsForItsTurnIsNotSuspended describes the first status after the suspension.
func TestResumedTokenThatWaitsForItsTurnIsNotSuspended(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.createCredentials()
	w.create(withSuspend)
	w.reconcile()
	w.occupy(time.Minute)
	w.suspend(false)
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionUnknown, v1alpha1.ReasonQueued)
	// Its place in the queue is given up when it is suspended again.
	w.suspend(true)
	w.pass(time.Hour)
	w.wantAtRest("The Secret holds no usable token")
	w.watchAtRest(time.Hour)
}

// TestSuspendedFailureIsSilent suspends while attempts fail in each way.
func TestSuspendedFailureIsSilent(t *testing.T) {
	t.Parallel()
	tests := map[string]simulator.Fault{
		"credentials refused":   {Status: http.StatusUnauthorized},
		"a scope refused":       {Status: http.StatusBadRequest, Body: `{"error":"invalid_scope"}`},
		"Pipedream unavailable": {Status: http.StatusServiceUnavailable},
		"rate limited":          {Status: http.StatusTooManyRequests, Headers: map[string]string{"Retry-After": "60"}},
	}
	for name, fault := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			answers(fault)(w)
			w.createCredentials()
			w.create()
			w.reconcile()
			if got := w.condition(v1alpha1.ConditionRenewed); got.Status != metav1.ConditionFalse {
				t.Fatalf("Renewed is %+v", got)
			}
			w.suspend(true)
			w.wantAtRest("The Secret holds no usable token")
			w.watchAtRest(time.Hour)
			w.suspend(false)
			w.wantExchanges(2)
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
		})
	}
}

// forbidden returns the answer of an API server that forbids a request.
func forbidden(t *testing.T) *http.Response {
	t.Helper()
	body, err := json.Marshal(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden,
	})
	must(t, err)
	return &http.Response{
		StatusCode: http.StatusForbidden, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)),
	}
}

func TestPendingTokenIsKeptWhileSuspended(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.createCredentials()
	w.create()
	w.wire.cut(func(call string, forward func() (*http.Response, error)) (*http.Response, error) {
		if call == "POST secrets" {
			return forbidden(t), nil
		}
		return forward()
	})
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonSecretWriteRefused)
	w.wire.cut(nil)
	w.suspend(true)
	w.wantAtRest("The Secret holds no usable token")
	w.watchAtRest(10 * time.Minute)
	if w.hasTarget() {
		t.Error("the pending token was written while suspended")
	}
	w.suspend(false)
	w.wantExchanges(1)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	w.wantAccepted()
}

// TestChangesWaitWhileSuspended makes everything due that somebody can make due.
func TestChangesWaitWhileSuspended(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(*world)
		// ready is the reason of Ready while suspended.
		ready string
		// exchanges are all of the test, after the suspension.
		exchanges int
	}{
		"a request to renew": {
			change: func(w *world) {
				change(w, w.token(), func(p *v1alpha1.PipedreamToken) {
					p.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "now"}
				})
			},
			ready: v1alpha1.ReasonTokenValid, exchanges: 2,
		},
		"other scopes": {
			change: func(w *world) {
				change(w, w.token(), func(p *v1alpha1.PipedreamToken) { p.Spec.Scopes = []string{"connect:*"} })
			},
			ready: v1alpha1.ReasonTokenOutdated, exchanges: 2,
		},
		"the Secret deleted": {
			change: func(w *world) { must(w.T, w.admin.Delete(w.Context(), w.target())) },
			ready:  v1alpha1.ReasonNotIssued, exchanges: 2,
		},
		"the Secret edited": {
			change: func(w *world) { w.rewrite(1) },
			ready:  v1alpha1.ReasonNotIssued, exchanges: 2,
		},
		"other credentials": {
			change: func(w *world) {
				must(w.T, w.pipedream.SetClient("client-two", "another-secret"))
				credentials := w.secret("credentials")
				credentials.Data["client_id"], credentials.Data["client_secret"] = []byte("client-two"), []byte("another-secret")
				must(w.T, w.admin.Update(w.Context(), credentials))
			},
			ready: v1alpha1.ReasonTokenValid, exchanges: 2,
		},
		"a label of the spec": {
			change: func(w *world) { change(w, w.token(), withTeam) },
			ready:  v1alpha1.ReasonTokenValid, exchanges: 1,
		},
		"no credentials": {
			change: func(w *world) { must(w.T, w.admin.Delete(w.Context(), w.secret("credentials"))) },
			ready:  v1alpha1.ReasonTokenValid, exchanges: 1,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.issued()
			w.suspend(true)
			w.pass(10 * time.Minute)
			test.change(w)
			w.watchAtRest(10 * time.Minute)
			if got := w.condition(v1alpha1.ConditionReady).Reason; got != test.ready {
				t.Errorf("Ready is %s, want %s", got, test.ready)
			}
			w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionUnknown, v1alpha1.ReasonSuspended)
			w.suspend(false)
			w.wantExchanges(test.exchanges)
		})
	}
}

// TestSuspendedBesideAForeignSecret never touches the Secret, and says why nothing is tried.
func TestSuspendedBesideAForeignSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	must(t, w.admin.Create(t.Context(), credentialsNamed(w, "orders-pipedream")))
	w.createCredentials()
	w.create(withSuspend)
	w.reconcile()
	w.wantAtRest("The Secret holds no usable token")
	w.watchAtRest(time.Hour)
	w.suspend(false)
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonSecretNotOwned)
}
