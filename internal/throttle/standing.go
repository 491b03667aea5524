// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle

import (
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

const (
	// quietTime is how long an acceptance allows further requests at the same time. After
	// it, the next request goes alone.
	quietTime = 5 * time.Second
	// firstRefusal is how long a refused request is not sent again after the first refusal.
	// The time doubles with each further refusal in a row, up to retry.LongestWait.
	firstRefusal = time.Minute
	// firstBypass and longestBypass are the same for requesters that bypass the refusal
	// cache.
	firstBypass   = 10 * time.Second
	longestBypass = 5 * time.Minute
)

// standing is how Pipedream has answered to the last requests of one sort. The methods
// may be called on nil: nothing is known then, and nothing is remembered.
type standing struct {
	// users counts the entries that are known to send such a request, and the requests on
	// their way.
	users int
	// readyToSend counts the entries that are ready to send such a request, and inFlight the
	// requests on their way.
	readyToSend, inFlight int
	// acceptedAt is when such a request was last accepted. It is zero if one was refused
	// since. inARow counts the acceptances in a row, without a quiet time in between.
	acceptedAt time.Time
	inARow     int
	// refusal is the last answer if it was a refusal. It came at refusedAt, to a request
	// that was sent at triedAt. refusals counts the refusals in a row.
	refusal            *pipedream.Error
	triedAt, refusedAt time.Time
	refusals           int
}

func (s *standing) addReadyToSend(count int) {
	if s != nil {
		s.readyToSend += count
	}
}

// depart counts a request that is on its way now. Each call needs a call of arrive.
func (s *standing) depart() {
	if s != nil {
		s.inFlight++
		s.users++
	}
}

// arrive counts a request that is no longer on its way.
func (s *standing) arrive() {
	s.inFlight--
	s.users--
}

// mayBegin reports whether another request may be on its way now. After a quiet time one
// request goes alone. With each acceptance, one more request may be on its way at the same
// time. So few requests find out that Pipedream refuses them from now on.
func (s *standing) mayBegin(now time.Time) bool {
	if s == nil {
		return true
	}
	if s.refusal != nil && now.Before(s.refusedAt.Add(retry.Doubled(firstBypass, longestBypass, s.refusals))) {
		return false
	}
	busy := s.readyToSend + s.inFlight
	return busy == 0 || busy <= s.inARow && now.Sub(s.acceptedAt) <= quietTime
}

// refusalFor returns the refusal if it answers the entry's request, so that there is
// nothing to send, and otherwise nil. For an entry that bypasses the refusal cache, only
// an attempt that began after its reservation is an answer.
func (s *standing) refusalFor(e *entry, now time.Time) *pipedream.Error {
	if s == nil || s.refusal == nil || !now.Before(s.refusal.RetryAt) || e.bypassesRefusals && s.triedAt.Before(e.since) {
		return nil
	}
	return s.refusal
}

// accept records that the request that was sent at sentAt was accepted.
func (s *standing) accept(sentAt, now time.Time) {
	if sentAt.Sub(s.acceptedAt) > quietTime {
		s.inARow = 0
	}
	inARow := s.inARow + 1
	s.forget()
	s.acceptedAt, s.inARow = now, inARow
}

// forget forgets all answers.
func (s *standing) forget() {
	*s = standing{users: s.users, readyToSend: s.readyToSend, inFlight: s.inFlight}
}

// refuse records that the request that was sent at sentAt was refused. It returns the
// refusal with the time of the next attempt.
func (s *standing) refuse(refusal *pipedream.Error, sentAt, now time.Time) *pipedream.Error {
	s.acceptedAt, s.inARow = time.Time{}, 0
	if s.refusal == nil || s.refusedAt.Before(sentAt) {
		// A request that was on its way at the last refusal says nothing new.
		s.refusals++
		s.triedAt, s.refusedAt = sentAt, now
		s.refusal = refusal.WithRetryAt(now.Add(retry.Doubled(firstRefusal, retry.LongestWait, s.refusals)))
	}
	return s.refusal
}
