// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
)

// Verdict is what an answer says about a token.
type Verdict string

// The verdicts.
const (
	// Accepted: the API served a request with the token, and answered with a listing.
	Accepted Verdict = "Accepted"
	// Refused: the API answered 401. The token is revoked or expired, or the
	// endpoint wants a scope that it does not have.
	Refused Verdict = "Refused"
	// Inconclusive: the answer, or the lack of one, says nothing about the token.
	Inconclusive Verdict = "Inconclusive"
)

// Trial is the request that a token is tried on.
type Trial struct {
	ProjectID   string
	Environment string
	// Scopes are those that the token was asked for with. They decide which of the
	// API's listings it is tried on.
	Scopes []string
}

// Verify tries a token on the cheapest listing that its scopes may read. The
// error, an *Error, says why the verdict is Inconclusive; it is nil otherwise.
func (c *Client) Verify(ctx context.Context, token Sensitive, trial Trial) (Verdict, error) {
	header := http.Header{
		"Authorization":    {"Bearer " + token.Reveal()},
		"X-Pd-Environment": {trial.Environment},
	}
	got, err := c.do(ctx, http.MethodGet, trial.path(), header, nil)
	switch {
	case err != nil:
		return Inconclusive, err
	case got.isSuccess() && !isListing(got.body):
		return Inconclusive, &Error{Kind: Malformed, StatusCode: got.status, Detail: "the answer is neither a JSON object nor a JSON list"}
	case got.isSuccess():
		return Accepted, nil
	case got.status == http.StatusUnauthorized:
		return Refused, nil
	}
	return Inconclusive, rejection(got, "", c.now())
}

// isListing reports whether a body can be a listing of the API, which is a JSON object or,
// in some of its versions, a JSON list. The sign-in page of a network is neither, and
// says nothing about the token.
func isListing(body []byte) bool {
	text := bytes.TrimSpace(body)
	return bytes.HasPrefix(text, []byte("{")) || bytes.HasPrefix(text, []byte("["))
}

// The scopes that the listings need.
const (
	accountsScope = "connect:accounts:read"
	projectsScope = "connect:projects:read"
)

// CanList tells whether the scopes may read one of the two listings. If they may not,
// no answer says anything about the token: Pipedream does not document the status for a
// missing scope, which may well be 401.
func (t Trial) CanList() bool {
	return t.has(accountsScope) || t.has(projectsScope)
}

// NeedsProject tells whether the token is tried on a listing of the ProjectID. That is
// so unless the scopes may read the listing of the projects only.
func (t Trial) NeedsProject() bool {
	return t.has(accountsScope) || !t.has(projectsScope)
}

// has reports whether the token has a scope. A token that was asked for without scopes has
// Pipedream's default, which is every scope.
func (t Trial) has(scope string) bool {
	return len(t.Scopes) == 0 || Covers(t.Scopes, scope)
}

func (t Trial) path() string {
	if !t.NeedsProject() {
		return "/v1/connect/projects?limit=1"
	}
	return "/v1/connect/" + url.PathEscape(t.ProjectID) + "/accounts?limit=1"
}
