// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bearer

import (
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// leaderTimeout is how long a requester leads a flight without calling Acquire. It is longer than any
// requester that is alive sleeps.
const leaderTimeout = 6 * time.Minute

// flight is an exchange that is to be made, or is on its way. One requester leads it: the leader has a
// ticket at the Limiter, and makes the exchange when its turn has come. The others wait.
type flight struct {
	// owner is what the flight brings a token for.
	owner flightOwner
	// leader is the zero Requester if there is none. It was last seen at seenAt.
	leader    throttle.Requester
	seenAt    time.Time
	ticket    throttle.Ticket
	isSending bool
	// lane is the most urgent one of all who have led the flight or waited for it. reference is the
	// credential reference of the leader.
	lane      throttle.Lane
	reference string
	// isReplacement is true if there was a good token when the leader began to lead. It needs no token for
	// itself then.
	isReplacement bool
	// waiters have waited since a time.
	waiters map[throttle.Requester]time.Time
}

// flightOwner is a client or, while the client is unknown, a credential reference.
type flightOwner interface{ endFlight() }

func (c *client) endFlight()    { c.flight = nil }
func (r *reference) endFlight() { r.flight = nil }

// isLedBy reports whether a requester leads the flight, or may do so now because nobody does.
func (f *flight) isLedBy(requester throttle.Requester, now time.Time) bool {
	if f.isSending {
		return false
	}
	return f.leader == requester || f.leader == throttle.Requester{} || now.Sub(f.seenAt) > leaderTimeout
}

// flights are the exchanges of all clients, with the requesters that lead them or wait for them.
type flights struct {
	// limiter is where leaders have their tickets.
	limiter *throttle.Limiter
	// changed has a value when Ready.Next is to be called, to get the woken ones.
	changed chan struct{}
	// byRequester has the flight that each requester leads or waits for.
	byRequester map[throttle.Requester]*flight
	// woken are the requesters whose flight has ended, or whose turn has come while they waited in a less
	// urgent lane, and that Ready has not reported yet.
	woken []throttle.Requester
}

func newFlights(limiter *throttle.Limiter) flights {
	return flights{limiter: limiter, changed: make(chan struct{}, 1), byRequester: map[throttle.Requester]*flight{}}
}

// lead makes a requester the leader of a flight, and reserves its turn. isReplacement is true if there is a
// token that is good still.
func (all *flights) lead(f *flight, need Need, isReplacement bool, now time.Time) {
	requester := need.Requester
	if f.leader != requester {
		f.isReplacement = isReplacement
	}
	if f.leader == (throttle.Requester{}) {
		f.lane = need.Lane
	}
	if f.leader != requester && f.leader != (throttle.Requester{}) {
		all.limiter.Cancel(f.leader)
		delete(all.byRequester, f.leader)
	}
	if all.byRequester[requester] != f {
		all.abandon(requester)
	}
	delete(f.waiters, requester)
	f.leader, f.reference, f.seenAt = requester, need.CredentialReference, now
	all.byRequester[requester] = f
	f.lane = min(f.lane, need.Lane)
	all.reserve(f)
}

// reserve reserves the turn of the leader at the Limiter.
func (all *flights) reserve(f *flight) {
	f.ticket = all.limiter.Reserve(f.leader, throttle.ReserveOptions{Lane: f.lane, CredentialReference: f.reference})
}

// isReplacing reports whether a requester leads a flight that brings a token which it does not need itself.
func (all *flights) isReplacing(requester throttle.Requester) bool {
	f := all.byRequester[requester]
	return f != nil && f.leader == requester && f.isReplacement
}

// wait makes a requester wait for the end of a flight, and returns how the flight stands. The leader then
// waits in the lane of the most urgent one.
func (all *flights) wait(f *flight, need Need, now time.Time) throttle.Ticket {
	requester := need.Requester
	if need.Lane < f.lane && !f.isSending && !f.ticket.IsReady {
		f.lane = need.Lane
		if all.reserve(f); f.ticket.IsReady {
			all.wake(f.leader) // The Limiter has told only the caller that the turn has come.
		}
	}
	if all.byRequester[requester] != f {
		all.abandon(requester)
		f.waiters[requester] = now
		all.byRequester[requester] = f
	}
	ticket := f.ticket
	ticket.IsReady, ticket.Since = false, f.waiters[requester]
	return ticket
}

// abandon takes a requester out of its flight. If it has led the flight, another one has to.
func (all *flights) abandon(requester throttle.Requester) {
	f := all.byRequester[requester]
	if f == nil {
		return
	}
	delete(all.byRequester, requester)
	delete(f.waiters, requester)
	if f.leader == requester && !f.isSending {
		all.end(f)
	}
}

// end ends a flight, and wakes who has waited for it.
func (all *flights) end(f *flight) {
	f.owner.endFlight()
	if f.leader != (throttle.Requester{}) {
		all.limiter.Cancel(f.leader)
		delete(all.byRequester, f.leader)
	}
	for requester := range f.waiters {
		delete(all.byRequester, requester)
		all.wake(requester)
	}
}

// wake has Ready report a requester.
func (all *flights) wake(requester throttle.Requester) {
	all.woken = append(all.woken, requester)
	select {
	case all.changed <- struct{}{}:
	default:
	}
}
