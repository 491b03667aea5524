// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

var trial = pipedream.Trial{
	ProjectID:   "proj_abc123",
	Environment: "production",
	Scopes:      []string{"connect:accounts:read"},
}

// noListing is the error of a success that is none.
func noListing(status int) *pipedream.Error {
	return &pipedream.Error{Kind: pipedream.Malformed, StatusCode: status, Detail: "the answer is neither a JSON object nor a JSON list"}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		status int
		header http.Header
		body   string
		want   pipedream.Verdict
		err    *pipedream.Error
	}{
		"200":                                 {status: 200, body: `{"data":[]}`, want: pipedream.Accepted},
		"200 with a listing of another shape": {status: 200, body: " \n{\"data\":{\"accounts\":[]}}", want: pipedream.Accepted},
		"200 with a long listing":             {status: 200, body: `{"data":["` + strings.Repeat("x", 1<<20) + `"]}`, want: pipedream.Accepted},
		"200 with a bare list":                {status: 200, body: "[]", want: pipedream.Accepted},
		"200 with a sign-in page":             {status: 200, body: "<html>c4n4ry</html>", want: pipedream.Inconclusive, err: noListing(200)},
		"200 with a text":                     {status: 200, body: "c4n4ry", want: pipedream.Inconclusive, err: noListing(200)},
		"200 without body":                    {status: 200, want: pipedream.Inconclusive, err: noListing(200)},
		"204":                                 {status: 204, want: pipedream.Inconclusive, err: noListing(204)},
		"401":                                 {status: 401, body: `{"error":"Unauthorized"}`, want: pipedream.Refused},
		"401 without body":                    {status: 401, want: pipedream.Refused},
		"400":                                 {status: 400, want: pipedream.Inconclusive, err: &pipedream.Error{Kind: pipedream.RequestRejected, StatusCode: 400}},
		"400 with a code that is another endpoint's": {
			status: 400, body: oauthError("invalid_client"),
			want: pipedream.Inconclusive, err: &pipedream.Error{Kind: pipedream.RequestRejected, StatusCode: 400},
		},
		"403": {status: 403, body: `{"error":"c4n4ry"}`, want: pipedream.Inconclusive, err: &pipedream.Error{Kind: pipedream.RequestRejected, StatusCode: 403}},
		"404": {status: 404, want: pipedream.Inconclusive, err: &pipedream.Error{Kind: pipedream.RequestRejected, StatusCode: 404}},
		"429": {
			status: 429, header: http.Header{"Retry-After": {"60"}},
			want: pipedream.Inconclusive, err: &pipedream.Error{Kind: pipedream.RateLimited, StatusCode: 429, RetryAt: now.Add(time.Minute)},
		},
		"500": {status: 500, body: "c4n4ry", want: pipedream.Inconclusive, err: &pipedream.Error{Kind: pipedream.Unavailable, StatusCode: 500}},
		"302": {status: 302, want: pipedream.Inconclusive, err: &pipedream.Error{Kind: pipedream.RequestRejected, StatusCode: 302}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, answerWith(test.status, test.header, test.body))
			got, err := newClient(t, server.URL).Verify(t.Context(), pipedream.NewSensitive(token), trial)
			if got != test.want {
				t.Errorf("the verdict is %s, want %s", got, test.want)
			}
			if test.err == nil {
				if err != nil {
					t.Errorf("the verdict is clear, but there is an error: %v", err)
				}
				return
			}
			checkIsSafe(t, err)
			if diff := cmp.Diff(*test.err, wantError(t, err)); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNoAnswerIsNoVerdict(t *testing.T) {
	t.Parallel()
	server := serve(t, answerWith(http.StatusOK, nil, ""))
	client := newClient(t, server.URL)
	server.Close()
	got, err := client.Verify(t.Context(), pipedream.NewSensitive(token), trial)
	want := pipedream.Error{Kind: pipedream.Unavailable, Detail: "connection refused"}
	if diff := cmp.Diff(want, wantError(t, err)); got != pipedream.Inconclusive || diff != "" {
		t.Errorf("the verdict is %s, and the error (-want +got):\n%s", got, diff)
	}
	checkIsSafe(t, err)
}

func TestTheRequestThatTriesAToken(t *testing.T) {
	t.Parallel()
	const accounts, projects = "/v1/connect/proj_abc123/accounts?limit=1", "/v1/connect/projects?limit=1"
	tests := map[string]struct {
		trial pipedream.Trial
		want  string
	}{
		"no scopes":                              {trial: pipedream.Trial{ProjectID: "proj_abc123"}, want: accounts},
		"all scopes":                             {trial: pipedream.Trial{ProjectID: "proj_abc123", Scopes: []string{"*"}}, want: accounts},
		"all scopes of Connect":                  {trial: pipedream.Trial{ProjectID: "proj_abc123", Scopes: []string{"connect:*"}}, want: accounts},
		"a scope that may list accounts":         {trial: pipedream.Trial{ProjectID: "proj_abc123", Scopes: []string{"connect:accounts:read"}}, want: accounts},
		"a scope that may list projects":         {trial: pipedream.Trial{ProjectID: "proj_abc123", Scopes: []string{"connect:proxy", "connect:projects:read"}}, want: projects},
		"scopes that may list both":              {trial: pipedream.Trial{ProjectID: "proj_abc123", Scopes: []string{"connect:projects:read", "connect:accounts:read"}}, want: accounts},
		"all scopes of accounts":                 {trial: pipedream.Trial{ProjectID: "proj_abc123", Scopes: []string{"connect:accounts:*"}}, want: accounts},
		"all scopes of projects":                 {trial: pipedream.Trial{ProjectID: "proj_abc123", Scopes: []string{"connect:projects:*"}}, want: projects},
		"projects, and all scopes":               {trial: pipedream.Trial{ProjectID: "proj_abc123", Scopes: []string{"connect:projects:read", "*"}}, want: accounts},
		"projects, and all scopes of Connect":    {trial: pipedream.Trial{ProjectID: "proj_abc123", Scopes: []string{"connect:projects:read", "connect:*"}}, want: accounts},
		"a scope that may list neither":          {trial: pipedream.Trial{ProjectID: "proj_abc123", Scopes: []string{"connect:proxy"}}, want: accounts},
		"a project that would lead out of there": {trial: pipedream.Trial{ProjectID: "../users/me?a=b#"}, want: "/v1/connect/..%2Fusers%2Fme%3Fa=b%23/accounts?limit=1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got *http.Request
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				got = r
				answerWith(http.StatusOK, nil, `{"data":[]}`)(w, r)
			})
			test.trial.Environment = "development"
			if verdict, err := newClient(t, server.URL).Verify(t.Context(), pipedream.NewSensitive(token), test.trial); err != nil {
				t.Fatalf("%s: %v", verdict, err)
			}
			if got.Method != http.MethodGet || got.RequestURI != test.want {
				t.Errorf("it is %s %s, want GET %s", got.Method, got.RequestURI, test.want)
			}
			wantHeader := map[string]string{
				"Authorization": "Bearer " + token, "X-Pd-Environment": "development",
				"Accept": "application/json", "User-Agent": "pipedream-operator/test", "Content-Type": "",
			}
			for name, want := range wantHeader {
				if value := got.Header.Get(name); value != want {
					t.Errorf("header %s is %q, want %q", name, value, want)
				}
			}
			if got.ContentLength != 0 {
				t.Errorf("it has a body of %d bytes", got.ContentLength)
			}
		})
	}
}

