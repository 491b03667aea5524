// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

const (
	// keyAccountName is the name of the PipedreamAccount that is fetched with an API key, of its Secret, and of the
	// Deployment that uses the Secret.
	keyAccountName = "acme-notion"
	keyAccountID   = "apn_e2ekey"
	// keyUser is the user of Pipedream who has the API key and has connected the account.
	keyUser = "u_e2e"
	// keySecret is the name of the Secret with the API key.
	keySecret = "pipedream-api-key"
)

// keyReplaced holds the results of replaceKey that the later steps need.
type keyReplaced struct {
	pod pod
	// watched began with the first call of the pod, which was before the API key was revoked.
	watched *watch
	// at is when the Secret got the new API key.
	at time.Time
}

// replaceKey has a pod use the credentials of an account that is fetched with an API key. Then the key is revoked at
// Pipedream, and its Secret gets the new key. The pod is left running: wantServedWithKey checks it later, because the
// kubelet takes its time.
func (w *world) replaceKey(t *testing.T) {
	revoked, replacement := rand.Text(), rand.Text()
	w.secrets["the API key that was revoked"], w.secrets["the API key that replaced it"] = revoked, replacement
	simulate(t, "replace", "users/"+keyUser, `{"api_key":"`+revoked+`"}`)
	simulate(t, "replace", "accounts/"+keyAccountID, fmt.Sprintf(
		`{"user_id":%q,"app":"notion","life":%q,"refresh":"background:1m"}`, keyUser, lifetime))
	w.apply(t, "keyaccount.yaml", "NAME", keyAccountName, "ACCOUNT_ID", keyAccountID, "API_KEY", revoked)
	wantAccountConditions(t, keyAccountName, "Ready=True CredentialsValid", "Fetched=True AccountFetched")
	w.apply(t, "consumer.yaml", "NAME", keyAccountName, "PATH", "/_app/notion/me")
	kubectl(t, "", "rollout", "status", "deployment/"+keyAccountName, "--namespace="+shop, "--timeout="+patience.String())
	w.key.pod = podOf(t, keyAccountName)
	w.key.watched = startWatch(t, "2d API key revoked and replaced", []pod{w.key.pod})
	w.key.watched.done = []int{0} // Count all calls from the beginning.
	w.key.watched.began = w.key.pod.calls(t)[0].Time

	simulate(t, "create", "users/"+keyUser+"/revoke-key", `{"api_key":"`+replacement+`"}`)
	lookNow(t, keyAccountName, "revoked")
	wantAccountConditions(t, keyAccountName, "Fetched=False CredentialsRejected", "Stalled=True CredentialsRejected", "Ready=True CredentialsValid")
	next := keyAccount(t).Status.NextAttemptTime
	if next == nil {
		t.Fatal("the status does not say when the operator tries again by itself")
	}

	w.key.at = time.Now()
	w.apply(t, "keyaccount.yaml", "NAME", keyAccountName, "ACCOUNT_ID", keyAccountID, "API_KEY", replacement)
	wantAccountConditions(t, keyAccountName, "Fetched=True AccountFetched", "Ready=True CredentialsValid")
	fetched := conditionIn(keyAccount(t).Status.Conditions, v1alpha1.ConditionFetched).LastTransitionTime
	if !fetched.Before(next) {
		t.Errorf("the account was fetched with the new API key at %s, want before %s, when the operator tries again without a new key", fetched, next)
	}
	t.Logf("the Secret got the new API key at %s, and the account was fetched at %s", w.key.at.UTC().Format(time.RFC3339), fetched.UTC().Format(time.RFC3339))
	w.remember(t)
}

// keyAccount returns the PipedreamAccount that is fetched with an API key.
func keyAccount(t *testing.T) v1alpha1.PipedreamAccount {
	t.Helper()
	var account v1alpha1.PipedreamAccount
	get(t, &account, "pipedreamaccount", keyAccountName, "--namespace="+shop)
	return account
}

// wantServedWithKey checks that the pod uses credentials that were fetched with the new API key, that no call was
// refused since the pod began, and that nobody has logged a secret.
func (w *world) wantServedWithKey(t *testing.T) {
	eventually(t, filePatience, "an access token that was fetched with the new API key in the pod", func() string {
		w.remember(t)
		calls := w.key.pod.calls(t)
		if now := calls[len(calls)-1]; now.Status != http.StatusOK || now.issued().Before(w.key.at) {
			return fmt.Sprintf("the pod uses an access token issued at %s, and gets the HTTP status %d", now.issued(), now.Status)
		}
		return ""
	})
	r := w.key.watched.row(t)
	r.issued = w.accountTokens(keyAccountName) - 1
	w.report(t, r)
	r.wantServed(t)
	t.Logf("from the new API key on:\n%s", timeline(r.callsOf[0], w.key.at))
	w.removeAccount(t, keyAccountName, keyAccountID)
	w.wantNoSecretLogged(t)
}

// wantNoSecretLogged searches the logs of the managers.
func (w *world) wantNoSecretLogged(t *testing.T) {
	t.Helper()
	logged := kubectl(t, "", "logs", "--namespace="+system, "--selector=app.kubernetes.io/component=manager", "--tail=-1")
	for _, known := range []string{keyAccountName, v1alpha1.ReasonCredentialsRejected} {
		if !strings.Contains(logged, known) {
			t.Errorf("the logs do not have %s, so the search proves nothing", known)
		}
	}
	for name, secret := range w.secrets {
		for encoding, text := range encodings(secret) {
			if strings.Contains(logged, text) {
				t.Errorf("%s is in the logs of the managers, %s", name, encoding)
			}
		}
	}
	t.Logf("in %d bytes of the managers' logs, looked for %d tokens, API keys and client secrets", len(logged), len(w.secrets))
}
