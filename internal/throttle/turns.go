// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle

import (
	"slices"
	"time"
)

// turnKept is how long a turn is kept for a requester that does not use it.
const turnKept = 10 * time.Second

// turns holds the entries whose turn has come, and the requesters that Ready.Next is to return.
type turns struct {
	// changed has a value when Ready.Next is to be called.
	changed chan struct{}
	// given are the entries whose turn has come. The oldest turn is the first.
	given []*entry
	// unreported are the requesters that Ready.Next has not returned yet.
	unreported []Requester
	// readyToSend counts the entries that are ready to send.
	readyToSend int
}

func newTurns() turns { return turns{changed: make(chan struct{}, 1)} }

// give gives a turn to an entry that is not in the queue.
func (t *turns) give(e *entry, turn state, now time.Time) {
	e.state, e.turnAt = turn, now
	if turn == readyToSend {
		t.readyToSend++
		e.client.ofAll().addReadyToSend(1)
		e.request.ofAll().addReadyToSend(1)
	}
	t.given = append(t.given, e)
	t.report(e.requester)
}

// takeBack takes back the turn of an entry. The entry is then neither in given nor in the
// queue.
func (t *turns) takeBack(e *entry) {
	if e.state == readyToSend {
		t.readyToSend--
		e.client.ofAll().addReadyToSend(-1)
		e.request.ofAll().addReadyToSend(-1)
	}
	e.state = waiting
	i := slices.Index(t.given, e)
	t.given = slices.Delete(t.given, i, i+1)
}

// unused returns the entry that has not used its turn in time; nil if there is none.
func (t *turns) unused(now time.Time) *entry {
	if len(t.given) > 0 && now.Sub(t.given[0].turnAt) > turnKept {
		return t.given[0]
	}
	return nil
}

// report has Ready.Next return requesters.
func (t *turns) report(requesters ...Requester) {
	t.unreported = append(t.unreported, requesters...)
	t.signal()
}

// withhold has Ready.Next not return a requester, which learns by itself that its turn has come.
func (t *turns) withhold(requester Requester) {
	t.unreported = slices.DeleteFunc(t.unreported, func(other Requester) bool { return other == requester })
}

// reported returns the requesters that Ready.Next is to return, each once.
func (t *turns) reported() []Requester {
	requesters := t.unreported
	t.unreported = nil
	return requesters
}

// signal says that Ready.Next is to be called.
func (t *turns) signal() {
	select {
	case t.changed <- struct{}{}:
	default:
	}
}
