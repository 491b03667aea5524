// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

const (
	scopeAccounts = "connect:accounts:read"
	scopeUsers    = "connect:users:read"
)

func withScopes(scopes ...string) func(*v1alpha1.PipedreamToken) {
	return func(p *v1alpha1.PipedreamToken) { p.Spec.Scopes = scopes }
}

// answerScopes has Pipedream answer so from now on.
func (w *world) answerScopes(way simulator.ScopeAnswer) {
	w.Helper()
	must(w.T, w.pipedream.SetScopeAnswer(way))
}

// wantNotGranted checks that the scope connect:users:read is said to be missing.
func (w *world) wantNotGranted() metav1.Condition {
	w.Helper()
	renewed := w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonScopeNotGranted)
	w.wantMessage(renewed, "(HTTP status 200 OK, not granted: `"+scopeUsers+"`), since ")
	stalled := w.wantCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonScopeNotGranted)
	if stalled.Message != renewed.Message {
		w.Errorf("Stalled says %q, and Renewed %q", stalled.Message, renewed.Message)
	}
	return renewed
}

// TestScopesThatWereNotGranted is the whole story: paced, restarted, and mended.
func TestScopesThatWereNotGranted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.answerScopes(simulator.ScopeFewer)
	w.createCredentials()
	w.create(withScopes(scopeAccounts, scopeUsers))
	w.reconcile()
	w.wantNotGranted()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNotIssued)
	if w.hasTarget() {
		t.Error("the token was written")
	}
	// One minute, doubling to 15; a restart in between costs nothing.
	exchanges := 1
	for _, minutes := range []int{1, 2, 4, 8, 15, 15} {
		wait := time.Duration(minutes) * time.Minute
		next := w.token().Status.NextAttemptTime
		if got := next.Sub(w.clock.Now().Truncate(time.Second)); got != wait {
			t.Fatalf("the next attempt is in %s, want it in %s", got, wait)
		}
		before := w.token().ResourceVersion
		w.passUntil(next)
		w.pass(-time.Second)
		w.wire.reset()
		w.reconcile()
		w.wantRequests(noRequests)
		if got := w.token().ResourceVersion; got != before {
			t.Error("the status was written again")
		}
		w.wantExchanges(exchanges)
		w.pass(2 * time.Second)
		w.reconcile()
		exchanges++
		w.wantExchanges(exchanges)
		w.wantNotGranted()
	}
	// Whoever corrects the spec need not wait.
	change(w, w.token(), withScopes(scopeAccounts))
	w.answerScopes(simulator.ScopeGranted)
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	w.wantNoCondition(v1alpha1.ConditionStalled)
	w.wantExchanges(exchanges + 1)
	w.wantAccepted()
}

func TestRestartDoesNotForgetScopesThatWereNotGranted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.answerScopes(simulator.ScopeFewer)
	w.createCredentials()
	w.create(withScopes(scopeAccounts, scopeUsers))
	w.reconcile()
	w.wantNotGranted()
	before := w.token()
	w.pass(30 * time.Second)
	w.restart()
	w.wire.reset()
	w.reconcile()
	w.wantRequests(noRequests)
	w.wantExchanges(1)
	if got := w.token(); got.ResourceVersion != before.ResourceVersion {
		t.Errorf("the restart has changed the status from\n%v\nto\n%v", before.Status, got.Status)
	}
	// Other credentials are tried at once.
	must(t, w.pipedream.SetClient("client-two", "another secret"))
	w.answerScopes(simulator.ScopeList)
	w.putCredentials(map[string]string{"client_id": "client-two", "client_secret": "another secret"})
	w.reconcile()
	w.wantExchanges(2)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
}

// Ready is about the current token, whatever becomes of the next one.
func TestHeldTokenOutlivesScopesThatAreNotGranted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issued(withScopes(scopeAccounts, scopeUsers))
	must(t, w.pipedream.SetClientScopes(clientID, []string{scopeAccounts}))
	w.answerScopes(simulator.ScopeGranted)
	written := w.target().ResourceVersion
	w.passUntil(w.token().Status.RenewalTime)
	w.reconcile()
	w.wantMessage(w.wantNotGranted(), "The current token is valid until ")
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	if got := w.target().ResourceVersion; got != written {
		t.Error("the Secret was written")
	}
	w.wantAccepted()
	w.passUntil(w.token().Status.ExpirationTime)
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTokenExpired)
	w.wantNotGranted()
	// The client was mended at Pipedream: a request cuts the wait short.
	must(t, w.pipedream.SetClientScopes(clientID, nil))
	w.pass(time.Second)
	w.askForRenewal("now")
	w.reconcile()
	w.pass(20 * time.Second) // The limiter does not send a refused request more often, whoever asks.
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	w.wantAccepted()
}

