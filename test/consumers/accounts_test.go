// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build consumers

package consumers

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/account"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/secrettemplate"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// newAccountPod returns a pod for the program of docs/guides/accounts.md that calls an app. The program calls the given
// address, and the Secret is mounted at /var/run/ and the name of the app. The app refuses credentials that were replaced.
func newAccountPod(t *testing.T, app, authType, address string) *pod {
	t.Helper()
	p := podWith(t, "accounts.md")
	p.replaced = []string{address, p.address + "/_app/" + app + "/me", "/var/run/" + app, p.folder}
	connected := simulator.NewAccount("proj_abc123", "acme-prod", app)
	connected.AuthType, connected.Rotating = authType, true
	harness.Must(t, p.pipedream.Accounts.Set("apn_1", connected))
	p.renew = func() { p.refresh(app) }
	p.isAnswer = func(line []byte) bool { return string(line) == `{"account":"apn_1"}` }
	p.calls = func() (total, accepted int) {
		counted := p.pipedream.Accounts.Counters().Apps[app]
		return counted.Accepted + counted.Refused, counted.Accepted
	}
	p.renew()
	return p
}

// refresh has Pipedream refresh the account, and writes the files of the Secret that the guide's PipedreamAccount for the app
// asks for. A test of the controller checks that the operator makes the same Secret.
func (p *pod) refresh(app string) {
	p.Helper()
	harness.Must(p.T, p.pipedream.Accounts.Refresh("apn_1"))
	var example v1alpha1.PipedreamAccount
	for _, block := range regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllStringSubmatch(string(harness.MustRead(p.T, "docs", "guides", "accounts.md")), -1) {
		if strings.Contains(block[1], "\n  app: "+app+"\n") {
			harness.Must(p.T, yaml.UnmarshalStrict([]byte(block[1]), &example))
		}
	}
	api, issued := p.client("connect:accounts:read")
	fetched, err := api.Account(p.Context(), issued.AccessToken, pipedream.AccountQuery{
		ProjectID: example.Spec.ProjectID, Environment: "production",
		ExternalUserID: example.Spec.ExternalUserID, App: example.Spec.App,
	})
	harness.Must(p.T, err)
	values := secrettemplate.Values{}
	for field, value := range fetched.Credentials {
		values["Credentials."+field] = value.Reveal()
	}
	data, err := account.Vocabulary.Render(plain(example.Spec.Secret.Data), values)
	harness.Must(p.T, err)
	p.mount(data)
}

func TestPythonCallsSlack(t *testing.T) {
	p := newAccountPod(t, "slack", simulator.AuthOAuth, "https://slack.com/api/auth.test")
	p.program("python", "bot.py", `

for _ in range(2):
    print(who_am_i().decode(), flush=True)
    input()
`)
	p.run("python3", "bot.py")
}

func TestCurlCallsAnAppWithAnAPIKey(t *testing.T) {
	p := newAccountPod(t, "openai", simulator.AuthKeys, "https://api.openai.com/v1/models")
	p.program("sh", "models.sh", "")
	harness.Must(p.T, os.WriteFile(filepath.Join(p.work, "twice.sh"), []byte("set -e\nfor i in 1 2; do sh models.sh; echo; read -r line; done\n"), 0o600))
	p.run("sh", "twice.sh")
}

// TestTypeScriptCallsTheProxy runs the program of the guide against a server that answers as Connect's API proxy.
func TestTypeScriptCallsTheProxy(t *testing.T) {
	p := podWith(t, "accounts.md")
	p.replaced = []string{"/var/run/pipedream", p.folder}
	p.mount(map[string][]byte{"token": []byte("the-token")})
	p.address = harness.MustServe(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(strings.TrimPrefix(r.URL.Path, "/v1/connect/proj_abc123/proxy/"), "="))
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"target": string(target), "error": fmt.Sprint(err), "authorization": r.Header.Get("Authorization"),
			"user": r.URL.Query().Get("external_user_id"), "account": r.URL.Query().Get("account_id"), "environment": r.Header.Get("x-pd-environment"),
		})
	}))
	p.program("ts", "bot.mjs", "\nconsole.log(JSON.stringify(await whoAmI()));\n")
	p.sdk()
	const want = `{"account":"apn_WYhMlrz","authorization":"Bearer the-token","environment":"production","error":"<nil>","target":"https://slack.com/api/auth.test","user":"acme-prod"}`
	if count := p.runWith(func(_ int, line []byte) {
		if string(line) != want {
			t.Errorf("the proxy got\n%s\nwant\n%s", line, want)
		}
	}, "node", "bot.mjs"); count != 1 {
		t.Errorf("the program has printed %d lines, want 1", count)
	}
}

