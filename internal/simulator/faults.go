// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Drop says when a fault cuts the connection.
type Drop string

// The moments at which a fault can cut the connection.
const (
	DropNothing      Drop = ""
	DropBeforeAnswer Drop = "before-answer" // after the request was read; the request has no effect
	DropMidBody      Drop = "mid-body"      // after half of the body; the request has its effect
)

// Fault changes or replaces the usual answer to calls.
type Fault struct {
	// Name serves to end the fault before other faults. Several faults may have one name; none is needed.
	Name string `json:"name"`
	// Endpoint is the endpoint that the fault applies to.
	Endpoint Endpoint `json:"endpoint"`
	// ClientID limits the fault to the calls of one client: the client that an OAuth request names, or the
	// client that a valid bearer token was issued to. It may also be the ID of a user, for the calls with the
	// API key of this user. Empty means all calls.
	ClientID string `json:"client_id"`
	// Status replaces the usual answer by an answer with this status, 200 to 599. The request then has no
	// effect: the simulator issues or revokes no token. 0 keeps the usual answer.
	Status int `json:"status"`
	// Headers are set on the answer, also on the usual answer. A replaced answer has the Content-Type of JSON
	// unless Headers has another one.
	Headers map[string]string `json:"headers"`
	// Body is the body of a replaced answer. The simulator sends it unchanged.
	Body string `json:"body"`
	// Delay is the wait in real time before the answer.
	Delay time.Duration `json:"-"`
	// BodyDelay is the wait in real time between the first and the second half of the body.
	BodyDelay time.Duration `json:"-"`
	// Drop says when the fault cuts the connection.
	Drop Drop `json:"drop"`
	// Calls is the number of calls that the fault applies to. 0 means all calls until ClearFaults.
	Calls int `json:"calls"`
}

// faults are the faults that were added and have not ended. The zero value has no faults. It is safe for
// concurrent use.
type faults struct {
	mu     sync.Mutex
	active []Fault
}

// add adds a fault, as Simulator.AddFault describes.
func (s *faults) add(f Fault) error {
	if err := f.check(); err != nil {
		return err
	}
	f.Headers = maps.Clone(f.Headers)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = append(s.active, f)
	return nil
}

// clear ends all faults. Calls that already have a fault keep it.
func (s *faults) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = nil
}

// clearNamed ends the faults with a name. Calls that already have a fault keep it.
func (s *faults) clearNamed(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = slices.DeleteFunc(s.active, func(f Fault) bool { return f.Name == name })
}

// take returns the fault for a call, or the zero Fault. A fault ends after its number of calls.
func (s *faults) take(e Endpoint, clientID string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.active, func(f Fault) bool {
		return (f.Endpoint == e || f.Endpoint == EndpointAny) && (f.ClientID == "" || f.ClientID == clientID)
	})
	if i < 0 {
		return Fault{}
	}
	f := s.active[i]
	switch f.Calls {
	case 0:
	case 1:
		s.active = slices.Delete(s.active, i, i+1)
	default:
		s.active[i].Calls--
	}
	return f
}

// answer returns the answer that replaces the usual answer.
func (f Fault) answer() answer {
	a := answer{status: f.Status, body: []byte(f.Body)}
	if f.Body != "" {
		a.headers = map[string]string{"Content-Type": "application/json; charset=utf-8"}
	}
	return a
}

// replaces reports whether the fault replaces the usual answer.
func (f Fault) replaces() bool {
	return f.Status != 0 || f.Drop == DropBeforeAnswer
}

// slowsOrCutsBody reports whether the fault pauses or cuts the connection in the middle of the body.
func (f Fault) slowsOrCutsBody() bool {
	return f.BodyDelay > 0 || f.Drop == DropMidBody
}

func (f Fault) check() error {
	for _, check := range []func() error{f.checkNames, f.checkNumbers, f.checkBody, f.checkEffect} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (f Fault) checkNames() error {
	endpoints := []Endpoint{
		EndpointToken, EndpointRevoke, EndpointAccounts, EndpointAccount, EndpointRESTAccounts, EndpointRESTAccount,
		EndpointUsers, EndpointUser, EndpointProjects, EndpointAny,
	}
	if !slices.Contains(endpoints, f.Endpoint) {
		return fmt.Errorf("endpoint must be one of %q, not %q", endpoints, f.Endpoint)
	}
	drops := []Drop{DropBeforeAnswer, DropMidBody}
	if f.Drop != DropNothing && !slices.Contains(drops, f.Drop) {
		return fmt.Errorf("drop must be one of %q, not %q", drops, f.Drop)
	}
	return nil
}

func (f Fault) checkNumbers() error {
	switch {
	case f.Status != 0 && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("status must be from 200 to 599, not %d; leave it out for the usual answer", f.Status)
	case f.Delay < 0 || f.BodyDelay < 0:
		return errors.New("delay and body_delay must not be negative")
	case f.Calls < 0:
		return errors.New("calls must not be negative; leave it out for all calls until the faults are cleared")
	}
	return nil
}

func (f Fault) checkBody() error {
	switch {
	case f.Body != "" && f.Status == 0:
		return errors.New("body needs a status: set it, to 200 for instance")
	case f.Body != "" && (f.Status == http.StatusNoContent || f.Status == http.StatusNotModified):
		return fmt.Errorf("an answer with status %d has no body: leave body out", f.Status)
	case f.Body == "" && f.Status != 0 && f.slowsOrCutsBody():
		return errors.New("there is no body to slow or cut: set body, or leave out status for the usual answer")
	}
	return nil
}

func (f Fault) checkEffect() error {
	if f.replaces() || f.slowsOrCutsBody() || f.Delay > 0 || len(f.Headers) > 0 {
		return nil
	}
	return errors.New("the fault does nothing: set at least one of status, headers, delay, body_delay, drop")
}
