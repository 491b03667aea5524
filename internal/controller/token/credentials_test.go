// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
)

// putCredentials writes values into the Secret with the credentials, and leaves the
// other keys as they are.
func (w *world) putCredentials(values map[string]string) {
	w.Helper()
	change(w, w.secret("credentials"), func(s *corev1.Secret) {
		for key, value := range values {
			s.Data[key] = []byte(value)
		}
	})
}

func utf16OfWindows(text string) string {
	encoded := "\xff\xfe"
	for _, character := range text {
		encoded += string([]byte{byte(character), 0}) //nolint:gosec // ASCII.
	}
	return encoded
}

// wantInvalid checks that the credentials are said to be impossible, and that nothing
// of them is shown.
func (w *world) wantInvalid(problem string) metav1.Condition {
	w.Helper()
	renewed := w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonCredentialsInvalid)
	w.wantMessage(renewed, "The Secret `credentials` holds no usable client credentials: the value of key "+problem+", since ")
	stalled := w.wantCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonCredentialsInvalid)
	if stalled.Message != renewed.Message {
		w.Errorf("Stalled says %q, and Renewed %q", stalled.Message, renewed.Message)
	}
	if got := w.token().Status.NextAttemptTime; got != nil {
		w.Errorf("nextAttemptTime is %v, though only a change of the Secret leads to an attempt", got)
	}
	shown, err := json.Marshal(w.token())
	must(w.T, err)
	public := string(shown) + w.log.String()
	for len(w.events.Events) > 0 {
		public += <-w.events.Events
	}
	if strings.Contains(public, "must-never-be-seen") {
		w.Errorf("the client secret is shown: %s", public)
	}
	return renewed
}

func TestImpossibleCredentials(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		values map[string]string
		want   string
	}{
		"a byte order mark":         {map[string]string{"client_id": "\uFEFF" + clientID}, "`client_id` begins with a byte order mark"},
		"UTF-16":                    {map[string]string{"client_secret": utf16OfWindows(clientSecret + "\r\n")}, "`client_secret` is UTF-16 text"},
		"a zero-width space":        {map[string]string{"client_secret": clientSecret + "\u200B"}, "`client_secret` contains a zero-width space"},
		"a NUL byte":                {map[string]string{"client_secret": clientSecret + "\x00"}, "`client_secret` contains a NUL byte"},
		"a line feed inside":        {map[string]string{"client_secret": "the\n" + clientSecret}, "`client_secret` contains a line break"},
		"a whole line":              {map[string]string{"client_secret": "client_secret=" + clientSecret + "\n"}, "`client_secret` begins with `client_secret=`, which is no part of it"},
		"a line of the other value": {map[string]string{"client_secret": "client_id: " + clientSecret}, "`client_secret` begins with `client_id:`, which is no part of it"},
		"an umlaut":                 {map[string]string{"client_secret": clientSecret + "ü"}, "`client_secret` contains a character that is not visible ASCII"},
		"both of them": {
			map[string]string{"client_id": "\uFEFF" + clientID, "client_secret": clientSecret + "\x00"},
			"`client_id` begins with a byte order mark, and the value of key `client_secret` contains a NUL byte",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.createCredentials()
			w.putCredentials(test.values)
			w.create()
			w.reconcile()
			w.wantInvalid(test.want)
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNotIssued)
			// Time alone leads to nothing, nor does a restart.
			before := w.token().ResourceVersion
			for range 3 {
				w.wire.reset()
				w.pass(10 * time.Minute)
				w.reconcile()
				w.wantRequests(noRequests)
				w.restart()
			}
			if got := w.token().ResourceVersion; got != before {
				t.Error("the status was written again")
			}
			w.wantExchanges(0)
			// White space around is no part of them.
			w.putCredentials(map[string]string{"client_id": " " + clientID + "\r\n", "client_secret": "\n" + clientSecret + "\u00A0\n"})
			w.reconcile()
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
			w.wantNoCondition(v1alpha1.ConditionStalled)
			w.wantAccepted()
			w.wantExchanges(1)
		})
	}
}

func TestImpossibleCredentialsUnderOtherKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.createCredentials()
	w.putCredentials(map[string]string{"id": clientID, "secret.txt": clientSecret + "\nlast line"})
	w.create(func(p *v1alpha1.PipedreamToken) {
		p.Spec.ClientSecretRef.ClientIDKey, p.Spec.ClientSecretRef.ClientSecretKey = "id", "secret.txt"
	})
	w.reconcile()
	w.wantInvalid("`secret.txt` contains a line break")
	// The spec may name other keys instead.
	change(w, w.token(), func(p *v1alpha1.PipedreamToken) {
		p.Spec.ClientSecretRef = v1alpha1.ClientSecretReference{Name: "credentials"}
	})
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	w.wantExchanges(1)
}