// sdkAccount is an account as a program with Pipedream's SDK sees it.
type sdkAccount struct {
	ID          string `json:"id"`
	Healthy     *bool  `json:"healthy"`
	Dead        *bool  `json:"dead"`
	App         struct{ NameSlug string }
	ExternalID  string    `json:"externalId"`
	ExpiresAt   time.Time `json:"expiresAt"`
	Credentials struct {
		OAuthAccessToken string `json:"oauthAccessToken"`
		APIKey           string `json:"api_key"`
	}
}

// TestTypeScriptReadsAccounts has Pipedream's own SDK list the accounts of the simulator over two pages, and retrieve each
// with its credentials. It proves that the simulator answers as the SDK expects Pipedream to answer.
func TestTypeScriptReadsAccounts(t *testing.T) {
	p := newPod(t)
	for i := range 11 {
		connected := simulator.NewAccount("proj_abc123", "acme", "slack")
		harness.Must(t, p.pipedream.Accounts.Set(fmt.Sprintf("apn_slack%02d", i), connected))
	}
	keys := simulator.NewAccount("proj_abc123", "other", "openai")
	keys.AuthType, keys.Healthy, keys.Dead = simulator.AuthKeys, new(false), new(true)
	harness.Must(t, p.pipedream.Accounts.Set("apn_zkeys", keys))
	p.program("ts", "accounts.mjs", `
const ids = [];
for await (const account of await pipedream.accounts.list()) {
  if (account.credentials) throw new Error("a listing has credentials that nobody has asked for");
  ids.push(account.id);
}
const ofUser = await pipedream.accounts.list({ externalUserId: "other", app: "openai", includeCredentials: true });
console.log(JSON.stringify({ ids, ofUser: ofUser.data }));
for (const id of ids) {
  console.log(JSON.stringify(await pipedream.accounts.retrieve(id, { includeCredentials: true })));
}
try {
  await pipedream.accounts.retrieve("apn_none");
} catch (error) {
  console.log(JSON.stringify({ status: error.statusCode }));
}
`)
	p.sdk()
	var listed struct {
		IDs    []string
		OfUser []sdkAccount
	}
	count := p.runWith(func(count int, line []byte) {
		switch {
		case count == 1:
			harness.Must(t, json.Unmarshal(line, &listed))
		case count <= 13:
			var got sdkAccount
			harness.Must(t, json.Unmarshal(line, &got))
			p.wantAccount(listed.IDs[count-2], got)
		case string(line) != `{"status":404}`:
			t.Errorf("an account that does not exist is answered by %s", line)
		}
	}, "node", "accounts.mjs")
	if count != 14 || len(listed.IDs) != 12 {
		t.Errorf("the program has printed %d lines, want 14, and listed %q, want 12 accounts", count, listed.IDs)
	}
	if len(listed.OfUser) != 1 {
		t.Fatalf("the listing for a user and an app has %d accounts, want 1", len(listed.OfUser))
	}
	p.wantAccount("apn_zkeys", listed.OfUser[0])
}

// wantAccount checks an account that the SDK has read, and calls its app with the credentials.
func (p *pod) wantAccount(id string, got sdkAccount) {
	p.Helper()
	app, user, credential, isDead := "slack", "acme", got.Credentials.OAuthAccessToken, false
	if id == "apn_zkeys" {
		app, user, credential, isDead = "openai", "other", got.Credentials.APIKey, true
	}
	if got.ID != id || got.App.NameSlug != app || got.ExternalID != user {
		p.Errorf("the account %s is read as %s of %s and %s", id, got.ID, got.App.NameSlug, got.ExternalID)
	}
	if got.Dead == nil || *got.Dead != isDead || got.Healthy == nil || *got.Healthy == isDead {
		p.Errorf("the account %s is read as dead %v, healthy %v", id, got.Dead, got.Healthy)
	}
	if left := time.Until(got.ExpiresAt); !isDead && (left < 50*time.Minute || left > time.Hour) || isDead && !got.ExpiresAt.IsZero() {
		p.Errorf("the credentials of %s are read as expiring at %s", id, got.ExpiresAt)
	}
	request, err := http.NewRequestWithContext(p.Context(), http.MethodGet, p.address+"/_app/"+app+"/me", http.NoBody)
	harness.Must(p.T, err)
	request.Header.Set("Authorization", "Bearer "+credential)
	response, err := http.DefaultClient.Do(request)
	harness.Must(p.T, err)
	harness.Must(p.T, response.Body.Close())
	if response.StatusCode != http.StatusOK {
		p.Errorf("the app answers %s to the credentials of %s", response.Status, id)
	}
}
