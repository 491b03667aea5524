// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bearer_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/bearer"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// oracle is an API that issues and revokes tokens, and counts what it is asked for.
type oracle struct {
	mu sync.Mutex
	t  *testing.T
	// valid are the tokens that are accepted, and issuing are the clients whose exchange is on its way.
	valid   map[string]bool
	issuing map[string]bool
	issued  int
	failing bool
	refused int
}

func (o *oracle) issue(ctx context.Context, credentials pipedream.Credentials, _ []string) (pipedream.Token, error) {
	o.mu.Lock()
	if o.issuing[credentials.ClientID] {
		o.t.Errorf("two exchanges of %s are on their way", credentials.ClientID)
	}
	o.issuing[credentials.ClientID] = true
	o.mu.Unlock()
	begin := time.Now()
	select {
	case <-time.After(300 * time.Millisecond):
	case <-ctx.Done():
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.issuing[credentials.ClientID] = false
	o.issued++
	if o.failing {
		return pipedream.Token{}, errUnavailable
	}
	value := fmt.Sprintf("%s-%d", credentials.ClientID, o.issued)
	o.valid[value] = true
	return pipedream.Token{AccessToken: pipedream.NewSensitive(value), IssueTime: begin, ExpirationTime: begin.Add(time.Hour)}, nil
}

func (o *oracle) use(b bearer.Bearer) error {
	time.Sleep(50 * time.Millisecond)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.valid[b.Token().Reveal()] {
		return nil
	}
	o.refused++
	return errTokenRejected
}

func (o *oracle) set(change func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change()
}

// fleet wakes requesters, as the controllers do.
type fleet struct {
	mu    sync.Mutex
	wakes map[throttle.Requester]chan struct{}
}

func (f *fleet) wake(requesters []throttle.Requester) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range requesters {
		select {
		case f.wakes[one] <- struct{}{}:
		default:
		}
	}
}

// reader is a Ready of this package or of package throttle.
type reader interface {
	Next() ([]throttle.Requester, time.Duration)
	Changed() <-chan struct{}
}

func (f *fleet) dispatch(ctx context.Context, from reader) {
	for ctx.Err() == nil {
		requesters, wait := from.Next()
		f.wake(requesters)
		if wait <= 0 {
			wait = time.Hour
		}
		select {
		case <-ctx.Done():
		case <-from.Changed():
		case <-time.After(wait):
		}
	}
}

// account fetches again and again. It returns the longest time that one fetch has taken.
func account(ctx context.Context, store *bearer.Store, api *oracle, n bearer.Need, client string, wake <-chan struct{}) (longest time.Duration) {
	seed := [32]byte([]byte(fmt.Sprintf("%-32s", n.Account)))
	random := rand.New(rand.NewChaCha8(seed)) //nolint:gosec // The same life each time.
	pause := func(wait time.Duration) {
		select {
		case <-ctx.Done():
		case <-wake:
		case <-time.After(wait):
		}
	}
	for ctx.Err() == nil {
		begin := time.Now()
		for ctx.Err() == nil {
			b, err := store.Acquire(ctx, n)
			if errors.Is(err, bearer.ErrCredentialsNeeded) {
				time.Sleep(10 * time.Millisecond) // It reads them.
				b, err = store.Acquire(ctx, with(n, client))
			}
			if err == nil {
				err = store.Send(b)
			}
			if _, ok := errors.AsType[*bearer.WaitingError](err); ok {
				pause(5 * time.Minute)
				continue
			}
			if failed, ok := errors.AsType[*pipedream.Error](err); ok {
				pause(time.Until(failed.RetryAt))
				continue
			}
			advice := store.Report(b, true, api.use(b))
			if advice.Err == nil {
				break
			}
			if failed, ok := errors.AsType[*pipedream.Error](advice.Err); ok && !advice.FetchAgain {
				pause(time.Until(failed.RetryAt))
			}
		}
		longest = max(longest, time.Since(begin))
		pause(time.Duration(1+random.IntN(300)) * time.Second)
	}
	return longest
}

// Hundreds of accounts of a few clients fetch for hours, while tokens are revoked and Pipedream fails.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const clients, each, hours = 4, 60, 6
		ctx, cancel := context.WithTimeout(t.Context(), hours*time.Hour)
		defer cancel()
		api := &oracle{t: t, valid: map[string]bool{}, issuing: map[string]bool{}}
		limiter, turns := throttle.NewLimiter(throttle.Options{PerSecond: 5, Burst: 10, InFlight: 3, Now: time.Now})
		store, ready := bearer.New(bearer.Options{Limiter: limiter, Issue: api.issue, Scopes: []string{"connect:accounts:read"}, Now: time.Now})
		f := &fleet{wakes: map[throttle.Requester]chan struct{}{}}
		var running sync.WaitGroup
		var mu sync.Mutex
		longest := time.Duration(0)
		for c := range clients {
			for i := range each {
				client := fmt.Sprint("client-", c)
				n := need(fmt.Sprint(c, "-", i))
				n.CredentialReference = fmt.Sprint(client, "/", i%3) // Three namespaces have the same secret.
				n.Project = fmt.Sprint(client, "-", i%2)
				wake := make(chan struct{}, 1)
				f.wakes[n.Requester] = wake
				running.Go(func() {
					took := account(ctx, store, api, n, client, wake)
					mu.Lock()
					defer mu.Unlock()
					longest = max(longest, took)
				})
			}
		}
		running.Go(func() { f.dispatch(ctx, turns) })
		running.Go(func() { f.dispatch(ctx, ready) })
		revocations := 0
		for ctx.Err() == nil {
			time.Sleep(47 * time.Minute)
			api.set(func() { clear(api.valid) })
			revocations++
			time.Sleep(10 * time.Minute)
			api.set(func() { api.failing = true })
			time.Sleep(time.Minute)
			api.set(func() { api.failing = false })
		}
		running.Wait()
		// Each client has a token for 40 minutes, and each revocation costs one.
		if most := clients * (hours*60/40 + 1 + revocations); api.issued > most+10 {
			t.Errorf("%d exchanges, want at most %d", api.issued, most)
		}
		if most := clients * revocations * 10; api.refused > most {
			t.Errorf("%d requests were refused, want at most %d", api.refused, most)
		}
		if longest > 90*time.Second {
			t.Errorf("a fetch has taken %s", longest)
		}
		t.Logf("%d exchanges, %d refused requests, the longest fetch took %s", api.issued, api.refused, longest)
	})
}
