// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream

import (
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// turnKept is how long a turn waits for the one whose turn it is.
	turnKept = 10 * time.Second
	// longestYield is how much longer a request waits because those of another gate
	// go first.
	longestYield = 10 * time.Second
	// minLook and maxLook bound the time to the next look at who waits.
	minLook = 10 * time.Millisecond
	maxLook = time.Second
)

// ErrNotYet is the error of a request that was not sent: the asker has to Enter
// again, and to wait for its turn.
var ErrNotYet = errors.New("it is not this one's turn")

// Asker is one who sends requests. Groups take turns.
type Asker struct{ Group, Name string }

// Place is what an asker has at a Gate.
type Place struct {
	// IsTurn tells that it may send its request now.
	IsTurn bool
	// Since is since when it waits.
	Since time.Time
	// PausedUntil is the end of the pause in which nobody sends anything; zero when
	// there is none.
	PausedUntil time.Time
}

// Load is what goes on at a Gate.
type Load struct {
	// Waiting counts those who wait for their turn, by their Lane.
	Waiting [lanes]int
	// Pause is how long nobody sends anything; zero when there is no pause.
	Pause time.Duration
}

// GateOptions configure a Gate.
type GateOptions struct {
	// PerSecond is how many requests are sent in a second in the long run, and Burst
	// how many at once after a quiet time.
	PerSecond float64
	Burst     int
	// InFlight is how many requests may be on their way at the same time, so that
	// an API that hangs does not hold up all who work.
	InFlight int
	// YieldTo is a gate whose requests go first, for at most ten seconds. Optional.
	YieldTo *Gate
	// Now tells the time. Required.
	Now func() time.Time
}

// Gate decides whose request is sent next, and when. Nobody waits inside: an asker
// takes a place with Enter, does something else until its turn has come, and then
// sends its request through Send or SendAs. Turns tells whose turn has come.
//
// Requests are paced by a token bucket. When the API answers that there are too
// many, all pause, and then one goes ahead as a probe. Turns are given by Lane, and
// within a lane to each group in turn. What has become of an OAuth client's last
// requests bounds its next ones.
//
// A Gate is safe for concurrent use.
type Gate struct {
	options GateOptions
	changed chan struct{}

	mu     sync.Mutex
	clock  clock
	bucket *rate.Limiter
	// newcomers is the part of the rate that is for clients which were never accepted.
	newcomers *rate.Limiter
	clients   clients
	pause     pause
	places    map[Asker]*place
	queue     queue
	// given are the places whose turn has come, the oldest turn first. Turns has told
	// of all but those in untold.
	given  []*place
	untold []Asker
	// promised counts the given turns that a request will be sent in, and inFlight
	// the requests on their way.
	promised, inFlight int
}

// NewGate returns a Gate at which nobody waits.
func NewGate(options GateOptions) *Gate {
	return &Gate{
		options:   options,
		changed:   make(chan struct{}, 1),
		clock:     clock{read: options.Now},
		bucket:    rate.NewLimiter(rate.Limit(options.PerSecond), options.Burst),
		newcomers: rate.NewLimiter(rate.Limit(options.PerSecond/2), max(1, options.Burst/2)),
		clients:   newClients(),
		places:    map[Asker]*place{},
	}
}

// Enter returns the asker's place, and takes one if it has none. One who waits
// already keeps its place, or moves to another lane. A turn that is not used within
// ten seconds is lost, and the place with it.
func (g *Gate) Enter(asker Asker, lane Lane) Place { return g.EnterAs(asker, lane, "") }

// EnterAs is Enter for one who will send with credentials, and reads them when its
// turn has come. The source names them until then: askers of the same source have the
// same credentials, so what becomes of one tells which turns are worth giving to the
// others. One who waits and comes with another source has other credentials now, and
// need not wait for what becomes of the old ones. An empty source is none.
func (g *Gate) EnterAs(asker Asker, lane Lane, source string) Place {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.clock.now()
	g.expire(now)
	p := g.places[asker]
	switch {
	case p == nil:
		p = &place{asker: asker, lane: lane, since: now}
		g.places[asker] = p
		g.queue.push(p)
		g.signal()
	case p.turn == noTurn && p.lane != lane:
		g.queue.remove(p)
		p.lane = lane
		g.queue.push(p)
	}
	if p.turn == noTurn {
		g.clients.bind(p, source)
		g.answer(p, now)
	}
	g.advance(now)
	if p.turn != noTurn {
		g.untold = slices.DeleteFunc(g.untold, func(other Asker) bool { return other == asker })
	}
	entered := Place{IsTurn: p.turn != noTurn, Since: g.clock.shown(p.since)}
	if g.pause.isOn(now) {
		entered.PausedUntil = g.clock.shown(g.pause.end)
	}
	return entered
}

// Leave gives up the asker's place, if it has one.
func (g *Gate) Leave(asker Asker) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p := g.places[asker]; p != nil {
		g.drop(p)
		g.advance(g.clock.now())
	}
}

