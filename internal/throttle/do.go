// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle

import (
	"errors"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// Do sends the requester's request if its ticket is ready, and returns the error of the
// request. It returns ErrNotReady if the request was not sent.
//
// Credentials that Pipedream has refused are not sent again for a while. Do then sends
// nothing, and returns the *pipedream.Error of the refusal. RetryAt of a refusal, and of
// an answer that there are too many requests, is when the next request may be sent. It is
// at most retry.LongestWait from now.
func (l *Limiter) Do(requester Requester, options DoOptions, request func() error) (err error) {
	f, err := l.begin(requester, options)
	if err != nil {
		return err
	}
	// If the request panics, this error remains.
	err = &pipedream.Error{Kind: pipedream.Unavailable, Detail: "the request was interrupted"}
	defer func() { err = l.end(f, err) }()
	return request()
}

// flight is a request that is on its way.
type flight struct {
	sentAt    time.Time
	client    *oauthClient
	reference *reference
	isProbe   bool
}

// begin uses up the requester's turn. It returns an error when there is nothing to send.
func (l *Limiter) begin(requester Requester, options DoOptions) (flight, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.now()
	s := &l.schedule
	s.expire(now)
	e := s.entries[requester]
	if e == nil || e.state == waiting {
		return flight{}, ErrNotReady
	}
	wasReadyToSend := e.state == readyToSend
	s.takeBack(e)
	s.queue.putBack(e)
	if options.Credentials != nil {
		e.bypassesRefusals = options.BypassRefusalCache
		s.identify(e, s.clients.of(*options.Credentials), now)
		if refusal := e.client.refusalFor(e, now); refusal != nil {
			s.drop(e)
			s.advance(now)
			return flight{}, l.toExternal(refusal)
		}
	}
	if !wasReadyToSend || !s.canSend(now) || !s.eligibility(now)(e) || !s.bucket.AllowN(now, 1) {
		s.advance(now)
		return flight{}, ErrNotReady
	}
	return s.depart(e, now), nil
}

// end records how a request has ended, and returns its error with the time of the next
// attempt.
func (l *Limiter) end(f flight, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.now()
	s := &l.schedule
	s.inFlight--
	s.clients.release(f.reference)
	failed, kind := failureOf(err)
	if kind == pipedream.RateLimited {
		end := s.pauseUntil(l.clock.toInternal(failed.RetryAt), f.sentAt, now)
		err = l.toExternal(failed.WithRetryAt(end))
	}
	if f.isProbe && s.pause.probed(kind, now) {
		// The bucket has filled up during the probe. All requests that wait would go at once.
		s.bucket.AllowN(now, max(0, int(s.bucket.TokensAt(now))-1))
	}
	if f.client != nil {
		if refusal := f.learn(s, failed, kind, now); refusal != nil {
			err = l.toExternal(refusal)
		}
	}
	s.advance(now)
	return err
}

// toExternal returns an error with its time by the clock of the callers.
func (l *Limiter) toExternal(err *pipedream.Error) *pipedream.Error {
	return err.WithRetryAt(l.clock.toExternal(err.RetryAt))
}

// failureOf returns err as a *pipedream.Error, with its kind. An error of another type
// says as little about the API as a missing answer does.
func failureOf(err error) (*pipedream.Error, pipedream.Kind) {
	if err == nil {
		return nil, ""
	}
	failed, ok := errors.AsType[*pipedream.Error](err)
	if !ok {
		failed = &pipedream.Error{Kind: pipedream.Unavailable}
	}
	return failed, failed.Kind
}

// learn records what the end of a request says about its OAuth client. It returns the
// refusal if the client was refused.
func (f flight) learn(s *schedule, failed *pipedream.Error, kind pipedream.Kind, now time.Time) (refusal *pipedream.Error) {
	client := f.client
	client.inFlight--
	client.users--
	switch kind {
	case "", pipedream.ScopeRejected, pipedream.ScopeNotGranted:
		client.accept(f.sentAt, now)
		s.clients.limitAccepted()
	case pipedream.CredentialsRejected:
		refusal = client.refuse(failed, f.sentAt, now)
		s.clients.limitRefused()
	case pipedream.CredentialsInvalid, pipedream.RequestRejected, pipedream.RateLimited, pipedream.Unavailable, pipedream.Malformed:
	case pipedream.TokenRejected, pipedream.AccessDenied, pipedream.AccountNotFound, pipedream.AccountDead,
		pipedream.AccountNotExportable, pipedream.AccountAmbiguous, pipedream.AccountMismatch:
		// An answer about an account says nothing about client credentials.
	}
	s.clients.tidy(client)
	if client.refusal != nil {
		for _, e := range s.entries {
			if e.client == client {
				s.answerFromCache(e, now)
			}
		}
	}
	return refusal
}