// A token that is held stays in use for as long as it lives. What is said when it has
// expired does not depend on whether the process has seen the credentials.
func TestCredentialsThatBecomeImpossible(t *testing.T) {
	t.Parallel()
	for _, restarts := range []bool{false, true} {
		t.Run(fmt.Sprintf("restarts %t", restarts), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.issued()
			w.pass(time.Minute)
			w.putCredentials(map[string]string{"client_secret": clientSecret + "\x00"})
			w.reconcile()
			w.wantInvalid("`client_secret` contains a NUL byte")
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
			w.wantAccepted()
			before := w.token().ResourceVersion
			if restarts {
				w.restart()
			}
			w.wire.reset()
			for range 3 {
				w.reconcile()
			}
			w.passUntil(w.token().Status.RenewalTime)
			w.reconcile()
			w.wantRequests(noRequests)
			if got := w.token().ResourceVersion; got != before {
				t.Error("the status was written again")
			}
			w.passUntil(w.token().Status.ExpirationTime)
			w.reconcile()
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTokenExpired)
			w.wantMessage(w.wantInvalid("`client_secret` contains a NUL byte"), "The Secret holds no usable token.")
			want := map[string]int{"PATCH pipedreamtokens/status": 1}
			if restarts {
				want["GET secrets"] = 1 // Which key it is.
			}
			w.wantRequests(want)
			w.wantExchanges(1)
			w.putCredentials(map[string]string{"client_secret": clientSecret})
			w.reconcile()
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
			w.wantExchanges(2)
		})
	}
}

// The same holds for credentials that lack a key.
func TestRestartWithAMissingKeyCostsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issued()
	change(w, w.secret("credentials"), func(s *corev1.Secret) { delete(s.Data, "client_secret") })
	w.reconcile()
	w.pass(missingCredentialsGrace)
	w.reconcile()
	before := w.token()
	w.restart()
	w.wire.reset()
	w.reconcile()
	w.wantRequests(noRequests)
	if got := w.token(); got.ResourceVersion != before.ResourceVersion {
		t.Errorf("the restart has changed the status from\n%v\nto\n%v", before.Status, got.Status)
	}
	w.passUntil(before.Status.ExpirationTime)
	w.reconcile()
	w.wantMessage(w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonCredentialsMissing), "no value under key `client_secret`")
}

func TestCredentialsThatAreBadInOneWayAfterTheOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.createCredentials()
	w.putCredentials(map[string]string{"client_id": "\uFEFF" + clientID})
	w.create()
	w.reconcile()
	w.wantInvalid("`client_id` begins with a byte order mark")

	w.pass(time.Minute)
	w.putCredentials(map[string]string{"client_id": "client_id=" + clientID})
	w.reconcile()
	w.wantInvalid("`client_id` begins with `client_id=`, which is no part of it")

	w.pass(time.Minute)
	w.putCredentials(map[string]string{"client_id": " "})
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonCredentialsMissing)
	w.wantNoCondition(v1alpha1.ConditionStalled)

	must(t, w.admin.Delete(t.Context(), w.secret("credentials")))
	w.reconcile()
	w.wantMessage(w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonCredentialsMissing), "does not exist")
	w.restart()

	w.createCredentials()
	w.putCredentials(map[string]string{"client_secret": "a\tb"})
	w.reconcile()
	w.wantInvalid("`client_secret` contains a tab")
	w.wantExchanges(0)

	w.putCredentials(map[string]string{"client_secret": "rotated"})
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonCredentialsRejected)
	w.wantExchanges(1)
	w.putCredentials(map[string]string{"client_secret": clientSecret})
	w.pass(10 * time.Second)
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	w.wantExchanges(2)
}

// A status of the version before says that they were rejected.
func TestImpossibleCredentialsThatWereSentByTheVersionBefore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.createCredentials()
	must(t, w.pipedream.SetClient(clientID, "rotated"))
	w.create()
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonCredentialsRejected)
	w.putCredentials(map[string]string{"client_secret": clientSecret + "\u200B"})
	status := w.token()
	status.Status.ClientSecretResourceVersion = w.secret("credentials").ResourceVersion
	must(t, w.admin.Status().Update(t.Context(), status))
	w.restart()
	w.wire.reset()
	w.reconcile()
	w.wantRequests(noRequests)
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonCredentialsRejected)
	w.passToNextAttempt()
	w.reconcile()
	w.wantInvalid("`client_secret` contains a zero-width space")
	w.wantExchanges(1)
}

func TestOneImpossibleClientCostsNoExchange(t *testing.T) {
	const count = 250
	f := newFleet(t)
	f.createCredentials()
	f.putCredentials(map[string]string{"client_secret": "client_secret=" + clientSecret})
	f.add(count)
	f.runFor(time.Minute)
	f.wantExchanges(0)
	f.wantReasons(map[string]int{v1alpha1.ReasonCredentialsInvalid: count})

	f.putCredentials(map[string]string{"client_secret": clientSecret})
	f.awaitCache(func() bool {
		seen, err := ownedsecret.Metadata(t.Context(), f.reconciler.Cache, f.key("credentials"))
		must(t, err)
		return seen.ResourceVersion == f.secret("credentials").ResourceVersion
	})
	for name := range f.next {
		f.next[name] = f.clock.Now()
	}
	f.runFor(2 * time.Second)
	if got := f.exchanges(); got < 10 {
		t.Errorf("2 s after the credentials were mended %d tokens were issued, want the burst of 10 at least", got)
	}
	f.runFor(count/5*time.Second + 10*time.Second)
	f.wantReasons(map[string]int{v1alpha1.ReasonIssued: count})
	f.wantExchanges(count)
}

func TestEventsOfImpossibleCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.createCredentials()
	w.putCredentials(map[string]string{"client_id": clientID + "\x00"})
	w.create()
	for range 3 {
		w.reconcile()
		w.pass(time.Minute)
	}
	w.putCredentials(map[string]string{"client_id": clientID})
	w.reconcile()
	if got, want := drain(w.events.Events), []string{"Warning CredentialsInvalid", "Normal Issued"}; !slices.Equal(got, want) {
		t.Errorf("the events are %v, want %v", got, want)
	}
}
