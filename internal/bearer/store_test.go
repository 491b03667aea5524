// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bearer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/bearer"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

var (
	begin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

	errTokenRejected = &pipedream.Error{Kind: pipedream.TokenRejected, StatusCode: 401}
	errAccessDenied  = &pipedream.Error{Kind: pipedream.AccessDenied, StatusCode: 403}
	errNotFound      = &pipedream.Error{Kind: pipedream.AccountNotFound, StatusCode: 404}
	errDead          = &pipedream.Error{Kind: pipedream.AccountDead, StatusCode: 200}
	errUnavailable   = &pipedream.Error{Kind: pipedream.Unavailable, StatusCode: 500}
	errRejected      = &pipedream.Error{Kind: pipedream.CredentialsRejected, StatusCode: 401}
)

// world is a Store over a Limiter, an API that issues tokens, and a clock that the test sets.
type world struct {
	*bearer.Store
	t       *testing.T
	ready   *bearer.Ready
	limiter *throttle.Limiter
	turns   *throttle.Ready
	now     time.Time
	life    time.Duration
	// issued counts the exchanges, and fails is how they end.
	issued int
	fails  error
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, now: begin, life: time.Hour}
	clock := func() time.Time { return w.now }
	w.limiter, w.turns = throttle.NewLimiter(throttle.Options{PerSecond: 5, Burst: 10, InFlight: 8, Now: clock})
	w.Store, w.ready = bearer.New(bearer.Options{Limiter: w.limiter, Issue: w.issue, Scopes: []string{"connect:accounts:read"}, Now: clock})
	return w
}

func (w *world) issue(_ context.Context, credentials pipedream.Credentials, scopes []string) (pipedream.Token, error) {
	w.issued++
	if len(scopes) != 1 || scopes[0] != "connect:accounts:read" {
		w.t.Errorf("the scopes are %v", scopes)
	}
	if w.fails != nil {
		return pipedream.Token{}, w.fails
	}
	value := fmt.Sprintf("%s-%d", credentials.ClientID, w.issued)
	return pipedream.Token{AccessToken: pipedream.NewSensitive(value), IssueTime: w.now, ExpirationTime: w.now.Add(w.life)}, nil
}

// requester returns a requester of the namespace shop.
func requester(name string) throttle.Requester {
	return throttle.Requester{Kind: "PipedreamAccount", Group: "shop", Name: name}
}

// need is what most accounts of the namespace shop need.
func need(name string) bearer.Need {
	return bearer.Need{
		Requester: requester(name), CredentialReference: "shop/client/1", Project: "proj_1", Account: name,
	}
}

// with returns a need with the credentials of an OAuth client.
func with(n bearer.Need, client string) bearer.Need {
	n.Credentials = &pipedream.Credentials{ClientID: client, ClientSecret: pipedream.NewSensitive("s3cr3t-of-" + client)}
	return n
}

// of returns a need that reads its credentials from another place, for another project.
func of(n bearer.Need, reference, project string) bearer.Need {
	n.CredentialReference, n.Project = reference, project
	return n
}

// acquire acquires a token as a reconcile does whose turn has come: it reads its credentials if they are needed, and
// sends a request with the token.
func (w *world) acquire(n bearer.Need, client string) (bearer.Bearer, error) {
	w.t.Helper()
	got, err := w.wait(n, client)
	if err == nil {
		err = w.Send(got)
	}
	if err != nil {
		return bearer.Bearer{}, err
	}
	return got, nil
}

// wait acquires a token for a request that waits for its turn.
func (w *world) wait(n bearer.Need, client string) (bearer.Bearer, error) {
	w.t.Helper()
	got, err := w.Acquire(w.t.Context(), n)
	if errors.Is(err, bearer.ErrCredentialsNeeded) {
		return w.Acquire(w.t.Context(), with(n, client))
	}
	return got, err
}

// must acquires a token that must be there.
func (w *world) must(n bearer.Need, client, want string) bearer.Bearer {
	w.t.Helper()
	got, err := w.acquire(n, client)
	if err != nil || got.Token().Reveal() != want {
		w.t.Fatalf("it lends %q, %v; want %q", got.Token().Reveal(), err, want)
	}
	return got
}

// mustFail acquires a token that must not be there, and returns how long to wait for it.
func (w *world) mustFail(n bearer.Need, want pipedream.Kind) time.Duration {
	w.t.Helper()
	got, err := w.acquire(n, "acme")
	failed, ok := errors.AsType[*pipedream.Error](err)
	if !ok || failed.Kind != want || !got.Token().IsEmpty() {
		w.t.Fatalf("it lends %q, %v; want the error %s", got.Token().Reveal(), err, want)
	}
	return failed.RetryAt.Sub(w.now)
}

