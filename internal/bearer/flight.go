// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bearer

import (
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// leaderTimeout is how long a requester leads a flight without calling Acquire. It is longer than any
// requester that is alive sleeps.
const leaderTimeout = 6 * time.Minute

// flight is an exchange that is to be made, or is on its way. One requester leads it: the leader has a
// ticket at the Limiter, and makes the exchange when its turn has come. The others wait.
type flight struct {
	// owner is what the flight brings a token for.
	owner flightOwner
	// leader is the zero Requester if there is none. It was last seen at seenAt.
	leader    throttle.Requester
	seenAt    time.Time
	ticket    throttle.Ticket
	isSending bool
	// waiters have waited since a time.
	waiters map[throttle.Requester]time.Time
}

// flightOwner is a client or, while the client is unknown, a credential reference.
type flightOwner interface{ endFlight() }

func (c *client) endFlight()    { c.flight = nil }
func (r *reference) endFlight() { r.flight = nil }

// reference is a credential reference. Its client is nil until its credentials are read.
type reference struct {
	client *client
	flight *flight
	usedAt time.Time
}

// reference returns the reference of a need, with its client if that is known.
func (s *Store) reference(need Need, now time.Time) *reference {
	ref := s.references[need.CredentialReference]
	if ref == nil {
		limit(s.references, mostReferences, func(r *reference) time.Time { return r.lastUse() })
		ref = &reference{}
		s.references[need.CredentialReference] = ref
	}
	if need.Credentials != nil {
		s.identify(ref, s.clientOf(s.digestOf(*need.Credentials), now))
	}
	ref.usedAt = now
	if ref.client != nil {
		ref.client.usedAt = now
	}
	return ref
}

// clientOf returns the client with a digest.
func (s *Store) clientOf(d digest, now time.Time) *client {
	if s.clients[d] == nil {
		limit(s.clients, mostClients, func(c *client) time.Time { return c.lastUse() })
		s.clients[d] = &client{digest: d, denials: map[string]*denial{}, refusals: map[subject]refusal{}, usedAt: now}
	}
	return s.clients[d]
}

// identify records which client a reference turns out to be, and joins the flights of both.
func (s *Store) identify(ref *reference, c *client) {
	f := ref.flight
	ref.client, ref.flight = c, nil
	switch {
	case f == nil:
	case c.flight == nil:
		c.flight, f.owner = f, c
	default:
		// The client has a leader already. Who has waited here finds that out for itself.
		s.end(f)
	}
}

// flightOf returns the flight that brings a token for a reference.
func (s *Store) flightOf(ref *reference) *flight {
	f := &flight{waiters: map[throttle.Requester]time.Time{}}
	if c := ref.client; c != nil {
		if c.flight == nil {
			c.flight, f.owner = f, c
		}
		return c.flight
	}
	if ref.flight == nil {
		ref.flight, f.owner = f, ref
	}
	return ref.flight
}

// isLedBy reports whether a requester leads the flight, or may do so now because nobody does.
func (f *flight) isLedBy(requester throttle.Requester, now time.Time) bool {
	if f.isSending {
		return false
	}
	return f.leader == requester || f.leader == throttle.Requester{} || now.Sub(f.seenAt) > leaderTimeout
}

// lead makes a requester the leader of a flight.
func (s *Store) lead(f *flight, requester throttle.Requester, now time.Time) {
	if f.leader != requester && f.leader != (throttle.Requester{}) {
		s.options.Limiter.Cancel(f.leader)
		delete(s.flights, f.leader)
	}
	if s.flights[requester] != f {
		s.abandon(requester)
	}
	delete(f.waiters, requester)
	f.leader, f.seenAt = requester, now
	s.flights[requester] = f
}

// wait makes a requester wait for the end of a flight, and returns how the flight stands.
func (s *Store) wait(f *flight, requester throttle.Requester, now time.Time) throttle.Ticket {
	if s.flights[requester] != f {
		s.abandon(requester)
		f.waiters[requester] = now
		s.flights[requester] = f
	}
	ticket := f.ticket
	ticket.IsReady, ticket.Since = false, f.waiters[requester]
	return ticket
}

// abandon takes a requester out of its flight. If it has led the flight, another one has to.
func (s *Store) abandon(requester throttle.Requester) {
	f := s.flights[requester]
	if f == nil {
		return
	}
	delete(s.flights, requester)
	delete(f.waiters, requester)
	if f.leader == requester && !f.isSending {
		s.end(f)
	}
}

// end ends a flight, and wakes who has waited for it.
func (s *Store) end(f *flight) {
	f.owner.endFlight()
	if f.leader != (throttle.Requester{}) {
		s.options.Limiter.Cancel(f.leader)
		delete(s.flights, f.leader)
	}
	for requester := range f.waiters {
		delete(s.flights, requester)
		s.woken = append(s.woken, requester)
	}
	if len(f.waiters) > 0 {
		s.ready.signal()
	}
}

// Ready reports who is to call Acquire again at one Store. Each Store has exactly one Ready, which New
// returns, and a Ready must have one reader.
type Ready struct {
	store   *Store
	changed chan struct{}
}

// Next returns the requesters that are to call Acquire again, each once, and how long to wait for Changed
// at most before the next call. A wait of zero means that there is no need for a call before Changed has
// a value.
func (r *Ready) Next() (requesters []throttle.Requester, wait time.Duration) {
	s := r.store
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(s.options.Now())
	requesters, s.woken = s.woken, nil
	if len(s.clients) == 0 && len(s.references) == 0 {
		return requesters, 0
	}
	return requesters, sweepEvery
}

// Changed returns a channel that has a value when it is time to call Next.
func (r *Ready) Changed() <-chan struct{} { return r.changed }

func (r *Ready) signal() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}
