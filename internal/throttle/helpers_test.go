// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// The ways in which a request ends.
var (
	errTooMany     = &pipedream.Error{Kind: pipedream.RateLimited, StatusCode: 429}
	errUnavailable = &pipedream.Error{Kind: pipedream.Unavailable, StatusCode: 500}
	errServer      = &pipedream.Error{Kind: pipedream.Unavailable, StatusCode: 500}
	errRefused     = &pipedream.Error{Kind: pipedream.CredentialsRejected, StatusCode: 401}
	errScope       = &pipedream.Error{Kind: pipedream.ScopeRejected, StatusCode: 400}
	// errRejected says nothing about the client, and shows that Pipedream answers.
	errRejected = &pipedream.Error{Kind: pipedream.RequestRejected, StatusCode: 404}
)

// second is when each test begins.
var second = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// inGroup returns a requester of the kind that most requesters have.
func inGroup(group, name string) throttle.Requester {
	return throttle.Requester{Kind: "PipedreamToken", Group: group, Name: name}
}

// shop returns a requester of the group that most requesters are in.
func shop(name string) throttle.Requester { return inGroup("shop", name) }

// client returns credentials of their own for each name.
func client(name string) *pipedream.Credentials {
	return &pipedream.Credentials{ClientID: name, ClientSecret: pipedream.NewSensitive("s3cr3t")}
}

// limiter is a Limiter with its Ready, and with a clock that the test sets.
type limiter struct {
	*throttle.Limiter
	ready *throttle.Ready
	t     testing.TB
	// now is the current time, unless the options have another clock.
	now time.Time
	// checks counts the calls of check, which leaves out most of the checks that take long.
	checks int
}

// newLimiter returns a limiter for five requests a second, or for the given options.
func newLimiter(tb testing.TB, options throttle.Options) *limiter {
	tb.Helper()
	l := &limiter{t: tb, now: second}
	if options.PerSecond == 0 {
		options.PerSecond, options.Burst = 5, 10
	}
	if options.InFlight == 0 {
		options.InFlight = 50
	}
	if options.Now == nil {
		options.Now = func() time.Time { return l.now }
	}
	l.Limiter, l.ready = throttle.NewLimiter(options)
	return l
}

// reserve reserves a ticket for a request without client credentials, or with credentials
// that the limiter learns about when the request is sent.
func (l *limiter) reserve(requester throttle.Requester, lane throttle.Lane) throttle.Ticket {
	return l.reserveAs(requester, lane, "")
}

// reserveAs reserves a ticket for a request with the credentials that a reference names.
func (l *limiter) reserveAs(requester throttle.Requester, lane throttle.Lane, reference string) throttle.Ticket {
	return l.Reserve(requester, throttle.ReserveOptions{Lane: lane, CredentialReference: reference})
}

// do sends a request without client credentials.
func (l *limiter) do(requester throttle.Requester, request func() error) error {
	return l.Do(requester, throttle.DoOptions{}, request)
}

// doAs sends a request with client credentials.
func (l *limiter) doAs(requester throttle.Requester, credentials pipedream.Credentials, bypass bool, request func() error) error {
	return l.Do(requester, throttle.DoOptions{Credentials: &credentials, BypassRefusalCache: bypass}, request)
}

// after sets the clock to a time after the begin of the test, and a microsecond more,
// because the bucket rounds its times.
func (l *limiter) after(d time.Duration) *limiter {
	l.now = second.Add(d + time.Microsecond)
	return l
}

// hasTurn reserves a ticket, and tells whether it is ready.
func (l *limiter) hasTurn(requester throttle.Requester) bool {
	l.t.Helper()
	isTurn := l.reserve(requester, throttle.DueRenewal).IsReady
	l.check()
	return isTurn
}

func (l *limiter) wantTurn(names ...string) {
	l.t.Helper()
	for _, name := range names {
		if !l.hasTurn(shop(name)) {
			l.t.Errorf("%s after the beginning it is not the turn of %s", l.now.Sub(second), name)
		}
	}
}

func (l *limiter) wantNoTurn(names ...string) {
	l.t.Helper()
	for _, name := range names {
		if l.hasTurn(shop(name)) {
			l.t.Errorf("%s after the beginning it is the turn of %s", l.now.Sub(second), name)
		}
	}
}

// try reserves a ticket, and sends a request that ends at once with the given outcome.
func (l *limiter) try(name string, credentials *pipedream.Credentials, outcome error) error {
	l.t.Helper()
	l.reserve(shop(name), throttle.DueRenewal)
	return l.send(name, credentials, false, outcome)
}

