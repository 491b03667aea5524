// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"maps"
	"sync"
	"time"
)

const (
	// UnknownClient stands in Counters for all client IDs that were never registered, and for calls without one.
	UnknownClient = "(unknown)"
	// MaxLog is how many exchanges Counters.Log keeps.
	MaxLog = 1 << 15
)

// Count is what became of calls. Those that still wait, or whose caller left during a delay, are in Total alone.
type Count struct {
	Total    int `json:"total"`
	Accepted int `json:"accepted"` // given the usual answer, a 2xx
	Refused  int `json:"refused"`  // given the usual answer, an error
	Faulted  int `json:"faulted"`  // given a fault's answer, whatever its status, or none
}

// Exchange is a call of the token endpoint, whatever became of it.
type Exchange struct {
	Time     time.Time `json:"time"` // of its arrival, UTC
	ClientID string    `json:"client_id"`
}

// Counters are what happened since the start. They hold no secret and no token.
type Counters struct {
	// Exchanges are the calls of the token endpoint by client ID, deleted clients and UnknownClient included.
	Exchanges map[string]Count `json:"exchanges"`
	// Calls are the calls by endpoint, the token endpoint included.
	Calls map[Endpoint]Count `json:"calls"`
	// Faults is how many calls a fault happened to, a mere delay included.
	Faults int `json:"faults"`
	// Protocols are the calls by the version of HTTP that they came by, such as HTTP/2.0.
	Protocols map[string]int `json:"protocols"`
	// Connections are those that calls came by, those of /_sim/ included.
	Connections ConnectionCount `json:"connections"`
	// Log are the latest MaxLog exchanges, oldest first.
	Log []Exchange `json:"log"`
}

// counters are Counters while they change. Use newCounters to make them. They are safe for concurrent use.
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
		},
	}
}

// addClient has the exchanges of a client counted under its ID from now on.
func (c *counters) addClient(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.exchanges[id] == nil {
		c.exchanges[id] = new(Count)
	}
}

// counted returns a copy of what was counted so far, without the connections.
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

// A call is one that has arrived: what happens to it, and where it counts.
type call struct {
	fault  Fault
	counts []*Count
}

// arrive counts a call of an endpoint, to which a fault happens or the zero Fault.
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

// exchange logs one, and returns where it counts. The caller holds the lock.
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

// settle counts what became of a call.
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

func values[K comparable](counts map[K]*Count) map[K]Count {
	out := make(map[K]Count, len(counts))
	for k, c := range counts {
		out[k] = *c
	}
	return out
}
