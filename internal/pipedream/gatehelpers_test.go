// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// The ways in which a request ends.
var (
	errTooMany     = &pipedream.Error{Kind: pipedream.RateLimited, StatusCode: 429}
	errUnavailable = &pipedream.Error{Kind: pipedream.Unavailable, StatusCode: 500}
	errRefused     = &pipedream.Error{Kind: pipedream.CredentialsRejected, StatusCode: 401}
	errScope       = &pipedream.Error{Kind: pipedream.ScopeRejected, StatusCode: 400}
)

// shop returns an asker of the group that most are of.
func shop(name string) pipedream.Asker { return pipedream.Asker{Group: "shop", Name: name} }

// client returns credentials of their own for each name.
func client(name string) *pipedream.Credentials {
	return &pipedream.Credentials{ClientID: name, ClientSecret: pipedream.NewSensitive("s3cr3t")}
}

// gate is a Gate with a clock that is set by hand.
type gate struct {
	*pipedream.Gate
	t   testing.TB
	now time.Time
	// checks counts what is left out of checks that take long.
	checks int
}

// newGate returns a gate for five requests a second, or what the options say.
func newGate(tb testing.TB, options pipedream.GateOptions) *gate {
	tb.Helper()
	g := &gate{t: tb, now: second}
	options.Now = func() time.Time { return g.now }
	g.Gate = pipedream.NewGate(withDefaults(options))
	return g
}

func withDefaults(options pipedream.GateOptions) pipedream.GateOptions {
	if options.PerSecond == 0 {
		options.PerSecond, options.Burst = 5, 10
	}
	if options.InFlight == 0 {
		options.InFlight = 50
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	return options
}

// after sets the clock to a time after the test has begun, and a little more: the
// bucket rounds off.
func (g *gate) after(d time.Duration) *gate {
	g.now = second.Add(d + time.Microsecond)
	return g
}

// hasTurn tells whether an asker, who enters, may send.
func (g *gate) hasTurn(asker pipedream.Asker) bool {
	g.t.Helper()
	isTurn := g.Enter(asker, pipedream.DueRenewal).IsTurn
	g.check()
	return isTurn
}

func (g *gate) wantTurn(names ...string) {
	g.t.Helper()
	for _, name := range names {
		if !g.hasTurn(shop(name)) {
			g.t.Errorf("%s after the beginning it is not the turn of %s", g.now.Sub(second), name)
		}
	}
}

func (g *gate) wantNoTurn(names ...string) {
	g.t.Helper()
	for _, name := range names {
		if g.hasTurn(shop(name)) {
			g.t.Errorf("%s after the beginning it is the turn of %s", g.now.Sub(second), name)
		}
	}
}

// try enters, and sends a request that ends so at once.
func (g *gate) try(name string, credentials *pipedream.Credentials, outcome error) error {
	g.t.Helper()
	g.Enter(shop(name), pipedream.DueRenewal)
	return g.send(name, credentials, false, outcome)
}

// send sends a request that ends so at once, if it is sent.
func (g *gate) send(name string, credentials *pipedream.Credentials, insists bool, outcome error) error {
	g.t.Helper()
	request := func() error { return outcome }
	var err error
	if credentials == nil {
		err = g.Send(shop(name), request)
	} else {
		err = g.SendAs(shop(name), *credentials, insists, request)
	}
	g.check()
	return err
}

// wantPass checks that a request is sent at once.
func (g *gate) wantPass(name string) {
	g.t.Helper()
	if err := g.try(name, nil, nil); err != nil {
		g.t.Errorf("%s after the beginning the request of %s is not sent: %v", g.now.Sub(second), name, err)
	}
}

// drain lets the burst pass.
func (g *gate) drain(burst int) {
	g.t.Helper()
	for i := range burst {
		g.wantPass(fmt.Sprintf("drain-%d", i))
	}
}

// limited sends a request that is one too many, and returns when it is tried again.
func (g *gate) limited(name string, retryAt time.Time) time.Time {
	g.t.Helper()
	err := g.try(name, nil, &pipedream.Error{Kind: pipedream.RateLimited, StatusCode: 429, RetryAt: retryAt})
	return g.wantKind(err, pipedream.RateLimited).RetryAt
}

func (g *gate) wantKind(err error, kind pipedream.Kind) pipedream.Error {
	g.t.Helper()
	cause, ok := errors.AsType[*pipedream.Error](err)
	if !ok || cause.Kind != kind {
		g.t.Fatalf("%s after the beginning the error is %v; want one that says %s", g.now.Sub(second), err, kind)
	}
	return *cause
}

func (g *gate) wantNotYet(err error) {
	g.t.Helper()
	if !errors.Is(err, pipedream.ErrNotYet) {
		g.t.Errorf("%s after the beginning the error is %v; want ErrNotYet", g.now.Sub(second), err)
	}
}

func (g *gate) wantNil(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Errorf("%s after the beginning: %v", g.now.Sub(second), err)
	}
}

// check checks that the gate agrees with itself.
func (g *gate) check() {
	g.t.Helper()
	if g.checks++; g.Places()+g.Clients() > 100 && g.checks%100 != 0 {
		return
	}
	if err := g.Check(); err != nil {
		g.t.Fatalf("%s after the beginning the gate disagrees with itself: %v", g.now.Sub(second), err)
	}
}

// flight is a request on its way. It ends when the test says so.
type flight struct {
	g       *gate
	outcome chan error
	ended   chan error
}

