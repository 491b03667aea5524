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
	// the requests for 200 tokens at 50 a second (4 s) or for 100 accounts at 16 a second (6 s); and a margin for a
	// busy machine.
	settleTime = 40 * time.Second
	// retryDelay is the longest time between the end of the operator's wait and the new token.
	retryDelay = 15 * time.Second
	// refusalWait is how long the operator waits after Pipedream refused credentials, unless they change.
	refusalWait = time.Minute
	// firstInterval and longestInterval bound the minimum interval between two triggered tokens or fetches of one object. The
	// interval doubles with each trigger.
	firstInterval, longestInterval = 10 * time.Second, 5 * time.Minute
)

// scope says which objects a disturbance affects.
type scope int

const (
	ofCluster   scope = iota // all objects, and their status
	ofPipedream              // all objects
	ofClient                 // the PipedreamTokens that use one OAuth client
	ofObject                 // one PipedreamToken
	ofAccounts               // all PipedreamAccounts
	ofReader                 // the PipedreamAccounts that use one OAuth client
	ofAccount                // one PipedreamAccount
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
	// failures are the times in which Pipedream failed, by the scope of the faults.
	failures map[scope]failure
}

// failure is a time in which Pipedream failed without a pause of settleTime or longer.
type failure struct{ since, last time.Time }

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
	failing, ok := p.failures[d.scope]
	if !ok || d.since.Sub(failing.last) > settleTime {
		failing.since = d.since
	}
	failing.last = now
	if p.failures == nil {
		p.failures = map[scope]failure{}
	}
	p.failures[d.scope] = failing
	d.until = now.Add(max(0, now.Sub(failing.since)+retryDelay-settleTime))
}

// prolong moves the end of a disturbance to a later time.
func (p *promises) prolong(d *disturbance, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if until.After(d.until) {
		d.until = until
	}
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
	case d.scope == ofReader:
		return d.index == readerOf(object)
	case d.scope == ofObject, d.scope == ofAccount:
		return d.index == object
	}
	return true
}

// isTokenPromised reports whether the object's Secret must hold a live token now.
func (p *promises) isTokenPromised(object int, now time.Time) bool {
	return now.Sub(p.disturbedUntil(object, now, ofCluster, ofPipedream, ofClient, ofObject)) >= settleTime
}

// isAccountPromised reports whether the Secret of a PipedreamAccount must hold credentials that have not expired.
func (p *promises) isAccountPromised(account int, now time.Time) bool {
	return now.Sub(p.disturbedUntil(account, now, ofCluster, ofPipedream, ofAccounts, ofReader, ofAccount)) >= settleTime
}

// isLookPromised reports whether the operator must have looked at a PipedreamAccount in time, whatever is wrong with
// its account at Pipedream.
func (p *promises) isLookPromised(account int, now time.Time) bool {
	return now.Sub(p.disturbedUntil(account, now, ofCluster, ofPipedream, ofAccounts, ofReader)) >= settleTime
}

// isStatusPromised reports whether the status must be correct now. A manager must have led and reached the API
// server for long enough. Faults of Pipedream do not matter.
func (p *promises) isStatusPromised(now time.Time) bool {
	return now.Sub(p.disturbedUntil(0, now, ofCluster)) >= settleTime
}

// minimumInterval tracks the minimum interval between the triggered tokens or fetches of an object.
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
