// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
)

// clientControl has the control calls about OAuth clients.
type clientControl struct {
	clients *clients
	tokens  *tokens
}

func (c *clientControl) set(r *http.Request) (any, error) {
	var in struct {
		Secret string `json:"secret"`
	}
	if err := decode(r, &in, `{"secret":"..."}`); err != nil {
		return nil, err
	}
	return nil, c.clients.set(r.PathValue("id"), in.Secret)
}

func (c *clientControl) setScopes(r *http.Request) (any, error) {
	var in struct {
		Scopes []string `json:"scopes"`
	}
	if err := decode(r, &in, `{"scopes":["connect:accounts:read"]}`); err != nil {
		return nil, err
	}
	if in.Scopes == nil {
		return nil, errors.New(`send JSON like {"scopes":["connect:accounts:read"]}; an empty list lets the client have all scopes`)
	}
	return nil, c.clients.setScopes(r.PathValue("id"), in.Scopes)
}

func (c *clientControl) remove(r *http.Request) (any, error) {
	revoke := false
	for name, values := range r.URL.Query() {
		var err error
		if revoke, err = strconv.ParseBool(values[0]); err != nil || name != "revoke_tokens" {
			return nil, errors.New("the only parameter is revoke_tokens, true or false")
		}
	}
	id := r.PathValue("id")
	if !c.clients.remove(id) {
		return nil, fmt.Errorf("there is no client %q: register it with PUT /_sim/clients/{id}", id)
	}
	if revoke {
		c.tokens.revokeClient(id)
	}
	return nil, nil
}
