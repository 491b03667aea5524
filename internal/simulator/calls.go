// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"io"
	"net/http"
	"time"
)

// maxBody is the maximum number of bytes that the simulator reads of a request's body.
const maxBody = 64 << 10

// Endpoint names a part of the imitated API, in faults and in counters.
type Endpoint string

// The endpoints that can fail on demand and are counted.
const (
	EndpointToken    Endpoint = "token"    // POST /v1/oauth/token
	EndpointRevoke   Endpoint = "revoke"   // POST /v1/oauth/revoke
	EndpointAccounts Endpoint = "accounts" // GET /v1/connect/{project_id}/accounts
	EndpointAccount  Endpoint = "account"  // GET /v1/connect/{project_id}/accounts/{account_id}
	EndpointUsers    Endpoint = "users"    // GET /v1/connect/{project_id}/users
	EndpointProjects Endpoint = "projects" // GET /v1/connect/projects
	EndpointAny      Endpoint = "any"      // in a fault: all endpoints

	EndpointRESTAccounts Endpoint = "rest-accounts" // GET /v1/accounts
	EndpointRESTAccount  Endpoint = "rest-account"  // GET /v1/accounts/{account_id}
	EndpointUser         Endpoint = "user"          // GET /v1/users/me
)

// handler answers one call. The body has been read before.
type handler func(r *http.Request, body []byte) answer

// endpoint is one endpoint of the imitated API. Its calls are counted, and faults apply to them.
type endpoint struct {
	// path is a pattern of http.ServeMux without a method.
	path   string
	name   Endpoint
	method string
	// clientOf returns the client that a call names, or the user whose API key it has. It checks a bearer
	// token, but no client secret. It returns an empty text if the call names neither.
	clientOf func(r *http.Request, body []byte) string
	// handle returns the answer without faults.
	handle handler
}

// calls serves endpoints with the latency, the faults and the counters of a Simulator.
type calls struct {
	latency  time.Duration
	faults   *faults
	counters *counters
}

// serve adds endpoints to a mux.
func (c *calls) serve(on *http.ServeMux, endpoints []endpoint) {
	for _, e := range endpoints {
		on.HandleFunc(e.path, func(w http.ResponseWriter, r *http.Request) { c.answer(w, r, e) })
	}
}

// answer answers one call with the answer of the endpoint or of a fault.
func (c *calls) answer(w http.ResponseWriter, r *http.Request, e endpoint) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, maxBody)) // the endpoint refuses a body that is cut off
	c.counters.countProtocol(r.Proto)
	clientID := e.clientOf(r, body)
	fault := c.faults.take(e.name, clientID)
	arrived := c.counters.arrive(e.name, clientID, fault)
	if wait(r.Context(), c.latency+fault.Delay) != nil {
		panic(http.ErrAbortHandler)
	}
	if fault.Drop == DropBeforeAnswer {
		c.counters.settle(arrived, 0)
		panic(http.ErrAbortHandler)
	}
	var a answer
	switch {
	case fault.Status != 0:
		a = fault.answer()
	case r.Method != e.method:
		a = methodNotAllowed(e.method)
	default:
		a = e.handle(r, body)
	}
	c.counters.settle(arrived, a.status)
	a.send(w, r, fault)
}
