// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"errors"
	"net/http"
	"time"
)

// tokenControl has the control calls about tokens and about how the simulator issues them.
type tokenControl struct {
	oauth  *oauth
	tokens *tokens
}

func (c *tokenControl) setScopeAnswer(r *http.Request) (any, error) {
	var in struct {
		ScopeAnswer ScopeAnswer `json:"scope_answer"`
	}
	if err := decode(r, &in, `{"scope_answer":"granted"}`); err != nil {
		return nil, err
	}
	return nil, c.oauth.setScopeAnswer(in.ScopeAnswer)
}

func (c *tokenControl) setLifetime(r *http.Request) (any, error) {
	var in struct {
		TokenLifetime duration `json:"token_lifetime"`
		ClientID      string   `json:"client_id"`
	}
	if err := decode(r, &in, `{"token_lifetime":"1h"}`); err != nil {
		return nil, err
	}
	return nil, c.tokens.setLifetime(in.ClientID, time.Duration(in.TokenLifetime))
}

func (c *tokenControl) setKnownAfter(r *http.Request) (any, error) {
	var in struct {
		TokenKnownAfter *duration `json:"token_known_after"`
	}
	const want = `{"token_known_after":"3s"}`
	if err := decode(r, &in, want); err != nil {
		return nil, err
	}
	if in.TokenKnownAfter == nil {
		return nil, errors.New("send JSON like " + want)
	}
	return nil, c.tokens.setKnownAfter(time.Duration(*in.TokenKnownAfter))
}

// revocation is the body of a control call. Exactly one of its fields must be set.
type revocation struct {
	All      bool   `json:"all"`
	ClientID string `json:"client_id"`
	Token    string `json:"token"`
}

func (c *tokenControl) revoke(r *http.Request) (any, error) {
	const want = `one of {"all":true}, {"client_id":"..."}, {"token":"..."}`
	var in revocation
	if err := decode(r, &in, want); err != nil {
		return nil, err
	}
	revoked := 0
	switch in {
	case revocation{}:
		return nil, errors.New("send " + want)
	case revocation{All: true}:
		revoked = c.tokens.revokeAll()
	case revocation{ClientID: in.ClientID}:
		revoked = c.tokens.revokeClient(in.ClientID)
	case revocation{Token: in.Token}:
		if c.tokens.revoke(in.Token) {
			revoked = 1
		}
	default:
		return nil, errors.New("send only " + want)
	}
	return map[string]int{"revoked": revoked}, nil
}
