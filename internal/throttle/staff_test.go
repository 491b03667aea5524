// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// staff serves the requesters of a limiter in a synctest bubble as a controller would. The
// requesters are in a queue, a few workers take them out, and one goroutine puts the
// requesters whose turn has come into the queue.
type staff struct {
	limiter *limiter
	serve   func(throttle.Requester)
	queue   chan throttle.Requester
	group   sync.WaitGroup
	stop    context.CancelFunc

	mu sync.Mutex
	// looks counts the calls of Ready.Next.
	looks int
	// queued holds the requesters in the queue, and served the requesters that a worker
	// serves.
	queued, served map[throttle.Requester]bool
}

// hire starts a number of workers. They work until the test calls stopAll.
func hire(t *testing.T, l *limiter, workers int, serve func(throttle.Requester)) *staff {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	s := &staff{
		limiter: l, serve: serve, stop: stop,
		queue:  make(chan throttle.Requester, 100_000),
		queued: map[throttle.Requester]bool{}, served: map[throttle.Requester]bool{},
	}
	s.group.Go(func() { s.watch(ctx) })
	for range workers {
		s.group.Go(func() { s.work(ctx) })
	}
	return s
}

// stopAll ends all goroutines of the staff, and checks the limiter.
func (s *staff) stopAll(t *testing.T) {
	t.Helper()
	s.stop()
	s.group.Wait()
	if err := s.limiter.Check(); err != nil {
		t.Errorf("the limiter is not consistent: %v", err)
	}
}

func (s *staff) watch(ctx context.Context) {
	for {
		requesters, wait := s.limiter.ready.Next()
		s.mu.Lock()
		s.looks++
		s.mu.Unlock()
		for _, requester := range requesters {
			s.add(requester)
		}
		var again <-chan time.Time
		if wait > 0 {
			again = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.limiter.ready.Changed():
		case <-again:
		}
	}
}

// add puts a requester into the queue, unless it is there.
func (s *staff) add(requester throttle.Requester) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.queued[requester] {
		s.queued[requester] = true
		if !s.served[requester] {
			s.queue <- requester
		}
	}
}

func (s *staff) work(ctx context.Context) {
	for {
		var requester throttle.Requester
		select {
		case <-ctx.Done():
			return
		case requester = <-s.queue:
		}
		s.mu.Lock()
		s.queued[requester], s.served[requester] = false, true
		s.mu.Unlock()
		s.serve(requester)
		s.mu.Lock()
		s.served[requester] = false
		if s.queued[requester] {
			s.queue <- requester
		}
		s.mu.Unlock()
	}
}

// after puts a requester into the queue after a time.
func (s *staff) after(d time.Duration, requester throttle.Requester) {
	time.AfterFunc(d, func() { s.add(requester) })
}

func (s *staff) countLooks() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.looks
}

// sent is a request that the API has answered.
type sent struct {
	requester throttle.Requester
	client    string
	at        time.Duration
	err       error
}

// remote is an API that requests reach through a limiter, with the latency of the network.
type remote struct {
	begun   time.Time
	latency time.Duration
	// hang is how much longer a failed request takes.
	hang   time.Duration
	answer func(requester throttle.Requester, client string) error

	mu       sync.Mutex
	requests []sent
}

func newRemote(latency time.Duration, answer func(throttle.Requester, string) error) *remote {
	return &remote{begun: time.Now(), latency: latency, answer: answer}
}

// request returns a requester's request. The API answers it after half of the latency,
// when the request has arrived.
func (r *remote) request(requester throttle.Requester, client string) func() error {
	return func() error {
		at := time.Since(r.begun)
		time.Sleep(r.latency / 2)
		r.mu.Lock()
		err := r.answer(requester, client)
		r.requests = append(r.requests, sent{requester, client, at, err})
		r.mu.Unlock()
		time.Sleep(r.latency - r.latency/2)
		if err != nil {
			time.Sleep(r.hang)
		}
		return err
	}
}

// count returns how many requests of a sort were sent within a time.
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
