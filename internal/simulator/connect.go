// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"net/http"
	"regexp"
	"strings"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

var projectID = regexp.MustCompile(`^proj_[A-Za-z0-9]+$`)

// page is a list in the form that the Connect API returns.
type page struct {
	Data []any    `json:"data"`
	Info pageInfo `json:"page_info"`
}

type pageInfo struct {
	TotalCount  int     `json:"total_count"`
	Count       int     `json:"count"`
	StartCursor *string `json:"start_cursor"`
	EndCursor   *string `json:"end_cursor"`
}

// connect is the Connect API. It checks the tokens that the OAuth endpoints issue.
type connect struct {
	tokens    *tokens
	behaviors *behaviors
	accounts  *accountAPI
}

// content returns the answer to a call of a client.
type content func(r *http.Request, clientID string) answer

// endpoints are the calls of the Connect API that the Simulator serves.
func (c *connect) endpoints() []endpoint {
	get := func(path string, name Endpoint, scope string, where func(*http.Request) *answer, show content) endpoint {
		return endpoint{path: path, name: name, method: http.MethodGet, clientOf: c.clientOf, handle: c.get(scope, where, show)}
	}
	return []endpoint{
		get("/v1/connect/{project_id}/accounts", EndpointAccounts, "connect:accounts:read", inProject, c.accounts.listAccounts),
		get("/v1/connect/{project_id}/accounts/{account_id}", EndpointAccount, "connect:accounts:read", inProject, c.accounts.oneAccount),
		get("/v1/connect/{project_id}/users", EndpointUsers, "connect:users:read", inProject, nothing),
		get("/v1/connect/projects", EndpointProjects, "connect:projects:read", anywhere, nothing),
	}
}

// clientOf returns the client that the call's bearer token was issued to. It returns an empty text if the
// call has no token of the simulator, or if the token has expired or was revoked.
func (c *connect) clientOf(r *http.Request, _ []byte) string {
	_, g, _ := c.authorize(r)
	return g.clientID
}

// get returns the handler of a GET that needs the scope. where may refuse the request, and show answers it.
func (c *connect) get(scope string, where func(*http.Request) *answer, show content) handler {
	return func(r *http.Request, _ []byte) answer {
		claimed, granted, ok := c.authorize(r)
		if !ok {
			refused, _ := c.behaviors.refusedCall(BehaviorBadToken)
			return refused
		}
		needed := append(c.accounts.scopesFor(r), scope)
		if len(pipedream.NotCovered(claimed.Scopes, needed)) > 0 {
			if refused, ok := c.behaviors.refusedCall(BehaviorMissingScope); ok {
				return refused
			}
		}
		if refused := where(r); refused != nil {
			return *refused
		}
		return show(r, granted.clientID)
	}
}

// nothing returns an empty list.
func nothing(*http.Request, string) answer {
	return jsonAnswer(http.StatusOK, page{Data: []any{}})
}

// inProject refuses a request without a valid project in the path or a valid environment in the header.
func inProject(r *http.Request) *answer {
	if !projectID.MatchString(r.PathValue("project_id")) {
		return new(notFound())
	}
	switch r.Header.Get("X-Pd-Environment") {
	case "development", "production":
		return nil
	default:
		return new(apiError(http.StatusBadRequest, "x-pd-environment must be development or production"))
	}
}

func anywhere(*http.Request) *answer {
	return nil
}

// authorize returns the claims and the grant of the request's bearer token, and false if the token is not
// accepted now.
func (c *connect) authorize(r *http.Request) (claims, grant, bool) {
	return c.tokens.accept(bearerOf(r))
}

// bearerOf returns the access token or the API key of a call; empty if it has none.
func bearerOf(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}
