// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bearer

import (
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

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
		s.identify(ref, s.clientOf(digestOf(s.key, *need.Credentials), now))
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
		s.clients[d] = &client{digest: d, refusals: newRefusals(), usedAt: now}
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
		s.flights.end(f)
	}
}

// currentFlight returns the flight that brings a token for the reference. It makes one if there is none.
func (r *reference) currentFlight() *flight {
	f := &flight{waiters: map[throttle.Requester]time.Time{}}
	if c := r.client; c != nil {
		if c.flight == nil {
			c.flight, f.owner = f, c
		}
		return c.flight
	}
	if r.flight == nil {
		r.flight, f.owner = f, r
	}
	return r.flight
}
