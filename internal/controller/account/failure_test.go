// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// look lets the time come for a look at the account, which is each ten minutes.
func (w *world) look() {
	w.Helper()
	w.pass(15 * time.Minute)
	w.reconcile()
}

// eachTenMinutes asks for a look at the account each ten minutes.
func eachTenMinutes(account *v1alpha1.PipedreamAccount) { account.Spec.FetchIntervalSeconds = 600 }

func notExportable(way string) func(*simulator.Account) {
	return func(a *simulator.Account) { a.Credentials = way }
}

// TestVerdicts has Pipedream say something bad about an account whose credentials are in the Secret, and then
// something good again. The Secret stays as it is all the while.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		spec   func(*v1alpha1.PipedreamAccount)
		happen func(*world)
		undo   func(*world)
		reason string
		// isAtOnce is true if Ready becomes False with the first answer. staysReady is true if it never
		// does.
		isAtOnce, staysReady bool
	}{
		"dead": {
			happen: func(w *world) { w.changeAccount(func(a *simulator.Account) { a.Dead = new(true) }) },
			undo:   func(w *world) { w.changeAccount(func(a *simulator.Account) { a.Dead = new(false) }) },
			reason: v1alpha1.ReasonAccountDead, isAtOnce: true,
		},
		"dead, by its user": {
			spec:   byUser,
			happen: func(w *world) { w.changeAccount(func(a *simulator.Account) { a.Dead = new(true) }) },
			undo:   func(w *world) { w.connect("apn_reconnected", "lead:20m") },
			reason: v1alpha1.ReasonAccountDead, isAtOnce: true,
		},
		"deleted": {
			happen: func(w *world) { w.pipedream.Accounts.Delete(accountID) },
			undo:   func(w *world) { w.connect(accountID, "lead:20m") },
			reason: v1alpha1.ReasonAccountNotFound,
		},
		"deleted, by its user": {
			spec:   byUser,
			happen: func(w *world) { w.pipedream.Accounts.Delete(accountID) },
			undo:   func(w *world) { w.connect(accountID, "lead:20m") },
			reason: v1alpha1.ReasonAccountNotFound,
		},
		"credentials null": {
			happen: func(w *world) { w.changeAccount(notExportable(simulator.CredentialsNull)) },
			undo:   func(w *world) { w.changeAccount(notExportable(simulator.CredentialsPresent)) },
			reason: v1alpha1.ReasonAccountNotExportable,
		},
		"credentials empty": {
			happen: func(w *world) { w.changeAccount(notExportable(simulator.CredentialsEmpty)) },
			undo:   func(w *world) { w.changeAccount(notExportable(simulator.CredentialsPresent)) },
			reason: v1alpha1.ReasonAccountNotExportable,
		},
		"credentials absent": {
			happen: func(w *world) { w.changeAccount(notExportable(simulator.CredentialsAbsent)) },
			undo:   func(w *world) { w.changeAccount(notExportable(simulator.CredentialsPresent)) },
			reason: v1alpha1.ReasonAccountNotExportable,
		},
		"an app without credentials": {
			happen: func(w *world) { w.changeAccount(func(a *simulator.Account) { a.AuthType = simulator.AuthNone }) },
			undo:   func(w *world) { w.changeAccount(func(a *simulator.Account) { a.AuthType = simulator.AuthOAuth }) },
			reason: v1alpha1.ReasonAccountNotExportable,
		},
		"two accounts": {
			spec:   byUser,
			happen: func(w *world) { w.connect("apn_second", "lead:20m") },
			undo:   func(w *world) { w.pipedream.Accounts.Delete("apn_second") },
			reason: v1alpha1.ReasonAccountAmbiguous, staysReady: true,
		},
		"of another app": {
			spec:   func(account *v1alpha1.PipedreamAccount) { account.Spec.App = "slack" },
			happen: func(w *world) { w.changeAccount(func(a *simulator.Account) { a.App = "github" }) },
			undo:   func(w *world) { w.changeAccount(func(a *simulator.Account) { a.App = "slack" }) },
			reason: v1alpha1.ReasonAccountMismatch, staysReady: true,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			changes := []func(*v1alpha1.PipedreamAccount){eachTenMinutes}
			if test.spec != nil {
				changes = append(changes, test.spec)
			}
			w.fetched(changes...)
			version := w.target().ResourceVersion

			test.happen(w)
			w.look()
			ready := v1alpha1.ReasonCredentialsValid
			if test.isAtOnce {
				ready = test.reason
			}
			w.wantReasons(test.reason, ready)
			isDoubtful := !test.isAtOnce && !test.staysReady
			w.wantStalled(!isDoubtful)
			fetches := w.fetches()

			// Said again, two minutes later.
			w.live(4 * time.Minute)
			if !test.staysReady {
				ready = test.reason
			}
			w.wantReasons(test.reason, ready)
			w.wantStalled(true)
			if got := w.fetches() - fetches; got < 1 || got > 5 { // One of them may be made again with a fresh access token.
				t.Errorf("in four minutes Pipedream was asked %d times", got)
			}
			message := w.condition(v1alpha1.ConditionFetched).Message
			if !strings.Contains(message, rows.Of(test.reason).Advice) {
				t.Errorf("the message does not say what to do: %s", message)
			}
			// The credentials live for another half an hour, and the app may accept them.
			held := "The Secret holds credentials from 2026-01-02T03:04:05Z, and the app may refuse them."
			if test.staysReady {
				held = "The credentials in the Secret are valid until 2026-01-02T04:04:05Z."
			}
			if !strings.Contains(message, held) {
				t.Errorf("the message does not say %q: %s", held, message)
			}

			// A restart neither looks early nor calls the credentials good.
			fetches = w.fetches()
			status := w.account().Status
			w.restart()
			w.wire.Reset()
			w.reconcile()
			w.wantRequests(map[string]int{})
			w.wantFetches(fetches)
			w.wantReasons(test.reason, ready)
			if fmt.Sprint(w.account().Status) != fmt.Sprint(status) {
				t.Errorf("a restart has changed the status from %+v to %+v", status, w.account().Status)
			}
			if got := w.target().ResourceVersion; got != version {
				t.Error("the Secret was written for a verdict")
			}

			// A failure while asking changes nothing of it.
			must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAny, Status: http.StatusServiceUnavailable}))
			w.look()
			w.wantReasons(v1alpha1.ReasonEndpointUnavailable, ready)
			w.pipedream.ClearFaults()

			test.undo(w)
			w.look()
			w.live(2 * time.Minute)
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
			w.wantStalled(false)
			if !w.accepted() {
				t.Error("the app refuses the access token in the Secret")
			}
			w.wantNoSecretSeen()
		})
	}
}

