// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle

import (
	"slices"
	"time"

	"golang.org/x/time/rate"
)

// longestYield is how long a request waits for the requests of another Limiter.
const longestYield = 10 * time.Second

// schedule holds the entries of a Limiter, and gives them their turns. It is not safe for
// concurrent use.
type schedule struct {
	options Options
	bucket  *rate.Limiter
	// unproven is the part of the rate that unproven clients may use.
	unproven *rate.Limiter
	// failingRate is the part of the rate that failing requests may use.
	failingRate *rate.Limiter
	clients     clients
	pause       pause
	entries     map[Requester]*entry
	// queue holds the entries that wait, and turns the entries whose turn has come.
	queue queue
	turns turns
	// flights are the requests on their way, the oldest first.
	flights []*flight
	// sinceAged counts the turns that were given since the last turn of an aged entry.
	sinceAged int
	outage    outage
}

func newSchedule(options Options) schedule {
	return schedule{
		options:     options,
		bucket:      rate.NewLimiter(rate.Limit(options.PerSecond), options.Burst),
		unproven:    rate.NewLimiter(rate.Limit(options.PerSecond/2), max(1, options.Burst/2)),
		failingRate: rate.NewLimiter(rate.Limit(options.PerSecond/4), max(1, options.Burst/4)),
		clients:     newClients(),
		entries:     map[Requester]*entry{},
		turns:       newTurns(),
	}
}

// reserve returns the requester's entry. It makes one if there is none.
func (s *schedule) reserve(requester Requester, options ReserveOptions, now time.Time) *entry {
	s.expire(now)
	e := s.entries[requester]
	wanted := rowOf(options.Lane, options.Expiry, now)
	switch {
	case e == nil:
		e = &entry{requester: requester, row: wanted, since: now, scopes: sorted(options.Scopes)}
		s.entries[requester] = e
		s.clients.assign(e, nil)
		s.queue.push(e, now)
		s.turns.signal()
	case e.state == waiting && e.row != wanted && (e.row != 0 || options.Lane != NearEnd):
		// A token that has expired in the first row keeps its place there.
		s.queue.remove(e)
		e.row = wanted
		s.queue.push(e, now)
	}
	if e.state == readyToFail && e.refusal(now) == nil {
		s.turns.takeBack(e) // The refusal has ended since, so that the request may be sent again.
		s.queue.putBack(e)
	}
	if e.state == waiting {
		s.clients.rename(e, options.Scopes)
		s.clients.bind(e, options.CredentialReference)
		if options.Credentials != nil {
			e.bypassesRefusals = options.BypassRefusalCache
			s.clients.assign(e, s.clients.of(*options.Credentials))
		}
		s.queue.move(e)
		s.answerFromCache(e, now)
	}
	s.advance(now)
	if e.state != waiting {
		// The requester learns from its ticket that its turn has come.
		s.turns.withhold(requester)
	}
	return e
}

// untilNext returns after which time there may be another turn if nothing happens before.
func (s *schedule) untilNext(now time.Time) time.Duration {
	if s.pause.isOn(now) {
		return s.pause.end.Sub(now)
	}
	if s.outage.isOn && s.outage.nextProbe.After(now) {
		return s.outage.nextProbe.Sub(now)
	}
	missing := float64(s.turns.readyToSend+1) - s.bucket.TokensAt(now)
	if missing <= 0 {
		// The entries do not wait for the bucket, but for something else that takes time.
		missing = 1
	}
	return time.Duration(missing/s.options.PerSecond*float64(time.Second)) + 1
}

// identify records the client that an entry has turned out to send with. All entries with
// the same credential reference will send with it too.
func (s *schedule) identify(e *entry, client *oauthClient, now time.Time) {
	s.clients.assign(e, client)
	s.queue.move(e)
	if e.reference == nil || e.reference.client == client {
		return
	}
	before := e.reference.client
	e.reference.client = client
	if e.reference.users == 1 {
		return
	}
	for _, other := range s.entries {
		if other.reference == e.reference && other.client == before && other.state == waiting {
			s.clients.assign(other, client)
			s.queue.move(other)
			s.answerFromCache(other, now)
		}
	}
}

// depart turns an entry into a request on its way.
func (s *schedule) depart(e *entry, now time.Time) *flight {
	f := &flight{
		requester: e.requester, sentAt: now,
		client: e.client, request: e.request, reference: e.reference.retain(),
		isProbe: s.pause.isOnTrial,
	}
	s.pause.isProbing = f.isProbe
	if s.outage.isOn {
		f.outage, s.outage.isProbing = s.outage.begunAt, true
	}
	delete(s.outage.failed, e.requester)
	s.flights = append(s.flights, f)
	if f.client.isUnproven() {
		s.unproven.AllowN(now, 1)
	}
	if f.request.isFailing() {
		s.failingRate.AllowN(now, 1)
	}
	f.client.ofAll().depart()
	f.request.ofAll().depart()
	s.drop(e)
	return f
}

