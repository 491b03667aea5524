// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"sync"
	"time"
)

const (
	// settleTime is how long after the end of a disturbance the operator's promises hold again. It is the sum of
	// the longest delays of the design: a dead leader's lease (15 s, and 2 s until another manager takes it) or
	// the wait after a failed request to the API server (about as long as it was away); a token request that runs into its timeout (10 s);
	// the requests for 200 tokens at 50 a second (4 s); and a margin for a busy machine.
	settleTime = 40 * time.Second
	// retryDelay is the longest time between the end of the operator's wait and the new token.
	retryDelay = 15 * time.Second
	// refusalWait is how long the operator waits after Pipedream refused credentials, unless they change.
	refusalWait = time.Minute
	// firstInterval and longestInterval bound the minimum interval between two triggered tokens of one object. The
	// interval doubles with each trigger.
	firstInterval, longestInterval = 10 * time.Second, 5 * time.Minute
)

// scope says which objects a disturbance affects.
type scope int

const (
	ofCluster   scope = iota // all objects, and their status
	ofPipedream              // all objects
	ofClient                 // the objects that use one OAuth client
	ofObject                 // one object
)

// disturbance suspends promises from its beginning until settleTime after its end.
type disturbance struct {
	scope scope
	index int
	since time.Time
	until time.Time // zero while the disturbance goes on
}

// promises records the disturbances, and says what the operator promises at a given time.
type promises struct {
	mu           sync.Mutex
	disturbances []*disturbance
	// failingSince is when Pipedream began to fail without a pause of settleTime or longer.
	failingSince time.Time
	lastFault    time.Time
}

// begin records that a disturbance begins. The caller disturbs the object afterwards.
func (p *promises) begin(scope scope, index int, now time.Time) *disturbance {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := &disturbance{scope: scope, index: index, since: now}
	p.disturbances = append(p.disturbances, d)
	return d
}

// end records that a disturbance is over. until may be later than now, when the operator is known to wait.
func (p *promises) end(d *disturbance, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d.until = until
}

// endFault records that a fault of Pipedream is over. The operator's wait doubles after each transient failure, so
// it is at most as long as the failures lasted. With a timeout and the limiter's delay, this wait may be longer
// than settleTime.
func (p *promises) endFault(d *disturbance, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lastFault.IsZero() || d.since.Sub(p.lastFault) > settleTime {
		p.failingSince = d.since
	}
	p.lastFault = now
	d.until = now.Add(max(0, now.Sub(p.failingSince)+retryDelay-settleTime))
}

// touch records a disturbance that begins and ends at once.
func (p *promises) touch(scope scope, index int, now time.Time) {
	p.end(p.begin(scope, index, now), now)
}

// disturbedUntil returns when the last disturbance of an object, among the given scopes, ended or will end. It
// returns now while a disturbance goes on, and the zero time when there was none.
func (p *promises) disturbedUntil(object int, now time.Time, scopes ...scope) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := time.Time{}
	for _, d := range p.disturbances {
		if !d.affects(object, scopes) {
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

func (d *disturbance) affects(object int, scopes []scope) bool {
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

// isTokenPromised reports whether the object's Secret must hold a live token now.
func (p *promises) isTokenPromised(object int, now time.Time) bool {
	return now.Sub(p.disturbedUntil(object, now, ofCluster, ofPipedream, ofClient, ofObject)) >= settleTime
}

// isStatusPromised reports whether the status must be correct now. A manager must have led and reached the API
// server for long enough. Faults of Pipedream do not matter.
func (p *promises) isStatusPromised(now time.Time) bool {
	return now.Sub(p.disturbedUntil(0, now, ofCluster)) >= settleTime
}

// minimumInterval tracks the minimum interval between the triggered tokens of an object.
type minimumInterval struct {
	triggers int
	free     time.Time
}

// trigger returns the latest time at which the operator may start to answer a trigger at now.
func (s *minimumInterval) trigger(now time.Time) time.Time {
	s.triggers++
	if s.free.After(now) {
		return s.free
	}
	return now
}

// answered records that the new token was seen.
func (s *minimumInterval) answered(now time.Time) {
	s.free = now.Add(min(firstInterval<<min(max(s.triggers-1, 0), 5), longestInterval))
}
