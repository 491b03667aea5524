// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"time"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/attempt"
	"github.com/pipedream-operator/pipedream-operator/internal/refresh"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

// askForAnother remembers that the spec asks for another account than before. What Pipedream has said about the
// account whose credentials are in the Secret is true still when the spec asks for that account again.
func (a *attemptState) askForAnother(s snapshot) {
	if held := s.record(); held != nil && held.Request == a.verdict.request {
		a.verdictOfHeld = a.verdict
	}
	a.verdict = verdictState{request: s.desired.Request, health: v1alpha1.ReasonHealthUnknown}
	if a.verdictOfHeld.request == s.desired.Request {
		a.verdict = a.verdictOfHeld
	}
}

// applyVerdict remembers what Pipedream says about the account. It is no failed attempt: Pipedream has
// answered.
func (st *state) applyVerdict(s snapshot, o verdictGiven) {
	st.attempt.countTriggered(o.why, o.at)
	a := &st.attempt
	a.verdict.given.Add(verdictKindOf(o.cause.Kind), o.otherFetched, o.at)
	a.verdict.failure = attempt.New(rows.Of(reasonOf(o.cause.Kind)), o.cause.Error(), s.inputs(), o.at).After(a.verdict.failure)
	a.verdict.health = healthOf(a.verdict.given.Kind)
	a.failure, a.overtaken = nil, 0
	a.looks.Add(s.desired, nil, false, o.at)
	a.isRestored = false
}

// applyLook remembers that the account was looked at, and that the Secret holds the credentials that Pipedream gives
// out, unless they have expired already.
func (st *state) applyLook(s snapshot, seen look, why refresh.Why) {
	st.attempt.countTriggered(why, seen.at)
	var before *refresh.Record
	if r := s.record(); r != nil {
		before = &r.Record
	}
	a := &st.attempt
	a.looks.Add(s.desired, before, seen.isNewer && !seen.isStale, seen.at)
	a.overtaken, a.omitted = 0, seen.omitted
	if !seen.isStale {
		a.verdict = a.verdict.delivered()
	}
	if !seen.isStale || before != nil && refresh.HasJustExpired(seen.record.Record, seen.at) {
		a.failure = nil
		return
	}
	failed := st.fail(s, v1alpha1.ReasonCredentialsStale, "they expired at "+seen.record.ExpirationTime.UTC().Format(time.RFC3339), seen.at)
	failed.NotBefore = seen.at.Add(retry.Doubled(firstStaleWait, longestStaleWait, failed.Count))
}