// TestFailuresWhileAsking has Pipedream's answer say nothing about the account. Ready stays.
func TestFailuresWhileAsking(t *testing.T) {
	t.Parallel()
	json := map[string]string{"Content-Type": "application/json"}
	tests := map[string]struct {
		fault    simulator.Fault
		reason   string
		isStall  bool
		earliest time.Duration
		// later is how long after the first answer the reason is there.
		later time.Duration
	}{
		"503":             {fault: simulator.Fault{Status: 503}, reason: v1alpha1.ReasonEndpointUnavailable, earliest: 500 * time.Millisecond},
		"408":             {fault: simulator.Fault{Status: 408}, reason: v1alpha1.ReasonEndpointUnavailable, earliest: 500 * time.Millisecond},
		"425":             {fault: simulator.Fault{Status: 425}, reason: v1alpha1.ReasonEndpointUnavailable, earliest: 500 * time.Millisecond},
		"cut":             {fault: simulator.Fault{Drop: simulator.DropBeforeAnswer}, reason: v1alpha1.ReasonEndpointUnavailable, earliest: 500 * time.Millisecond},
		"429":             {fault: simulator.Fault{Status: 429, Headers: map[string]string{"Retry-After": "120"}}, reason: v1alpha1.ReasonRateLimited, earliest: 119 * time.Second},
		"403":             {fault: simulator.Fault{Status: 403}, reason: v1alpha1.ReasonAccessDenied, isStall: true, earliest: 50 * time.Second},
		"401 to all":      {fault: simulator.Fault{Status: 401}, reason: v1alpha1.ReasonAccessDenied, isStall: true, earliest: 50 * time.Second, later: 20 * time.Second},
		"302":             {fault: simulator.Fault{Status: 302, Headers: map[string]string{"Location": "https://example.com"}}, reason: v1alpha1.ReasonRequestRejected, isStall: true, earliest: 50 * time.Second},
		"422":             {fault: simulator.Fault{Status: 422}, reason: v1alpha1.ReasonRequestRejected, isStall: true, earliest: 50 * time.Second},
		"no JSON":         {fault: simulator.Fault{Status: 200, Body: "<html>"}, reason: v1alpha1.ReasonMalformedResponse, earliest: 500 * time.Millisecond},
		"another account": {fault: simulator.Fault{Status: 200, Headers: json, Body: `{"id":"apn_other","credentials":{"a":"b"}}`}, reason: v1alpha1.ReasonMalformedResponse, earliest: 500 * time.Millisecond},
		"too many fields": {fault: simulator.Fault{Status: 200, Headers: json, Body: manyFields()}, reason: v1alpha1.ReasonMalformedResponse, earliest: 500 * time.Millisecond},
		"a long answer": {
			fault:  simulator.Fault{Status: 200, Headers: json, Body: `{"id":"` + accountID + `","credentials":{"a":"` + strings.Repeat("b", 256<<10) + `"}}`},
			reason: v1alpha1.ReasonMalformedResponse, earliest: 500 * time.Millisecond,
		},
		"no time": {fault: simulator.Fault{Status: 200, Headers: json, Body: `{"id":"` + accountID + `","expires_at":"soon","credentials":{"a":"b"}}`}, reason: v1alpha1.ReasonMalformedResponse, earliest: 500 * time.Millisecond},
		"an expired answer": {
			fault:  simulator.Fault{Status: 200, Headers: json, Body: `{"id":"` + accountID + `","expires_at":"2026-01-02T00:00:00Z","credentials":{"a":"b"}}`},
			reason: v1alpha1.ReasonCredentialsStale, earliest: 29 * time.Second,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fetched(eachTenMinutes)
			version := w.target().ResourceVersion
			test.fault.Endpoint = simulator.EndpointAccount
			must(t, w.pipedream.AddFault(test.fault))

			w.look()
			w.live(test.later)

			w.wantReasons(test.reason, v1alpha1.ReasonCredentialsValid)
			w.wantStalled(test.isStall)
			if got := w.exchanges(); got > 2 {
				t.Errorf("Pipedream was asked for %d tokens, want one new one at most", got)
			}
			status := w.account().Status
			if status.NextAttemptTime == nil || status.NextAttemptTime.Sub(w.clock.Now()) < test.earliest-time.Second {
				t.Errorf("the next attempt is at %v, and it is %v", status.NextAttemptTime, w.clock.Now())
			}
			if status.NextAttemptTime.Sub(w.clock.Now()) > retry.LongestWait {
				t.Errorf("the next attempt is at %v only, and it is %v", status.NextAttemptTime, w.clock.Now())
			}
			w.restart()
			w.wire.Reset()
			fetches := w.fetches()
			w.reconcile()
			if test.earliest > time.Second {
				w.wantFetches(fetches)
			}
			w.pipedream.ClearFaults()
			w.live(15 * time.Minute)
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
			w.wantStalled(false)
			if got := w.target().ResourceVersion; got != version && w.account().Status.FetchTime.IsZero() {
				t.Error("the Secret was written")
			}
			w.wantNoSecretSeen()
		})
	}
}

