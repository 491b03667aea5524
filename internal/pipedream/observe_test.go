// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// observed returns a client and the descriptions of the answers that it has got.
func observed(t *testing.T, address string) (*pipedream.Client, *[]pipedream.Observation) {
	t.Helper()
	var all []pipedream.Observation
	client := newClient(t, address, func(o *pipedream.Options) {
		o.Observe = func(one pipedream.Observation) { all = append(all, one) }
	})
	return client, &all
}

func TestObserveDescribesAnAnswer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		header http.Header
		body   string
		want   pipedream.Observation
	}{
		"a token": {
			200,
			http.Header{"Date": {"Sun, 01 Mar 2026 12:00:00 GMT"}, "X-Ratelimit-Limit": {"100"}},
			`{"access_token":"` + token + `","token_type":"Bearer","expires_in":3600,"created_at":1,"scope":"a ` + canary + `","` + canary + `":1}`,
			pipedream.Observation{
				StatusCode: 200, Date: second, Body: "a JSON object with access_token, token_type, expires_in, created_at, scope, 1 other fields",
				RateLimits: []pipedream.RateLimitHeader{{Name: "X-RateLimit-Limit", Value: "100"}},
				ExpiresIn:  3600, ScopeField: pipedream.ScopeText, HasCreatedAt: true,
			},
		},
		"a refusal": {
			401, nil, `{"error":"invalid_client","error_description":"` + canary + `"}`,
			pipedream.Observation{StatusCode: 401, Code: "invalid_client", Body: "a JSON object with error, error_description"},
		},
		"a refusal with an unknown code": {
			400, nil, `{"error":"` + canary + `"}`, pipedream.Observation{StatusCode: 400, Body: "a JSON object with error"},
		},
		"a refusal with numbers in place of text": {
			400, nil, `{"error":17,"access_token":17,"expires_in":"soon","scope":17}`,
			pipedream.Observation{StatusCode: 400, Body: "a JSON object with access_token, expires_in, scope, error", ScopeField: pipedream.ScopeOther},
		},
		"a 429 of a load balancer": {
			429, http.Header{"Server": {"awselb/2.0"}}, "", pipedream.Observation{StatusCode: 429, Body: "an empty body"},
		},
		"a 429 with headers": {
			429,
			http.Header{"Retry-After": {"30"}, "X-Ratelimit-Remaining": {"0"}, "Ratelimit-Policy": {canary}, "X-Ratelimit-Reset": {"1234567890123"}},
			`{}`,
			pipedream.Observation{StatusCode: 429, Body: "a JSON object without fields", RateLimits: []pipedream.RateLimitHeader{
				{Name: "Retry-After", Value: "30"}, {Name: "X-RateLimit-Remaining", Value: "0"}, {Name: "X-RateLimit-Reset"}, {Name: "RateLimit-Policy"},
			}},
		},
		"a list":                  {200, nil, `["` + canary + `"]`, pipedream.Observation{StatusCode: 200, Body: "a JSON list", Accounts: &pipedream.AccountsObservation{Form: "a list", Count: 1}}},
		"a text in JSON":          {200, nil, `"` + canary + `"`, pipedream.Observation{StatusCode: 200, Body: "JSON, but neither an object nor a list"}},
		"null":                    {200, nil, `null`, pipedream.Observation{StatusCode: 200, Body: "JSON, but neither an object nor a list"}},
		"a page":                  {200, nil, `<html>` + canary, pipedream.Observation{StatusCode: 200, Body: "HTML or XML"}},
		"a sentence":              {502, nil, canary, pipedream.Observation{StatusCode: 502, Body: "text that is not JSON"}},
		"an endless text":         {200, nil, `"` + strings.Repeat("a", 65<<10) + `"`, pipedream.Observation{StatusCode: 200, Body: "more than 64 KiB"}},
		"a scope that is null":    {200, nil, `{"scope":null}`, pipedream.Observation{StatusCode: 200, Body: "a JSON object with scope", ScopeField: pipedream.ScopeNull}},
		"a scope that is empty":   {200, nil, `{"scope":" "}`, pipedream.Observation{StatusCode: 200, Body: "a JSON object with scope", ScopeField: pipedream.ScopeEmpty}},
		"a scope that is a list":  {200, nil, `{"scope":["a"]}`, pipedream.Observation{StatusCode: 200, Body: "a JSON object with scope", ScopeField: pipedream.ScopeList}},
		"a life that is negative": {200, nil, `{"expires_in":-5}`, pipedream.Observation{StatusCode: 200, Body: "a JSON object with expires_in"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.header == nil {
				test.header = http.Header{}
			}
			if test.header["Date"] == nil {
				test.header["Date"] = nil // No Date header at all.
			}
			if test.want.ScopeField == "" {
				test.want.ScopeField = pipedream.ScopeAbsent
			}
			test.want.Protocol = "HTTP/1.1"
			client, all := observed(t, serve(t, answerWith(test.status, test.header, test.body)).URL)
			_, _ = client.Issue(t.Context(), credentials, nil)
			if len(*all) != 1 {
				t.Fatalf("it has described %d answers, want 1", len(*all))
			}
			got := (*all)[0]
			shown := fmt.Sprintf("%v %+v %#v", got, got, got)
			for _, hidden := range []string{clientID, secret, token, canary} {
				if strings.Contains(shown, hidden) {
					t.Errorf("the description shows %q: %s", hidden, shown)
				}
			}
			hasToken := strings.Contains(test.body, token)
			if hasToken != (got.AccessToken.Reveal() == token) {
				t.Errorf("it hands out %d characters of a token", len(got.AccessToken.Reveal()))
			}
			got.AccessToken = pipedream.Sensitive{}
			if diff := cmp.Diff(test.want, got, cmp.Comparer(func(a, b pipedream.Sensitive) bool { return a.Reveal() == b.Reveal() })); diff != "" {
				t.Errorf("the description (-want +got):\n%s", diff)
			}
		})
	}
}

