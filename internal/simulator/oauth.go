// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"encoding/json"
	"mime"
	"net/http"
	"strings"
	"sync"
)

// The scopes that Pipedream is known to grant.
var knownScopes = []string{
	"*",
	"connect:*",
	"connect:accounts:read",
	"connect:accounts:write",
	"connect:actions:*",
	"connect:apps:*",
	"connect:deployed_triggers:read",
	"connect:deployed_triggers:write",
	"connect:projects:read",
	"connect:projects:write",
	"connect:proxy",
	"connect:tokens:create",
	"connect:triggers:*",
	"connect:usage:read",
	"connect:users:read",
	"connect:users:write",
	"connect:workflow:invoke",
}

// oauthRequest is the body of both OAuth endpoints. Unknown fields are ignored.
type oauthRequest struct {
	GrantType    string `json:"grant_type"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	Scope        string `json:"scope"`
	Token        string `json:"token"`
}

// tokenResponse is the answer to an accepted exchange.
type tokenResponse struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"`
	CreatedAt   int64  `json:"created_at"`
	// Scope is a text, a list or null in JSON, or absent.
	Scope json.RawMessage `json:"scope,omitempty"`
}

// oauth implements the API's OAuth endpoints. Use newOAuth to make it. It is safe for concurrent use.
type oauth struct {
	clients   *clients
	tokens    *tokens
	behaviors *behaviors

	mu          sync.Mutex
	scopeAnswer ScopeAnswer
}

// newOAuth returns an oauth. It returns an error if setScopeAnswer refuses way.
func newOAuth(c *clients, t *tokens, b *behaviors, way ScopeAnswer) (*oauth, error) {
	o := &oauth{clients: c, tokens: t, behaviors: b}
	return o, o.setScopeAnswer(way)
}

// endpoints are the OAuth calls that the Simulator serves.
func (o *oauth) endpoints() []endpoint {
	post := func(path string, name Endpoint, handle handler) endpoint {
		return endpoint{path: path, name: name, method: http.MethodPost, clientOf: clientNamedIn, handle: handle}
	}
	return []endpoint{
		post("/v1/oauth/token", EndpointToken, o.exchange),
		post("/v1/oauth/revoke", EndpointRevoke, o.revoke),
	}
}

// clientNamedIn returns the client that the body of an OAuth call names. It does not check the client secret.
// It returns an empty text if the body names no client.
func clientNamedIn(_ *http.Request, body []byte) string {
	var in oauthRequest
	if json.Unmarshal(body, &in) != nil {
		return ""
	}
	return in.ClientID
}

// exchange answers POST /v1/oauth/token.
func (o *oauth) exchange(r *http.Request, body []byte) answer {
	in, refused := parseOAuth(r, body)
	if refused != nil {
		return *refused
	}
	switch in.GrantType {
	case "client_credentials":
	case "":
		return missing("grant_type")
	default:
		return oauthError(http.StatusBadRequest, "unsupported_grant_type",
			"The authorization grant type is not supported by the authorization server.")
	}
	if !o.clients.has(in.ClientID, in.ClientSecret) {
		return o.behaviors.refusedSecret()
	}
	scopes := strings.Fields(in.Scope)
	if len(scopes) == 0 {
		scopes = []string{"*"}
	}
	scopes, ok := o.behaviors.knownAmong(scopes)
	if !ok {
		return o.behaviors.refusedScope()
	}
	granted, said := o.grantedTo(in.ClientID, scopes)
	if len(granted) == 0 {
		return o.behaviors.refusedScope()
	}
	issued := o.tokens.issue(in.ClientID, granted)
	issued.Scope = said
	a := jsonAnswer(http.StatusOK, issued)
	a.headers["Cache-Control"] = "no-store"
	return a
}

func invalidScope() answer {
	return oauthError(http.StatusBadRequest, "invalid_scope", "The requested scope is invalid, unknown, or malformed.")
}

// revoke answers POST /v1/oauth/revoke. It also accepts an unknown, expired or revoked token, as RFC 7009
// requires.
func (o *oauth) revoke(r *http.Request, body []byte) answer {
	in, refused := parseOAuth(r, body)
	if refused != nil {
		return *refused
	}
	if !o.clients.has(in.ClientID, in.ClientSecret) {
		return invalidClient(http.StatusUnauthorized)
	}
	if in.Token == "" {
		return missing("token")
	}
	if _, g, ok := o.tokens.lookup(in.Token); ok && g.clientID != in.ClientID {
		return oauthError(http.StatusForbidden, "unauthorized_client", "The token was issued to another client.")
	}
	switch o.behaviors.of(BehaviorRevoke) {
	case valueNotFound:
		return notFound()
	case valueUnauthorized:
		return invalidClient(http.StatusUnauthorized)
	case valueOK:
		o.tokens.revokeAfter(in.Token, o.behaviors.durationOf(BehaviorRevokedAfter))
	}
	return jsonAnswer(http.StatusOK, struct{}{})
}

func parseOAuth(r *http.Request, body []byte) (oauthRequest, *answer) {
	var in oauthRequest
	if mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); mediaType != "application/json" {
		return in, new(oauthError(http.StatusUnsupportedMediaType, "invalid_request",
			"The Content-Type must be application/json."))
	}
	if json.Unmarshal(body, &in) != nil {
		return in, new(oauthError(http.StatusBadRequest, "invalid_request",
			"The body must be a JSON object with strings, of at most 64 KiB."))
	}
	return in, nil
}

func missing(parameter string) answer {
	return oauthError(http.StatusBadRequest, "invalid_request", "Missing required parameter: "+parameter+".")
}

func invalidClient(status int) answer {
	return oauthError(status, "invalid_client", "Client authentication failed due to unknown client, "+
		"no client authentication included, or unsupported authentication method.")
}
