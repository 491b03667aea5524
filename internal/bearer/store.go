// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package bearer keeps the operator's own access tokens for Pipedream in memory, and nowhere else: at
// most one for each OAuth client, and a second one while it is replaced. The tokens read connected
// accounts.
//
// A Store lends a token with Acquire. No goroutine waits in this package: who has to wait for a token
// goes on with other work, and is reported by Ready when it is time to call Acquire again. After the
// request the caller reports how it ended with Report, because an answer about an account also says
// something about the token.
//
// The package keeps no client secret. It knows an OAuth client by a digest whose key ends with the
// process, so two requesters share a token only if both have the same client secret. The package knows
// nothing of Kubernetes.
package bearer

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// ErrCredentialsNeeded is the error of Acquire when the requester has to read its client credentials,
// and to call Acquire again with them.
var ErrCredentialsNeeded = errors.New("the client credentials are needed")

// WaitingError is the error of Acquire when the token is not there yet. Ready or the Limiter reports the
// requester when it is time to call Acquire again.
type WaitingError struct {
	// Ticket is how the requester that has the token issued stands at the Limiter, and since when
	// the caller waits.
	Ticket throttle.Ticket
}

// Error implements error.
func (*WaitingError) Error() string { return "the access token is not there yet" }

// Options configure a Store.
type Options struct {
	// Limiter is the one for token requests, so that refused client credentials are known to all who
	// use it. Required.
	Limiter *throttle.Limiter
	// Issue has Pipedream issue a token, as the method of pipedream.Client does. Required.
	Issue func(ctx context.Context, credentials pipedream.Credentials, scopes []string) (pipedream.Token, error)
	// Scopes are the scopes of the tokens.
	Scopes []string
	// Now returns the current time. Required.
	Now func() time.Time
}

// Need says who needs a token, and for what.
type Need struct {
	// Requester identifies who needs the token, at the Limiter and in the reports of Ready.
	Requester throttle.Requester
	// Lane is the urgency at the Limiter. Of all who wait for one token, the most urgent one decides.
	Lane throttle.Lane
	// CredentialReference names the place from which the requester reads its credentials, and
	// changes whenever the credentials there change, as in throttle.ReserveOptions.
	CredentialReference string
	// Credentials are what the requester has read there; nil if it has not.
	Credentials *pipedream.Credentials
	// Project is the project that is to be asked, and Account the account in it.
	Project, Account string
	// BypassRefusalCache asks for an attempt with credentials that were refused before, as in
	// throttle.DoOptions.
	BypassRefusalCache bool
	// OnlyCurrent asks for the token that is there, if one is, and for no other.
	OnlyCurrent bool
}

// Bearer is a token that was lent.
type Bearer struct {
	client           *client
	token            *token
	requester        throttle.Requester
	project, account string
	lentAt           time.Time
}

// Token returns the access token. It is empty for the zero Bearer.
func (b Bearer) Token() pipedream.Sensitive {
	if b.token == nil {
		return pipedream.Sensitive{}
	}
	return b.token.value
}

// Store lends tokens. It is safe for concurrent use.
type Store struct {
	options Options

	mu         sync.Mutex
	key        []byte
	clients    map[digest]*client
	references map[string]*reference
	flights    flights
	sweptAt    time.Time
}

// New returns a Store without tokens, and its only Ready.
func New(options Options) (*Store, *Ready) {
	s := &Store{
		options:    options,
		key:        []byte(rand.Text()),
		clients:    map[digest]*client{},
		references: map[string]*reference{},
		flights:    newFlights(options.Limiter),
		sweptAt:    options.Now(),
	}
	return s, &Ready{store: s}
}

// Acquire lends a token. Its errors are:
//
//   - A *WaitingError: the token is not there yet.
//   - ErrCredentialsNeeded: the requester must read its credentials and call Acquire again. It has its
//     turn for the token request, which ends ten seconds later.
//   - A *pipedream.Error: there is no token because its request has failed, or the project denies
//     access to every token of this client. RetryAt is when it is worth while to try again.
//
// From two thirds of its life on, a token is replaced by who asks for it and need not wait for that.
// Until it expires, all others use it, and for ten seconds after it was replaced, because Pipedream may
// not know the new one at once. The caller that has the token issued waits for the answer. If the turn of
// that caller has not come yet, Acquire lends the old token, and IsReplacing is true for the requester.
func (s *Store) Acquire(ctx context.Context, need Need) (Bearer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.options.Now()
	s.sweep(now)
	ref := s.reference(need, now)
	current, err := ref.client.lend(need, now)
	if err != nil || current != nil && (need.OnlyCurrent || !ref.client.isReplaced(now)) {
		s.flights.abandon(need.Requester)
		return ref.client.lease(current, need, now), err
	}
	if need.OnlyCurrent {
		return Bearer{}, ErrCredentialsNeeded
	}
	return s.lendReplaced(ref.client, need, current, s.replace(ctx, need, ref, current != nil))
}

// Send says that the request with a token is sent now, because the turn of the requester has come. If the project of
// the request denied access before, the requester asks it for all others. Send returns a *pipedream.Error if the request
// must not be sent: another requester asks the project already, or the project has denied access since the token was lent.
//
// Whoever only waits for its turn asks for nobody, because the wait may be long.
func (s *Store) Send(b Bearer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.token == nil {
		return nil
	}
	return b.client.refusals.probe(b, s.options.Now())
}

