// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bearer

import (
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// Ready reports who is to call Acquire again at one Store. Each Store has exactly one Ready, which New
// returns, and a Ready must have one reader.
type Ready struct{ store *Store }

// Next returns the requesters that are to call Acquire again, each once, and how long to wait for Changed
// at most before the next call. A wait of zero means that there is no need for a call before Changed has
// a value.
func (r *Ready) Next() (requesters []throttle.Requester, wait time.Duration) {
	s := r.store
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(s.options.Now())
	requesters, s.flights.woken = s.flights.woken, nil
	if len(s.clients) == 0 && len(s.references) == 0 {
		return requesters, 0
	}
	return requesters, sweepEvery
}

// Changed returns a channel that has a value when it is time to call Next.
func (r *Ready) Changed() <-chan struct{} { return r.store.flights.changed }
