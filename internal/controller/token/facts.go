// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"time"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// factsOf returns what package renewal decides from: the snapshot, and what is remembered of
// earlier attempts. It is pure.
func factsOf(s snapshot, st state) renewal.Facts {
	attempts, verification := st.attempt, st.verification
	facts := renewal.Facts{
		Target:                s.targetState(),
		CollectedBy:           s.collectedBy(),
		OwnerTerminating:      s.isTokenTerminating(),
		Record:                recordOf(s, st),
		Check:                 checkOf(s, st),
		Superseded:            isSuperseded(s, st),
		Yields:                yields(s, st),
		HasCredentials:        hasCredentials(s, st.check.unusable),
		Queued:                s.isQueued,
		HasPending:            canWritePending(s, attempts.pending),
		Refused:               verification.verdict == pipedream.Refused && verification.inputs == s.currentInputs(),
		LastIssue:             attempts.lastIssue,
		Triggered:             attempts.triggered,
		LastVerified:          verification.last,
		VerifyAt:              verification.nextTry(s.currentInputs()),
		VerifyNow:             verification.triedFor != 0 && verification.triedFor != s.token.Generation,
		VerificationQueued:    isWaiting(s.verificationTicket),
		Unverified:            verification.isUnknownFor(s.currentInputs()),
		CannotVerify:          s.hasNoTokenKey() || !trialOf(s.token).CanList(),
		VerificationSuspended: verification.suspendedFor == s.token.Generation,
		TemplateInvalid:       st.check.templateError(s.token.Generation) != nil,
		OtherType:             isOfOtherType(s, st.cache.targetType),
		DriftedAgain:          isDriftedAgain(s, st),
		Rewrites:              attempts.rewrites,
	}
	setWaits(&facts, s, st)
	return facts
}

// setWaits sets what is to be waited for after failed attempts and failed requests to the API server.
func setWaits(facts *renewal.Facts, s snapshot, st state) {
	attempts := st.attempt
	// A token that was just issued is written at once, whatever the attempt before has to wait for.
	if failed := attempts.failure; failed != nil && !s.isJustIssued {
		facts.NotBefore, facts.Changed = failed.WaitsUntil(s.outageEnded), !hasSameInputs(failed, s)
		if failed.Row.Reason == v1alpha1.ReasonClusterUnavailable && !facts.Changed {
			facts.ClusterNotBefore = failed.NotBefore
		}
	}
	if failed := attempts.cluster; failed != nil && !s.isJustIssued && hasSameInputs(failed, s) {
		facts.ClusterNotBefore, facts.CredentialsUnreadable = failed.NotBefore, attempts.clusterStep == readCredentialsStep
	}
	if failed := attempts.rewriteFailure; failed != nil && hasSameInputs(failed, s) {
		facts.RewriteNotBefore = failed.NotBefore
	}
}

// goodUntil returns when the current token expires; zero if there is none, or if it is not worth
// anything.
func goodUntil(s snapshot, st state) time.Time {
	facts := factsOf(s, st)
	if renewal.CurrentToken(s.desired, facts, s.now) != renewal.StateValid {
		return time.Time{}
	}
	return facts.Record.ExpirationTime
}

// recordOf returns the record on the Secret if it can be believed; nil if there is none.
func recordOf(s snapshot, st state) *renewal.Record {
	record := s.record()
	if record == nil || isForged(*record, st.check.known, s.now) {
		return nil
	}
	return record
}

// isForged reports whether a record contradicts what is known of the token: it gives the token other
// times, or it is of an unknown token from the future. A record of the known token may be from the
// future, too, because the clock may have been set back since.
func isForged(record renewal.Record, known writtenToken, now time.Time) bool {
	if record.IssueTime.Equal(known.issueTime) {
		return !record.ExpirationTime.Equal(known.expirationTime)
	}
	return record.IssueTime.Sub(now) > retry.MaxClockSkew
}

// checkOf returns the outcome of the last check if it was about everything that is there now.
// Credentials that are absent can't be compared with. A Secret that gets no other token, because the
// Secret or the PipedreamToken is being deleted, is good unless somebody has changed it.
func checkOf(s snapshot, st state) renewal.Check {
	last := st.check.last
	switch {
	case last.outcome == "", last.targetVersion != s.targetVersion():
		return renewal.Unchecked
	case s.isTokenTerminating(), s.isTargetTerminating():
		if last.outcome == renewal.Edited {
			return renewal.Edited
		}
		return renewal.Good
	case last.generation != s.token.Generation, s.credentialsSecret != nil && last.credentialsVersion != s.credentialsVersion():
		return renewal.Unchecked
	}
	return last.outcome
}