// pauseUntil begins or extends a pause, for the answer to a request that was sent at
// sentAt. It returns the end of the pause.
func (s *schedule) pauseUntil(retryAt, sentAt, now time.Time) time.Time {
	end, isChanged := s.pause.begin(retryAt, sentAt, now)
	if isChanged {
		s.takeAllBack()
	}
	return end
}

// advance gives turns to the entries that are next.
func (s *schedule) advance(now time.Time) {
	for s.canSend(now) && s.bucket.TokensAt(now) >= float64(s.turns.readyToSend+1) {
		e := s.next(now)
		if e == nil {
			return
		}
		s.turns.give(e, readyToSend, now)
	}
}

// next removes the entry that is next from the queue, and returns it. It returns nil if no
// entry may send a request.
func (s *schedule) next(now time.Time) *entry {
	isEligible := s.eligibility(now)
	if !s.queue.has(isEligible) {
		return nil
	}
	if s.outage.isOn && s.outage.probes%2 == 0 {
		// The answer to a request that has succeeded before says most about Pipedream. The other
		// half of the probes is for the others, in case such requests fail for their own reason.
		if e := s.queue.next(func(e *entry) bool { return e.request.isTrusted() && isEligible(e) }); e != nil {
			return e
		}
	}
	if s.sinceAged+1 >= agedTurns {
		if e := s.queue.nextAged(isEligible, now); e != nil {
			s.sinceAged = 0
			return e
		}
	}
	e := s.queue.next(isEligible)
	if e != nil {
		s.sinceAged++
	}
	return e
}

// canSend reports whether one more request may be sent, no matter which one.
func (s *schedule) canSend(now time.Time) bool {
	if s.pause.isOn(now) || s.pause.isOnTrial && (s.pause.isProbing || s.turns.readyToSend > 0) {
		return false
	}
	return s.outage.maySend(s.turns.readyToSend, now) && s.turns.readyToSend+len(s.flights) < s.options.InFlight
}

// eligibility returns a function that tells whether an entry may send the next request.
func (s *schedule) eligibility(now time.Time) func(*entry) bool {
	yields := s.options.YieldTo != nil && s.options.YieldTo.isBusy()
	free := s.freePlaces(now)
	return func(e *entry) bool {
		switch {
		case yields && now.Sub(e.since) < longestYield:
			return false
		case e.client.isUnproven() && !free.forUnproven, e.request.isFailing() && !free.forFailing:
			return false
		}
		return e.client.ofAll().mayBegin(now) && e.request.mayBegin(now)
	}
}

// places tells which requests have a place left. It leaves the rest of the places to
// requests that are known to work.
type places struct{ forUnproven, forFailing bool }

// freePlaces returns which requests have a place left. Unproven clients have half of the
// rate and of the requests on their way. Failing requests have a quarter of both, because
// each may wait for its answer for long.
func (s *schedule) freePlaces(now time.Time) places {
	unproven, failing := 0, 0
	count := func(client *oauthClient, request *request) {
		if client.isUnproven() {
			unproven++
		}
		if request.isFailing() {
			failing++
		}
	}
	for _, e := range s.turns.given {
		if e.state == readyToSend {
			count(e.client, e.request)
		}
	}
	readyUnproven, readyFailing := unproven, failing
	for _, f := range s.flights {
		count(f.client, f.request)
	}
	return places{
		forUnproven: s.unproven.TokensAt(now) >= float64(readyUnproven+1) && unproven < max(1, s.options.InFlight/2),
		forFailing:  s.failingRate.TokensAt(now) >= float64(readyFailing+1) && failing < max(1, s.options.InFlight/4),
	}
}

// takeAllBack takes back all turns to send, because no request may be sent for a while.
func (s *schedule) takeAllBack() {
	for _, e := range slices.Backward(slices.Clone(s.turns.given)) {
		if e.state == readyToSend {
			s.turns.takeBack(e)
			s.queue.putBack(e)
		}
	}
}

// answerFromCache gives a turn to an entry that waits, if its client or its request was
// refused and that refusal answers its request.
func (s *schedule) answerFromCache(e *entry, now time.Time) {
	if e.state == waiting && e.refusal(now) != nil {
		s.queue.remove(e)
		s.turns.give(e, readyToFail, now)
	}
}

// drop removes an entry, wherever it is.
func (s *schedule) drop(e *entry) {
	if e.state == waiting {
		s.queue.remove(e)
	} else {
		s.turns.takeBack(e)
	}
	s.clients.forget(e)
	delete(s.entries, e.requester)
}

// expire drops the entries that have not used their turn in time.
func (s *schedule) expire(now time.Time) {
	for e := s.turns.unused(now); e != nil; e = s.turns.unused(now) {
		s.drop(e)
	}
}
