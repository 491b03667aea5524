// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"slices"
	"time"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/attempt"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/reason"
	reasons "github.com/pipedream-operator/pipedream-operator/internal/reason/account"
	"github.com/pipedream-operator/pipedream-operator/internal/refresh"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// conditionTypes are the types of the conditions of a PipedreamAccount.
var conditionTypes = []string{v1alpha1.ConditionReady, v1alpha1.ConditionFetched, v1alpha1.ConditionHealthy, v1alpha1.ConditionStalled}

// rows are the rows of the reasons.
var rows = reasons.Rows

const (
	// firstStaleWait and longestStaleWait limit the time between two looks while Pipedream gives out
	// credentials that have expired.
	firstStaleWait   = 30 * time.Second
	longestStaleWait = 5 * time.Minute
	// nearEnd is how long before their expiry credentials are in danger.
	nearEnd = time.Minute
)

// factsOf gathers what the decision is made from.
func factsOf(s snapshot, st state) refresh.Facts {
	a := st.attempt
	facts := refresh.Facts{
		Target:           s.targetState(),
		CollectedBy:      s.collectedBy(),
		OwnerTerminating: ownedsecret.IsTerminating(s.account),
		Check:            checkOf(s, st),
		HasCredentials:   hasCredentials(s, st.check.unusable),
		Superseded:       isSuperseded(s, st),
		Queued:           s.isQueued,
		Looks:            a.looks,
		Verdict:          a.verdict.given,
		Triggered:        a.triggered,
		TemplateInvalid:  st.check.templateError(s.account.Generation) != nil,
		OtherType:        isOfOtherType(s, st.cache.targetType),
	}
	if r := s.record(); r != nil {
		held := r.Record
		facts.Record = &held
		if facts.Check == refresh.Good && st.check.last.isDrifted {
			held.Rendering = "" // Labels or annotations are to be written again, which needs the credentials.
		}
	}
	addFailures(&facts, s, a)
	return facts
}

// addFailures adds what follows from failed attempts, failed requests to the API server and verdicts.
func addFailures(facts *refresh.Facts, s snapshot, a attemptState) {
	if failed := a.failure; failed != nil {
		facts.NotBefore = failed.WaitsUntil(s.outageEnded)
		facts.Changed = failed.Row.Class != reason.Paused && !failed.HasSameInputs(s.inputs(), s.targetVersion())
	}
	for _, failed := range []*attempt.Failure{a.failure, a.cluster} {
		isOfCluster := failed != nil && failed.Row.Reason == v1alpha1.ReasonClusterUnavailable
		if isOfCluster && failed.HasSameInputs(s.inputs(), s.targetVersion()) {
			facts.ClusterNotBefore = later(facts.ClusterNotBefore, failed.NotBefore)
		}
	}
	if given := a.verdict.failure; given != nil {
		facts.NotBefore = later(facts.NotBefore, given.NotBefore)
		facts.Changed = facts.Changed || a.failure == nil && !given.Tried.IsSameAs(s.inputs())
	}
}

// checkOf returns the outcome of the last check if it was about the Secret that is there now.
func checkOf(s snapshot, st state) refresh.Check {
	last := st.check.last
	switch {
	case last.outcome == "", last.targetVersion != s.targetVersion():
		return refresh.Unchecked
	case ownedsecret.IsTerminating(s.account), s.isTargetTerminating():
		return last.outcome // It is not written again, whatever the spec asks for.
	case last.generation != s.account.Generation:
		return refresh.Unchecked
	}
	return last.outcome
}

// isSuperseded reports whether the Secret holds an older record than the one that was written last, and the one that
// was written last is not due: somebody has put an older Secret back. A newer record is the work of another operator.
func isSuperseded(s snapshot, st state) bool {
	held, last := s.record(), st.attempt.written
	if held == nil || last.content == "" || last.content == s.target.Annotations[v1alpha1.ContentAnnotation] {
		return false
	}
	written := refresh.Record{FetchTime: last.fetchTime, ExpirationTime: last.expirationTime, NextRefreshTime: last.nextRefreshTime}
	return held.isOlderThan(&record{Record: written}, s.now) &&
		(written.ExpirationTime.IsZero() || s.now.Before(refresh.DueTime(written)))
}

// isOfOtherType reports whether the Secret is known to be of another type than is desired, which the API
// server never changes.
func isOfOtherType(s snapshot, known targetType) bool {
	return s.target != nil && isTypeKnown(s, known) && known.name != s.account.TargetType()
}

// isTypeKnown reports whether there is no Secret, or one whose type was read.
func isTypeKnown(s snapshot, known targetType) bool {
	return s.target == nil || known.uid == s.target.UID
}

// hasCredentials reports whether there are client credentials, as far as is known without reading them.
func hasCredentials(s snapshot, known unusable) bool {
	return s.credentialsSecret != nil &&
		(s.credentialsVersion() != known.credentialsVersion || s.account.Generation != known.generation)
}

