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
	// line is where the entry waits. It is nil while the entry is not in the queue.
	line *line
	// turnAt is when the entry got its turn.
	turnAt time.Time
	// reference is the credential reference. It is nil if the requester gave none.
	reference *reference
	// client is known once the requester, or another requester with the same reference, has
	// tried to send.
	client *oauthClient
	// scopes are the requested scopes, sorted and separated by spaces. request is known when
	// the client is, and always for an entry without credentials.
	scopes  string
	request *request
	// bypassesRefusals is true if the requester does not accept a refusal from before its
	// ticket.
	bypassesRefusals bool
}

// queue holds the entries that wait for their turn. In each row the groups take turns.
// In each group the first entry goes first that may be sent.
type queue struct {
	rows [rows]groups
	// pushed counts all entries that were ever pushed, and turns all turns of groups.
	pushed, turns int
	// nextAgedAt is a time before which no entry can have waited for a minute in a row other
	// than the first one.
	nextAgedAt time.Time
	// agedRow is the row of the last entry that had its turn because it had waited for long.
	agedRow row
}

// groups are the groups of one row. The group whose turn is next is the first in inOrder.
type groups struct {
	inOrder []*group
	byName  map[string]*group
}

// group holds the entries of one group in one row.
type group struct {
	name string
	// turn is smaller for a group whose turn is earlier.
	turn int
	// lines are never empty.
	lines map[sender]*line
}

// line holds the entries of a group with the same sender, in their order. They may be sent
// at the same times, so only the first one is looked at.
type line struct {
	group   *group
	sender  sender
	entries []*entry
}

// sender is what decides when an entry may be sent.
type sender struct {
	client  *oauthClient
	request *request
}

func (e *entry) sender() sender { return sender{e.client, e.request} }

// find returns the index at which the entry is, or belongs.
func (l *line) find(e *entry) int {
	i, _ := slices.BinarySearchFunc(l.entries, e, func(a, b *entry) int { return cmp.Compare(a.order, b.order) })
	return i
}

// add adds an entry to the line for its sender, behind the entries that came before it.
func (g *group) add(e *entry) {
	l := g.lines[e.sender()]
	if l == nil {
		l = &line{group: g, sender: e.sender()}
		g.lines[l.sender] = l
	}
	l.entries = slices.Insert(l.entries, l.find(e), e)
	e.line = l
}

// remove removes an entry from its line.
func (g *group) remove(e *entry) {
	i := e.line.find(e)
	e.line.entries = slices.Delete(e.line.entries, i, i+1)
	if len(e.line.entries) == 0 {
		delete(g.lines, e.line.sender)
	}
	e.line = nil
}

// first returns the first entry at the head of a line for which the function returns true,
// or nil.
func (g *group) first(is func(*entry) bool) (found *entry) {
	for _, l := range g.lines {
		if e := l.entries[0]; (found == nil || e.order < found.order) && is(e) {
			found = e
		}
	}
	return found
}

// insert inserts a group where its turn is.
func (gs *groups) insert(g *group) {
	gs.inOrder = slices.Insert(gs.inOrder, gs.find(g), g)
}

// delete is the opposite of insert.
func (gs *groups) delete(g *group) {
	i := gs.find(g)
	gs.inOrder = slices.Delete(gs.inOrder, i, i+1)
}

// find returns the index at which the group is, or belongs.
func (gs *groups) find(g *group) int {
	i, _ := slices.BinarySearchFunc(gs.inOrder, g, func(a, b *group) int { return cmp.Compare(a.turn, b.turn) })
	return i
}

// push adds an entry behind the others of its group.
func (q *queue) push(e *entry, now time.Time) {
	q.pushed++
	e.order, e.queuedAt = q.pushed, now
	q.turns++
	q.add(e, q.turns)
}

// putBack adds an entry that next has returned to where it was: behind the entries of its
// group that came before it, and in front of the ones that came after it.
func (q *queue) putBack(e *entry) {
	turn := 0
	if groups := q.rows[e.row].inOrder; len(groups) > 0 {
		turn = groups[0].turn - 1
	}
	q.add(e, turn)
	if agedAt := e.queuedAt.Add(agedAfter); agedAt.Before(q.nextAgedAt) {
		q.nextAgedAt = agedAt
	}
}

// add adds an entry to its group. A group that has no other entries gets this turn.
func (q *queue) add(e *entry, turn int) {
	groups := &q.rows[e.row]
	g := groups.byName[e.requester.Group]
	if g == nil {
		g = &group{name: e.requester.Group, turn: turn, lines: map[sender]*line{}}
		if groups.byName == nil {
			groups.byName = map[string]*group{}
		}
		groups.byName[g.name] = g
		groups.insert(g)
	}
	g.add(e)
}

// remove removes an entry that is in the queue.
func (q *queue) remove(e *entry) {
	g := e.line.group
	g.remove(e)
	if len(g.lines) == 0 {
		q.rows[e.row].delete(g)
		delete(q.rows[e.row].byName, g.name)
	}
}

// move moves an entry to the line for its sender, which may have changed. The entry keeps
// its place in its group. An entry that is not in the queue is left as it is.
func (q *queue) move(e *entry) {
	if e.line == nil || e.line.sender == e.sender() {
		return
	}
	g := e.line.group
	g.remove(e)
	g.add(e)
}

// waiting counts the entries in each lane.
func (q *queue) waiting() (counts [lanes]int) {
	for r := range q.rows {
		for _, g := range q.rows[r].inOrder {
			for _, l := range g.lines {
				counts[row(r).lane()] += len(l.entries)
			}
		}
	}
	return counts
}

// has reports whether any entry is eligible.
func (q *queue) has(isEligible func(*entry) bool) bool {
	return slices.ContainsFunc(q.rows[:], func(gs groups) bool { return gs.first(isEligible) != nil })
}

// next removes and returns the first entry that is eligible, or nil. The entry's group
// then goes behind the other groups of its row. Whether an entry is eligible must depend on
// its sender, and otherwise must not be true for an entry that came later only.
func (q *queue) next(isEligible func(*entry) bool) *entry {
	for r := range q.rows {
		if e := q.rows[r].first(isEligible); e != nil {
			return q.take(e)
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
	isAged := func(e *entry) bool {
		agedAt := e.queuedAt.Add(agedAfter)
		if agedAt.Before(q.nextAgedAt) {
			q.nextAgedAt = agedAt
		}
		return !now.Before(agedAt) && isEligible(e)
	}
	for range rows - 1 {
		q.agedRow = q.agedRow%(rows-1) + 1
		if e := q.rows[q.agedRow].first(isAged); e != nil {
			q.nextAgedAt = now
			return q.take(e)
		}
	}
	return nil
}

// first returns the first entry of the first group that has an entry at the head of a line
// for which the function returns true, or nil.
func (gs *groups) first(is func(*entry) bool) *entry {
	for _, g := range gs.inOrder {
		if e := g.first(is); e != nil {
			return e
		}
	}
	return nil
}

// take removes and returns an entry. Its group goes behind the other groups of the row.
func (q *queue) take(e *entry) *entry {
	g := e.line.group
	q.remove(e)
	if len(g.lines) > 0 {
		q.turns++
		q.rows[e.row].delete(g)
		g.turn = q.turns
		q.rows[e.row].insert(g)
	}
	return e
}
