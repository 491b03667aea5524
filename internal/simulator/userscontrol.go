// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"
)

// userControl has the control calls about users and their API keys.
type userControl struct {
	users *Users
}

func (c *userControl) calls() []controlCall {
	return []controlCall{
		{"PUT /_sim/users/{id}", c.set},
		{"DELETE /_sim/users/{id}", c.remove},
		{"POST /_sim/users/{id}/revoke-key", c.revokeKey},
		{"GET /_sim/users", func(*http.Request) (any, error) { return c.users.Counters(), nil }},
		{"PUT /_sim/key-limit", c.setLimit},
	}
}

const wantUser = `{"api_key":"...","workspaces":["o_abc123"]}`

// ParseUser returns a user from JSON, as PUT /_sim/users/{id} takes it. Its errors do not quote the JSON.
func ParseUser(text string) (User, error) {
	user := NewUser("")
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if d.Decode(&user) != nil || d.More() {
		return User{}, errors.New("a user must be JSON like " + wantUser)
	}
	return user, nil
}

func (c *userControl) set(r *http.Request) (any, error) {
	user := NewUser("")
	if err := decode(r, &user, wantUser); err != nil {
		return nil, err
	}
	return nil, c.users.Set(r.PathValue("id"), user)
}

func (c *userControl) remove(r *http.Request) (any, error) {
	if id := r.PathValue("id"); !c.users.Delete(id) {
		return nil, noUser(id)
	}
	return nil, nil
}

func (c *userControl) revokeKey(r *http.Request) (any, error) {
	var in struct {
		APIKey string `json:"api_key"`
	}
	if err := decode(r, &in, `{"api_key":"..."}, or {} for no new key`); err != nil {
		return nil, err
	}
	return nil, c.users.RevokeKey(r.PathValue("id"), in.APIKey)
}

func (c *userControl) setLimit(r *http.Request) (any, error) {
	calls, window, err := decodeLimit(r, `{"calls":600,"window":"1m"}`)
	if err != nil {
		return nil, err
	}
	return nil, c.users.SetLimit(calls, window)
}

// decodeLimit reads a limit of calls from the body of a control call.
func decodeLimit(r *http.Request, want string) (calls int, window time.Duration, err error) {
	var in struct {
		Calls  *int     `json:"calls"`
		Window duration `json:"window"`
	}
	if err := decode(r, &in, want); err != nil {
		return 0, 0, err
	}
	if in.Calls == nil {
		return 0, 0, errors.New("send JSON like " + want)
	}
	return *in.Calls, time.Duration(in.Window), nil
}
