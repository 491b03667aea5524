// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"maps"
	"sync"
	"time"
)

const (
	// UnknownClient is the key in Counters for calls with a client ID that was never registered, and for
	// calls without a client ID.
	UnknownClient = "(unknown)"
	// MaxLog is the maximum number of exchanges in Counters.Log.
	MaxLog = 1 << 15
)

// Count counts calls by their outcome. A call that still waits, or whose client disconnected during a delay,
// is counted in Total only.
type Count struct {
	Total    int `json:"total"`
	Accepted int `json:"accepted"` // got the usual answer, with a 2xx status
	Refused  int `json:"refused"`  // got the usual answer, with an error
	Faulted  int `json:"faulted"`  // got the answer of a fault with any status, or no answer because of a fault
}

// Exchange is a call of the token endpoint with any outcome.
type Exchange struct {
	Time     time.Time `json:"time"` // when the call arrived, in UTC
	ClientID string    `json:"client_id"`
}

// Counters count the events since the start. They hold no secret and no token.
type Counters struct {
	// Exchanges are the calls of the token endpoint by client ID, including deleted clients and UnknownClient.
	Exchanges map[string]Count `json:"exchanges"`
	// Calls are the calls by endpoint, including the token endpoint.
	Calls map[Endpoint]Count `json:"calls"`
	// Faults is the number of calls with a fault, including a fault that only delays the answer.
	Faults int `json:"faults"`
	// Protocols are the calls by their version of HTTP, such as HTTP/2.0.
	Protocols map[string]int `json:"protocols"`
	// Connections are the connections of all calls, including the calls below /_sim/.
	Connections ConnectionCount `json:"connections"`
	// Log are the latest MaxLog exchanges, oldest first.
	Log []Exchange `json:"log"`
}

// counters hold the current counts. Use newCounters to make them. They are safe for concurrent use.
type counters struct {
	now func() time.Time

	mu        sync.Mutex
	exchanges map[string]*Count
	calls     map[Endpoint]*Count
	faults    int
	protocols map[string]int
	log       []Exchange
}

func newCounters(now func() time.Time) *counters {
	return &counters{
		now:       now,
		exchanges: map[string]*Count{UnknownClient: {}},
		protocols: map[string]int{},
		calls: map[Endpoint]*Count{
			EndpointToken: {}, EndpointRevoke: {}, EndpointAccounts: {}, EndpointUsers: {}, EndpointProjects: {},
			EndpointAccount: {}, EndpointRESTAccounts: {}, EndpointRESTAccount: {}, EndpointUser: {},
		},
	}
}

// addClient makes the counters count the exchanges of a client under its ID from now on.
func (c *counters) addClient(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.exchanges[id] == nil {
		c.exchanges[id] = new(Count)
	}
}

// counted returns a copy of the counts without the connections.
func (c *counters) counted() Counters {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Counters{
		Exchanges: values(c.exchanges),
		Calls:     values(c.calls),
		Faults:    c.faults,
		Protocols: maps.Clone(c.protocols),
		Log:       append([]Exchange{}, c.log...),
	}
}

func (c *counters) countProtocol(version string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.protocols[version]++
}

// call is a call that has arrived, with its fault and its counts.
type call struct {
	fault  Fault
	counts []*Count
}

// arrive counts a call of an endpoint, and its fault. The zero Fault means no fault.
func (c *counters) arrive(e Endpoint, clientID string, f Fault) call {
	c.mu.Lock()
	defer c.mu.Unlock()
	arrived := call{fault: f, counts: []*Count{c.calls[e]}}
	if f.Endpoint != "" {
		c.faults++
	}
	if e == EndpointToken {
		arrived.counts = append(arrived.counts, c.exchange(clientID, c.now()))
	}
	for _, count := range arrived.counts {
		count.Total++
	}
	return arrived
}

// exchange logs an exchange, and returns the Count of its client. The caller holds the lock.
func (c *counters) exchange(clientID string, now time.Time) *Count {
	if c.exchanges[clientID] == nil {
		clientID = UnknownClient
	}
	c.log = append(c.log, Exchange{Time: now.UTC(), ClientID: clientID})
	if len(c.log) > MaxLog {
		c.log = c.log[1:]
	}
	return c.exchanges[clientID]
}

// settle counts the outcome of a call.
func (c *counters) settle(arrived call, status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, count := range arrived.counts {
		switch {
		case arrived.fault.replaces():
			count.Faulted++
		case status < 300:
			count.Accepted++
		default:
			count.Refused++
		}
	}
}

func values[K comparable, V any](counts map[K]*V) map[K]V {
	out := make(map[K]V, len(counts))
	for k, c := range counts {
		out[k] = *c
	}
	return out
}
