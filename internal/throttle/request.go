// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle

import (
	"crypto/sha256"
	"slices"
	"strings"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

const (
	// firstProbe is how long a failing request is not sent again after its second failure
	// in a row. The time doubles with each further failure, up to longestProbe.
	//
	// Nobody knows here when the tokens of the requesters expire. Half a minute is the
	// longest wait of a requester whose token is about to expire, so the requester loses
	// nothing. Twenty failing requests then take 13 % of five requests a second.
	firstProbe   = time.Second
	longestProbe = 30 * time.Second
)

// request is what a Limiter remembers about the requests for the same scopes with the same
// client, or about the requests of one group without credentials. It is nil while the client
// is not known.
type request struct {
	standing
	digest [sha256.Size]byte
	// isOfGroup is true for the requests of a group without credentials.
	isOfGroup bool
	streak    streak
}

// streak are the failures in a row of one request, which are server errors, answers that can't
// be used, and missing answers.
type streak struct {
	// count counts the failures. The first one was sent at since. The last one came at lastAt,
	// and is of a kind.
	count         int
	since, lastAt time.Time
	kind          pipedream.Kind
	// alone counts the failures that came while Pipedream gave good answers to others.
	alone int
}

// nextProbe returns when a failing request may be sent again.
func (s *streak) nextProbe() time.Time {
	return s.lastAt.Add(retry.Doubled(firstProbe, longestProbe, s.count-1))
}

// add adds a failure of a request that was sent at sentAt. The last good answer to anybody came
// at lastGood.
func (s *streak) add(kind pipedream.Kind, sentAt, lastGood, now time.Time) {
	if s.count > 0 && !s.lastAt.Before(sentAt) {
		return // A request that was on its way at the last failure says nothing new.
	}
	if s.count == 0 {
		s.since = sentAt
	} else if lastGood.After(s.lastAt) {
		s.alone++
	}
	s.count++
	s.lastAt, s.kind = now, kind
}

// isFailing reports whether the request has failed more than once in a row.
func (r *request) isFailing() bool { return r != nil && r.streak.count > 1 }

// isAlone reports whether the request fails for a reason of its own: it went on failing
// while Pipedream gave good answers to others.
func (r *request) isAlone() bool { return r != nil && r.streak.alone > 1 }

// isTrusted reports whether the request was accepted before, and has not been refused and
// has not begun to fail for a reason of its own since.
func (r *request) isTrusted() bool { return r != nil && !r.acceptedAt.IsZero() && !r.isAlone() }

// ofAll returns the standing of all such requests; nil for a nil request.
func (r *request) ofAll() *standing {
	if r == nil {
		return nil
	}
	return &r.standing
}

// mayBegin reports whether another such request may be on its way now. A failing request
// is sent by one requester at a time, and waits longer after each failure.
func (r *request) mayBegin(now time.Time) bool {
	if r.isFailing() && (r.readyToSend+r.inFlight > 0 || now.Before(r.streak.nextProbe())) {
		return false
	}
	// The requests of a group differ, so the answer to one decides nothing about the others.
	return r == nil || r.isOfGroup || r.standing.mayBegin(now)
}

// fail records that the request that was sent at sentAt has failed. The last good answer
// to anybody came at lastGood.
func (r *request) fail(kind pipedream.Kind, sentAt, lastGood, now time.Time) {
	if r != nil {
		r.streak.add(kind, sentAt, lastGood, now)
	}
}

// succeed records that Pipedream has given a good answer to the request.
func (r *request) succeed() {
	if r != nil {
		r.streak = streak{}
	}
}

// isRemembered reports whether anything is known about the request.
func (r *request) isRemembered() bool {
	return r.refusal != nil || r.streak.count > 0 || !r.acceptedAt.IsZero()
}

// troubledAt returns when the request was last refused or has last failed, and the zero
// time if it was accepted since.
func (r *request) troubledAt() time.Time {
	if r.streak.lastAt.After(r.refusedAt) {
		return r.streak.lastAt
	}
	return r.refusedAt
}

// sorted returns scopes as the Limiter compares them: sorted, each once, and separated by
// spaces.
func sorted(scopes []string) string {
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(scopes))), " ")
}

// rename gives an entry that waits the scopes that it asks for now.
func (c clients) rename(e *entry, scopes []string) {
	if now := sorted(scopes); now != e.scopes {
		e.scopes, e.bypassesRefusals = now, false
		c.assignRequest(e)
	}
}

// refusal returns the refusal that answers the request of an entry, so that there is
// nothing to send, and otherwise nil.
func (e *entry) refusal(now time.Time) *pipedream.Error {
	if refusal := e.client.ofAll().refusalFor(e, now); refusal != nil {
		return refusal
	}
	return e.request.ofAll().refusalFor(e, now)
}
