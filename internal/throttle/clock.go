// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle

import "time"

// clock returns times that never go back. When the clock that it reads is set back, it
// goes on from the time that it returned last. So nobody waits an hour longer because the
// clock was set back by an hour.
type clock struct {
	read func() time.Time
	last time.Time
	// ahead is how much this clock is ahead of the clock that it reads.
	ahead time.Duration
}

// now returns the current time by this clock.
func (c *clock) now() time.Time {
	now := c.toInternal(c.read())
	if now.Before(c.last) {
		c.ahead += c.last.Sub(now)
		now = c.last
	}
	c.last = now
	return now
}

// toInternal converts a time by the clock of the callers to a time by this clock. The zero
// time stays zero.
func (c *clock) toInternal(at time.Time) time.Time {
	if at.IsZero() {
		return at
	}
	return at.Add(c.ahead)
}

// toExternal converts a time by this clock to a time by the clock of the callers. The zero
// time stays zero.
func (c *clock) toExternal(at time.Time) time.Time {
	if at.IsZero() {
		return at
	}
	return at.Add(-c.ahead)
}
