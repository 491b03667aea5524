// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/attempt"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/conditions"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	reasons "github.com/pipedream-operator/pipedream-operator/internal/reason/token"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

// restore returns the state of an object that this process sees for the first time, from the
// record on the Secret and from the reasons and times of the status. It never reads a message. What
// the status has lost costs a read or an early attempt.
func restore(s snapshot) *state {
	st := &state{uid: s.token.UID, firstSeen: s.firstSeen}
	st.attempt.isRestored = true
	st.check.known = restoreKnown(s)
	if record := recordOf(s, *st); record != nil && !record.IssueTime.After(s.now) {
		st.attempt.lastIssue = record.IssueTime
	}
	st.verification = restoreVerification(s)
	if failed := restoreFailure(s); failed != nil {
		st.restoreFailure(failed, s.token.Status)
	}
	st.restorePause(s)
	st.restoreCheck(s)
	return st
}

// restoreKnown returns the token that the status vouches for: the one on the Secret if the status
// names the Secret's version, and else the one with the times in the status.
func restoreKnown(s snapshot) writtenToken {
	status := s.token.Status
	if record := s.record(); record != nil && status.Secret.ResourceVersion == s.targetVersion() {
		return writtenToken{inputs: s.currentInputs(), issueTime: record.IssueTime, expirationTime: record.ExpirationTime}
	}
	if status.IssueTime == nil || status.ExpirationTime == nil {
		return writtenToken{}
	}
	return writtenToken{issueTime: status.IssueTime.Time, expirationTime: status.ExpirationTime.Time}
}

// restoreFailure remembers a failure where the reason says that it belongs.
func (st *state) restoreFailure(failed *attempt.Failure, status v1alpha1.PipedreamTokenStatus) {
	switch failed.Row.Reason {
	case v1alpha1.ReasonCredentialsMissing, v1alpha1.ReasonCredentialsInvalid:
		st.attempt.blocker = failed
		st.check.unusable = unusable{
			credentialsVersion: status.ClientSecretResourceVersion,
			generation:         status.ObservedGeneration,
			reason:             failed.Row.Reason,
		}
	case v1alpha1.ReasonSecretNotOwned, v1alpha1.ReasonSecretTerminating:
		st.attempt.blocker = failed
	case v1alpha1.ReasonTemplateInvalid:
		// Some templates fail only with an issued token. The status does not tell which ones do, and no
		// token is spent to find out.
		st.attempt.blocker = failed
		// Without condition Stalled, the failure was about an earlier generation.
		if stalled := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionStalled); stalled != nil && stalled.Reason == failed.Row.Reason {
			st.check.renderError = renderError{generation: status.ObservedGeneration}
		}
	case v1alpha1.ReasonSecretWriteRefused:
		st.attempt.failure = failed
		st.attempt.rewriteFailure = new(*failed) // The status does not tell which of the two writes it was.
	case v1alpha1.ReasonClusterUnavailable:
		st.attempt.cluster = failed
	default:
		st.attempt.failure = failed
	}
}

// restorePause remembers a pause that Pipedream has asked for while the status says something else that
// has no time of its own: then the status shows the end of the pause.
func (st *state) restorePause(s snapshot) {
	next := s.token.Status.NextAttemptTime
	isTimed := st.attempt.failure != nil || st.attempt.cluster != nil
	if next == nil || isTimed || !next.After(s.now) {
		return
	}
	paused := newFailure(s, v1alpha1.ReasonRateLimited, "", s.now)
	paused.IsRestored, paused.NotBefore = true, retry.Limit(next.Time, s.now)
	st.attempt.failure = paused
}

func (st *state) restoreCheck(s snapshot) {
	status := s.token.Status
	version := status.Secret.ResourceVersion
	if version == "" {
		return
	}
	st.check.last = lastCheck{
		targetVersion:      version,
		credentialsVersion: status.ClientSecretResourceVersion,
		generation:         status.ObservedGeneration,
		outcome:            renewal.Good,
	}
	st.check.appliedGeneration, st.check.authenticatedVersion = status.ObservedGeneration, version
	if s.targetVersion() == version {
		st.cache.targetType = targetType{uid: s.target.UID, name: s.token.TargetType()}
	}
}

