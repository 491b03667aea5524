// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle

import (
	"cmp"
	"slices"
	"time"
)

// Lane is the urgency of a request. Every request in a lane goes before the requests in
// later lanes.
type Lane int

// The lanes, the most urgent first.
const (
	// NearEnd: the current token has expired, or will expire soon.
	NearEnd Lane = iota
	// FirstToken: there is no token yet.
	FirstToken
	// DueRenewal: the current token is to be renewed, and there is time for it.
	DueRenewal
	// OnDemand: a change by a person or a program asks for another token.
	OnDemand

	lanes = iota
)

// String returns the name of the lane.
func (l Lane) String() string {
	return [lanes]string{"NearEnd", "FirstToken", "DueRenewal", "OnDemand"}[l]
}

// state reports whether the turn of an entry has come, and what the turn is for.
type state int

const (
	waiting state = iota
	// readyToSend: the requester may send its request.
	readyToSend
	// readyToFail: the requester's client was refused. The requester sends nothing, and gets
	// that refusal.
	readyToFail
)

// entry is what a Limiter knows about a requester that has a ticket.
type entry struct {
	requester Requester
	lane      Lane
	since     time.Time
	// order is the number of entries that were pushed until this one. It is the order of
	// the entries in one group.
	order int
	state state
	// turnAt is when the entry got its turn.
	turnAt time.Time
	// reference is the credential reference. It is nil if the requester gave none.
	reference *reference
	// client is known once the requester, or another requester with the same reference, has
	// tried to send.
	client *oauthClient
	// bypassesRefusals is true if the requester does not accept a refusal from before its
	// ticket.
	bypassesRefusals bool
}

// queue holds the entries that wait for their turn. In each lane the groups take turns.
// In each group the first entry goes first.
type queue struct {
	lanes [lanes][]*group
	// pushed counts all entries that were ever pushed.
	pushed int
}

// group holds the entries of one group in one lane, in their order.
type group struct {
	name    string
	entries []*entry
}

// find returns the index at which the entry is, or belongs.
func (g *group) find(e *entry) (int, bool) {
	return slices.BinarySearchFunc(g.entries, e, func(a, b *entry) int { return cmp.Compare(a.order, b.order) })
}

// groupOf returns the index of the entry's group in its lane, or -1.
func (q *queue) groupOf(e *entry) int {
	return slices.IndexFunc(q.lanes[e.lane], func(g *group) bool { return g.name == e.requester.Group })
}

// push adds an entry behind the others of its group.
func (q *queue) push(e *entry) {
	q.pushed++
	e.order = q.pushed
	i := q.groupOf(e)
	if i < 0 {
		q.lanes[e.lane] = append(q.lanes[e.lane], &group{name: e.requester.Group})
		i = len(q.lanes[e.lane]) - 1
	}
	g := q.lanes[e.lane][i]
	g.entries = append(g.entries, e)
}

// putBack adds an entry that next has returned to where it was: behind the entries of its
// group that came before it, and in front of the ones that came after it.
func (q *queue) putBack(e *entry) {
	i := q.groupOf(e)
	if i < 0 {
		i = 0
		q.lanes[e.lane] = slices.Insert(q.lanes[e.lane], 0, &group{name: e.requester.Group})
	}
	g := q.lanes[e.lane][i]
	j, _ := g.find(e)
	g.entries = slices.Insert(g.entries, j, e)
}

// remove removes an entry that is in the queue.
func (q *queue) remove(e *entry) {
	i := q.groupOf(e)
	g := q.lanes[e.lane][i]
	j, _ := g.find(e)
	g.entries = slices.Delete(g.entries, j, j+1)
	if len(g.entries) == 0 {
		q.lanes[e.lane] = slices.Delete(q.lanes[e.lane], i, i+1)
	}
}

// waiting counts the entries in each lane.
func (q *queue) waiting() (counts [lanes]int) {
	for lane, groups := range q.lanes {
		for _, g := range groups {
			counts[lane] += len(g.entries)
		}
	}
	return counts
}

// has reports whether any entry is eligible.
func (q *queue) has(isEligible func(*entry) bool) bool {
	for _, groups := range q.lanes {
		for _, g := range groups {
			if slices.ContainsFunc(g.entries, isEligible) {
				return true
			}
		}
	}
	return false
}

// next removes and returns the first entry that is eligible, or nil. The entry's group
// then goes behind the other groups of its lane.
func (q *queue) next(isEligible func(*entry) bool) *entry {
	for _, groups := range q.lanes {
		for i, g := range groups {
			j := slices.IndexFunc(g.entries, isEligible)
			if j < 0 {
				continue
			}
			e := g.entries[j]
			g.entries = slices.Delete(g.entries, j, j+1)
			groups = slices.Delete(groups, i, i+1)
			if len(g.entries) > 0 {
				groups = append(groups, g)
			}
			q.lanes[e.lane] = groups
			return e
		}
	}
	return nil
}