// mustDeny acquires a token for a project that denies access for a while.
func (w *world) mustDeny(n bearer.Need, want time.Duration) {
	w.t.Helper()
	if got := w.mustFail(n, pipedream.AccessDenied); got != want {
		w.t.Errorf("access is denied for %s, want %s", got, want)
	}
}

// mustWait acquires a token that must not be there yet.
func (w *world) mustWait(n bearer.Need) throttle.Ticket {
	w.t.Helper()
	got, err := w.Acquire(w.t.Context(), n)
	waiting, ok := errors.AsType[*bearer.WaitingError](err)
	if !ok || !got.Token().IsEmpty() {
		w.t.Fatalf("it lends %q, %v; want to wait", got.Token().Reveal(), err)
	}
	return waiting.Ticket
}

// wantWoken checks who is to call Acquire again.
func (w *world) wantWoken(names ...string) {
	w.t.Helper()
	requesters, _ := w.ready.Next()
	var woken []string
	for _, one := range requesters {
		woken = append(woken, one.Name)
	}
	slices.Sort(woken)
	if !slices.Equal(woken, names) {
		w.t.Errorf("%v are woken, want %v", woken, names)
	}
}

func (w *world) wantIssued(want int) {
	w.t.Helper()
	if w.issued != want {
		w.t.Errorf("%d exchanges, want %d", w.issued, want)
	}
}

func TestATokenIsSharedByAllOfAClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(need("a"), "acme", "acme-1")
	w.must(need("b"), "never read", "acme-1")
	w.must(of(need("c"), "shop/client/1", "proj_2"), "never read", "acme-1")
	// Another namespace shares the token once it has shown that it has the same secret.
	w.must(of(need("d"), "other/client/7", "proj_1"), "acme", "acme-1")
	w.wantIssued(1)
	// The same client ID with another secret is another client.
	n := of(need("e"), "evil/client/1", "proj_1")
	n.Credentials = &pipedream.Credentials{ClientID: "acme", ClientSecret: pipedream.NewSensitive("guessed")}
	if got, err := w.Acquire(t.Context(), n); err == nil && got.Token().Reveal() == "acme-1" {
		t.Error("a token is lent to one who does not have its client secret")
	}
	w.wantIssued(2)
}

func TestCredentialsAreReadOncePerVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.Acquire(t.Context(), need("a")); !errors.Is(err, bearer.ErrCredentialsNeeded) {
		t.Fatalf("the error is %v", err)
	}
	w.must(with(need("a"), "acme"), "", "acme-1")
	w.must(need("b"), "never read", "acme-1")
	// The Secret has changed, and its credentials have not.
	changed := of(need("b"), "shop/client/2", "proj_1")
	if _, err := w.Acquire(t.Context(), changed); !errors.Is(err, bearer.ErrCredentialsNeeded) {
		t.Fatalf("the error is %v", err)
	}
	w.must(with(changed, "acme"), "", "acme-1")
	w.wantIssued(1)
	w.must(of(need("b"), "shop/client/3", "proj_1"), "new", "new-2")
}

// One of many leads, and the others wait for it.
func TestSingleFlight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.Acquire(t.Context(), need("a")); !errors.Is(err, bearer.ErrCredentialsNeeded) {
		t.Fatalf("the error is %v", err)
	}
	for i := range 1000 {
		w.mustWait(need(fmt.Sprintf("b%04d", i)))
	}
	w.wantWoken()
	w.must(with(need("a"), "acme"), "", "acme-1")
	if woken, _ := w.ready.Next(); len(woken) != 1000 {
		t.Errorf("%d are woken, want 1000", len(woken))
	}
	for i := range 1000 {
		w.must(need(fmt.Sprintf("b%04d", i)), "never read", "acme-1")
	}
	w.wantIssued(1)
	w.wantWoken()
	if load := w.limiter.Load(); load.Waiting != (throttle.Load{}).Waiting {
		t.Errorf("somebody waits still: %+v", load)
	}
}

func TestTwoNamespacesWithOneClientFlyOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := of(need("b"), "other/client/1", "proj_1")
	for _, n := range []bearer.Need{need("a"), other} {
		if _, err := w.Acquire(t.Context(), n); !errors.Is(err, bearer.ErrCredentialsNeeded) {
			t.Fatalf("the error is %v", err)
		}
	}
	w.mustWait(of(need("c"), "other/client/1", "proj_1"))
	w.must(with(need("a"), "acme"), "", "acme-1")
	w.must(with(other, "acme"), "", "acme-1")
	w.wantWoken("c")
	w.wantIssued(1)
}