func manyFields() string {
	fields := make([]string, 65)
	for i := range fields {
		fields[i] = fmt.Sprintf(`"f%d":"v"`, i)
	}
	return `{"id":"` + accountID + `","credentials":{` + strings.Join(fields, ",") + `}}`
}

// TestARevokedBearerIsReplacedOnce has the operator's own access token revoked.
func TestARevokedBearerIsReplacedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fetched(eachTenMinutes)
	w.pipedream.RevokeAll()

	w.look()

	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
	w.wantExchanges(2)
	w.wantFetches(3) // The first one, the refused one, and the one with the new token.
	w.wantNoSecretSeen()
}

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create()
	w.reconcile()
	w.wantReasons(v1alpha1.ReasonCredentialsMissing, v1alpha1.ReasonNotFetched)
	w.wantStalled(false)
	w.pass(2 * time.Minute)
	w.reconcile()
	w.wantStalled(true)

	w.createCredentials()
	change(w, w.secret("credentials"), func(s *corev1.Secret) { s.Data["client_secret"] = []byte("wrong") })
	w.reconcile()
	w.wantReasons(v1alpha1.ReasonCredentialsRejected, v1alpha1.ReasonNotFetched)
	w.wantStalled(true)
	w.wantExchanges(1)

	change(w, w.secret("credentials"), func(s *corev1.Secret) { s.Data["client_secret"] = []byte("\xef\xbb\xbf" + clientSecret) })
	w.pass(time.Minute)
	w.reconcile()
	w.wantReasons(v1alpha1.ReasonCredentialsInvalid, v1alpha1.ReasonNotFetched)
	w.wantExchanges(1)

	change(w, w.secret("credentials"), func(s *corev1.Secret) { s.Data["client_secret"] = []byte(clientSecret) })
	w.pass(time.Minute)
	w.live(time.Minute)
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
	w.wantNoSecretSeen()
}

