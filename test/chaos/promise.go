// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"sync"
	"time"
)

const (
	// settling is how long after the end of whatever was in the way a promise holds
	// again. It is the sum of what the design lets pass at the worst: a dead leader's
	// lease (15 s, and 2 s until it is taken) or, less, the wait after a failed call of
	// the API server (15 s); a token request that runs into its timeout (10 s); the
	// turns of 200 tokens at 50 a second (4 s); and a margin for a busy machine.
	settling = 40 * time.Second
	// retrying is how long it takes from the end of a wait to a new token, at the worst.
	retrying = 15 * time.Second
	// refusalWait is how long the operator waits after credentials were refused, unless
	// they change.
	refusalWait = time.Minute
	// firstSpacing and mostSpacing are how far apart tokens of one object are when
	// people's deeds ask for them again and again: the first, doubling, to the most.
	firstSpacing, mostSpacing = 10 * time.Second, 5 * time.Minute
)

// scope says whose promise a disturbance is in the way of.
type scope int

const (
	ofCluster   scope = iota // of everything, and nothing can be said of the status either
	ofPipedream              // of everything
	ofClient                 // of the objects that use one OAuth client
	ofObject                 // of one object
)

// disturbance is in the way of promises from when it begins until it ends, and for
// the time of settling after that.
type disturbance struct {
	scope scope
	index int
	since time.Time
	until time.Time // zero while it goes on
}

// promises knows what is promised of whom.
type promises struct {
	mu           sync.Mutex
	disturbances []*disturbance
	// trouble is since when Pipedream has failed without a pause long enough to try
	// everything again.
	trouble time.Time
	quiet   time.Time
}

// begin is called before something is disturbed.
func (p *promises) begin(scope scope, index int, now time.Time) *disturbance {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := &disturbance{scope: scope, index: index, since: now}
	p.disturbances = append(p.disturbances, d)
	return d
}

// end is called when it is over. Until may be later than now: what the operator is
// known to wait for.
func (p *promises) end(d *disturbance, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d.until = until
}

// endFault is end for a fault of Pipedream's. Transient failures double the wait, so
// that it is as long as they have lasted; with a timeout and the turns that may be more
// than what settling allows for.
func (p *promises) endFault(d *disturbance, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.quiet.IsZero() || d.since.Sub(p.quiet) > settling {
		p.trouble = d.since
	}
	p.quiet = now
	d.until = now.Add(max(0, now.Sub(p.trouble)+retrying-settling))
}

// touch is begin and end at once.
func (p *promises) touch(scope scope, index int, now time.Time) {
	p.end(p.begin(scope, index, now), now)
}

// disturbedUntil returns the end of the last disturbance that regards an object,
// which is now while one goes on. Of the scopes it looks at those up to the given one.
func (p *promises) disturbedUntil(object int, now time.Time, scopes ...scope) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := time.Time{}
	for _, d := range p.disturbances {
		if !d.regards(object, scopes) {
			continue
		}
		until := d.until
		if until.IsZero() {
			until = now
		}
		if until.After(last) {
			last = until
		}
	}
	return last
}

func (d *disturbance) regards(object int, scopes []scope) bool {
	asked := false
	for _, s := range scopes {
		asked = asked || s == d.scope
	}
	switch {
	case !asked:
		return false
	case d.scope == ofClient:
		return d.index == clientOf(object)
	case d.scope == ofObject:
		return d.index == object
	}
	return true
}

// isHeld tells whether the object's Secret must hold a live token now.
func (p *promises) isHeld(object int, now time.Time) bool {
	return now.Sub(p.disturbedUntil(object, now, ofCluster, ofPipedream, ofClient, ofObject)) >= settling
}

// isReported tells whether the status must be true now: a manager has long enough led
// and reached the API server, whatever Pipedream does.
func (p *promises) isReported(now time.Time) bool {
	return now.Sub(p.disturbedUntil(0, now, ofCluster)) >= settling
}

// spacing is what is known of how an object's tokens are spaced that people's deeds
// ask for.
type spacing struct {
	deeds int
	free  time.Time
}

// deed returns when the operator may answer a deed at the latest.
func (s *spacing) deed(now time.Time) time.Time {
	s.deeds++
	if s.free.After(now) {
		return s.free
	}
	return now
}

// answered is called when the new token was seen.
func (s *spacing) answered(now time.Time) {
	s.free = now.Add(min(firstSpacing<<min(max(s.deeds-1, 0), 5), mostSpacing))
}
