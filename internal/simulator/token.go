// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
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
	// Scope is a text, a list, null, or absent.
	Scope json.RawMessage `json:"scope,omitempty"`
}

// SetTokenLifetime changes the lifetime of the tokens issued from now on: whole seconds, at least one.
func (s *Simulator) SetTokenLifetime(d time.Duration) error {
	if d < time.Second || d%time.Second != 0 {
		return fmt.Errorf("the token lifetime must be whole seconds and at least 1s, not %s", d)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lifetime = d
	return nil
}

// SetTokenKnownAfter changes how long after its issue a token is accepted, for the tokens issued from now on. Until then
// each call with the token is answered 401. 0, the default, means at once. It must not be negative.
func (s *Simulator) SetTokenKnownAfter(d time.Duration) error {
	if d < 0 {
		return fmt.Errorf("the time after which a token is known must not be negative, and is %s", d)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.knownAfter = d
	return nil
}

// exchange answers POST /v1/oauth/token.
func (s *Simulator) exchange(r *http.Request, body []byte) answer {
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
	if !s.isClient(in.ClientID, in.ClientSecret) {
		return invalidClient()
	}
	scopes := strings.Fields(in.Scope)
	if len(scopes) == 0 {
		scopes = []string{"*"}
	}
	for _, scope := range scopes {
		if !slices.Contains(knownScopes, scope) {
			return invalidScope()
		}
	}
	granted, said := s.grantedTo(in.ClientID, scopes)
	if len(granted) == 0 {
		return invalidScope()
	}
	issued := s.issue(in.ClientID, granted)
	issued.Scope = said
	a := jsonAnswer(http.StatusOK, issued)
	a.headers["Cache-Control"] = "no-store"
	return a
}

func invalidScope() answer {
	return oauthError(http.StatusBadRequest, "invalid_scope", "The requested scope is invalid, unknown, or malformed.")
}

// revoke answers POST /v1/oauth/revoke. A token that is none, or dead, counts as revoked (RFC 7009).
func (s *Simulator) revoke(r *http.Request, body []byte) answer {
	in, refused := parseOAuth(r, body)
	if refused != nil {
		return *refused
	}
	if !s.isClient(in.ClientID, in.ClientSecret) {
		return invalidClient()
	}
	if in.Token == "" {
		return missing("token")
	}
	if _, g, ok := s.lookup(in.Token); ok && g.clientID != in.ClientID {
		return oauthError(http.StatusForbidden, "unauthorized_client", "The token was issued to another client.")
	}
	s.RevokeToken(in.Token)
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

func invalidClient() answer {
	return oauthError(http.StatusUnauthorized, "invalid_client", "Client authentication failed due to unknown client, "+
		"no client authentication included, or unsupported authentication method.")
}
