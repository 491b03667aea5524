// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"sync"
	"time"
)

const (
	// slack is multiplied with ideal. The operator renews tokens up to a tenth of their lifetime early, and
	// ideal assumes a twentieth.
	slack = 1.2
	// lostByCrash is how many exchanges a crash or an outage may cost. The operator makes no more than this
	// number at once.
	lostByCrash = 10
)

// clientBudget counts the exchanges that the objects of one OAuth client may cost.
type clientBudget struct {
	// ideal is how many tokens the objects need because earlier tokens come due.
	ideal float64
	// triggers is how many tokens users requested by their changes.
	triggers int
	// failures is how many exchanges may fail.
	failures float64
}

// budget bounds the number of exchanges: slack times the renewals that come due, one for each trigger, and the
// first token of each object. The renewals that come due may count the first token a second time.
type budget struct {
	mu      sync.Mutex
	clients [clientCount]clientBudget
	// crashes and cuts count disturbances that lose tokens after Pipedream issued them. unseen counts deleted
	// Secrets: the observer may have missed their last token.
	crashes, cuts, unseen int
}

// addAge adds the time that an object with the given renewal interval has existed.
func (b *budget) addAge(client int, elapsed, interval time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clients[client].ideal += elapsed.Seconds() / interval.Seconds()
}

// trigger adds tokens that a user's change requests.
func (b *budget) trigger(client, count int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clients[client].triggers += count
}

// allowCrash adds crashes or outages, and calls whose answers were lost.
func (b *budget) allowCrash(crashes, cuts int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.crashes += crashes
	b.cuts += cuts
}

// allowFault adds a time in which the exchanges of a client fail. Twice as many objects fail as come due on
// average in that time. Each of them tries again after one second, and then with a wait that doubles.
func (b *budget) allowFault(client int, lasted time.Duration) {
	const attempts = 2 // The first, and the one after a second.
	seconds := lasted.Seconds()
	due := objectCount / clientCount * min(1, 2*seconds/meanInterval.Seconds())
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clients[client].failures += math.Ceil(due * (attempts + math.Log2(1+seconds)))
}

// allowRefusal adds a time in which Pipedream refuses the credentials of a client. Each of the client's objects
// makes one exchange.
func (b *budget) allowRefusal(client int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clients[client].failures += objectCount / clientCount
}

// bounds returns the ideal number of tokens of a client, how many tokens Pipedream may have issued to it, and
// how many of its exchanges may have failed.
func (b *budget) bounds(client int) (ideal, issued, failed float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.clients[client]
	ideal = a.ideal + float64(a.triggers)
	first := objectCount / clientCount
	return ideal, math.Ceil(slack*a.ideal) + float64(a.triggers+first+lostByCrash*b.crashes+b.cuts), a.failures
}

// total returns the bounds of all clients together.
func (b *budget) total() (ideal, issued, failed float64) {
	for i := range clientCount {
		one, _, failures := b.bounds(i)
		ideal, failed = ideal+one, failed+failures
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.clients {
		issued += slack*a.ideal + float64(a.triggers)
	}
	return ideal, math.Ceil(issued) + float64(objectCount+lostByCrash*b.crashes+b.cuts), failed
}

// allowUnseen adds a deleted Secret, whose last token the observer may have missed.
func (b *budget) allowUnseen() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unseen++
}

// crashCount returns how many crashes and outages there were.
func (b *budget) crashCount() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.crashes
}

// maxLost returns how many tokens may have been issued and never seen in a Secret.
func (b *budget) maxLost() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return lostByCrash*b.crashes + b.cuts + b.unseen
}
