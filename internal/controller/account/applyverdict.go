// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import "github.com/pipedream-operator/pipedream-operator/internal/controller/attempt"

// askForAnother remembers that the spec asks for another account than before. What Pipedream has said about the
// account whose credentials are in the Secret is true still when the spec asks for that account again.
func (a *attemptState) askForAnother(s snapshot) {
	if held := s.record(); held != nil && held.Request == a.verdict.request {
		a.verdictOfHeld = a.verdict
	}
	a.verdict = verdictState{request: s.desired.Request}
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
	a.failure, a.overtaken = nil, 0
	a.looks.Add(s.desired, nil, false, o.at)
	a.isRestored = false
}
