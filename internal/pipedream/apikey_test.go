// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// keys is a simulated Pipedream behind HTTP, with a user, the user's API key, and a client that asks with API keys.
type keys struct {
	*simulator.Simulator
	remote simulator.Remote
	client *pipedream.Client
}

// The API keys of the user u_me. Both contain the text that no error may show.
const firstKey, secondKey = canary + "-k3y-1", canary + "-k3y-2"

// newKeys returns a Pipedream where the user u_me is in the workspaces o_one and o_two, and has the accounts apn_one
// and apn_two there. The user u_other has apn_other.
func newKeys(t *testing.T) *keys {
	t.Helper()
	k := &keys{Simulator: simulator.New(simulator.Options{Now: clock, Clients: []simulator.Client{{ID: clientID, Secret: secret}}})}
	server := httptest.NewServer(k.Simulator)
	t.Cleanup(server.Close)
	k.remote = simulator.Remote{Address: server.URL, Client: server.Client()}
	k.client = newClient(t, server.URL)
	k.control(t, http.MethodPut, "users/u_me", map[string]any{"api_key": firstKey, "workspaces": []string{"o_one", "o_two"}})
	k.control(t, http.MethodPut, "users/u_other", map[string]any{"api_key": "k3y-of-other", "workspaces": []string{"o_one"}})
	for id, user := range map[string]string{"one": "u_me", "two": "u_me", "other": "u_other"} {
		workspace := "o_" + strings.Replace(id, "other", "one", 1)
		k.control(t, http.MethodPut, "accounts/apn_"+id, map[string]any{
			"user_id": user, "workspace_id": workspace, "app": "slack", "refresh": "lead:5m", "fields": map[string]string{"id_of": id},
		})
	}
	return k
}

// control makes a call below /_sim/ of the simulator.
func (k *keys) control(t *testing.T, method, path string, body any) {
	t.Helper()
	if err := k.remote.Control(t.Context(), method, path, body, nil); err != nil {
		t.Fatal(err)
	}
}

// fetch fetches an account with an API key. It returns the kind of the failure; empty if there is none.
func (k *keys) fetch(t *testing.T, key, accountID, workspace string) (pipedream.Account, pipedream.Error) {
	t.Helper()
	query := pipedream.AccountQuery{AccountID: accountID, WorkspaceID: workspace}
	got, err := k.client.Account(t.Context(), pipedream.NewSensitive(key), query)
	if err == nil {
		return got, pipedream.Error{}
	}
	checkIsSafe(t, err)
	return got, wantError(t, err)
}

// wantAccount fetches apn_one or another account, and checks that it is that one.
func (k *keys) wantAccount(t *testing.T, key, accountID, workspace string) pipedream.Account {
	t.Helper()
	got, failed := k.fetch(t, key, accountID, workspace)
	if failed.Kind != "" || got.ID != accountID || "apn_"+got.Credentials["id_of"].Reveal() != accountID || got.Credentials["oauth_access_token"].IsEmpty() {
		t.Fatalf("the account is %q, the error %+v, want %s", got.ID, failed, accountID)
	}
	return got
}

// The client reads an account in all combinations of the shapes in which the endpoint for API keys may answer.
func TestAnAccountByAnAPIKeyInAllReadings(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	for _, single := range []string{"data", "bare", "list"} {
		for _, fields := range []string{"few", "all"} {
			for _, slug := range []string{"present", "absent"} {
				for _, externalID := range []string{"present", "absent"} {
					k.control(t, http.MethodPut, "account-answers", map[string]string{
						"rest-single": single, "rest-fields": fields, "name-slug": slug, "external-id": externalID,
					})
					got := k.wantAccount(t, firstKey, "apn_one", "")
					reading := strings.Join([]string{single, fields, slug, externalID}, ", ")
					wantApp, wantNext := "", time.Time{}
					if fields == "all" {
						wantNext = second.Add(55 * time.Minute)
						if slug == "present" {
							wantApp = "slack"
						}
					}
					if got.App != wantApp || !got.NextRefreshTime.Equal(wantNext) || !got.ExternalUserID.IsEmpty() {
						t.Errorf("%s: the app is %q, the next refresh at %s", reading, got.App, got.NextRefreshTime)
					}
					if !got.ExpirationTime.Equal(second.Add(time.Hour)) || got.Health != pipedream.Healthy {
						t.Errorf("%s: it expires at %s, and is %s", reading, got.ExpirationTime, got.Health)
					}
					if _, ok := got.Credentials["oauth_refresh_token"]; ok {
						t.Errorf("%s: the refresh token is copied", reading)
					}
				}
			}
		}
	}
}