func TestALeaderThatGoesAwayIsReplaced(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*world){
		"because it is deleted": func(w *world) { w.Cancel(requester("a")); w.wantWoken("b") },
		"without a word":        func(w *world) { w.now = w.now.Add(6*time.Minute + time.Second) },
	}
	for name, leave := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.limiter.Pause(w.now.Add(10 * time.Second))
			if ticket := w.mustWait(need("a")); ticket.PausedUntil.IsZero() || ticket.IsReady {
				t.Errorf("the ticket is %+v", ticket)
			}
			if ticket := w.mustWait(need("b")); ticket.PausedUntil.IsZero() || !ticket.Since.Equal(begin) {
				t.Errorf("the ticket of one who waits is %+v", ticket)
			}
			w.now = w.now.Add(11 * time.Second)
			w.mustWait(need("b"))
			leave(w)
			w.must(need("b"), "acme", "acme-1")
			w.wantIssued(1)
			w.wantWoken()
		})
	}
}

func TestWhoNoLongerWaitsIsNotWoken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.Acquire(t.Context(), need("a")); !errors.Is(err, bearer.ErrCredentialsNeeded) {
		t.Fatal(err)
	}
	w.mustWait(need("b"))
	w.mustWait(need("c"))
	w.Cancel(requester("b"))
	w.must(with(need("a"), "acme"), "", "acme-1")
	w.wantWoken("c")
}

func TestTheTurnIsTheLimiters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.limiter.Pause(w.now.Add(10 * time.Second))
	w.mustWait(need("a"))
	w.wantIssued(0)
	w.now = w.now.Add(10 * time.Second)
	turns, _ := w.turns.Next()
	if len(turns) != 1 || turns[0] != requester("a") {
		t.Fatalf("the turn of %v has come", turns)
	}
	w.must(need("a"), "acme", "acme-1")
}

func TestATokenIsReplacedInTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(need("a"), "acme", "acme-1")
	w.now = begin.Add(40*time.Minute - time.Second)
	w.must(need("a"), "acme", "acme-1")
	w.now = begin.Add(40 * time.Minute)
	// One has it replaced, and the others do not wait for it.
	if _, err := w.Acquire(t.Context(), need("a")); !errors.Is(err, bearer.ErrCredentialsNeeded) {
		t.Fatalf("the error is %v", err)
	}
	w.must(need("b"), "acme", "acme-1")
	// Pipedream may not know the new one at once.
	w.must(with(need("a"), "acme"), "", "acme-1")
	w.wantIssued(2)
	w.now = w.now.Add(10*time.Second - 1)
	w.must(need("b"), "acme", "acme-1")
	w.now = w.now.Add(1)
	w.must(need("b"), "acme", "acme-2")
	w.wantWoken()
	w.wantIssued(2)
}

func TestTheTokenBeforeIsNotLentWhenItIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(need("a"), "acme", "acme-1")
	w.now = begin.Add(50 * time.Minute)
	b := w.must(need("a"), "acme", "acme-1")
	w.report(b, errTokenRejected, true)
	w.must(need("a"), "acme", "acme-2")
	w.must(need("b"), "acme", "acme-2")
	w.wantIssued(2)
}

func TestATokenIsUsedUntilItsEnd(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		given func(*world)
		want  string // what is lent in the last second
	}{
		"while the Limiter has no turn":      {func(w *world) { w.limiter.Pause(w.now.Add(15 * time.Minute)) }, "acme-1"},
		"while Pipedream does not answer":    {func(w *world) { w.fails = errUnavailable }, "acme-1"},
		"while the client secret is refused": {func(w *world) { w.fails = errRejected }, "acme-1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.must(need("a"), "acme", "acme-1")
			w.now = begin.Add(50 * time.Minute)
			test.given(w)
			w.now = begin.Add(time.Hour - time.Second)
			w.must(need("a"), "acme", test.want)
			w.must(need("b"), "acme", test.want)
			if n := w.issued; n > 2 {
				t.Errorf("%d exchanges", n)
			}
			w.now = begin.Add(time.Hour)
			if got, err := w.acquire(need("a"), "acme"); err == nil {
				t.Errorf("after its end it lends %q", got.Token().Reveal())
			}
		})
	}
}

func TestOnlyTheCurrentToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	only := need("a")
	only.OnlyCurrent = true
	if _, err := w.Acquire(t.Context(), only); !errors.Is(err, bearer.ErrCredentialsNeeded) {
		t.Errorf("the error is %v", err)
	}
	w.must(need("b"), "acme", "acme-1")
	w.now = begin.Add(50 * time.Minute)
	if _, err := w.Acquire(t.Context(), need("a")); !errors.Is(err, bearer.ErrCredentialsNeeded) {
		t.Errorf("the error is %v", err)
	}
	w.must(only, "never read", "acme-1") // It could not read its credentials.
	w.must(need("b"), "acme", "acme-1")
	w.wantIssued(2)
}

