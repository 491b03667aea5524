// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package retry

import "time"

const (
	// MinInterval is the shortest time between two attempts for the same object.
	MinInterval = 10 * time.Second
	// maxInterval is the longest interval between two triggered attempts.
	maxInterval = 5 * time.Minute
	// RepeatWindow is the time without a triggered attempt after which the interval is
	// MinInterval again.
	RepeatWindow = 2 * maxInterval
)

// Triggers are the attempts for one object that somebody's changes have triggered.
// Changes may come without end, so the interval between triggered attempts grows. The
// zero value means that no change has triggered an attempt.
type Triggers struct {
	// Last is the time of the last triggered attempt.
	Last time.Time
	// Count is the number of triggered attempts in a row. RepeatWindow without one ends
	// the row.
	Count int
}

// Add counts an attempt that was triggered now.
func (t *Triggers) Add(now time.Time) {
	if now.Sub(t.Last) > RepeatWindow {
		t.Count = 0
	}
	t.Count++
	t.Last = now
}

// NotBefore returns when a change may trigger the next attempt: MinInterval after the
// last one. For each further attempt in the row the interval is twice as long, up to five
// minutes. It returns the zero time if there is nothing to wait for.
func (t Triggers) NotBefore(now time.Time) time.Time {
	if t.Count <= 0 {
		return time.Time{}
	}
	return EndOf(t.Last, Doubled(MinInterval, maxInterval, t.Count), now)
}

// EndOf returns the end of an interval. It returns the zero time if the interval begins
// after now: the begin was then read from a clock that has been set back since, and is no
// reason to wait.
func EndOf(begin time.Time, interval time.Duration, now time.Time) time.Time {
	if begin.After(now) {
		return time.Time{}
	}
	return begin.Add(interval)
}
