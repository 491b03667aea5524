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
// later lanes. In the first lane, requests whose Expiry is ahead go before the others: these
// tokens can still be renewed in time. So that nobody waits for ever, every fourth turn is
// for a request that has waited for a minute behind more urgent ones.
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

// row is where an entry waits: the lanes, and before them the entries of lane NearEnd whose
// tokens have not expired.
type row int

const rows = lanes + 1

// rowOf returns the row of a lane. A token that has an expiry ahead can be renewed in time.
func rowOf(lane Lane, expiry, now time.Time) row {
	if lane == NearEnd && now.Before(expiry) {
		return 0
	}
	return row(lane) + 1
}

// lane returns the lane of a row.
func (r row) lane() Lane { return max(NearEnd, Lane(r)-1) }

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
	row       row
	since     time.Time
	// order is the number of entries that were pushed until this one. It is the order of
	// the entries in one group. queuedAt is when the entry was pushed to its row.
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

// queue holds the entries that wait for their turn. In each row the groups take turns.
// In each group the first entry goes first.
type queue struct {
	rows [rows][]*group
	// pushed counts all entries that were ever pushed.
	pushed int
	// nextAgedAt is a time before which no entry can have waited for a minute in a row other
	// than the first one.
	nextAgedAt time.Time
	// agedRow is the row of the last entry that had its turn because it had waited for long.
	agedRow row
}

// group holds the entries of one group in one row, in their order.
type group struct {
	name    string
	entries []*entry
}

// find returns the index at which the entry is, or belongs.
func (g *group) find(e *entry) (int, bool) {
	return slices.BinarySearchFunc(g.entries, e, func(a, b *entry) int { return cmp.Compare(a.order, b.order) })
}

// groupOf returns the index of the entry's group in its row, or -1.
func (q *queue) groupOf(e *entry) int {
	return slices.IndexFunc(q.rows[e.row], func(g *group) bool { return g.name == e.requester.Group })
}

// push adds an entry behind the others of its group.
func (q *queue) push(e *entry, now time.Time) {
	q.pushed++
	e.order, e.queuedAt = q.pushed, now
	i := q.groupOf(e)
	if i < 0 {
		q.rows[e.row] = append(q.rows[e.row], &group{name: e.requester.Group})
		i = len(q.rows[e.row]) - 1
	}
	g := q.rows[e.row][i]
	g.entries = append(g.entries, e)
}

// putBack adds an entry that next has returned to where it was: behind the entries of its
// group that came before it, and in front of the ones that came after it.
func (q *queue) putBack(e *entry) {
	i := q.groupOf(e)
	if i < 0 {
		i = 0
		q.rows[e.row] = slices.Insert(q.rows[e.row], 0, &group{name: e.requester.Group})
	}
	g := q.rows[e.row][i]
	j, _ := g.find(e)
	g.entries = slices.Insert(g.entries, j, e)
	q.nextAgedAt = time.Time{}
}

// remove removes an entry that is in the queue.
func (q *queue) remove(e *entry) {
	i := q.groupOf(e)
	g := q.rows[e.row][i]
	j, _ := g.find(e)
	g.entries = slices.Delete(g.entries, j, j+1)
	if len(g.entries) == 0 {
		q.rows[e.row] = slices.Delete(q.rows[e.row], i, i+1)
	}
}

// waiting counts the entries in each lane.
func (q *queue) waiting() (counts [lanes]int) {
	for r, groups := range q.rows {
		for _, g := range groups {
			counts[row(r).lane()] += len(g.entries)
		}
	}
	return counts
}

// has reports whether any entry is eligible.
func (q *queue) has(isEligible func(*entry) bool) bool {
	for _, groups := range q.rows {
		for _, g := range groups {
			if slices.ContainsFunc(g.entries, isEligible) {
				return true
			}
		}
	}
	return false
}

// next removes and returns the first entry that is eligible, or nil. The entry's group
// then goes behind the other groups of its row.
func (q *queue) next(isEligible func(*entry) bool) *entry {
	for r := range row(rows) {
		if i, j := q.find(r, isEligible); i >= 0 {
			return q.take(r, i, j)
		}
	}
	return nil
}

// nextAged does the same for the entries that have waited for a minute in a row other than
// the first one. These rows take turns.
func (q *queue) nextAged(isEligible func(*entry) bool, now time.Time) *entry {
	if now.Before(q.nextAgedAt) {
		return nil
	}
	q.nextAgedAt = now.Add(agedAfter)
	for range rows - 1 {
		q.agedRow = q.agedRow%(rows-1) + 1
		if i, j := q.findAged(q.agedRow, isEligible, now); i >= 0 {
			q.nextAgedAt = now
			return q.take(q.agedRow, i, j)
		}
	}
	return nil
}

// find returns where the first entry of a row is for which the function returns true: the
// index of its group, and its index there. The index of the group is -1 if there is none.
func (q *queue) find(r row, is func(*entry) bool) (group, index int) {
	for i, g := range q.rows[r] {
		if j := slices.IndexFunc(g.entries, is); j >= 0 {
			return i, j
		}
	}
	return -1, -1
}

// findAged does the same for the entries that have waited for a minute.
func (q *queue) findAged(r row, is func(*entry) bool, now time.Time) (group, index int) {
	for i, g := range q.rows[r] {
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

// take removes and returns an entry. Its group goes behind the other groups of the row.
func (q *queue) take(r row, i, j int) *entry {
	groups := q.rows[r]
	g := groups[i]
	e := g.entries[j]
	g.entries = slices.Delete(g.entries, j, j+1)
	groups = slices.Delete(groups, i, i+1)
	if len(g.entries) > 0 {
		groups = append(groups, g)
	}
	q.rows[r] = groups
	return e
}
