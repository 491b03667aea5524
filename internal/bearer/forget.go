// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bearer

import "time"

const (
	// unusedTime is after how long without use a client and its token are forgotten.
	unusedTime = 2 * time.Hour
	// sweepEvery is the time between two looks for clients that nobody uses.
	sweepEvery = 10 * time.Minute
	// How many of each a Store remembers at most. The ones that were not used for the longest time
	// are forgotten first.
	mostClients    = 8192
	mostReferences = 4 * mostClients
	// mostProjects and mostRefusals are for each client.
	mostProjects = 1024
	mostRefusals = 4096
)

// sweep forgets what was not used for long.
func (s *Store) sweep(now time.Time) {
	if since := now.Sub(s.sweptAt); since >= 0 && since < sweepEvery {
		return
	}
	s.sweptAt = now
	for name, ref := range s.references {
		if ref.isUnused(now) {
			delete(s.references, name)
		}
	}
	for d, c := range s.clients {
		if c.isUnused(now) {
			delete(s.clients, d)
			continue
		}
		if !c.isPreviousLent(now) {
			c.previous = nil
		}
		if !c.current.isGood(now) {
			c.current, c.previous = nil, nil
		}
	}
}

func (r *reference) isUnused(now time.Time) bool {
	return r.flight == nil && now.Sub(r.usedAt) >= unusedTime
}

func (c *client) isUnused(now time.Time) bool {
	return c.flight == nil && now.Sub(c.usedAt) >= unusedTime
}

// lastUse returns when the reference was last used. One with a flight is in use.
func (r *reference) lastUse() time.Time { return lastUse(r.usedAt, r.flight) }

// lastUse returns when the client was last used. One with a flight is in use.
func (c *client) lastUse() time.Time { return lastUse(c.usedAt, c.flight) }

func lastUse(usedAt time.Time, f *flight) time.Time {
	if f != nil {
		return usedAt.Add(unusedTime)
	}
	return usedAt
}

// limit makes room for one more in a map that must not grow beyond a number: it forgets the oldest.
func limit[K comparable, V any](m map[K]V, most int, age func(V) time.Time) {
	if len(m) < most {
		return
	}
	var oldest K
	var at time.Time
	isFirst := true
	for k, v := range m {
		if isFirst || age(v).Before(at) {
			oldest, at, isFirst = k, age(v), false
		}
	}
	delete(m, oldest)
}