func TestAnswersThatDoNotSayWhatWasGranted(t *testing.T) {
	t.Parallel()
	for _, way := range []simulator.ScopeAnswer{
		simulator.ScopeAbsent, simulator.ScopeNull, simulator.ScopeEmpty, simulator.ScopeGranted, simulator.ScopeList,
	} {
		t.Run(string(way), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.answerScopes(way)
			w.issued(withScopes(scopeUsers, scopeAccounts))
			w.wantExchanges(1)
			w.wantAccepted()
			if message := w.condition(v1alpha1.ConditionRenewed).Message; strings.Contains(message, "granted") {
				t.Errorf("the message is %q", message)
			}
		})
	}
}

func TestNothingThatWasNotAskedForIsMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	must(t, w.pipedream.SetClientScopes(clientID, []string{scopeAccounts}))
	w.answerScopes(simulator.ScopeGranted)
	w.issued(withScopes())
	w.wantExchanges(1)
	w.wantAccepted()
	if got := string(w.target().Data["scope"]); got != scopeAccounts {
		t.Errorf("the Secret's scope is %q, want what was granted", got)
	}
	if message := w.condition(v1alpha1.ConditionRenewed).Message; strings.Contains(message, "granted") {
		t.Errorf("the message is %q", message)
	}
}

func TestScopesBeyondTheSpecAreSaid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.answerScopes(simulator.ScopeMore)
	w.issued()
	const said = " Pipedream granted scopes that the spec does not ask for: `connect:usage:read`."
	w.wantMessage(w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued), said)
	w.wantNoCondition(v1alpha1.ConditionStalled)
	before := w.token().ResourceVersion
	w.restart()
	w.reconcile()
	w.wantRequests(noRequests)
	if got := w.token().ResourceVersion; got != before {
		t.Error("the restart has written the status")
	}
	w.wantExchanges(1)
	// As soon as the spec asks for it, it is none beyond.
	change(w, w.token(), withScopes("connect:*"))
	w.answerScopes(simulator.ScopeGranted)
	w.pass(time.Minute)
	w.reconcile()
	if message := w.condition(v1alpha1.ConditionRenewed).Message; strings.Contains(message, "granted") {
		t.Errorf("the message is %q", message)
	}
}

// Pipedream's answer may be any text, and as long as an answer may be.
func TestWhatIsShownOfAnAnswerIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	granted := scopeAccounts + strings.Repeat(" "+strings.Repeat("x", 500), 3)
	for i := range 20 {
		granted += " more:" + string(rune('a'+i))
	}
	must(t, w.pipedream.AddFault(simulator.Fault{
		Endpoint: simulator.EndpointToken, Status: http.StatusOK, Calls: 1, Body: tokenWith(`,"expires_in":3600,"scope":"` + granted + `"`),
	}))
	w.issued()
	message := w.condition(v1alpha1.ConditionRenewed).Message
	if !strings.Contains(message, "`more:a`, ") || !strings.HasSuffix(message, " and 13 more.") || len(message) > 1024 {
		t.Errorf("the message is %q", message)
	}
}

// The record of an older version may say that less was granted than the spec asks for.
func TestSecretOfTheVersionBeforeIsKeptUntilItsRenewal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issued(withScopes(scopeAccounts, scopeUsers))
	change(w, w.target(), func(s *corev1.Secret) {
		s.Annotations[v1alpha1.GrantedScopeAnnotation] = scopeAccounts
		s.Data["scope"] = []byte(scopeAccounts)
		s.Annotations[v1alpha1.ContentAnnotation] = layout.Digest(s.Annotations, s.Data)
	})
	w.reconcile()
	w.restart()
	for range 3 {
		w.pass(5 * time.Minute)
		w.reconcile()
		w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
		w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)
	}
	w.wantExchanges(1)
	w.answerScopes(simulator.ScopeFewer)
	w.passUntil(w.token().Status.RenewalTime)
	w.reconcile()
	w.wantExchanges(2)
	w.wantNotGranted()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
}
