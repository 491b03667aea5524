// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// routeControl serves the control calls: the Simulator's methods over HTTP. They neither wait nor fail on demand.
func (s *Simulator) routeControl() {
	calls := []struct {
		pattern string
		handle  func(*http.Request) (any, error)
	}{
		{"PUT /_sim/clients/{id}", s.controlSetClient},
		{"POST /_sim/clients/{id}", s.controlSetClient},
		{"DELETE /_sim/clients/{id}", s.controlDeleteClient},
		{"PUT /_sim/clients/{id}/scopes", s.controlSetClientScopes},
		{"PUT /_sim/scope-answer", s.controlScopeAnswer},
		{"POST /_sim/revoke", s.controlRevoke},
		{"POST /_sim/faults", s.controlAddFault},
		{"DELETE /_sim/faults", s.controlClearFaults},
		{"PUT /_sim/token-lifetime", s.controlTokenLifetime},
		{"PUT /_sim/token-known-after", s.controlTokenKnownAfter},
		{"POST /_sim/forget-connections", s.controlForgetConnections},
		{"POST /_sim/rotate-ca", s.controlRotateCA},
		{"GET /_sim/ca", s.controlCA},
		{"GET /_sim/counters", s.controlCounters},
	}
	patterns := make([]string, 0, len(calls))
	for _, c := range calls {
		patterns = append(patterns, c.pattern)
		s.mux.HandleFunc(c.pattern, func(w http.ResponseWriter, r *http.Request) {
			controlAnswer(c.handle(r)).send(w, r, Fault{})
		})
	}
	unknown := apiError(http.StatusNotFound, "no such control call; there are: "+strings.Join(patterns, ", "))
	s.mux.HandleFunc("/_sim/", func(w http.ResponseWriter, r *http.Request) {
		unknown.send(w, r, Fault{})
	})
}

// controlAnswer answers a control call with its result, nothing, or what was wrong with it.
func controlAnswer(result any, err error) answer {
	switch {
	case err != nil:
		return apiError(http.StatusBadRequest, err.Error())
	case result == nil:
		return answer{status: http.StatusNoContent}
	default:
		return jsonAnswer(http.StatusOK, result)
	}
}

func (s *Simulator) controlSetClient(r *http.Request) (any, error) {
	var in struct {
		Secret string `json:"secret"`
	}
	if err := decode(r, &in, `{"secret":"..."}`); err != nil {
		return nil, err
	}
	return nil, s.SetClient(r.PathValue("id"), in.Secret)
}

func (s *Simulator) controlSetClientScopes(r *http.Request) (any, error) {
	var in struct {
		Scopes []string `json:"scopes"`
	}
	if err := decode(r, &in, `{"scopes":["connect:accounts:read"]}`); err != nil {
		return nil, err
	}
	if in.Scopes == nil {
		return nil, errors.New(`send JSON like {"scopes":["connect:accounts:read"]}; an empty list lets the client have all scopes`)
	}
	return nil, s.SetClientScopes(r.PathValue("id"), in.Scopes)
}

func (s *Simulator) controlScopeAnswer(r *http.Request) (any, error) {
	var in struct {
		ScopeAnswer ScopeAnswer `json:"scope_answer"`
	}
	if err := decode(r, &in, `{"scope_answer":"granted"}`); err != nil {
		return nil, err
	}
	return nil, s.SetScopeAnswer(in.ScopeAnswer)
}

func (s *Simulator) controlDeleteClient(r *http.Request) (any, error) {
	revoke := false
	for name, values := range r.URL.Query() {
		var err error
		if revoke, err = strconv.ParseBool(values[0]); err != nil || name != "revoke_tokens" {
			return nil, errors.New("the only parameter is revoke_tokens, true or false")
		}
	}
	id := r.PathValue("id")
	if !s.DeleteClient(id) {
		return nil, fmt.Errorf("there is no client %q: register it with PUT /_sim/clients/{id}", id)
	}
	if revoke {
		s.RevokeClient(id)
	}
	return nil, nil
}

// revocation is the body of a control call: one of its fields.
type revocation struct {
	All      bool   `json:"all"`
	ClientID string `json:"client_id"`
	Token    string `json:"token"`
}

func (s *Simulator) controlRevoke(r *http.Request) (any, error) {
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
		revoked = s.RevokeAll()
	case revocation{ClientID: in.ClientID}:
		revoked = s.RevokeClient(in.ClientID)
	case revocation{Token: in.Token}:
		if s.RevokeToken(in.Token) {
			revoked = 1
		}
	default:
		return nil, errors.New("send only " + want)
	}
	return map[string]int{"revoked": revoked}, nil
}

func (s *Simulator) controlAddFault(r *http.Request) (any, error) {
	var in struct {
		Fault
		Delay     duration `json:"delay"`
		BodyDelay duration `json:"body_delay"`
	}
	if err := decode(r, &in, `{"endpoint":"token","status":503} or the like`); err != nil {
		return nil, err
	}
	in.Fault.Delay, in.Fault.BodyDelay = time.Duration(in.Delay), time.Duration(in.BodyDelay)
	return nil, s.AddFault(in.Fault)
}

func (s *Simulator) controlClearFaults(*http.Request) (any, error) {
	s.ClearFaults()
	return nil, nil
}

func (s *Simulator) controlTokenLifetime(r *http.Request) (any, error) {
	var in struct {
		TokenLifetime duration `json:"token_lifetime"`
	}
	if err := decode(r, &in, `{"token_lifetime":"1h"}`); err != nil {
		return nil, err
	}
	return nil, s.SetTokenLifetime(time.Duration(in.TokenLifetime))
}

// controlForgetConnections spares the connection that the call itself came by: its caller is to have an answer.
func (s *Simulator) controlForgetConnections(r *http.Request) (any, error) {
	return map[string]int{"forgotten": s.connections.forget(r.RemoteAddr)}, nil
}

// controlRotateCA answers with the new CA.
func (s *Simulator) controlRotateCA(r *http.Request) (any, error) {
	if err := s.RotateCA(); err != nil {
		return nil, err
	}
	return s.controlCA(r)
}

func (s *Simulator) controlCA(*http.Request) (any, error) {
	ca := s.CA()
	if ca == nil {
		return nil, errors.New("there is no CA, for the simulator does not speak TLS: start it with --tls")
	}
	return map[string]string{"ca": string(ca)}, nil
}

func (s *Simulator) controlTokenKnownAfter(r *http.Request) (any, error) {
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
	return nil, s.SetTokenKnownAfter(time.Duration(*in.TokenKnownAfter))
}

func (s *Simulator) controlCounters(*http.Request) (any, error) {
	return s.Counters(), nil
}

// duration is one that JSON spells as Go does, like "1.5s".
type duration time.Duration

// UnmarshalText reads the duration.
func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = duration(parsed)
	return err
}

// decode reads the body of a control call, which must be one JSON value with known fields only.
func decode(r *http.Request, into any, want string) error {
	d := json.NewDecoder(io.LimitReader(r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("send JSON like %s: %w", want, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("send JSON like %s, and nothing after it", want)
	}
	return nil
}
