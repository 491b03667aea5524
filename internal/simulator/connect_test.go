// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	accounts = "/v1/connect/proj_abc/accounts"
	users    = "/v1/connect/proj_abc/users"
	projects = "/v1/connect/projects"
)

func TestTheConnectAPIAnswersToTheScopesOfAToken(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		path       string
		scope      string
		wantStatus int
	}{
		"everything covers accounts":            {accounts, "*", http.StatusOK},
		"all of Connect covers accounts":        {accounts, "connect:*", http.StatusOK},
		"their own scope covers accounts":       {accounts, "connect:accounts:read", http.StatusOK},
		"one scope of several covers accounts":  {accounts, "connect:proxy connect:accounts:read", http.StatusOK},
		"the right to write does not read":      {accounts, "connect:accounts:write", http.StatusForbidden},
		"another wildcard covers no accounts":   {accounts, "connect:apps:*", http.StatusForbidden},
		"their own scope covers users":          {users, "connect:users:read", http.StatusOK},
		"the scope of accounts covers no users": {users, "connect:accounts:read", http.StatusForbidden},
		"everything covers projects":            {projects, "*", http.StatusOK},
		"their own scope covers projects":       {projects, "connect:projects:read", http.StatusOK},
		"the scope of users covers no projects": {projects, "connect:users:read", http.StatusForbidden},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			got := w.use(t, test.path+"?limit=1", w.token(t, test.scope))
			got.wantStatus(t, test.wantStatus)
			want := `{"error":"Forbidden"}`
			if test.wantStatus == http.StatusOK {
				want = `{"data":[],"page_info":{"total_count":0,"count":0,"start_cursor":null,"end_cursor":null}}`
			}
			if diff := cmp.Diff(want, got.body); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheConnectAPIRefuses(t *testing.T) {
	t.Parallel()
	w, foreign := newWorld(t), newWorld(t).token(t, "")
	good := w.token(t, "")
	revoked := w.token(t, "")
	if !w.RevokeToken(revoked) {
		t.Fatal("the token was not good")
	}
	parts := strings.Split(good, ".")
	narrow := strings.Split(w.token(t, "connect:proxy"), ".")
	const unauthorized, absent = `{"error":"Unauthorized"}`, `{"error":"record not found"}`
	headers := map[string]string{"Authorization": "Bearer " + good, "X-Pd-Environment": "production"}

	tests := map[string]struct {
		method     string
		path       string
		headers    map[string]string
		wantStatus int
		wantBody   string
		wantAllow  string
	}{
		"a call without a token": {
			headers:    map[string]string{"X-Pd-Environment": "production"},
			wantStatus: http.StatusUnauthorized, wantBody: unauthorized,
		},
		"credentials of another scheme": {
			headers:    with(headers, "Authorization", "Basic "+good),
			wantStatus: http.StatusUnauthorized, wantBody: unauthorized,
		},
		"what is no token": {
			headers:    with(headers, "Authorization", "Bearer nonsense"),
			wantStatus: http.StatusUnauthorized, wantBody: unauthorized,
		},
		"a token signed by another": {
			headers:    with(headers, "Authorization", "Bearer "+foreign),
			wantStatus: http.StatusUnauthorized, wantBody: unauthorized,
		},
		"a token with the claims of another": {
			headers:    with(headers, "Authorization", "Bearer "+narrow[0]+"."+parts[1]+"."+narrow[2]),
			wantStatus: http.StatusUnauthorized, wantBody: unauthorized,
		},
		"an unsigned token": {
			headers:    with(headers, "Authorization", "Bearer eyJhbGciOiJub25lIn0."+parts[1]+"."),
			wantStatus: http.StatusUnauthorized, wantBody: unauthorized,
		},
		"a revoked token": {
			headers:    with(headers, "Authorization", "Bearer "+revoked),
			wantStatus: http.StatusUnauthorized, wantBody: unauthorized,
		},
		"a malformed project": {
			path: "/v1/connect/abc/accounts", headers: headers, wantStatus: http.StatusNotFound, wantBody: absent,
		},
		"a path that it does not have": {
			path: "/v1/nothing", headers: headers, wantStatus: http.StatusNotFound, wantBody: absent,
		},
		"a call without an environment": {
			headers: map[string]string{"Authorization": "Bearer " + good}, wantStatus: http.StatusBadRequest,
			wantBody: `{"error":"x-pd-environment must be development or production"}`,
		},
		"an environment that there is not": {
			headers: with(headers, "X-Pd-Environment", "staging"), wantStatus: http.StatusBadRequest,
			wantBody: `{"error":"x-pd-environment must be development or production"}`,
		},
		"a POST": {
			method: http.MethodPost, headers: headers, wantStatus: http.StatusMethodNotAllowed,
			wantBody: `{"error":"method not allowed, use GET"}`, wantAllow: http.MethodGet,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			method, path := test.method, test.path
			if method == "" {
				method = http.MethodGet
			}
			if path == "" {
				path = accounts
			}
			got := w.call(t, method, path, "", test.headers)
			got.wantStatus(t, test.wantStatus)
			got.wantHeader(t, "Allow", test.wantAllow)
			if diff := cmp.Diff(test.wantBody, got.body); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
}
