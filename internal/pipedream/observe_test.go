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
		"a list":                  {200, nil, `["` + canary + `"]`, pipedream.Observation{StatusCode: 200, Body: "a JSON list"}},
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
