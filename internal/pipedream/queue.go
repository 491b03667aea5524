// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream

import (
	"cmp"
	"slices"
	"time"
)

// Lane is how urgent a request is. Those of a lane go before all of the later ones.
type Lane int

// The lanes, in the order in which they go.
const (
	// NearEnd: the held token has ended, or soon will.
	NearEnd Lane = iota
	// FirstToken: there is no token yet.
	FirstToken
	// DueRenewal: the held token is to be renewed, and there is time for it.
	DueRenewal
	// OnDemand: somebody's deed asks for another token.
	OnDemand

	lanes = iota
)

// String returns the lane's name.
func (l Lane) String() string {
	return [lanes]string{"NearEnd", "FirstToken", "DueRenewal", "OnDemand"}[l]
}

// turn says whether, and for what, the turn of a place has come.
type turn int

const (
	noTurn turn = iota
	// promisedTurn is one to send a request in.
	promisedTurn
	// freeTurn is one to learn that the client was refused, which sends nothing.
	freeTurn
)

// place is where an asker waits.
type place struct {
	asker Asker
	lane  Lane
	since time.Time
	// order is how many came before it, which is its order among those of its group.
	order int
	turn  turn
	// turnAt is when the turn came.
	turnAt time.Time
	// source is where its credentials come from; nil if it has none or did not say.
	source *source
	// client is known once the asker, or another one of its source, has tried to send.
	client  *oauthClient
	insists bool
}

// queue holds the places of those who wait for their turn. In each lane the groups
// take turns, and within a group the first goes first.
type queue struct {
	lanes [lanes][]*group
	// pushed counts all that came.
	pushed int
}

// group holds the places of a group in a lane, in their order.
type group struct {
	name   string
	places []*place
}

// find returns the index at which the place is, or belongs.
func (g *group) find(p *place) (int, bool) {
	return slices.BinarySearchFunc(g.places, p, func(a, b *place) int { return cmp.Compare(a.order, b.order) })
}

// groupOf returns the index of the place's group in its lane, or -1.
func (q *queue) groupOf(p *place) int {
	return slices.IndexFunc(q.lanes[p.lane], func(g *group) bool { return g.name == p.asker.Group })
}

// push adds a place behind the others of its group.
func (q *queue) push(p *place) {
	q.pushed++
	p.order = q.pushed
	i := q.groupOf(p)
	if i < 0 {
		q.lanes[p.lane] = append(q.lanes[p.lane], &group{name: p.asker.Group})
		i = len(q.lanes[p.lane]) - 1
	}
	g := q.lanes[p.lane][i]
	g.places = append(g.places, p)
}

// putBack adds a place that next has returned where it was: those who have waited
// for longer stay in front of it, and the others behind.
func (q *queue) putBack(p *place) {
	i := q.groupOf(p)
	if i < 0 {
		i = 0
		q.lanes[p.lane] = slices.Insert(q.lanes[p.lane], 0, &group{name: p.asker.Group})
	}
	g := q.lanes[p.lane][i]
	j, _ := g.find(p)
	g.places = slices.Insert(g.places, j, p)
}

// remove removes a place that is there.
func (q *queue) remove(p *place) {
	i := q.groupOf(p)
	g := q.lanes[p.lane][i]
	j, _ := g.find(p)
	g.places = slices.Delete(g.places, j, j+1)
	if len(g.places) == 0 {
		q.lanes[p.lane] = slices.Delete(q.lanes[p.lane], i, i+1)
	}
}

// waiting counts the places of each lane.
func (q *queue) waiting() (counts [lanes]int) {
	for lane, groups := range q.lanes {
		for _, g := range groups {
			counts[lane] += len(g.places)
		}
	}
	return counts
}

// has tells whether any place is eligible.
func (q *queue) has(isEligible func(*place) bool) bool {
	for _, groups := range q.lanes {
		for _, g := range groups {
			if slices.ContainsFunc(g.places, isEligible) {
				return true
			}
		}
	}
	return false
}

// next removes and returns the first place that is eligible, or nil. The others of
// its group are then behind those of the other groups.
func (q *queue) next(isEligible func(*place) bool) *place {
	for _, groups := range q.lanes {
		for i, g := range groups {
			j := slices.IndexFunc(g.places, isEligible)
			if j < 0 {
				continue
			}
			p := g.places[j]
			g.places = slices.Delete(g.places, j, j+1)
			groups = slices.Delete(groups, i, i+1)
			if len(g.places) > 0 {
				groups = append(groups, g)
			}
			q.lanes[p.lane] = groups
			return p
		}
	}
	return nil
}
