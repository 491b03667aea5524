// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"sync"
	"time"
)

const (
	// ideal is multiplied by slack: renewals are up to a tenth of a token's life early,
	// the ideal takes half of that.
	slack = 1.2
	// lostByCrash is how many exchanges a crash or an outage may cost: as many as the
	// operator makes at once.
	lostByCrash = 10
)

// account is what is known of the exchanges of one OAuth client.
type account struct {
	// ideal is how many tokens its objects need by their age.
	ideal float64
	// deeds is how many were asked for by what people did.
	deeds int
	// failures is how many exchanges may have failed.
	failures float64
}

// ledger says how many exchanges there may be: slack times what the age of tokens asks
// for, one for each deed, and the first of each object, which the age may count twice.
type ledger struct {
	mu      sync.Mutex
	clients [clientCount]account
	// crashes and cuts are disturbances that lose tokens after they were issued; hidden
	// are those whose Secret was deleted, perhaps before it was seen.
	crashes, cuts, hidden int
}

// live counts the time that an object with that renewal interval has lived.
func (l *ledger) live(client int, elapsed, interval time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clients[client].ideal += elapsed.Seconds() / interval.Seconds()
}

// deed counts tokens that were asked for.
func (l *ledger) deed(client, count int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clients[client].deeds += count
}

// crash counts a crash or an outage, or calls whose answers were lost.
func (l *ledger) crash(crashes, cuts int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.crashes += crashes
	l.cuts += cuts
}

// fault counts a time in which the exchanges of a client fail. Of its objects those
// that are due then fail, twice as many as come due at random; each again and again,
// with a wait that doubles from a second on.
func (l *ledger) fault(client int, lasted time.Duration) {
	const attempts = 2 // The first, and the one after a second.
	seconds := lasted.Seconds()
	due := objectCount / clientCount * min(1, 2*seconds/meanInterval.Seconds())
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clients[client].failures += math.Ceil(due * (attempts + math.Log2(1+seconds)))
}

// refusal counts a time in which the credentials of a client are refused: each of its
// objects asks once.
func (l *ledger) refusal(client int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clients[client].failures += objectCount / clientCount
}

// bounds returns how many tokens of a client may have been issued, and how many
// exchanges may have failed.
func (l *ledger) bounds(client int) (ideal, issued, failed float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.clients[client]
	ideal = a.ideal + float64(a.deeds)
	first := objectCount / clientCount
	return ideal, math.Ceil(slack*a.ideal) + float64(a.deeds+first+lostByCrash*l.crashes+l.cuts), a.failures
}

// total returns the same of all clients together.
func (l *ledger) total() (ideal, issued, failed float64) {
	for i := range clientCount {
		one, _, failures := l.bounds(i)
		ideal, failed = ideal+one, failed+failures
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.clients {
		issued += slack*a.ideal + float64(a.deeds)
	}
	return ideal, math.Ceil(issued) + float64(objectCount+lostByCrash*l.crashes+l.cuts), failed
}

// hide counts a deletion.
func (l *ledger) hide() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hidden++
}

// mostLost returns how many tokens may have been issued and never seen in a Secret.
func (l *ledger) mostLost() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return lostByCrash*l.crashes + l.cuts + l.hidden
}