// lendReplaced lends the token that there is after an attempt to replace the current one; nil was none. The error is
// how the attempt has ended.
func (s *Store) lendReplaced(c *client, need Need, current *token, err error) (Bearer, error) {
	now := s.options.Now()
	if err == nil {
		current, err = c.lend(need, now)
	}
	switch {
	case current != nil && !errors.Is(err, ErrCredentialsNeeded):
		if c.flight == nil || c.flight.leader != need.Requester {
			s.flights.abandon(need.Requester)
		}
		return c.lease(current, need, now), nil
	case err == nil:
		err = &WaitingError{} // The new token is of no use any more.
	}
	return Bearer{}, err
}

// replace has a token issued if the turn of the requester has come. isOptional is true if there is a
// token that is good still, so that nobody waits.
func (s *Store) replace(ctx context.Context, need Need, ref *reference, isOptional bool) error {
	now := s.options.Now()
	f := ref.currentFlight()
	if !f.isLedBy(need.Requester, now) {
		if isOptional {
			return &WaitingError{}
		}
		return &WaitingError{Ticket: s.flights.wait(f, need, now)}
	}
	s.flights.lead(f, need, isOptional, now)
	switch {
	case !f.ticket.IsReady:
		return &WaitingError{Ticket: f.ticket}
	case need.Credentials == nil:
		return ErrCredentialsNeeded
	}
	return s.exchange(ctx, need, ref.client, f)
}

// exchange has a token issued. It unlocks the Store for that time.
func (s *Store) exchange(ctx context.Context, need Need, c *client, f *flight) (err error) {
	var issued pipedream.Token
	// If the request panics, the others must not wait for it.
	err = &pipedream.Error{Kind: pipedream.Unavailable, Detail: "the request was interrupted"}
	f.isSending = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		err = s.land(c, f, issued, err)
	}()
	how := throttle.DoOptions{Credentials: need.Credentials, BypassRefusalCache: need.BypassRefusalCache}
	err = s.options.Limiter.Do(need.Requester, how, func() (err error) {
		issued, err = s.options.Issue(ctx, *need.Credentials, s.options.Scopes)
		return err
	})
	return err
}

// land records how an exchange has ended, and wakes who has waited for it.
func (s *Store) land(c *client, f *flight, issued pipedream.Token, err error) error {
	now := s.options.Now()
	f.isSending = false
	switch {
	case errors.Is(err, throttle.ErrNotReady):
		f.ticket.IsReady = false
		return &WaitingError{Ticket: f.ticket}
	case err != nil:
		err = c.fail(err, now)
	default:
		c.accept(issued, now)
	}
	s.flights.end(f)
	return err
}

// Advice is what a requester is to do after a request for an account.
type Advice struct {
	// FetchAgain is true if the request is to be made again, with another token from Acquire.
	FetchAgain bool
	// Err is the error of the request. It is AccessDenied with a RetryAt if the project denies access
	// to a token that is good, and Unavailable with a RetryAt if Pipedream may not know a new token
	// yet.
	Err error
	// OtherFetched is when the project has last given out the credentials of another account to the same
	// token; zero if it has not. Until then, a 404 or an answer without credentials may mean that something
	// is wrong with all accounts of the project. Answers about the same account do not change it, nor does
	// an answer without credentials.
	OtherFetched time.Time
}

// Report records how a request for an account has ended: err is the error of
// pipedream.Client.Account, or nil. wasKnown is true if the account was answered before, so that a 404
// is unexpected.
func (s *Store) Report(b Bearer, wasKnown bool, err error) Advice {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.token == nil {
		return Advice{Err: err}
	}
	now := s.options.Now()
	failed, _ := errors.AsType[*pipedream.Error](err)
	advice := Advice{Err: err, OtherFetched: b.token.accepted[b.project].otherFetched(b.account)}
	switch {
	case err == nil, failed != nil && failed.Kind.IsAboutAccount() && !isNotFound(failed):
		b.client.acceptedBy(b, err == nil, now)
	case failed == nil:
	case failed.Kind == pipedream.TokenRejected, failed.Kind == pipedream.AccessDenied, isNotFound(failed) && wasKnown:
		advice.FetchAgain, advice.Err = b.client.refusedBy(b, failed, now)
	}
	return advice
}

// isNotFound reports whether the API has answered 404, which it may also do to a token that must not
// read the project.
func isNotFound(failed *pipedream.Error) bool {
	return failed.Kind == pipedream.AccountNotFound && failed.StatusCode == http.StatusNotFound
}

// Cancel forgets that a requester waits for a token. It must be called for a requester that no longer
// needs one.
func (s *Store) Cancel(requester throttle.Requester) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flights.abandon(requester)
}

// Release says that a requester needs no token now. If IsReplacing is true for the requester, it goes on
// with that.
func (s *Store) Release(requester throttle.Requester) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.flights.isReplacing(requester) {
		s.flights.abandon(requester)
	}
}

// Pause lets no request for a token be sent until the given time, as throttle.Limiter.Pause does.
func (s *Store) Pause(until time.Time) { s.options.Limiter.Pause(until) }

// IsReplacing reports whether a requester waits for its turn to replace a token that is good still. It must
// call Acquire when the Limiter reports it, although it needs no token itself, or else call Cancel.
func (s *Store) IsReplacing(requester throttle.Requester) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flights.isReplacing(requester)
}