// restoreVerification restores whether the current token was refused, for which generation of the
// spec the API has accepted a token, and whether verification is suspended.
func restoreVerification(s snapshot) verificationState {
	v := verificationState{last: s.now.Round(0), isRestored: true}
	status, generation := s.token.Status, s.token.Generation
	if status.AcceptedGeneration == generation && isOfThisAPI(s) {
		v.acceptedFor = generation
	}
	if verified := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionVerified); verified != nil {
		v.restoreVerdict(s, *verified)
	}
	return v
}

// restoreVerdict restores what condition Verified says.
func (v *verificationState) restoreVerdict(s snapshot, verified metav1.Condition) {
	generation := s.token.Generation
	isCurrent := verified.ObservedGeneration == generation
	v.triedFor = verified.ObservedGeneration
	switch {
	case verified.Status == metav1.ConditionTrue:
		v.verdict = pipedream.Accepted
		if isCurrent && isOfThisAPI(s) {
			v.acceptedFor = generation
		}
	case verified.Status == metav1.ConditionFalse:
		if isOfStatus(s) {
			v.verdict, v.inputs, v.refusals, v.refusedSince = pipedream.Refused, s.currentInputs(), 1, v.last
			v.at = v.last.Add(renewal.RefusedRetry(v.refusals))
		}
	case verified.Reason == v1alpha1.ReasonVerificationSuspended:
		v.verdict, v.suspendedFor = pipedream.Inconclusive, verified.ObservedGeneration
	case isCurrent && s.record() != nil && !s.now.Before(verified.LastTransitionTime.Add(min(s.desired.VerifyEvery, renewal.VerificationRecheck))):
		// The operator has verified a token of this generation, without a result. An earlier version of
		// the operator said the same of a spec for which Pipedream refuses every token. So no new token
		// is spent to find out whether Pipedream refuses every token.
		v.replacedFor = generation
	}
}

// isOfStatus reports whether the current token is the one that the status is about.
func isOfStatus(s snapshot) bool {
	record, issued := s.record(), s.token.Status.IssueTime
	return record != nil && issued != nil && issued.Time.Equal(record.IssueTime)
}

// hasOtherAPI reports whether another API is asked now than the one that the status is about, as far as the record tells:
// the spec is the same, and whether the token in the Secret is one that is asked for is not as condition Ready says. Of a
// token that has expired or was refused, Ready says only that. It counts as one that was asked for.
func hasOtherAPI(s snapshot) bool {
	status, record := s.token.Status, s.record()
	if record == nil || status.ObservedGeneration != s.token.Generation {
		return false
	}
	ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
	wasOutdated := ready != nil && ready.Reason == v1alpha1.ReasonTokenOutdated
	return wasOutdated != (record.Scopes != s.desired.Scopes || record.API != s.desired.API)
}

// isOfThisAPI reports whether the current token is of the API that is asked now: another API may
// refuse what this one has accepted.
func isOfThisAPI(s snapshot) bool {
	record := s.record()
	return record != nil && record.API == s.desired.API
}

// restoreFailure returns the failure that condition Renewed is about; nil if there is none.
func restoreFailure(s snapshot) *attempt.Failure {
	status := s.token.Status
	renewRequest := s.desired.RenewRequest
	if record := s.record(); record != nil {
		renewRequest = record.RenewRequest // Another may have been made since.
	}
	renewed := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionRenewed)
	if renewed == nil || renewed.Status != metav1.ConditionFalse {
		return nil
	}
	row := reasons.Rows.Of(renewed.Reason)
	stalledAt := conditions.ChangedAt(status.Conditions, v1alpha1.ConditionStalled, row.Reason)
	restored := &attempt.Failure{
		Row:         row,
		RefusedOver: s.targetVersion(),
		IsRestored:  true,
		WasReady:    meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady),
		Since:       attempt.SinceInStatus(row, renewed.LastTransitionTime.Time, stalledAt, s.now),
		Tried: attempt.Inputs{
			Generation:         status.ObservedGeneration,
			CredentialsVersion: status.ClientSecretResourceVersion,
			RenewRequest:       renewRequest,
		},
		Count: 1,
	}
	if restored.Row.Reason == v1alpha1.ReasonSecretTerminating {
		restored.RefusedOver = deletionOf(s).describe()
	}
	if status.NextAttemptTime != nil && !hasOtherAPI(s) {
		// The clock may have been wrong then.
		restored.NotBefore = retry.Limit(status.NextAttemptTime.Time, s.now)
	}
	return restored
}
