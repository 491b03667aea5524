// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

func TestCovers(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		allowed []string
		wanted  string
		want    bool
	}{
		"a scope permits itself":                {[]string{"connect:proxy"}, "connect:proxy", true},
		"one of several scopes":                 {[]string{"a", "b", "c"}, "b", true},
		"another scope":                         {[]string{"connect:proxy"}, "connect:users:read", false},
		"a scope that begins the same":          {[]string{"connect:users:read"}, "connect:users:readwrite", false},
		"the beginning of a scope":              {[]string{"connect:users"}, "connect:users:read", false},
		"a wildcard":                            {[]string{"connect:*"}, "connect:users:read", true},
		"a wildcard of another branch":          {[]string{"connect:users:*"}, "connect:accounts:read", false},
		"a wildcard permits a narrower one":     {[]string{"connect:*"}, "connect:apps:*", true},
		"a wildcard permits no wider one":       {[]string{"connect:apps:*"}, "connect:*", false},
		"all parts of a wildcard are not it":    {[]string{"connect:users:read", "connect:users:write"}, "connect:users:*", false},
		"a wildcard needs what is before the *": {[]string{"connect:*"}, "connect", false},
		"everything":                            {[]string{"*"}, "connect:users:read", true},
		"everything permits everything":         {[]string{"*"}, "*", true},
		"a wildcard does not permit everything": {[]string{"connect:*"}, "*", false},
		"two stars do not permit everything":    {[]string{"**"}, "*", false},
		"a star in the middle is no wildcard":   {[]string{"connect:*:read"}, "connect:users:read", false},
		"capitals are other letters":            {[]string{"Connect:proxy"}, "connect:proxy", false},
		"nothing permits nothing":               {nil, "connect:proxy", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := pipedream.Covers(test.allowed, test.wanted); got != test.want {
				t.Errorf("Covers(%q, %q) is %t, want %t", test.allowed, test.wanted, got, test.want)
			}
		})
	}
}

// FuzzCovers checks the rules of the algebra for any three scopes.
func FuzzCovers(f *testing.F) {
	f.Add("connect:*", "connect:users:*", "connect:users:read")
	f.Add("*", "connect:*", "connect:proxy")
	f.Add("**", "*", "x*")
	f.Add("", "x", "*")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		covers := func(allowed, wanted string) bool { return pipedream.Covers([]string{allowed}, wanted) }
		if !covers(a, a) {
			t.Errorf("%q does not permit itself", a)
		}
		if !covers("*", a) {
			t.Errorf("* does not permit %q", a)
		}
		if covers(a, "*") && a != "*" {
			t.Errorf("%q permits *", a)
		}
		if !covers(a+"*", a+b) && a+b != "*" {
			t.Errorf("%q does not permit %q", a+"*", a+b)
		}
		if !strings.HasSuffix(a, "*") && a != b && covers(a, b) {
			t.Errorf("%q, which is no wildcard, permits %q", a, b)
		}
		if covers(a, b) && !strings.HasPrefix(b, strings.TrimSuffix(a, "*")) {
			t.Errorf("%q permits %q", a, b)
		}
		if covers(a, b) && covers(b, c) && !covers(a, c) {
			t.Errorf("%q permits %q, which permits %q, but the first does not permit the last", a, b, c)
		}
		if want := covers(a, c) || covers(b, c); pipedream.Covers([]string{a, b}, c) != want {
			t.Errorf("%q and %q together permit %q: %t, want %t as one of them does", a, b, c, !want, want)
		}
		missing := pipedream.NotCovered([]string{a}, []string{b, c})
		if slices.Contains(missing, b) == covers(a, b) || slices.Contains(missing, c) == covers(a, c) {
			t.Errorf("of %q and %q, %q are not permitted by %q", b, c, missing, a)
		}
	})
}

// The answer of a server that says which scopes it has granted.
func granted(scope string) string { return answer(`"expires_in":3600,"scope":` + scope) }