func TestTemplates(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ template, says string }{
		"a field that the account does not have": {"{{ .Credentials.api_key }}", "the account has no field `api_key`; it has `oauth_access_token`"},
		"a syntax error":                         {"{{ .Credentials.oauth_access_token ", "not closed"},
		"an unknown value":                       {"{{ .Credentials.a }}{{ .Password }}", "there is no value `.Password`"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.createCredentials()
			w.create(func(account *v1alpha1.PipedreamAccount) {
				account.Spec.Secret.Data = map[string]v1alpha1.ValueTemplate{"TOKEN": v1alpha1.ValueTemplate(test.template)}
			})
			w.reconcile()
			w.wantReasons(v1alpha1.ReasonTemplateInvalid, v1alpha1.ReasonNotFetched)
			w.wantStalled(true)
			if message := w.condition(v1alpha1.ConditionFetched).Message; !strings.Contains(message, test.says) {
				t.Errorf("the message is %q, want %q in it", message, test.says)
			}
			if w.hasTarget() {
				t.Error("there is a Secret")
			}
			change(w, w.account(), func(account *v1alpha1.PipedreamAccount) {
				account.Spec.Secret.Data["TOKEN"] = "{{ .Credentials.oauth_access_token }}"
			})
			w.pass(time.Minute)
			w.live(time.Minute)
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
			w.wantNoSecretSeen()
		})
	}
}

func TestASecretOfSomebodyElseIsNeverTouched(t *testing.T) {
	t.Parallel()
	for name, owner := range map[string]string{"nobody": "", "a PipedreamToken of the same name": "slack", "another PipedreamAccount": "PipedreamAccount/other"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.createCredentials()
			foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "slack-credentials"}, StringData: map[string]string{"a": "b"}}
			if owner != "" {
				foreign.Annotations = map[string]string{v1alpha1.OwnerAnnotation: owner}
			}
			must(t, w.admin.Create(t.Context(), foreign))
			w.create()
			w.reconcile()
			w.wantReasons(v1alpha1.ReasonSecretNotOwned, v1alpha1.ReasonNotFetched)
			w.wantStalled(true)
			w.wantFetches(0)
			if got := w.target(); got.ResourceVersion != foreign.ResourceVersion {
				t.Error("the Secret was written")
			}
			must(t, w.admin.Delete(t.Context(), foreign))
			w.live(time.Minute)
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
		})
	}
}