// Turns returns those whose turn has come since it was last called, and how long
// to wait before it is called again: until there is something in Changed, when that
// is zero, and else until then at the latest.
func (g *Gate) Turns() (askers []Asker, wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.clock.now()
	g.expire(now)
	g.advance(now)
	askers, g.untold = g.untold, nil
	if len(g.places) == 0 {
		return askers, 0
	}
	return askers, min(max(g.untilNext(now), minLook), maxLook)
}

// untilNext returns when there may be another turn, if nothing happens before.
func (g *Gate) untilNext(now time.Time) time.Duration {
	if g.pause.isOn(now) {
		return g.pause.end.Sub(now)
	}
	missing := float64(g.promised+1) - g.bucket.TokensAt(now)
	if missing <= 0 {
		// It is not the bucket that they wait for, but something that takes time too.
		missing = 1
	}
	return time.Duration(missing/g.options.PerSecond*float64(time.Second)) + 1
}

// Load returns what goes on.
func (g *Gate) Load() Load {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Load{Waiting: g.queue.waiting(), Pause: max(0, g.pause.end.Sub(g.clock.now()))}
}

// Changed has a value when Turns is to be called.
func (g *Gate) Changed() <-chan struct{} { return g.changed }

// Pause lets no request be sent until the given time, for at most 15 minutes.
func (g *Gate) Pause(until time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.clock.now()
	g.hold(g.clock.told(until), now, now)
}

// Send sends a request of the asker. Its error is that of the request, or ErrNotYet
// when it was not sent.
func (g *Gate) Send(asker Asker, request func() error) error {
	return g.send(asker, nil, false, request)
}

// SendAs sends a request of the asker with credentials. Those that were refused are
// not tried again for a while: the error is the *Error of that refusal then, and its
// RetryAt says when the first who asks has them tried again. An asker insists when
// it has a reason to think that they are good now; they are then tried earlier.
func (g *Gate) SendAs(asker Asker, credentials Credentials, insists bool, request func() error) error {
	return g.send(asker, &credentials, insists, request)
}

func (g *Gate) send(asker Asker, credentials *Credentials, insists bool, request func() error) (err error) {
	s, err := g.begin(asker, credentials, insists)
	if err != nil {
		return err
	}
	// What remains of a request that panics.
	err = &Error{Kind: Unavailable, Detail: "the request was interrupted"}
	defer func() { err = g.end(s, err) }()
	return request()
}

// sending is a request on its way.
type sending struct {
	at      time.Time
	client  *oauthClient
	source  *source
	isProbe bool
}

// begin uses the asker's turn. It returns an error when there is nothing to send.
func (g *Gate) begin(asker Asker, credentials *Credentials, insists bool) (sending, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.clock.now()
	g.expire(now)
	p := g.places[asker]
	if p == nil || p.turn == noTurn {
		return sending{}, ErrNotYet
	}
	hadPromise := p.turn == promisedTurn
	g.takeBack(p)
	g.queue.putBack(p)
	if credentials != nil {
		p.insists = insists
		g.identify(p, g.clients.of(*credentials), now)
		if refusal := p.client.refusalFor(p, now); refusal != nil {
			g.drop(p)
			g.advance(now)
			return sending{}, g.shown(refusal)
		}
	}
	if !hadPromise || !g.canSend(now) || !g.eligibility(now)(p) || !g.bucket.AllowN(now, 1) {
		g.advance(now)
		return sending{}, ErrNotYet
	}
	return g.depart(p, now), nil
}

// identify takes note of the client that an asker has turned out to send with. The
// others of its source will, too.
func (g *Gate) identify(p *place, client *oauthClient, now time.Time) {
	g.clients.assign(p, client)
	if p.source == nil || p.source.client == client {
		return
	}
	before := p.source.client
	p.source.client = client
	if p.source.users == 1 {
		return
	}
	for _, other := range g.places {
		if other.source == p.source && other.client == before && other.turn == noTurn {
			g.clients.assign(other, client)
			g.answer(other, now)
		}
	}
}

// depart turns a place into a request on its way.
func (g *Gate) depart(p *place, now time.Time) sending {
	s := sending{at: now, client: p.client, source: p.source.retain(), isProbe: g.pause.isOnTrial}
	g.pause.isProbing = s.isProbe
	g.inFlight++
	if s.client.isNew() {
		g.newcomers.AllowN(now, 1)
	}
	if s.client != nil {
		s.client.inFlight++
		s.client.users++
	}
	g.drop(p)
	return s
}

// end takes note of how a request has ended, and adds to its error when to try again.
func (g *Gate) end(s sending, err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.clock.now()
	g.inFlight--
	g.clients.release(s.source)
	failed, kind := failure(err)
	if kind == RateLimited {
		err = g.shown(failed.retriedAt(g.hold(g.clock.told(failed.RetryAt), s.at, now)))
	}
	if s.isProbe && g.pause.probed(kind, now) {
		// The end of a pause is no stampede, however long the trial took.
		g.bucket.AllowN(now, max(0, int(g.bucket.TokensAt(now))-1))
	}
	if s.client != nil {
		if refusal := g.learn(s, failed, kind, now); refusal != nil {
			err = g.shown(refusal)
		}
	}
	g.advance(now)
	return err
}