func TestScopesThatWereNotGranted(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		asked []string
		scope string
		want  string
	}{
		"fewer":                     {[]string{"a", "b"}, `"a"`, "`b`"},
		"another one":               {[]string{"a"}, `"c4n4ry"`, "`a`"},
		"none of them":              {[]string{"a", "b"}, `"c"`, "`a`, `b`"},
		"fewer in a list":           {[]string{"a", "b"}, `["b"]`, "`a`"},
		"fewer in a list of words":  {[]string{"a", "b", "c"}, `["b c"]`, "`a`"},
		"a narrower one":            {[]string{"connect:*"}, `"connect:users:read connect:accounts:read"`, "`connect:*`"},
		"everything was asked for":  {[]string{"*"}, `"connect:*"`, "`*`"},
		"other capitals":            {[]string{"connect:proxy"}, `"Connect:Proxy"`, "`connect:proxy`"},
		"more, but not all of them": {[]string{"a", "b"}, `"c d a"`, "`b`"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, answerWith(http.StatusOK, nil, granted(test.scope)))
			got, err := issue(t, newClient(t, server.URL), test.asked...)
			want := pipedream.Error{Kind: pipedream.ScopeNotGranted, StatusCode: http.StatusOK, Detail: "not granted: " + test.want}
			if diff := cmp.Diff(want, wantError(t, err)); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if !got.AccessToken.IsEmpty() {
				t.Error("the token is returned beside the error")
			}
		})
	}
}

func TestScopesThatWereGranted(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		asked []string
		scope string
		want  string
	}{
		"as asked":                               {[]string{"a", "b"}, `"a b"`, "a b"},
		"in another order":                       {[]string{"a", "b"}, `"b a"`, "b a"},
		"in a list":                              {[]string{"a", "b"}, `["a","b"]`, "a b"},
		"more":                                   {[]string{"a"}, `"a b"`, "a b"},
		"a wider one":                            {[]string{"connect:users:read"}, `"connect:*"`, "connect:*"},
		"everything":                             {[]string{"a", "connect:*"}, `"*"`, "*"},
		"nothing was asked for":                  {nil, `"connect:proxy"`, "connect:proxy"},
		"the answer says null":                   {[]string{"a"}, `null`, ""},
		"the answer says nothing":                {[]string{"a"}, `""`, ""},
		"the answer says nothing but spaces":     {[]string{"a"}, `" \n"`, ""},
		"the answer has an empty list":           {[]string{"a"}, `[]`, ""},
		"the answer has a list of other things":  {[]string{"a"}, `["b",1]`, ""},
		"the answer has an object":               {[]string{"a"}, `{"b":true}`, ""},
		"the answer has a number":                {[]string{"a"}, `1`, ""},
		"the answer has a list in a text":        {[]string{"a"}, `"[\"b\"]"`, ""},
		"the answer has control characters":      {[]string{"a"}, `"b \u0007"`, ""},
		"the answer repeats the client secret":   {[]string{"a"}, `"` + secret + `"`, ""},
		"the answer repeats the request":         {[]string{"a"}, `"client_secret=` + secret + `&scope=a"`, ""},
		"the answer repeats the token as it was": {[]string{"a"}, `["a","` + token + `"]`, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, answerWith(http.StatusOK, nil, granted(test.scope)))
			got, err := issue(t, newClient(t, server.URL), test.asked...)
			if err != nil {
				t.Fatal(err)
			}
			if got.GrantedScope != test.want || got.AccessToken.Reveal() != token {
				t.Errorf("the token has the scope %q, want %q", got.GrantedScope, test.want)
			}
		})
	}
}

// Sixty-four scopes of the greatest length that a spec may have still make a message
// that an event of Kubernetes can hold.
func TestTheListOfScopesIsBounded(t *testing.T) {
	t.Parallel()
	var asked []string
	for i := range 64 {
		asked = append(asked, fmt.Sprintf("%02d:%s", i, strings.Repeat("x", 125)))
	}
	server := serve(t, answerWith(http.StatusOK, nil, granted(`"a"`)))
	_, err := issue(t, newClient(t, server.URL), asked...)
	got := wantError(t, err)
	if len(got.Detail) > 640 || !strings.HasSuffix(got.Detail, "…` and 56 more") || !strings.Contains(got.Detail, "`00:x") {
		t.Errorf("the error says %q", got.Detail)
	}
}
