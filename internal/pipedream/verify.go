// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
)

// Verdict is the result of a verification of a token.
type Verdict string

// The verdicts.
const (
	// Accepted: the API served a request with the token, and answered with a listing.
	Accepted Verdict = "Accepted"
	// Refused: the API answered 401. The token is revoked or expired, or it lacks a scope that
	// the endpoint requires.
	Refused Verdict = "Refused"
	// Inconclusive: there was no answer, or the answer says nothing about the token.
	Inconclusive Verdict = "Inconclusive"
)

// Trial describes the request with which Verify tries a token.
type Trial struct {
	ProjectID   string
	Environment string
	// Scopes are the scopes of the token request. Verify uses them to choose one of the API's
	// listings.
	Scopes []string
}

// Verify requests the cheapest listing that the token's scopes may read. If the verdict is
// Inconclusive, the error is an *Error with the reason. Otherwise the error is nil.
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

// isListing reports whether a body can be a listing of the API. A listing is a JSON object or,
// in some versions of the API, a JSON list. The sign-in page of a network is neither, and says
// nothing about the token.
func isListing(body []byte) bool {
	text := bytes.TrimSpace(body)
	return bytes.HasPrefix(text, []byte("{")) || bytes.HasPrefix(text, []byte("["))
}

// The scopes that a token needs for the two listings.
const (
	accountsScope = "connect:accounts:read"
	projectsScope = "connect:projects:read"
)

// CanList reports whether the scopes may read at least one of the two listings. If they may
// not, no answer says anything about the token: Pipedream does not document which status it
// returns for a missing scope, and the status may be 401.
func (t Trial) CanList() bool {
	return t.has(accountsScope) || t.has(projectsScope)
}

// NeedsProject reports whether Verify requests a listing of the ProjectID. It returns false
// only if the scopes may read the listing of projects and not the listing of accounts.
func (t Trial) NeedsProject() bool {
	return t.has(accountsScope) || !t.has(projectsScope)
}

// has reports whether the token has a scope. A token that was requested without scopes has
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