func TestFailuresAreShared(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fails *pipedream.Error
		// most is how many exchanges a thousand accounts cost in the first minute, and wait is how long the
		// first of them waits.
		most    int
		longest time.Duration
	}{
		"bad credentials": {errRejected, 3, time.Minute},
		"a bad scope":     {&pipedream.Error{Kind: pipedream.ScopeRejected, StatusCode: 400}, 3, time.Minute},
		"a server error":  {errUnavailable, 8, 30 * time.Second},
		"nonsense":        {&pipedream.Error{Kind: pipedream.Malformed, StatusCode: 200}, 8, 30 * time.Second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fails = test.fails
			reads := 0
			for ; w.now.Before(begin.Add(time.Minute)); w.now = w.now.Add(time.Second) {
				for i := range 1000 {
					n := need(fmt.Sprint(i))
					_, err := w.Acquire(t.Context(), n)
					if errors.Is(err, bearer.ErrCredentialsNeeded) {
						reads++
						_, err = w.Acquire(t.Context(), with(n, "acme"))
					}
					if failed, ok := errors.AsType[*pipedream.Error](err); ok {
						if wait := failed.RetryAt.Sub(w.now); failed.Kind != test.fails.Kind || wait <= 0 || wait > test.longest {
							t.Fatalf("it fails with %s, to be tried again in %s", failed.Kind, wait)
						}
					}
				}
			}
			if w.issued > test.most || reads > test.most {
				t.Errorf("%d exchanges and %d reads, want at most %d", w.issued, reads, test.most)
			}
			// All is well again.
			w.fails, w.now = nil, w.now.Add(time.Minute)
			w.must(need("0"), "acme", fmt.Sprintf("acme-%d", w.issued+1))
		})
	}
}

func TestARefusalIsKnownToAllWhoUseTheLimiter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fails = errRejected
	w.mustFail(need("a"), pipedream.CredentialsRejected)
	// A PipedreamToken with the same client is not sent.
	token := throttle.Requester{Kind: "PipedreamToken", Group: "shop", Name: "a"}
	w.limiter.Reserve(token, throttle.ReserveOptions{CredentialReference: "token"})
	err := w.limiter.Do(token, throttle.DoOptions{Credentials: with(need("a"), "acme").Credentials}, func() error {
		t.Error("it was sent")
		return nil
	})
	if failed, ok := errors.AsType[*pipedream.Error](err); !ok || failed.Kind != pipedream.CredentialsRejected {
		t.Errorf("the error is %v", err)
	}
}

func TestARequestBypassesTheMemoryOfRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fails = errRejected
	w.mustFail(need("a"), pipedream.CredentialsRejected)
	w.fails = nil
	asked := need("a")
	asked.BypassRefusalCache = true
	w.mustFail(asked, pipedream.CredentialsRejected)
	w.now = w.now.Add(10 * time.Second)
	w.mustFail(need("b"), pipedream.CredentialsRejected)
	w.must(asked, "acme", "acme-2")
	w.must(need("b"), "acme", "acme-2")
}

func TestAnExchangeThatPanicsIsOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store, ready := bearer.New(bearer.Options{
		Limiter: w.limiter, Now: func() time.Time { return w.now },
		Issue: func(context.Context, pipedream.Credentials, []string) (pipedream.Token, error) { panic("oops") },
	})
	if _, err := store.Acquire(t.Context(), need("a")); !errors.Is(err, bearer.ErrCredentialsNeeded) {
		t.Fatal(err)
	}
	if _, err := store.Acquire(t.Context(), need("b")); err == nil {
		t.Fatal("b does not wait")
	}
	func() {
		defer func() { _ = recover() }()
		_, _ = store.Acquire(t.Context(), with(need("a"), "acme"))
	}()
	if woken, _ := ready.Next(); len(woken) != 1 {
		t.Errorf("%v are woken", woken)
	}
}

func TestWhatIsUnusedIsForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.life = 30 * 24 * time.Hour
	w.must(need("a"), "acme", "acme-1")
	w.now = begin.Add(119 * time.Minute)
	w.must(need("a"), "never read", "acme-1")
	if _, wait := w.ready.Next(); wait <= 0 {
		t.Error("nobody will look again")
	}
	w.now = w.now.Add(2*time.Hour + time.Minute)
	if _, wait := w.ready.Next(); wait != 0 {
		t.Errorf("there is something left to forget, in %s", wait)
	}
	if _, err := w.Acquire(t.Context(), need("a")); !errors.Is(err, bearer.ErrCredentialsNeeded) {
		t.Errorf("the error is %v", err)
	}
}

func TestABearerShowsNoToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.must(need("a"), "acme", "acme-1")
	if shown := fmt.Sprintf("%v %+v %#v", b, b, b); strings.Contains(shown, "acme-1") || strings.Contains(shown, "s3cr3t") {
		t.Errorf("it shows %s", shown)
	}
	if !(bearer.Bearer{}).Token().IsEmpty() {
		t.Error("no Bearer has a token")
	}
}
