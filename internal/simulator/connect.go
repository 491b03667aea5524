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

// page is an empty list in the form that the Connect API returns.
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
}

// endpoints are the calls of the Connect API that the Simulator serves.
func (c *connect) endpoints() []endpoint {
	get := func(path string, name Endpoint, scope string, where func(*http.Request) *answer) endpoint {
		return endpoint{path: path, name: name, method: http.MethodGet, clientOf: c.clientOf, handle: c.list(scope, where)}
	}
	return []endpoint{
		get("/v1/connect/{project_id}/accounts", EndpointAccounts, "connect:accounts:read", inProject),
		get("/v1/connect/{project_id}/users", EndpointUsers, "connect:users:read", inProject),
		get("/v1/connect/projects", EndpointProjects, "connect:projects:read", anywhere),
	}
}

// clientOf returns the client that the call's bearer token was issued to. It returns an empty text if the
// call has no token of the simulator, or if the token has expired or was revoked.
func (c *connect) clientOf(r *http.Request, _ []byte) string {
	_, g, _ := c.authorize(r)
	return g.clientID
}

// list returns the handler of a GET of the Connect API that needs the scope. where may refuse the request.
func (c *connect) list(scope string, where func(*http.Request) *answer) handler {
	return func(r *http.Request, _ []byte) answer {
		claimed, _, ok := c.authorize(r)
		if !ok {
			refused, _ := c.behaviors.refusedCall(BehaviorBadToken)
			return refused
		}
		if !pipedream.Covers(claimed.Scopes, scope) {
			if refused, ok := c.behaviors.refusedCall(BehaviorMissingScope); ok {
				return refused
			}
		}
		if refused := where(r); refused != nil {
			return *refused
		}
		return jsonAnswer(http.StatusOK, page{Data: []any{}})
	}
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
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return claims{}, grant{}, false
	}
	return c.tokens.accept(token)
}