// start enters, and sends a request that stays on its way.
func (g *gate) start(name string, credentials *pipedream.Credentials) *flight {
	g.t.Helper()
	g.Enter(shop(name), pipedream.DueRenewal)
	f := g.tryStart(name, credentials)
	if f == nil {
		g.t.Fatalf("%s after the beginning the request of %s is not sent", g.now.Sub(second), name)
	}
	return f
}

// tryStart sends a request that stays on its way, and returns nil if it is not sent.
func (g *gate) tryStart(name string, credentials *pipedream.Credentials) *flight {
	g.t.Helper()
	f := &flight{g: g, outcome: make(chan error), ended: make(chan error, 1)}
	started := make(chan struct{})
	request := func() error {
		close(started)
		return <-f.outcome
	}
	go func() {
		if credentials == nil {
			f.ended <- g.Send(shop(name), request)
		} else {
			f.ended <- g.SendAs(shop(name), *credentials, false, request)
		}
	}()
	defer g.check()
	select {
	case <-started:
		return f
	case err := <-f.ended:
		if err == nil {
			g.t.Error("a request that was not sent has succeeded")
		}
		return nil
	}
}

// end ends the request, and returns what is told to who has sent it.
func (f *flight) end(outcome error) error {
	f.g.t.Helper()
	f.outcome <- outcome
	err := <-f.ended
	f.g.check()
	return err
}

// staff serves the askers of a gate in a synctest bubble as a controller would: they
// are in a queue, a few workers take them from there, and one looks at the gate for
// whom to put into the queue.
type staff struct {
	gate  *pipedream.Gate
	serve func(pipedream.Asker)
	queue chan pipedream.Asker
	group sync.WaitGroup
	stop  context.CancelFunc

	mu sync.Mutex
	// looks counts the looks at the gate.
	looks int
	// queued and served are the askers of whom that is so.
	queued, served map[pipedream.Asker]bool
}

// hire sets a number of workers to work until the bubble's test calls stopAll.
func hire(t *testing.T, g *pipedream.Gate, workers int, serve func(pipedream.Asker)) *staff {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	s := &staff{
		gate: g, serve: serve, stop: stop,
		queue:  make(chan pipedream.Asker, 100_000),
		queued: map[pipedream.Asker]bool{}, served: map[pipedream.Asker]bool{},
	}
	s.group.Go(func() { s.watch(ctx) })
	for range workers {
		s.group.Go(func() { s.work(ctx) })
	}
	return s
}

// stopAll ends all that is at work, and checks the gate.
func (s *staff) stopAll(t *testing.T) {
	t.Helper()
	s.stop()
	s.group.Wait()
	if err := s.gate.Check(); err != nil {
		t.Errorf("the gate disagrees with itself: %v", err)
	}
}

func (s *staff) watch(ctx context.Context) {
	for {
		askers, wait := s.gate.Turns()
		s.mu.Lock()
		s.looks++
		s.mu.Unlock()
		for _, asker := range askers {
			s.add(asker)
		}
		var again <-chan time.Time
		if wait > 0 {
			again = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.gate.Changed():
		case <-again:
		}
	}
}

// add puts an asker into the queue, unless it is there.
func (s *staff) add(asker pipedream.Asker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.queued[asker] {
		s.queued[asker] = true
		if !s.served[asker] {
			s.queue <- asker
		}
	}
}

func (s *staff) work(ctx context.Context) {
	for {
		var asker pipedream.Asker
		select {
		case <-ctx.Done():
			return
		case asker = <-s.queue:
		}
		s.mu.Lock()
		s.queued[asker], s.served[asker] = false, true
		s.mu.Unlock()
		s.serve(asker)
		s.mu.Lock()
		s.served[asker] = false
		if s.queued[asker] {
			s.queue <- asker
		}
		s.mu.Unlock()
	}
}

// after puts an asker into the queue after a while.
func (s *staff) after(d time.Duration, asker pipedream.Asker) {
	time.AfterFunc(d, func() { s.add(asker) })
}

func (s *staff) countLooks() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.looks
}

// sent is a request that a server has got, and answered.
type sent struct {
	asker  pipedream.Asker
	client string
	at     time.Duration
	err    error
}

// remote is an API on the other side of a gate, with its latency.
type remote struct {
	begun   time.Time
	latency time.Duration
	answer  func(asker pipedream.Asker, client string) error

	mu       sync.Mutex
	requests []sent
}

func newRemote(latency time.Duration, answer func(pipedream.Asker, string) error) *remote {
	return &remote{begun: time.Now(), latency: latency, answer: answer}
}

// request is what an asker sends. It is answered when it is there, after half of
// the latency.
func (r *remote) request(asker pipedream.Asker, client string) func() error {
	return func() error {
		at := time.Since(r.begun)
		time.Sleep(r.latency / 2)
		r.mu.Lock()
		err := r.answer(asker, client)
		r.requests = append(r.requests, sent{asker, client, at, err})
		r.mu.Unlock()
		time.Sleep(r.latency - r.latency/2)
		return err
	}
}

// count returns how many requests of a sort came within a time.
func (r *remote) count(from, to time.Duration, isOfSort func(sent) bool) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	count := 0
	for _, request := range r.requests {
		if request.at >= from && request.at < to && isOfSort(request) {
			count++
		}
	}
	return count
}

func every(sent) bool             { return true }
func isAccepted(s sent) bool      { return s.err == nil }
func of(c string) func(sent) bool { return func(s sent) bool { return s.client == c } }
