// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// controlCall is a call below /_sim/. The simulator sends the result as JSON. If the result is nil, the
// answer has no body.
type controlCall struct {
	// pattern is a pattern of http.ServeMux with a method.
	pattern string
	handle  func(*http.Request) (result any, err error)
}

// control has the control calls of a Simulator. They offer the methods of a Simulator over HTTP. Latency and
// faults do not apply to them.
type control []controlCall

// newControl returns all control calls. The answer to an unknown call lists them in this order.
func newControl(s *Simulator) control {
	client := &clientControl{clients: s.clients, tokens: s.tokens}
	token := &tokenControl{oauth: s.oauth, tokens: s.tokens}
	fault := &faultControl{faults: s.faults}
	behavior := &behaviorControl{behaviors: s.behaviors}
	connection := &connectionControl{connections: &s.Connections, tls: &s.TLS}
	calls := control{
		{"PUT /_sim/clients/{id}", client.set},
		{"POST /_sim/clients/{id}", client.set},
		{"DELETE /_sim/clients/{id}", client.remove},
		{"PUT /_sim/clients/{id}/scopes", client.setScopes},
		{"PUT /_sim/scope-answer", token.setScopeAnswer},
		{"PUT /_sim/behavior", behavior.set},
		{"POST /_sim/revoke", token.revoke},
		{"POST /_sim/faults", fault.add},
		{"DELETE /_sim/faults", fault.clear},
		{"PUT /_sim/token-lifetime", token.setLifetime},
		{"PUT /_sim/token-known-after", token.setKnownAfter},
		{"POST /_sim/forget-connections", connection.forget},
		{"POST /_sim/rotate-ca", connection.rotateCA},
		{"GET /_sim/ca", connection.ca},
		{"GET /_sim/counters", func(*http.Request) (any, error) { return s.Counters(), nil }},
	}
	calls = append(calls, (&accountControl{accounts: s.Accounts}).calls()...)
	return append(calls, (&userControl{users: s.Users}).calls()...)
}

// serve adds the control calls to a mux, and an answer to unknown calls.
func (c control) serve(on *http.ServeMux) {
	patterns := make([]string, 0, len(c))
	for _, call := range c {
		patterns = append(patterns, call.pattern)
		on.HandleFunc(call.pattern, func(w http.ResponseWriter, r *http.Request) {
			controlAnswer(call.handle(r)).send(w, r, Fault{})
		})
	}
	unknown := apiError(http.StatusNotFound, "no such control call; there are: "+strings.Join(patterns, ", "))
	on.HandleFunc("/_sim/", func(w http.ResponseWriter, r *http.Request) {
		unknown.send(w, r, Fault{})
	})
}

// controlAnswer returns the answer to a control call: the result, an empty answer, or the error.
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

// duration is a time.Duration that JSON writes in Go's format, such as "1.5s".
type duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = duration(parsed)
	return err
}

// decode reads the body of a control call. The body must be one JSON value with known fields only.
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