// TestObserveHandsOutATokenThatIssueRefuses is about a token that would otherwise be lost, and
// could not be revoked.
func TestObserveHandsOutATokenThatIssueRefuses(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"without a life":             `{"access_token":"` + token + `"}`,
		"without a requested scope":  `{"access_token":"` + token + `","expires_in":3600,"scope":"other"}`,
		"of another type":            `{"access_token":"` + token + `","token_type":"mac","expires_in":3600}`,
		"with a life of ten seconds": `{"access_token":"` + token + `","expires_in":10}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, all := observed(t, serve(t, answerWith(http.StatusOK, nil, body)).URL)
			if _, err := client.Issue(t.Context(), credentials, []string{"connect:accounts:read"}); err == nil {
				t.Error("Issue returns no error")
			}
			if len(*all) != 1 || (*all)[0].AccessToken.Reveal() != token {
				t.Error("it does not hand out the token")
			}
		})
	}
}

func TestObserveIsNotCalledWithoutACompleteAnswer(t *testing.T) {
	t.Parallel()
	client, all := observed(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("{"))
	}).URL)
	if _, err := client.Issue(t.Context(), credentials, nil); err == nil {
		t.Error("Issue returns no error")
	}
	if len(*all) != 0 {
		t.Errorf("it describes %+v", *all)
	}
}

// TestObserveDescribesAccounts is about the forms of answers with accounts, and of their fields.
func TestObserveDescribesAccounts(t *testing.T) {
	t.Parallel()
	date := http.Header{"Date": {"Sun, 01 Mar 2026 12:00:00 GMT"}}
	const usual = `{"id":"` + canary + `","healthy":true,"dead":null,"app":{"id":"` + canary + `","name_slug":"` + canary + `","auth_type":"oauth"},` +
		`"credentials":{"oauth_access_token":"` + canary + `","` + canary + `":{"a":1}},"expires_at":"2026-03-01T12:59:00Z","next_refresh_at":"2026-03-01T11:59:00Z","` + canary + `":1}`
	first := pipedream.AccountsObservation{
		Count: 1, Fields: "id, healthy, dead, app, credentials, expires_at, next_refresh_at, 1 other fields",
		Credentials: "an object with oauth_access_token, 1 other fields; 1 of the values are no texts", AuthType: "oauth",
		Healthy: "a boolean", Dead: "null", ExpiresAt: "a time in RFC 3339, not past", NextRefreshAt: "a time in RFC 3339, past",
	}
	in := func(form, page string) *pipedream.AccountsObservation {
		described := first
		described.Form, described.PageInfo = form, page
		return &described
	}
	odd := func(fields string) string { return `{"id":"x",` + fields + `}` }
	for name, test := range map[string]struct {
		status int
		body   string
		want   *pipedream.AccountsObservation
	}{
		"an account":               {200, usual, in("an account", "")},
		"an account in data":       {200, `{"data":` + usual + `}`, in("data: an account", "")},
		"a list":                   {200, `[` + usual + `]`, in("a list", "")},
		"a list in data":           {200, `{"data":[` + usual + `],"page_info":{"count":1,"end_cursor":"` + canary + `","` + canary + `":1}}`, in("data: a list", "count, end_cursor, 1 other fields")},
		"a list in data.accounts":  {200, `{"data":{"accounts":[` + usual + `]}}`, in("data: a field accounts with a list", "")},
		"no accounts":              {200, `{"data":[]}`, &pipedream.AccountsObservation{Form: "data: a list"}},
		"data that is null":        {200, `{"data":null}`, &pipedream.AccountsObservation{Form: "data: null"}},
		"a refusal":                {404, usual, nil},
		"another object":           {200, `{"` + canary + `":1}`, nil},
		"a text":                   {200, canary, nil},
		"nothing but an ID":        {200, `{"id":"x"}`, &pipedream.AccountsObservation{Form: "an account", Count: 1, Fields: "id", Credentials: "absent", AuthType: "absent", Healthy: "absent", Dead: "absent", ExpiresAt: "absent", NextRefreshAt: "absent"}},
		"fields of another type":   {200, odd(`"credentials":17,"app":{"auth_type":17},"healthy":"yes","dead":0,"expires_at":17,"next_refresh_at":"` + canary + `"`), &pipedream.AccountsObservation{Form: "an account", Count: 1, Fields: "id, healthy, dead, app, credentials, expires_at, next_refresh_at", Credentials: "of another type", AuthType: "of another type", Healthy: "of another type", Dead: "of another type", ExpiresAt: "of another type", NextRefreshAt: "a text that is no time in RFC 3339"}},
		"an unknown way to log in": {200, odd(`"credentials":{},"app":{"auth_type":"` + canary + `"}`), &pipedream.AccountsObservation{Form: "an account", Count: 1, Fields: "id, app, credentials", Credentials: "an object without fields", AuthType: "another text", Healthy: "absent", Dead: "absent", ExpiresAt: "absent", NextRefreshAt: "absent"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, all := observed(t, serve(t, answerWith(test.status, date, test.body)).URL)
			_, _ = client.Account(t.Context(), pipedream.NewSensitive(token), pipedream.AccountQuery{ProjectID: "proj_abc123", AccountID: "x"})
			if len(*all) != 1 {
				t.Fatalf("it has described %d answers, want 1", len(*all))
			}
			got := (*all)[0].Accounts
			if shown := fmt.Sprintf("%+v %#v", got, (*all)[0]); strings.Contains(shown, canary) || strings.Contains(shown, token) {
				t.Errorf("the description shows a part of the answer: %s", shown)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("the description (-want +got):\n%s", diff)
			}
		})
	}
}
