// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

const (
	// accountName is the name of the PipedreamAccount, of its Secret, and of the Deployment that uses the Secret.
	accountName = "acme-slack"
	accountID   = "apn_e2e"
	// refreshes is how many refreshes by Pipedream the file in the pod must follow.
	refreshes = 2
)

// connectAccount connects the account at the simulator, or changes whether it is dead. Pipedream refreshes it each
// minute, and the app accepts an access token until it expires.
func connectAccount(t *testing.T, isDead bool) {
	t.Helper()
	simulate(t, "replace", "accounts/"+accountID, fmt.Sprintf(
		`{"project_id":"proj_abc123","external_user_id":"acme","app":"slack","life":%q,"refresh":"background:1m","dead":%v}`, lifetime, isDead))
}

// lookNow asks the operator for a look at the account of a PipedreamAccount.
func lookNow(t *testing.T, name, request string) {
	t.Helper()
	kubectl(t, "", "annotate", "pipedreamaccount", name, "--namespace="+shop, "--overwrite", "pipedream-operator.io/renew-request="+request)
}

// wantAccountConditions waits until conditions of a PipedreamAccount are as given, each as `Ready=False AccountDead`.
func wantAccountConditions(t *testing.T, name string, want ...string) {
	t.Helper()
	eventually(t, patience, "the conditions "+strings.Join(want, ", "), func() string {
		var account v1alpha1.PipedreamAccount
		if err := tryGet(&account, "pipedreamaccount", name, "--namespace="+shop); err != nil {
			return err.Error()
		}
		var got []string
		for _, condition := range account.Status.Conditions {
			got = append(got, fmt.Sprintf("%s=%s %s", condition.Type, condition.Status, condition.Reason))
		}
		for _, one := range want {
			if !slices.Contains(got, one) {
				return fmt.Sprintf("the conditions are %q", got)
			}
		}
		t.Logf("Fetched says: %s", conditionIn(account.Status.Conditions, v1alpha1.ConditionFetched).Message)
		return ""
	})
}

// followAccount has a pod use the credentials of a connected account while Pipedream refreshes them.
func (w *world) followAccount(t *testing.T) {
	connectAccount(t, false)
	w.apply(t, "account.yaml", "NAME", accountName)
	kubectl(t, "", "wait", "--for=condition=Ready", "pipedreamaccount/"+accountName, "--namespace="+shop, "--timeout="+patience.String())
	w.apply(t, "consumer.yaml", "NAME", accountName, "PATH", "/_app/slack/me")
	kubectl(t, "", "rollout", "status", "deployment/"+accountName, "--namespace="+shop, "--timeout="+patience.String())
	p := podOf(t, accountName)
	watched := startWatch(t, "2b account refreshed", []pod{p})
	watched.done = []int{0} // Count all calls from the beginning.
	watched.began = p.calls(t)[0].Time
	eventually(t, refreshes*(time.Minute+filePatience), "the file to follow two refreshes", func() string {
		w.remember(t)
		r := &row{}
		r.add(p.calls(t), call{})
		if r.tokens <= refreshes {
			return fmt.Sprintf("the pod has seen %d access tokens", r.tokens)
		}
		return ""
	})
	r := watched.row(t)
	r.issued = w.accountTokens(accountName) - 1
	w.report(t, r)
	r.wantServed(t)
	if r.renewed < refreshes || r.issued < refreshes {
		t.Errorf("the Secret has held %d new access tokens, and the pod began to use %d, want at least %d of each", r.issued, r.renewed, refreshes)
	}
	t.Logf("the file changed %s after Pipedream's refreshes", strings.Join(r.delays, ", "))
}

// accountTokens returns how many access tokens of a PipedreamAccount the search of etcd will look for.
func (w *world) accountTokens(of string) int {
	count := 0
	for name := range w.secrets {
		if strings.HasPrefix(name, "a token of "+of+" ") {
			count++
		}
	}
	return count
}

// heldToken returns the access token in the Secret of the account.
func heldToken(t *testing.T) string {
	t.Helper()
	var secret corev1.Secret
	get(t, &secret, "secret", accountName, "--namespace="+shop)
	return string(secret.Data["access_token"])
}

// loseAccount lets the account die, and has the end user connect it again.
func (w *world) loseAccount(t *testing.T) {
	p := podOf(t, accountName)
	watched := startWatch(t, "2c account dead and back", []pod{p})
	w.remember(t)
	known := w.accountTokens(accountName)
	connectAccount(t, true)
	lookNow(t, accountName, "dead")
	wantAccountConditions(t, accountName, "Ready=False AccountDead", "Fetched=False AccountDead", "Healthy=False AccountDead", "Stalled=True AccountDead")
	last := heldToken(t)
	if last == "" {
		t.Error("the Secret of a dead account is empty, want its last credentials")
	}
	// An expiry that the operator has computed may be a second too early. No access token is as young: a dead account is
	// not refreshed.
	back := time.Now().Truncate(time.Second).Add(-time.Second)
	connectAccount(t, false)
	simulate(t, "create", "accounts/"+accountID+"/refresh", "{}")
	lookNow(t, accountName, "back")
	wantAccountConditions(t, accountName, "Ready=True CredentialsValid", "Fetched=True AccountFetched", "Healthy=True AccountHealthy")
	w.remember(t)
	if heldToken(t) == last {
		t.Error("the Secret holds the access token from before the account was connected again")
	}
	eventually(t, filePatience, "the access token of the new connection in the pod", func() string {
		w.remember(t)
		calls := p.calls(t)
		if now := calls[len(calls)-1]; now.Status != http.StatusOK || now.issued().Before(back) {
			return fmt.Sprintf("the pod uses an access token issued at %s, and gets the HTTP status %d", now.issued(), now.Status)
		}
		return ""
	})
	r := watched.row(t)
	r.issued = w.accountTokens(accountName) - known
	w.report(t, r)
	if r.failed > 0 || r.restarts > 0 {
		t.Errorf("%d calls failed (%s), and the pod was restarted %d times, want neither", r.failed, r.firstFailure, r.restarts)
	}
	t.Logf("from the new connection on:\n%s", timeline(r.callsOf[0], back))
	w.removeAccount(t, accountName, accountID)
}

// removeAccount deletes a PipedreamAccount, which deletes its Secret and not the account at Pipedream.
func (w *world) removeAccount(t *testing.T, name, id string) {
	t.Helper()
	kubectl(t, "", "delete", "deployment", name, "--namespace="+shop)
	kubectl(t, "", "delete", "pipedreamaccount", name, "--namespace="+shop)
	eventually(t, patience, "the Secret of the account to be garbage-collected", func() string {
		output, err := tryKubectl("get", "secret", name, "--namespace="+shop, "--ignore-not-found", "--output=name")
		if err != nil || output != "" {
			return fmt.Sprintf("there is %s (%v)", output, err)
		}
		return ""
	})
	accounts := kubectl(t, "", "get", "--raw=/api/v1/namespaces/"+pipedream+"/services/simulator:8099/proxy/_sim/accounts")
	if !strings.Contains(accounts, `"`+id+`"`) {
		t.Errorf("the account is gone at Pipedream: %s", accounts)
	}
}
