// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

func TestRevokeSendsTheTokenWithTheCredentials(t *testing.T) {
	t.Parallel()
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var got map[string]string
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Errorf("read the request: %v", err)
		}
		if diff := cmp.Diff(map[string]string{"client_id": clientID, "client_secret": secret, "token": token}, got); diff != "" {
			t.Errorf("it sends (-want +got):\n%s", diff)
		}
		if r.Method != http.MethodPost || r.URL.Path != "/v1/oauth/revoke" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("it sends %s %s of type %s", r.Method, r.URL, r.Header.Get("Content-Type"))
		}
		if got := r.Header.Get("Authorization"); got != "" {
			t.Error("it sends the header Authorization")
		}
		_, _ = w.Write([]byte("{}"))
	})
	if err := newClient(t, server.URL).Revoke(t.Context(), credentials, pipedream.NewSensitive(token)); err != nil {
		t.Errorf("Revoke: %v", err)
	}
}

func TestRevokeReadsEachAnswer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		header http.Header
		body   string
		want   pipedream.Error
	}{
		"success":                  {200, nil, `{}`, pipedream.Error{}},
		"success without body":     {204, nil, ``, pipedream.Error{}},
		"bad credentials":          {401, nil, `{"error":"invalid_client","error_description":"` + canary + `"}`, pipedream.Error{Kind: pipedream.CredentialsRejected, StatusCode: 401, Code: "invalid_client"}},
		"no such endpoint":         {404, nil, canary, pipedream.Error{Kind: pipedream.RequestRejected, StatusCode: 404}},
		"somebody else's token":    {403, nil, `{"error":"` + canary + `"}`, pipedream.Error{Kind: pipedream.RequestRejected, StatusCode: 403}},
		"a redirect":               {302, http.Header{"Location": {"https://elsewhere.invalid"}}, ``, pipedream.Error{Kind: pipedream.RequestRejected, StatusCode: 302}},
		"too many requests":        {429, nil, ``, pipedream.Error{Kind: pipedream.RateLimited, StatusCode: 429}},
		"out of order":             {502, nil, `<html>` + canary, pipedream.Error{Kind: pipedream.Unavailable, StatusCode: 502}},
		"a refusal with no reason": {400, nil, ``, pipedream.Error{Kind: pipedream.RequestRejected, StatusCode: 400}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, answerWith(test.status, test.header, test.body))
			err := newClient(t, server.URL).Revoke(t.Context(), credentials, pipedream.NewSensitive(token))
			if test.want.Kind == "" {
				if err != nil {
					t.Errorf("Revoke: %v", err)
				}
				return
			}
			checkIsSafe(t, err)
			if diff := cmp.Diff(test.want, wantError(t, err)); diff != "" {
				t.Errorf("the error (-want +got):\n%s", diff)
			}
			if server.requests.Load() != 1 {
				t.Errorf("it sends %d requests", server.requests.Load())
			}
		})
	}
}

func TestRevokeSendsNoCredentialsThatCantBe(t *testing.T) {
	t.Parallel()
	server := serve(t, answerWith(http.StatusOK, nil, `{}`))
	bad := pipedream.Credentials{ClientID: clientID, ClientSecret: pipedream.NewSensitive(secret + "\x00")}
	err := newClient(t, server.URL).Revoke(t.Context(), bad, pipedream.NewSensitive(token))
	checkIsSafe(t, err)
	if got := wantError(t, err); got.Kind != pipedream.CredentialsInvalid || server.requests.Load() != 0 {
		t.Errorf("the error is %v after %d requests", err, server.requests.Load())
	}
}

func TestRevokeEndsATokenOfTheSimulator(t *testing.T) {
	t.Parallel()
	api := simulator.New(simulator.Options{Now: clock, Clients: []simulator.Client{{ID: clientID, Secret: secret}}})
	client := newClient(t, serve(t, api.ServeHTTP).URL)
	issued, err := client.Issue(t.Context(), credentials, nil)
	if err != nil {
		t.Fatalf("Issue: %v", err)
	}
	trial := pipedream.Trial{ProjectID: "proj_abc", Environment: "production"}
	if verdict, err := client.Verify(t.Context(), issued.AccessToken, trial); verdict != pipedream.Accepted {
		t.Fatalf("the new token is %s: %v", verdict, err)
	}
	if err := client.Revoke(t.Context(), credentials, issued.AccessToken); err != nil {
		t.Fatalf("Revoke: %v", err)
	}
	if verdict, err := client.Verify(t.Context(), issued.AccessToken, trial); verdict != pipedream.Refused {
		t.Errorf("the revoked token is %s: %v", verdict, err)
	}
}