func TestScopesThatMayList(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		scopes []string
		want   bool
	}{
		"none, which is Pipedream's default":         {want: true},
		"*":                                          {scopes: []string{"*"}, want: true},
		"connect:*":                                  {scopes: []string{"connect:*"}, want: true},
		"connect:accounts:*":                         {scopes: []string{"connect:accounts:*"}, want: true},
		"connect:projects:*":                         {scopes: []string{"connect:projects:*"}, want: true},
		"connect:accounts:read":                      {scopes: []string{"connect:accounts:read"}, want: true},
		"connect:projects:read":                      {scopes: []string{"connect:projects:read"}, want: true},
		"the last of three":                          {scopes: []string{"connect:proxy", "connect:users:read", "connect:*"}, want: true},
		"connect:accounts:write":                     {scopes: []string{"connect:accounts:write"}},
		"connect:actions:* and connect:apps:*":       {scopes: []string{"connect:actions:*", "connect:apps:*"}},
		"a longer name that begins the same":         {scopes: []string{"connect:accounts:readonly"}},
		"a shorter name that begins the same":        {scopes: []string{"connect:acc:*"}},
		"a star in the middle of a name":             {scopes: []string{"connect:acc*"}, want: true},
		"a part without a star":                      {scopes: []string{"connect", "connect:accounts"}},
		"a star for nothing":                         {scopes: []string{":*"}},
		"everything below a scope that may list all": {scopes: []string{"connect:accounts:read:*"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := (pipedream.Trial{Scopes: test.scopes}).CanList(); got != test.want {
				t.Errorf("CanList() = %t, want %t", got, test.want)
			}
		})
	}
}
