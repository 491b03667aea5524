// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package throttle makes the operator one polite client of Pipedream's API: it decides
// who sends the next request, and when. All kinds of objects share it.
//
// A requester reserves a ticket at a Limiter with Reserve, and goes on with other work. No
// goroutine waits in this package. When the requester's turn has come, Ready reports the
// requester, which then sends its request through Do. The package knows nothing of
// Kubernetes.
package throttle

import (
	"errors"
	"sync"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

const (
	// minLook and maxLook limit the time between two calls of Ready.Next.
	minLook = 10 * time.Millisecond
	maxLook = time.Second
)

// ErrNotReady is the error of a request that was not sent, because the requester's turn
// has not come or is over. The requester has to call Reserve again, and to wait until it
// is reported as ready.
var ErrNotReady = errors.New("the requester's turn has not come")

// Requester identifies who sends requests. Two requesters are the same only if all fields
// are equal.
type Requester struct {
	// Kind is the kind of object that the requester acts for, such as PipedreamToken.
	Kind string
	// Group is the group that the requester shares turns with, such as the namespace.
	// Groups take turns. Requesters of one group belong together whatever their kinds are.
	Group string
	// Name tells requesters of one kind and group apart.
	Name string
}

// Ticket tells a requester how it stands at a Limiter.
type Ticket struct {
	// IsReady is true if the requester's turn has come, so that it may call Do.
	IsReady bool
	// Since is when the requester reserved the ticket.
	Since time.Time
	// PausedUntil is the end of the current pause, in which the Limiter lets no request be
	// sent. It is zero when there is no pause.
	PausedUntil time.Time
	// Failing says that the requester waits because requests before it have failed.
	Failing Failing
	// Refusal is the answer to the request if it is known already, because Pipedream has refused
	// the same request before. The ticket is then ready, and the requester has no need to call Do,
	// which would send nothing. It is nil if the answer is not known.
	Refusal *pipedream.Error
}

// IsRefused reports whether the answer to the request is known already, and is a refusal.
func (t Ticket) IsRefused() bool { return t.Refusal != nil }

// Failing says since when requests have failed. It is zero while Pipedream answers.
type Failing struct {
	// Since is when the first request was sent that has failed or has no answer. There was
	// no good answer since. It is zero if no request has failed.
	Since time.Time
	// Kind is how the last request has failed.
	Kind pipedream.Kind
	// IsAlone is true if requests with the same credentials and scopes fail, and others may
	// not.
	IsAlone bool
}

// Load describes how busy a Limiter is.
type Load struct {
	// Waiting counts the requesters that wait for their turn, by Lane.
	Waiting [lanes]int
	// Pause is the rest of the current pause. It is zero when there is no pause.
	Pause time.Duration
}

// Options configure a Limiter.
type Options struct {
	// PerSecond is the number of requests a second in the long run. Burst is the number of
	// requests that may be sent at once after a quiet time.
	PerSecond float64
	Burst     int
	// InFlight is the number of requests that may wait for an answer at the same time, so
	// that an API that does not answer does not block every worker.
	InFlight int
	// YieldTo is another Limiter, whose requests go first. Each requester waits for the
	// other Limiter for at most ten seconds. Optional.
	YieldTo *Limiter
	// Now returns the current time. Required.
	Now func() time.Time
}

// ReserveOptions say what a requester waits for.
type ReserveOptions struct {
	// Lane is the urgency of the request. The zero value is NearEnd, the most urgent lane.
	Lane Lane
	// Expiry is when the current token expires. It is zero if there is none, or if it is of
	// no use.
	Expiry time.Time
	// CredentialReference names the place from which the requester will read its
	// credentials when its turn has come. It changes whenever the credentials there change.
	// Requesters with the same reference have the same credentials, so the answer to one of
	// them decides which of the others get a turn. A requester that reserves again with
	// another reference has new credentials, and does not wait for an answer about the old
	// ones. Empty if the request needs no client credentials, or if Credentials are given.
	CredentialReference string
	// Credentials are what the requester will send, if it knows that before its turn has come;
	// nil otherwise.
	Credentials *pipedream.Credentials
	// BypassRefusalCache is as in DoOptions. It has an effect with Credentials only.
	BypassRefusalCache bool
	// Scopes are the scopes that the requester will ask for, in any order. Requesters with
	// the same credentials and scopes get the same answer, so an answer to one of them that
	// refuses the request decides which of the others get a turn. For a request with an API
	// key, they name what is asked for.
	Scopes []string
}

// DoOptions say how a request is sent.
type DoOptions struct {
	// Credentials are the client credentials in the request. Nil if there are none.
	Credentials *pipedream.Credentials
	// Scopes are the scopes in the request, in any order. They are ignored without
	// credentials.
	Scopes []string
	// BypassRefusalCache asks for an attempt with credentials or scopes that were refused
	// before, as the requester has a reason to think that they are good now. The attempt is made 10
	// seconds after the first refusal. With each further refusal in a row that time
	// doubles, up to 5 minutes.
	BypassRefusalCache bool
}

// Limiter decides who sends the next request, and when.
//
// A token bucket sets the pace. When Pipedream answers that there are too many requests,
// the Limiter pauses all requests. After the pause it sends one request as a probe. Turns
// are given by Lane. Within a lane, the groups take turns. A Limiter also remembers how
// the last requests of each OAuth client ended, and the last requests for the same scopes,
// and limits the next requests accordingly.
//
// When nobody has got a good answer since the first of several failures, there is an outage.
// While it lasts, the Limiter sends one request at a time as a probe. The requesters whose
// turn has not come wait. After the first good answer they get their turns again, and Ready
// also reports the requesters that have failed in the outage.
//
// A Limiter is safe for concurrent use.
type Limiter struct {
	mu       sync.Mutex
	clock    clock
	schedule schedule
}

// NewLimiter returns a Limiter at which nobody waits, and its only Ready.
func NewLimiter(options Options) (*Limiter, *Ready) {
	l := &Limiter{clock: clock{read: options.Now}, schedule: newSchedule(options)}
	return l, &Ready{limiter: l}
}

// Reserve returns the requester's ticket. A requester without a ticket gets a new one. A
// requester that waits keeps its place in the queue, unless the lane changes. A ticket
// that is ready is lost, together with the turn, if the requester does not call Do within
// ten seconds.
func (l *Limiter) Reserve(requester Requester, options ReserveOptions) Ticket {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.now()
	e := l.schedule.reserve(requester, options, now)
	ticket := Ticket{IsReady: e.state != waiting, Since: l.clock.toExternal(e.since), Failing: l.schedule.outage.explain(e, l.schedule.flights, now)}
	ticket.Failing.Since = l.clock.toExternal(ticket.Failing.Since)
	if e.state == readyToFail {
		ticket.Refusal = l.toExternal(e.refusal(now))
	}
	if l.schedule.pause.isOn(now) {
		ticket.PausedUntil = l.clock.toExternal(l.schedule.pause.end)
	}
	return ticket
}

// Cancel gives up the requester's ticket, if it has one.
func (l *Limiter) Cancel(requester Requester) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.schedule.entries[requester]; e != nil {
		l.schedule.drop(e)
		l.schedule.advance(l.clock.now())
	}
}