// failure returns the *Error that err is, and its kind. Any other error tells no more
// of the API than no answer does.
func failure(err error) (*Error, Kind) {
	if err == nil {
		return nil, ""
	}
	failed, ok := errors.AsType[*Error](err)
	if !ok {
		failed = &Error{Kind: Unavailable}
	}
	return failed, failed.Kind
}

// learn takes note of what the end of a request says of its client, and returns the
// refusal if it was one.
func (g *Gate) learn(s sending, failed *Error, kind Kind, now time.Time) (refusal *Error) {
	s.client.inFlight--
	s.client.users--
	if kind == "" || kind == ScopeRejected || kind == ScopeNotGranted {
		s.client.accept(s.at, now)
		g.clients.boundAccepted()
	}
	if kind == CredentialsRejected {
		refusal = s.client.refuse(failed, s.at, now)
		g.clients.boundRefused()
	}
	g.clients.tidy(s.client)
	if s.client.refusal != nil {
		for _, p := range g.places {
			if p.client == s.client {
				g.answer(p, now)
			}
		}
	}
	return refusal
}

// shown returns an error of ours as one for those outside.
func (g *Gate) shown(err *Error) *Error { return err.retriedAt(g.clock.shown(err.RetryAt)) }

// hold begins or prolongs a pause for the answer to a request that was sent at some
// time, and returns its end.
func (g *Gate) hold(retryAt, sentAt, now time.Time) time.Time {
	end, isChanged := g.pause.begin(retryAt, sentAt, now)
	if isChanged {
		for _, p := range slices.Backward(slices.Clone(g.given)) {
			if p.turn == promisedTurn {
				g.takeBack(p)
				g.queue.putBack(p)
			}
		}
	}
	return end
}

// advance gives turns to those who are next.
func (g *Gate) advance(now time.Time) {
	for g.canSend(now) && g.bucket.TokensAt(now) >= float64(g.promised+1) {
		p := g.queue.next(g.eligibility(now))
		if p == nil {
			return
		}
		g.give(p, promisedTurn, now)
	}
}

// canSend tells whether one more request may be sent, whoever sends it.
func (g *Gate) canSend(now time.Time) bool {
	if g.pause.isOn(now) || g.pause.isOnTrial && (g.pause.isProbing || g.promised > 0) {
		return false
	}
	return g.promised+g.inFlight < g.options.InFlight
}

// eligibility returns what tells whether the one at a place may send the next request.
func (g *Gate) eligibility(now time.Time) func(*place) bool {
	yields := g.options.YieldTo != nil && g.options.YieldTo.isBusy()
	newcomers := g.newcomers.TokensAt(now) - 1
	for _, p := range g.given {
		if p.turn == promisedTurn && p.client.isNew() {
			newcomers--
		}
	}
	return func(p *place) bool {
		if yields && now.Sub(p.since) < longestYield {
			return false
		}
		return (newcomers >= 0 || !p.client.isNew()) && p.client.mayBegin(now)
	}
}

// isBusy tells whether anybody could send a request now, but for its pace.
func (g *Gate) isBusy() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.clock.now()
	return !g.pause.isOn(now) && (g.promised > 0 || g.queue.has(g.eligibility(now)))
}

// answer gives a turn to one who waits, if there is an answer for it already: its
// client was refused.
func (g *Gate) answer(p *place, now time.Time) {
	if p.turn == noTurn && p.client != nil && p.client.refusalFor(p, now) != nil {
		g.queue.remove(p)
		g.give(p, freeTurn, now)
	}
}

// give gives a turn to one who is no longer in the queue.
func (g *Gate) give(p *place, kind turn, now time.Time) {
	p.turn, p.turnAt = kind, now
	if kind == promisedTurn {
		g.promised++
		p.client.promise(1)
	}
	g.given = append(g.given, p)
	g.untold = append(g.untold, p.asker)
	g.signal()
}

// takeBack takes a turn back. The place is then not in the queue either.
func (g *Gate) takeBack(p *place) {
	if p.turn == promisedTurn {
		g.promised--
		p.client.promise(-1)
	}
	p.turn = noTurn
	i := slices.Index(g.given, p)
	g.given = slices.Delete(g.given, i, i+1)
}

// drop removes a place, wherever it is.
func (g *Gate) drop(p *place) {
	if p.turn == noTurn {
		g.queue.remove(p)
	} else {
		g.takeBack(p)
	}
	g.clients.bind(p, "")
	g.clients.assign(p, nil)
	delete(g.places, p.asker)
}

// expire drops the turns that nobody has used in time.
func (g *Gate) expire(now time.Time) {
	for len(g.given) > 0 && now.Sub(g.given[0].turnAt) > turnKept {
		g.drop(g.given[0])
	}
}

func (g *Gate) signal() {
	select {
	case g.changed <- struct{}{}:
	default:
	}
}
