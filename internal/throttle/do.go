// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle

import (
	"errors"
	"slices"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// Do sends the requester's request if its ticket is ready, and returns the error of the
// request. It returns ErrNotReady if the request was not sent.
//
// Credentials that Pipedream has refused are not sent again for a while, and neither are
// scopes that it has refused to these credentials. Do then sends nothing, and returns the
// *pipedream.Error of the refusal. RetryAt of an error is when the next such request may be
// sent: after a refusal, after an answer that there are too many requests, and in an outage.
// It is at most retry.LongestWait from now.
func (l *Limiter) Do(requester Requester, options DoOptions, request func() error) (err error) {
	f, err := l.begin(requester, options)
	if err != nil {
		return err
	}
	err = errPanicked
	defer func() { err = l.end(f, err) }()
	return request()
}

// errPanicked is the error of a request that has panicked.
var errPanicked error = &pipedream.Error{Kind: pipedream.Unavailable, Detail: "the request was interrupted"}

// flight is a request that is on its way.
type flight struct {
	requester Requester
	sentAt    time.Time
	client    *oauthClient
	request   *request
	reference *reference
	// isProbe is true if this is the probe after a pause. outage is the begin of the outage
	// that this is a probe of, and otherwise zero.
	isProbe bool
	outage  time.Time
}

// begin uses up the requester's turn. It returns an error when there is nothing to send.
func (l *Limiter) begin(requester Requester, options DoOptions) (*flight, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.now()
	s := &l.schedule
	s.expire(now)
	e := s.entries[requester]
	if e == nil || e.state == waiting {
		return nil, ErrNotReady
	}
	wasReadyToSend := e.state == readyToSend
	s.turns.takeBack(e)
	s.queue.putBack(e)
	if options.Credentials == nil {
		s.clients.bind(e, "") // The answer will say nothing about the credentials there.
		s.queue.move(e)
	} else {
		s.clients.rename(e, options.Scopes)
		s.queue.move(e)
		e.bypassesRefusals = options.BypassRefusalCache
		s.identify(e, s.clients.of(*options.Credentials), now)
		if refusal := e.refusal(now); refusal != nil {
			s.drop(e)
			s.advance(now)
			return nil, l.toExternal(refusal)
		}
	}
	if !wasReadyToSend || !s.canSend(now) || !s.eligibility(now)(e) || !s.bucket.AllowN(now, 1) {
		s.advance(now)
		return nil, ErrNotReady
	}
	return s.depart(e, now), nil
}

// end records how a request has ended, and returns its error with the time of the next
// attempt.
func (l *Limiter) end(f *flight, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.now()
	s := &l.schedule
	s.flights = slices.DeleteFunc(s.flights, func(other *flight) bool { return other == f })
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
	if !errors.Is(err, errPanicked) { // A panic says nothing about Pipedream.
		f.learnOutage(s, kind, now)
	}
	s.outage.probed(f, now)
	if at := f.retryAt(s, kind); !at.IsZero() {
		err = l.toExternal(failed.WithRetryAt(at))
	}
	if f.client == nil {
		f.learnOfGroup(s, kind, now)
	} else if refusal := f.learn(s, failed, kind, now); refusal != nil {
		err = l.toExternal(refusal)
	}
	s.wake(now)
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

// learnOutage records what the end of a request says about whether Pipedream answers, and
// whether it answers this request.
func (f *flight) learnOutage(s *schedule, kind pipedream.Kind, now time.Time) {
	o := &s.outage
	switch {
	case isGood(kind):
		if o.isOn {
			// The bucket has filled up during the outage. All requests that wait would go at once.
			s.bucket.AllowN(now, max(0, int(s.bucket.TokensAt(now))-1))
		}
		o.succeed(f.request, now)
		f.request.succeed()
	case isFailure(kind):
		// A request that fails alone says nothing about Pipedream. During an outage, a request
		// fails for no reason of its own.
		isAlone, counts := f.request.isAlone(), s.outage.counts(f.request, now)
		if isAlone || !o.isOn {
			f.request.fail(kind, f.sentAt, o.lastGood, now)
			s.clients.limitRefused()
		}
		if !isAlone && o.fail(f, kind, counts, now) {
			s.takeAllBack()
		}
	}
}

// retryAt returns when the next such request may be sent, and the zero time if that is now.
func (f *flight) retryAt(s *schedule, kind pipedream.Kind) (at time.Time) {
	if !isFailure(kind) {
		return at
	}
	if s.outage.isOn {
		at = s.outage.nextProbe
	}
	if f.request.isFailing() && f.request.streak.nextProbe().After(at) {
		at = f.request.streak.nextProbe()
	}
	return at
}

// learn records what the end of a request says about its OAuth client, and about all
// requests for the same scopes. It returns the refusal if the request was refused.
func (f *flight) learn(s *schedule, failed *pipedream.Error, kind pipedream.Kind, now time.Time) (refusal *pipedream.Error) {
	f.client.arrive()
	f.request.arrive()
	switch kind {
	case "", pipedream.AccountDead, pipedream.AccountNotExportable, pipedream.AccountAmbiguous, pipedream.AccountMismatch:
		// Pipedream has accepted the API key also if it says something bad about the account.
		f.client.accept(f.sentAt, now)
		f.request.accept(f.sentAt, now)
		s.clients.limitAccepted()
	case pipedream.ScopeRejected, pipedream.ScopeNotGranted:
		f.client.accept(f.sentAt, now)
		s.clients.limitAccepted()
		refusal = f.request.refuse(failed, f.sentAt, now)
		s.clients.limitRefused()
	case pipedream.RequestRejected:
		refusal = f.request.refuse(failed, f.sentAt, now)
		s.clients.limitRefused()
	case pipedream.CredentialsRejected:
		refusal = f.client.refuse(failed, f.sentAt, now)
		s.clients.limitRefused()
	case pipedream.CredentialsInvalid, pipedream.RateLimited, pipedream.Unavailable, pipedream.Malformed:
	case pipedream.TokenRejected, pipedream.AccessDenied, pipedream.AccountNotFound:
		// These say nothing about the credentials.
	}
	s.clients.tidy(f.client)
	s.clients.tidyRequest(f.request)
	if f.client.refusal != nil || f.request.refusal != nil {
		for _, e := range s.entries {
			if e.client == f.client {
				s.answerFromCache(e, now)
			}
		}
	}
	return refusal
}

// learnOfGroup does the same for a request without credentials. A refusal is about one
// account, and says nothing about the other requests of the group.
func (f *flight) learnOfGroup(s *schedule, kind pipedream.Kind, now time.Time) {
	f.request.arrive()
	if isGood(kind) {
		f.request.accept(f.sentAt, now)
		s.clients.limitAccepted()
	}
	s.clients.tidyRequest(f.request)
}

// wake reports the requesters that have failed in an outage, when it is over.
func (s *schedule) wake(now time.Time) {
	if woken := s.outage.wake(now); len(woken) > 0 {
		s.turns.report(woken...)
	}
}