// Load returns how busy the Limiter is.
func (l *Limiter) Load() Load {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Load{Waiting: l.schedule.queue.waiting(), Pause: max(0, l.schedule.pause.end.Sub(l.clock.now()))}
}

// Pause lets no request be sent until the given time. The pause is at least one second
// and at most retry.LongestWait long.
func (l *Limiter) Pause(until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.now()
	l.schedule.pauseUntil(l.clock.toInternal(until), now, now)
}

// Charge counts a request that was sent without a turn of its own, so that the next turns come later.
func (l *Limiter) Charge() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.schedule.bucket.ReserveN(l.clock.now(), 1)
}

// OutageEnded returns when the end of an outage has last woken the requesters that had
// failed in it. A requester need not wait after a failed request that was sent before. It is
// zero if there was no outage. Outages that end less than 30 seconds after that time wake
// nobody before the 30 seconds are over.
func (l *Limiter) OutageEnded() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.clock.toExternal(l.schedule.outage.wokenAt)
}

// isIdle reports whether nobody has a ticket or waits for an answer, and there is no pause.
func (l *Limiter) isIdle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.schedule
	return len(s.entries) == 0 && len(s.flights) == 0 && !s.pause.isOn(l.clock.now())
}

// isBusy reports whether a requester could send a request now if the pace allowed it.
func (l *Limiter) isBusy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.now()
	s := &l.schedule
	return !s.pause.isOn(now) && (s.turns.readyToSend > 0 || s.queue.has(s.eligibility(now)))
}

// Ready reports whose turn has come at one Limiter, and who has something else to learn from
// it. Each Limiter has exactly one Ready, which NewLimiter returns. Next reports each turn once, so a Ready must have one reader:
// a second reader would take turns that the first reader never sees.
type Ready struct{ limiter *Limiter }

// Next returns the requesters whose turn has come since the last call, the requesters that
// may try again because an outage is over, and some of the requesters that wait because of an
// outage, so that they can say so. It also returns how long to wait for Changed at most before the next call. A wait of zero means that
// nobody has a ticket, and that there is no need for a call before Changed has a value.
func (r *Ready) Next() (requesters []Requester, wait time.Duration) {
	l := r.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.now()
	s := &l.schedule
	s.expire(now)
	s.wake(now)
	s.advance(now)
	requesters = append(s.turns.reported(), s.outage.tell(s.entries, now)...)
	if len(s.entries) == 0 {
		return requesters, s.outage.untilWake(now)
	}
	return requesters, min(max(s.untilNext(now), minLook), maxLook)
}

// Changed returns a channel that has a value when it is time to call Next.
func (r *Ready) Changed() <-chan struct{} { return r.limiter.schedule.turns.changed }