// Credentials that do not expire are known as such in each reading.
func TestAnAccountByAnAPIKeyThatDoesNotExpire(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	k.control(t, http.MethodPatch, "accounts/apn_one", map[string]string{"life": "0s", "refresh": "never"})
	for _, noExpiry := range []string{"null", "absent"} {
		for _, fields := range []string{"few", "all"} {
			k.control(t, http.MethodPut, "account-answers", map[string]string{"no-expiry": noExpiry, "rest-fields": fields})
			if got := k.wantAccount(t, firstKey, "apn_one", ""); !got.ExpirationTime.IsZero() {
				t.Errorf("%s, %s: it expires at %s", noExpiry, fields, got.ExpirationTime)
			}
		}
	}
}

// Whatever the body of the 401 is, a revoked key is CredentialsRejected, and the new key is good at once.
func TestARevokedAPIKey(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"error", "empty", "text", "html", "oauth", "details"} {
		t.Run(body, func(t *testing.T) {
			t.Parallel()
			k := newKeys(t)
			k.control(t, http.MethodPut, "account-answers", map[string]string{"refused-key": body})
			before := k.wantAccount(t, firstKey, "apn_one", "")
			k.control(t, http.MethodPost, "users/u_me/revoke-key", map[string]string{"api_key": secondKey})
			for _, workspace := range []string{"", "o_one"} {
				got, failed := k.fetch(t, firstKey, "apn_one", workspace)
				if want := (pipedream.Error{Kind: pipedream.CredentialsRejected, StatusCode: http.StatusUnauthorized}); failed != want {
					t.Errorf("the error is %+v, want %+v", failed, want)
				}
				if len(got.Credentials) != 0 {
					t.Error("there are credentials")
				}
			}
			after := k.wantAccount(t, secondKey, "apn_one", "")
			if !sameSecret(after.Credentials["oauth_access_token"], before.Credentials["oauth_access_token"]) {
				t.Error("the account has another access token")
			}
		})
	}
}

// A refusal of an account or of a workspace is not taken for a refusal of the key, unless it is a 401.
func TestWhatAnAPIKeyIsTold(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		answers              map[string]string
		accountID, workspace string
		want                 pipedream.Kind
	}{
		"its account in its workspace":     {accountID: "apn_two", workspace: "o_two"},
		"no account":                       {accountID: "apn_none", want: pipedream.AccountNotFound},
		"another user's account":           {accountID: "apn_other", want: pipedream.AccountNotFound},
		"another user's account, with 403": {map[string]string{"foreign-account": "forbidden"}, "apn_other", "", pipedream.AccessDenied},
		"another workspace of the user":    {accountID: "apn_one", workspace: "o_two", want: pipedream.AccountNotFound},
		"a foreign workspace":              {accountID: "apn_one", workspace: "o_foreign", want: pipedream.AccessDenied},
		"a foreign workspace, with 401":    {map[string]string{"foreign-workspace": "unauthorized"}, "apn_one", "o_foreign", pipedream.CredentialsRejected},
		"a foreign workspace, with 404":    {map[string]string{"foreign-workspace": "not-found"}, "apn_one", "o_foreign", pipedream.AccountNotFound},
		"no workspace where one is needed": {map[string]string{"org-id": "required"}, "apn_one", "", pipedream.RequestRejected},
		"a workspace where one is needed":  {map[string]string{"org-id": "required"}, "apn_two", "o_two", ""},
		"no workspace, so the first":       {map[string]string{"org-id": "first"}, "apn_one", "", ""},
		"no workspace, so not the second":  {map[string]string{"org-id": "first"}, "apn_two", "", pipedream.AccountNotFound},
		"the second workspace":             {map[string]string{"org-id": "first"}, "apn_two", "o_two", ""},
		"a workspace that has no effect":   {map[string]string{"org-id": "ignored"}, "apn_one", "o_foreign", ""},
		"a reading about access tokens":    {map[string]string{"rest-oauth": "forbidden"}, "apn_one", "", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKeys(t)
			k.control(t, http.MethodPut, "account-answers", test.answers)
			if test.want == "" {
				k.wantAccount(t, firstKey, test.accountID, test.workspace)
				return
			}
			if _, failed := k.fetch(t, firstKey, test.accountID, test.workspace); failed.Kind != test.want {
				t.Errorf("the error is %+v, want %s", failed, test.want)
			}
		})
	}
}

