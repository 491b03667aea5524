// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle

import (
	"cmp"
	"slices"
	"time"
)

const (
	// agedAfter is how long an entry waits in its lane before it gets a part of the turns
	// of the lanes before.
	agedAfter = time.Minute
	// agedTurns is that part: one of so many turns.
	agedTurns = 4
)

// Lane is the urgency of a request. Every request in a lane goes before the requests in
// later lanes. So that no lane waits for ever, every fourth turn is for a request that has
// waited for a minute in a lane other than the first one.
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
	// readyToFail: the requester's client or request was refused. The requester sends
	// nothing, and gets that refusal.
	readyToFail
)

// entry is what a Limiter knows about a requester that has a ticket.
type entry struct {
	requester Requester
	lane      Lane
	since     time.Time
	// order is the number of entries that were pushed until this one. It is the order of
	// the entries in one group. queuedAt is when the entry was pushed to its lane.
	order    int
	queuedAt time.Time
	state    state
	// turnAt is when the entry got its turn.
	turnAt time.Time
	// reference is the credential reference. It is nil if the requester gave none.
	reference *reference
	// client is known once the requester, or another requester with the same reference, has
	// tried to send.
	client *oauthClient
	// scopes are the requested scopes, sorted and separated by spaces. request is known when
	// the client is.
	scopes  string
	request *request
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
	// nextAgedAt is a time before which no entry can have waited for a minute in a lane other
	// than the first one.
	nextAgedAt time.Time
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
func (q *queue) push(e *entry, now time.Time) {
	q.pushed++
	e.order, e.queuedAt = q.pushed, now
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
	q.nextAgedAt = time.Time{}
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
	for lane := range q.lanes {
		if i, j := q.find(Lane(lane), isEligible); i >= 0 {
			return q.take(Lane(lane), i, j)
		}
	}
	return nil
}

// nextAged does the same for the entries that have waited for a minute in a lane other than
// the most urgent one. The entry that has waited longest goes first. In its lane the groups
// take turns.
func (q *queue) nextAged(isEligible func(*entry) bool, now time.Time) *entry {
	if now.Before(q.nextAgedAt) {
		return nil
	}
	q.nextAgedAt = now.Add(agedAfter)
	var first *entry
	var group, index int
	for lane := NearEnd + 1; lane < lanes; lane++ {
		if i, j := q.findAged(lane, isEligible, now); i >= 0 {
			if e := q.lanes[lane][i].entries[j]; first == nil || e.queuedAt.Before(first.queuedAt) {
				first, group, index = e, i, j
			}
		}
	}
	if first == nil {
		return nil
	}
	return q.take(first.lane, group, index)
}

// find returns where the first entry of a lane is for which the function returns true: the
// index of its group, and its index there. The index of the group is -1 if there is none.
func (q *queue) find(lane Lane, is func(*entry) bool) (group, index int) {
	for i, g := range q.lanes[lane] {
		if j := slices.IndexFunc(g.entries, is); j >= 0 {
			return i, j
		}
	}
	return -1, -1
}

// findAged does the same for the entries that have waited for a minute.
func (q *queue) findAged(lane Lane, is func(*entry) bool, now time.Time) (group, index int) {
	for i, g := range q.lanes[lane] {
		if agedAt := g.entries[0].queuedAt.Add(agedAfter); agedAt.Before(q.nextAgedAt) {
			q.nextAgedAt = agedAt
		}
		for j, e := range g.entries {
			if now.Sub(e.queuedAt) < agedAfter {
				break // The entries behind it are not older.
			}
			if is(e) {
				return i, j
			}
		}
	}
	return -1, -1
}

// take removes and returns an entry. Its group goes behind the other groups of the lane.
func (q *queue) take(lane Lane, i, j int) *entry {
	groups := q.lanes[lane]
	g := groups[i]
	e := g.entries[j]
	g.entries = slices.Delete(g.entries, j, j+1)
	groups = slices.Delete(groups, i, i+1)
	if len(g.entries) > 0 {
		groups = append(groups, g)
	}
	q.lanes[lane] = groups
	return e
}
