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
	DropBeforeAnswer Drop = "before-answer" // after the request was read; it has no effect
	DropMidBody      Drop = "mid-body"      // after half of the body; the request has its effect
)

// Fault is what happens to calls instead of, or on top of, the usual answer.
type Fault struct {
	// Endpoint is where it happens.
	Endpoint Endpoint `json:"endpoint"`
	// ClientID narrows it to the calls of one client: by what an OAuth request says, or by whom the bearer token, if
	// good, was issued to. Empty is everybody.
	ClientID string `json:"client_id"`
	// Status replaces the usual answer, whose effect does not happen either: no token is issued or revoked.
	// 0 keeps it, else 200 to 599.
	Status int `json:"status"`
	// Headers are set on the answer, the usual one too. Without a Content-Type a replaced answer is called JSON.
	Headers map[string]string `json:"headers"`
	// Body is that of a replaced answer, sent as it is.
	Body string `json:"body"`
	// Delay passes, in real time, before anything is answered.
	Delay time.Duration `json:"-"`
	// BodyDelay passes, in real time, between the first and the second half of the body.
	BodyDelay time.Duration `json:"-"`
	// Drop cuts the connection.
	Drop Drop `json:"drop"`
	// Calls is how many calls it happens to. 0 is all of them, until ClearFaults.
	Calls int `json:"calls"`
}

// faults are the scripted faults that have not ended. The zero value has none. They are safe for concurrent use.
type faults struct {
	mu     sync.Mutex
	active []Fault
}

// add scripts a fault, as Simulator.AddFault says.
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

// clear ends all faults, save for the calls that they are happening to.
func (s *faults) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = nil
}

// take returns the fault that happens to a call, or the zero Fault. A fault that has happened to all of its calls ends.
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

// answer is the one that replaces the usual one.
func (f Fault) answer() answer {
	a := answer{status: f.Status, body: []byte(f.Body)}
	if f.Body != "" {
		a.headers = map[string]string{"Content-Type": "application/json; charset=utf-8"}
	}
	return a
}

// replaces tells whether the usual answer is not given.
func (f Fault) replaces() bool {
	return f.Status != 0 || f.Drop == DropBeforeAnswer
}

// slowsOrCutsBody tells whether something happens in the middle of the body.
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
		EndpointToken, EndpointRevoke, EndpointAccounts, EndpointUsers, EndpointProjects, EndpointAny,
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