// send sends a request that ends at once with the given outcome, if the ticket is ready.
func (l *limiter) send(name string, credentials *pipedream.Credentials, bypass bool, outcome error) error {
	l.t.Helper()
	request := func() error { return outcome }
	var err error
	if credentials == nil {
		err = l.do(shop(name), request)
	} else {
		err = l.doAs(shop(name), *credentials, bypass, request)
	}
	l.check()
	return err
}

// tryScopes sends a request for some scopes, which ends at once with the given outcome.
func (l *limiter) tryScopes(name string, credentials *pipedream.Credentials, outcome error, scopes ...string) error {
	l.t.Helper()
	l.Reserve(shop(name), throttle.ReserveOptions{Lane: throttle.DueRenewal, Scopes: scopes})
	defer l.check()
	return l.Do(shop(name), throttle.DoOptions{Credentials: credentials, Scopes: scopes}, func() error { return outcome })
}

// wantPass checks that a request is sent at once.
func (l *limiter) wantPass(name string) {
	l.t.Helper()
	if err := l.try(name, nil, nil); err != nil {
		l.t.Errorf("%s after the beginning the request of %s is not sent: %v", l.now.Sub(second), name, err)
	}
}

// drain sends as many requests as the burst allows.
func (l *limiter) drain(burst int) {
	l.t.Helper()
	for i := range burst {
		l.wantPass(fmt.Sprintf("drain-%d", i))
	}
}

// limited sends a request that is answered with "too many requests", and returns when the
// requester may try again.
func (l *limiter) limited(name string, retryAt time.Time) time.Time {
	l.t.Helper()
	err := l.try(name, nil, &pipedream.Error{Kind: pipedream.RateLimited, StatusCode: 429, RetryAt: retryAt})
	return l.wantKind(err, pipedream.RateLimited).RetryAt
}

func (l *limiter) wantKind(err error, kind pipedream.Kind) pipedream.Error {
	l.t.Helper()
	cause, ok := errors.AsType[*pipedream.Error](err)
	if !ok || cause.Kind != kind {
		l.t.Fatalf("%s after the beginning the error is %v; want one that says %s", l.now.Sub(second), err, kind)
	}
	return *cause
}

func (l *limiter) wantNotReady(err error) {
	l.t.Helper()
	if !errors.Is(err, throttle.ErrNotReady) {
		l.t.Errorf("%s after the beginning the error is %v; want ErrNotReady", l.now.Sub(second), err)
	}
}

func (l *limiter) wantNil(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Errorf("%s after the beginning: %v", l.now.Sub(second), err)
	}
}

// check checks that the limiter is consistent.
func (l *limiter) check() {
	l.t.Helper()
	if l.checks++; l.Tickets()+l.Clients() > 100 && l.checks%100 != 0 {
		return
	}
	if err := l.Check(); err != nil {
		l.t.Fatalf("%s after the beginning the limiter is not consistent: %v", l.now.Sub(second), err)
	}
}

// flight is a request on its way, which ends when the test calls end.
type flight struct {
	l       *limiter
	outcome chan error
	ended   chan error
}

// start reserves a ticket, and sends a request that stays on its way.
func (l *limiter) start(name string, credentials *pipedream.Credentials) *flight {
	l.t.Helper()
	l.reserve(shop(name), throttle.DueRenewal)
	f := l.tryStart(name, credentials)
	if f == nil {
		l.t.Fatalf("%s after the beginning the request of %s is not sent", l.now.Sub(second), name)
	}
	return f
}

// tryStart sends a request that stays on its way, and returns nil if it is not sent.
func (l *limiter) tryStart(name string, credentials *pipedream.Credentials) *flight {
	l.t.Helper()
	f := &flight{l: l, outcome: make(chan error), ended: make(chan error, 1)}
	started := make(chan struct{})
	request := func() error {
		close(started)
		return <-f.outcome
	}
	go func() {
		if credentials == nil {
			f.ended <- l.do(shop(name), request)
		} else {
			f.ended <- l.doAs(shop(name), *credentials, false, request)
		}
	}()
	defer l.check()
	select {
	case <-started:
		return f
	case err := <-f.ended:
		if err == nil {
			l.t.Error("a request that was not sent has succeeded")
		}
		return nil
	}
}

// end ends the request with the given outcome, and returns the error that its sender gets.
func (f *flight) end(outcome error) error {
	f.l.t.Helper()
	f.outcome <- outcome
	err := <-f.ended
	f.l.check()
	return err
}
