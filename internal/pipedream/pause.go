// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream

import "time"

const (
	// minPause and maxPause bound how long requests pause.
	minPause = time.Minute
	maxPause = 15 * time.Minute
)

// pause is the time in which no request is sent, and the trial after it, in which
// one is sent at a time, until one shows that the API has had enough of pausing.
type pause struct {
	begunAt, end time.Time
	// inARow counts the pauses since the last trial that went well.
	inARow               int
	isOnTrial, isProbing bool
}

// isOn tells whether no request is sent.
func (p *pause) isOn(now time.Time) bool { return now.Before(p.end) }

// begin begins a pause, or prolongs it, until the API wants to be asked again. When
// it did not say (zero), the pause is a minute, and twice as long as the last if no
// trial since that has gone well. begin returns the end, and whether that has changed.
func (p *pause) begin(retryAt, sentAt, now time.Time) (time.Time, bool) {
	// A request that was on its way when the pause began tells nothing new but a time.
	isKnown := p.isOn(now) || !sentAt.After(p.begunAt)
	switch {
	case retryAt.IsZero() && isKnown:
		return p.end, false
	case retryAt.IsZero():
		retryAt = now.Add(doubled(minPause, p.inARow, maxPause))
	}
	if !isKnown {
		p.begunAt = now
		p.inARow++
	}
	end := now.Add(min(max(retryAt.Sub(now), time.Second), maxPause))
	if p.isOn(now) && !end.After(p.end) {
		return p.end, false
	}
	p.end = end
	p.isOnTrial = true
	return end, true
}

// probed takes note of how the one request of a trial has ended, and tells whether
// that ends the trial. Without an answer it has shown nothing, and another is sent.
func (p *pause) probed(kind Kind, now time.Time) bool {
	p.isProbing = false
	if kind == RateLimited || kind == Unavailable || p.isOn(now) {
		return false
	}
	p.isOnTrial, p.inARow = false, 0
	return true
}

// doubled returns first, doubled so many times, but at most the most.
func doubled(first time.Duration, times int, most time.Duration) time.Duration {
	return min(first<<min(times, 20), most)
}
