// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle

import (
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

const (
	// firstPause is the first pause in a row if the API did not say how long to wait.
	firstPause = time.Minute
	// shortestPause is the shortest pause, whatever the API says. The longest pause is
	// retry.LongestWait.
	shortestPause = time.Second
)

// pause is the time in which no request is sent, and the trial after it. In a trial one
// request is sent at a time, until the answer to one of them shows that the API no longer
// wants a pause.
type pause struct {
	begunAt, end time.Time
	// inARow counts the pauses since the last trial that went well.
	inARow int
	// isOnTrial is true if the pause is on, or that its trial has not gone well yet.
	// isProbing is true if a request of the trial is on its way.
	isOnTrial, isProbing bool
}

// isOn reports whether no request may be sent.
func (p *pause) isOn(now time.Time) bool { return now.Before(p.end) }

// begin begins a pause, or extends it, until the API wants to be asked again. If the API
// did not say when (zero), the pause is one minute long, and twice as long as the last one
// if no trial has gone well since. begin returns the end of the pause, and whether the end
// has changed.
func (p *pause) begin(retryAt, sentAt, now time.Time) (time.Time, bool) {
	// The answer to a request that was on its way when the pause began says nothing new,
	// except for a time.
	isKnown := p.isOn(now) || !sentAt.After(p.begunAt)
	switch {
	case retryAt.IsZero() && isKnown:
		return p.end, false
	case retryAt.IsZero():
		retryAt = now.Add(retry.Doubled(firstPause, retry.LongestWait, p.inARow+1))
	}
	if !isKnown {
		p.begunAt = now
		p.inARow++
	}
	end := now.Add(max(retry.Limit(retryAt, now).Sub(now), shortestPause))
	if p.isOn(now) && !end.After(p.end) {
		return p.end, false
	}
	p.end = end
	p.isOnTrial = true
	return end, true
}

// probed records how the request of a trial has ended, and tells whether that ends the
// trial. A request without an answer shows nothing, and another request is sent.
func (p *pause) probed(kind pipedream.Kind, now time.Time) bool {
	p.isProbing = false
	if kind == pipedream.RateLimited || kind == pipedream.Unavailable || p.isOn(now) {
		return false
	}
	p.isOnTrial, p.inARow = false, 0
	return true
}
