// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream

import "time"

// clock tells a time that never goes back: when the clock that it reads is set back,
// it goes on from where it was. So an hour that comes twice is no hour more to wait.
type clock struct {
	read func() time.Time
	last time.Time
	// ahead is how much the time told is ahead of the time read.
	ahead time.Duration
}

func (c *clock) now() time.Time {
	now := c.told(c.read())
	if now.Before(c.last) {
		c.ahead += c.last.Sub(now)
		now = c.last
	}
	c.last = now
	return now
}

// told returns a time of those outside as one of this clock, and shown the other way
// round. No time is none for both.
func (c *clock) told(at time.Time) time.Time {
	if at.IsZero() {
		return at
	}
	return at.Add(c.ahead)
}

func (c *clock) shown(at time.Time) time.Time {
	if at.IsZero() {
		return at
	}
	return at.Add(-c.ahead)
}