// limiterOf returns the name of the limiter that paces the requests for the account. It is empty while the
// API key was not read, as far as is known.
func limiterOf(s snapshot, known apiKeyName) string {
	isKnown := known.credentialsVersion == s.credentialsVersion() && known.generation == s.account.Generation
	switch {
	case !s.account.UsesAPIKey():
		return s.account.Spec.ProjectID
	case isKnown:
		return known.name
	}
	return ""
}

// bypassesRefusals reports whether the attempt is made before its time, because something has changed
// since the last one failed.
func bypassesRefusals(s snapshot, st state) bool {
	failed := st.attempt.failure
	return failed != nil && s.now.Before(failed.WaitsUntil(s.outageEnded))
}

// goodUntil returns until when the app accepts the credentials in the Secret; zero if there are none that are worth
// anything. Credentials that do not end are good for long.
func goodUntil(s snapshot, st state) time.Time {
	until := acceptedUntil(s, st)
	switch {
	case refresh.CurrentCredentials(s.desired, factsOf(s, st), s.now) != refresh.StateValid:
		return time.Time{}
	case until.IsZero():
		return s.now.Add(24 * time.Hour)
	}
	return until
}

// acceptedUntil returns until when the app accepts the credentials in the Secret by what Pipedream says; zero if
// there are none, or none that end.
func acceptedUntil(s snapshot, st state) time.Time {
	held := s.record()
	if held == nil {
		return time.Time{}
	}
	return refresh.GoodUntil(s.desired, held.Record, st.attempt.looks, s.now)
}

// isReady reports whether condition Ready is True now.
func isReady(s snapshot, st state) bool {
	return refresh.CurrentCredentials(s.desired, factsOf(s, st), s.now) == refresh.StateValid && st.attempt.verdict.unreadyReason() == ""
}

// nearEndOf returns from when on the credentials in the Secret are in danger; zero if there are none that
// end. Before an announced refresh that ends them, no look brings newer ones.
func nearEndOf(s snapshot, st state) time.Time {
	until := acceptedUntil(s, st)
	if until.IsZero() || !until.Equal(s.record().ExpirationTime) {
		return until
	}
	return until.Add(-nearEnd)
}

// requestLaneOf returns the lane in which the request for the account waits. A request that will hardly bring
// credentials of any use does not go before the requests for other accounts that will.
func requestLaneOf(s snapshot, st state, why refresh.Why) throttle.Lane {
	lane := tokenLaneOf(s, st, why)
	failed := st.attempt.failure
	switch {
	case needsPerson(s, st.attempt):
		return throttle.OnDemand
	case failed != nil && failed.Row.Reason == v1alpha1.ReasonCredentialsStale && failed.HasSameInputs(s.inputs(), s.targetVersion()):
		return max(lane, throttle.DueRenewal)
	}
	return lane
}

// needsPerson reports whether the last looks have shown that only a person can help, and nobody has changed
// anything since, as far as the operator sees. A doubtful verdict does not show it.
func needsPerson(s snapshot, a attemptState) bool {
	shown := []*attempt.Failure{a.failure}
	if given := a.verdict.given; !given.Kind.IsDoubtful() || given.Confirmed != "" {
		shown = append(shown, a.verdict.failure)
	}
	return slices.ContainsFunc(shown, func(failed *attempt.Failure) bool {
		return failed != nil && failed.NeedsPerson() && failed.HasSameInputs(s.inputs(), s.targetVersion())
	})
}

// tokenLaneOf returns the lane in which the request for an access token waits, with which the account is looked at.
// All accounts of the OAuth client use the token, so that the verdict about one account does not change the lane.
func tokenLaneOf(s snapshot, st state, why refresh.Why) throttle.Lane {
	near := nearEndOf(s, st)
	switch {
	case why == refresh.Expired:
		return throttle.NearEnd
	case why == refresh.Missing, why == refresh.SecretEdited:
		return throttle.FirstToken
	case !near.IsZero() && !s.now.Before(near): // Whatever the look is for, it brings newer credentials.
		return throttle.NearEnd
	case why == refresh.Expiring, why == refresh.IntervalElapsed:
		return throttle.DueRenewal
	}
	return throttle.OnDemand
}

// endOf returns until when the app accepts the credentials in the Secret; zero if there are none of any use.
func endOf(s snapshot, st state, why refresh.Why) time.Time {
	if why == refresh.SecretEdited {
		return time.Time{}
	}
	return acceptedUntil(s, st)
}

// reasonOf returns the reason of condition Fetched for a failed request.
func reasonOf(failed pipedream.Kind) string {
	if failed == pipedream.TokenRejected {
		failed = pipedream.AccessDenied
	}
	if row, ok := rows.OfKind(failed); ok {
		return row.Reason
	}
	return v1alpha1.ReasonEndpointUnavailable
}

// reason returns the reason of condition Fetched. Pipedream limits the rate of the requests for access tokens, and the
// rate of each project by itself.
func (f lookFailed) reason() string {
	if f.isForToken && f.cause.Kind == pipedream.RateLimited {
		return v1alpha1.ReasonTokenRateLimited
	}
	return reasonOf(f.cause.Kind)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
