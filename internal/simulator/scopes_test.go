// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// scopeIn returns the answer's field "scope" as it is written; empty when there is none.
func scopeIn(t *testing.T, got reply) string {
	t.Helper()
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(got.body), &fields); err != nil {
		t.Fatalf("%q: %v", got.body, err)
	}
	return string(fields["scope"])
}

func TestHowTheAnswerNamesScopes(t *testing.T) {
	t.Parallel()
	const both = "connect:users:read connect:accounts:read"
	tests := map[string]struct {
		way   simulator.ScopeAnswer
		asked string
		want  string
		// wantAccounts is what listing accounts with the token is answered by.
		wantAccounts int
	}{
		"not at all":                {simulator.ScopeAbsent, both, "", http.StatusOK},
		"as asked":                  {simulator.ScopeGranted, both, `"` + both + `"`, http.StatusOK},
		"as asked, for everything":  {simulator.ScopeGranted, "", `"*"`, http.StatusOK},
		"fewer":                     {simulator.ScopeFewer, both, `"connect:users:read"`, http.StatusForbidden},
		"fewer than one":            {simulator.ScopeFewer, "connect:accounts:read", `"connect:usage:read"`, http.StatusForbidden},
		"fewer than everything":     {simulator.ScopeFewer, "*", `"connect:*"`, http.StatusOK},
		"more":                      {simulator.ScopeMore, "connect:users:read", `"connect:users:read connect:usage:read"`, http.StatusForbidden},
		"more than all of Connect":  {simulator.ScopeMore, "connect:*", `"connect:* *"`, http.StatusOK},
		"in a list":                 {simulator.ScopeList, both, `["connect:users:read","connect:accounts:read"]`, http.StatusOK},
		"null":                      {simulator.ScopeNull, both, "null", http.StatusOK},
		"an empty text":             {simulator.ScopeEmpty, both, `""`, http.StatusOK},
		"an empty text, everything": {simulator.ScopeEmpty, "", `""`, http.StatusOK},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			body := jsonOf(t, map[string]any{"scope_answer": test.way})
			w.control(t, http.MethodPut, "scope-answer", body).wantStatus(t, http.StatusNoContent)
			got := w.exchange(t, clientID, goodKey, test.asked)
			got.wantStatus(t, http.StatusOK)
			if said := scopeIn(t, got); said != test.want {
				t.Errorf("the answer says %s, want %s", said, test.want)
			}
			w.use(t, accounts, tokenIn(t, got)).wantStatus(t, test.wantAccounts)
		})
	}
}

func TestAClientThatMayHaveOnlySomeScopes(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		allowed, asked string
		want           string
	}{
		"all that it may have":     {"connect:accounts:read", "connect:accounts:read", `"connect:accounts:read"`},
		"one of two":               {"connect:accounts:read", "connect:users:read connect:accounts:read", `"connect:accounts:read"`},
		"what a wildcard permits":  {"connect:triggers:* connect:*", "connect:users:read", `"connect:users:read"`},
		"a wildcard that is wider": {"connect:accounts:read", "connect:*", ""},
		"none of them":             {"connect:accounts:read", "connect:users:read", ""},
		"everything":               {"connect:accounts:read connect:proxy", "", `"connect:accounts:read connect:proxy"`},
		"no limit":                 {"", "connect:users:read", `"connect:users:read"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if err := w.SetScopeAnswer(simulator.ScopeGranted); err != nil {
				t.Fatal(err)
			}
			body := jsonOf(t, map[string]any{"scopes": strings.Fields(test.allowed)})
			w.control(t, http.MethodPut, "clients/"+clientID+"/scopes", body).wantStatus(t, http.StatusNoContent)
			got := w.exchange(t, clientID, goodKey, test.asked)
			if test.want == "" {
				got.wantStatus(t, http.StatusBadRequest)
				if !strings.Contains(got.body, `"invalid_scope"`) {
					t.Errorf("the answer is %s", got.body)
				}
				return
			}
			got.wantStatus(t, http.StatusOK)
			if said := scopeIn(t, got); said != test.want {
				t.Errorf("the answer says %s, want %s", said, test.want)
			}
		})
	}
}

func TestADeletedClientHasNoLimitLeft(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.SetClientScopes(clientID, []string{"connect:proxy"}); err != nil {
		t.Fatal(err)
	}
	w.exchange(t, clientID, goodKey, "connect:users:read").wantStatus(t, http.StatusBadRequest)
	w.DeleteClient(clientID)
	if err := w.SetClient(clientID, goodKey); err != nil {
		t.Fatal(err)
	}
	w.exchange(t, clientID, goodKey, "connect:users:read").wantStatus(t, http.StatusOK)
}

func TestControlOfScopesRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ path, body, want string }{
		"an answer that there is not": {"scope-answer", `{"scope_answer":"some"}`, "the scope answer must be one of"},
		"no answer":                   {"scope-answer", `{}`, "the scope answer must be one of"},
		"a client that there is not":  {"clients/nobody/scopes", `{"scopes":[]}`, "register it with PUT"},
		"a scope that there is not":   {"clients/" + clientID + "/scopes", `{"scopes":["connect:moon"]}`, "is not known"},
		"no scopes":                   {"clients/" + clientID + "/scopes", `{}`, "an empty list lets the client have all scopes"},
		"scopes in a text":            {"clients/" + clientID + "/scopes", `{"scopes":"connect:*"}`, "send JSON like"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			got := w.control(t, http.MethodPut, test.path, test.body)
			got.wantStatus(t, http.StatusBadRequest)
			if !strings.Contains(got.body, test.want) {
				t.Errorf("the answer is %s, want in it %q", got.body, test.want)
			}
		})
	}
}