// isSuperseded reports whether the Secret holds another record than the one of the token that was
// written last, though that token is not due: somebody has put an older Secret back.
func isSuperseded(s snapshot, st state) bool {
	record, last := s.record(), st.attempt.written
	if record == nil || last.inputs == "" {
		return false
	}
	isSame := last.inputs == s.currentInputs() && last.issueTime.Equal(record.IssueTime) && last.expirationTime.Equal(record.ExpirationTime)
	due := renewal.DueTime(s.desired, renewal.Record{IssueTime: last.issueTime, ExpirationTime: last.expirationTime})
	return !isSame && s.now.Before(due)
}

// yields reports whether another operator is to issue the next token when it is due: this one has
// written the current token, and another operator writes the Secret, too.
func yields(s snapshot, st state) bool {
	if s.record() == nil || !st.other.isExpected(s.now) {
		return false
	}
	name, isName := ownedsecret.OperatorOf(s.target)
	return isName && name == s.operator
}

// isDriftedAgain reports whether somebody's change is the reason to write the Secret again: the
// Secret was as desired for this generation already, or a change makes a refused write come before
// its wait has ended.
func isDriftedAgain(s snapshot, st state) bool {
	refused := st.attempt.rewriteFailure
	return st.check.appliedGeneration == s.token.Generation ||
		refused != nil && !hasSameInputs(refused, s) && s.now.Before(refused.NotBefore)
}

// isOfOtherType reports whether the Secret is known to be of another type than is desired, which
// the API server never changes.
func isOfOtherType(s snapshot, known targetType) bool {
	return s.target != nil && isTypeKnown(s, known) && known.name != s.token.TargetType()
}

// isTypeKnown reports whether there is no Secret, or one whose type was read.
func isTypeKnown(s snapshot, known targetType) bool {
	return s.target == nil || known.uid == s.target.UID
}

// canWritePending reports whether a token waits to be written that is still desired. It is written until
// it expires, also when it is due for renewal itself: it is better than the one that the Secret holds.
func canWritePending(s snapshot, pending *recordedToken) bool {
	return pending != nil && pending.scopes == s.desired.Scopes && pending.api == s.desired.API &&
		s.now.Before(pending.token.ExpirationTime)
}

// hasCredentials reports whether there are credentials, as far as is known without reading them.
func hasCredentials(s snapshot, known unusable) bool {
	return s.credentialsSecret != nil &&
		(s.credentialsVersion() != known.credentialsVersion || s.token.Generation != known.generation)
}

// hadToken reports whether a token is known to have been issued before, written or not.
func hadToken(s snapshot, st state) bool {
	return !st.attempt.lastIssue.IsZero() || s.token.Status.IssueTime != nil ||
		st.attempt.failure != nil && st.attempt.failure.Row.Reason == v1alpha1.ReasonSecretWriteRefused
}

// isSameRequest reports whether the credentials, now that they are read, turn out to be the ones
// that have failed: only something that is written beside them has changed. The attempt then waits
// as long as it would have.
func isSameRequest(s snapshot, st state) bool {
	failed := st.attempt.failure
	if failed == nil || !s.now.Before(failed.WaitsUntil(s.outageEnded)) || failed.CredentialsDigest != digestOf(st.uid, *s.clientCredentials) {
		return false
	}
	tried := failed.Tried
	tried.CredentialsVersion = s.credentialsVersion()
	return tried.IsSameAs(inputsNow(s))
}

// bypassesRefusals reports whether the attempt is made before its time, because something has
// changed since the last one failed.
func bypassesRefusals(s snapshot, st state) bool {
	failed := st.attempt.failure
	return failed != nil && s.now.Before(failed.WaitsUntil(s.outageEnded))
}

// laneOf returns the lane of the limiter in which the token that is due waits.
func laneOf(s snapshot, why renewal.Why) throttle.Lane {
	switch {
	case why == renewal.Expired, why == renewal.Revoked:
		return throttle.NearEnd
	case why == renewal.Missing, why == renewal.SecretEdited:
		return throttle.FirstToken
	case !s.now.Before(nearEnd(s)):
		return throttle.NearEnd
	case why == renewal.Due, why == renewal.FromFuture:
		return throttle.DueRenewal
	}
	return throttle.OnDemand
}

// expiryOf returns when the current token expires; zero if there is none of any use.
func expiryOf(s snapshot, why renewal.Why) time.Time {
	record := s.record()
	if record == nil || why == renewal.Revoked || why == renewal.SecretEdited {
		return time.Time{}
	}
	return record.ExpirationTime
}

// nearEnd returns from when on the current token is in danger; zero if there is none.
func nearEnd(s snapshot) time.Time {
	if record := s.record(); record != nil {
		return renewal.NearEnd(*record)
	}
	return time.Time{}
}