// TestTheClusterFails has the API server fail after the account was fetched.
func TestTheClusterFails(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		code   int
		status metav1.StatusReason
		want   string
	}{
		"500":       {http.StatusInternalServerError, "", v1alpha1.ReasonClusterUnavailable},
		"503":       {http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, v1alpha1.ReasonClusterUnavailable},
		"401":       {http.StatusUnauthorized, metav1.StatusReasonUnauthorized, v1alpha1.ReasonClusterUnavailable},
		"forbidden": {http.StatusForbidden, metav1.StatusReasonForbidden, v1alpha1.ReasonSecretWriteRefused},
		"invalid":   {http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, v1alpha1.ReasonSecretWriteRefused},
		"a webhook": {http.StatusInternalServerError, metav1.StatusReasonInternalError, v1alpha1.ReasonSecretWriteRefused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.createCredentials()
			w.create()
			w.wire.Respond(refuse("POST secrets", test.code, test.status))
			_, _ = w.tryReconcile()
			w.wantReasons(test.want, v1alpha1.ReasonNotFetched)
			w.wire.Respond(nil)
			w.pass(2 * time.Minute)
			w.live(2 * time.Minute)
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
			w.wantExchanges(1)
			if strings.Contains(w.log.String(), apiServersText) || strings.Contains(fmt.Sprint(w.account().Status), apiServersText) {
				t.Error("the API server's own text is seen")
			}
			w.wantNoSecretSeen()
		})
	}
}

const apiServersText = "the text of the API server that may quote a Secret"

// TestAWebhookOutageIsPaced has an admission webhook not answer for half an hour. Each attempt to write the Secret costs a
// look, so that the attempts must become rarer as after each other failure that may end by itself.
func TestAWebhookOutageIsPaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.createCredentials()
	w.create()
	w.wire.Respond(refuse("POST secrets", http.StatusInternalServerError, metav1.StatusReasonInternalError))
	w.live(30 * time.Minute)
	w.wantReasons(v1alpha1.ReasonSecretWriteRefused, v1alpha1.ReasonNotFetched)
	if looks := w.fetches(); looks < 60 || looks > 100 {
		t.Errorf("in half an hour without credentials there are %d looks, want at least one each 30 s and few more", looks)
	}
}

func TestSuspending(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fetched()
	change(w, w.account(), func(account *v1alpha1.PipedreamAccount) { account.Spec.Suspend = true })
	w.wire.Reset()
	w.live(59 * time.Minute)
	w.wantReasons(v1alpha1.ReasonSuspended, v1alpha1.ReasonCredentialsValid)
	w.wantFetches(1)
	w.live(2 * time.Minute)
	w.reconcile()
	w.wantReasons(v1alpha1.ReasonSuspended, v1alpha1.ReasonCredentialsExpired)
	w.wantFetches(1)
	change(w, w.account(), func(account *v1alpha1.PipedreamAccount) { account.Spec.Suspend = false })
	w.live(time.Minute)
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
	w.wantNoSecretSeen()
}

func TestAnotherAccountIsAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fetched()
	w.connect("apn_second", "lead:20m", func(a *simulator.Account) { a.ExternalUserID = "beta" })
	must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAccount, Status: http.StatusServiceUnavailable}))
	change(w, w.account(), func(account *v1alpha1.PipedreamAccount) { account.Spec.AccountID = "apn_second" })
	w.pass(time.Minute)
	w.reconcile()
	w.wantReasons(v1alpha1.ReasonEndpointUnavailable, v1alpha1.ReasonAccountOutdated)
	w.pipedream.ClearFaults()
	w.live(2 * time.Minute)
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
	if got := w.account().Status.Account.ID; got != "apn_second" {
		t.Errorf("the account is %s", got)
	}
}