// What an account says is the same by an API key, as far as the endpoint says it.
func TestTheStateOfAnAccountByAnAPIKey(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change   map[string]any
		few, all pipedream.Kind
	}{
		"dead":                  {map[string]any{"dead": true, "healthy": false}, "", pipedream.AccountDead},
		"without credentials":   {map[string]any{"credentials": "absent"}, pipedream.AccountNotExportable, pipedream.AccountNotExportable},
		"with null credentials": {map[string]any{"credentials": "null"}, pipedream.AccountNotExportable, pipedream.AccountNotExportable},
		"with no credentials":   {map[string]any{"credentials": "empty"}, pipedream.AccountNotExportable, pipedream.AccountNotExportable},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKeys(t)
			k.control(t, http.MethodPatch, "accounts/apn_one", test.change)
			for fields, want := range map[string]pipedream.Kind{"few": test.few, "all": test.all} {
				k.control(t, http.MethodPut, "account-answers", map[string]string{"rest-fields": fields})
				got, failed := k.fetch(t, firstKey, "apn_one", "")
				if failed.Kind != want {
					t.Errorf("%s fields: the error is %+v, want %q", fields, failed, want)
				}
				if want == "" && got.Health != pipedream.Unhealthy {
					t.Errorf("%s fields: the account is %s", fields, got.Health)
				}
			}
		})
	}
}

// The app is compared if the answer names its slug, and only then.
func TestTheAppOfAnAccountByAnAPIKey(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	query := pipedream.AccountQuery{AccountID: "apn_one", App: "github"}
	for fields, want := range map[string]pipedream.Kind{"few": "", "all": pipedream.AccountMismatch} {
		k.control(t, http.MethodPut, "account-answers", map[string]string{"rest-fields": fields})
		_, err := k.client.Account(t.Context(), pipedream.NewSensitive(firstKey), query)
		if want == "" {
			if err != nil {
				t.Errorf("%s fields: the error is %v", fields, err)
			}
			continue
		}
		if got := wantError(t, err); got.Kind != want {
			t.Errorf("%s fields: the error is %+v, want %s", fields, got, want)
		}
	}
}

// The limit of a key says when to ask again.
func TestTheLimitOfAnAPIKey(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	k.control(t, http.MethodPut, "key-limit", map[string]any{"calls": 1, "window": "40s"})
	k.wantAccount(t, firstKey, "apn_one", "")
	_, failed := k.fetch(t, firstKey, "apn_one", "")
	want := pipedream.Error{Kind: pipedream.RateLimited, StatusCode: http.StatusTooManyRequests, RetryAt: now.Add(40 * time.Second)}
	if !failed.RetryAt.Equal(want.RetryAt) || failed.Kind != want.Kind || failed.StatusCode != want.StatusCode {
		t.Errorf("the error is %+v, want %+v", failed, want)
	}
}

// An API key is no access token, and an access token is no API key. The kind of the failure follows the endpoint.
func TestKeysAndTokensAtTheEndpointsOfEachOther(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	inProject := pipedream.AccountQuery{ProjectID: "proj_abc", Environment: "production", AccountID: "apn_1"}
	for value, want := range map[string]pipedream.Kind{
		"unauthorized": pipedream.TokenRejected, "forbidden": pipedream.AccessDenied, "not-found": pipedream.AccountNotFound,
	} {
		k.control(t, http.MethodPut, "behavior", map[string]string{simulator.BehaviorBadToken: value})
		_, err := k.client.Account(t.Context(), pipedream.NewSensitive(firstKey), inProject)
		if got := wantError(t, err); got.Kind != want {
			t.Errorf("Connect answers a key %s: the error is %+v, want %s", value, got, want)
		}
		checkIsSafe(t, err)
	}
	issued, err := k.client.Issue(t.Context(), credentials, nil)
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]pipedream.Kind{
		"unauthorized": pipedream.CredentialsRejected, "forbidden": pipedream.AccessDenied, "not-found": pipedream.AccountNotFound, "shared": pipedream.AccountNotFound,
	} {
		k.control(t, http.MethodPut, "account-answers", map[string]string{"rest-oauth": value})
		if _, failed := k.fetch(t, issued.AccessToken.Reveal(), "apn_one", ""); failed.Kind != want {
			t.Errorf("REST answers a token %s: the error is %+v, want %s", value, failed, want)
		}
	}
}

// A failure that says nothing about the key is not CredentialsRejected.
func TestOtherFailuresWithAnAPIKey(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	for status, want := range map[int]pipedream.Kind{
		http.StatusServiceUnavailable: pipedream.Unavailable, http.StatusFound: pipedream.RequestRejected,
		http.StatusRequestTimeout: pipedream.Unavailable, http.StatusUnprocessableEntity: pipedream.RequestRejected,
	} {
		k.control(t, http.MethodPost, "faults", map[string]any{"endpoint": "rest-account", "client_id": "u_me", "status": status, "body": canary, "calls": 1})
		if _, failed := k.fetch(t, firstKey, "apn_one", ""); failed.Kind != want || failed.StatusCode != status {
			t.Errorf("%d: the error is %+v, want %s", status, failed, want)
		}
	}
	k.wantAccount(t, firstKey, "apn_one", "")
}
