// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/attempt"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/conditions"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/reason"
	"github.com/pipedream-operator/pipedream-operator/internal/refresh"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

// restore returns the state of an object that this process sees for the first time, from the record
// on the Secret and from the reasons and times of the status. It never reads a message. What the
// status has lost costs a read or an early look.
func restore(s snapshot) *state {
	st := &state{uid: s.account.UID, firstSeen: s.firstSeen}
	st.attempt.isRestored = true
	st.attempt.looks = refresh.Looks{Since: s.firstSeen, Again: isLookUndone(s.account.Status)}
	st.attempt.verdict.request = s.desired.Request
	st.attempt.health = restoreHealth(s.account.Status)
	if s.account.Status.ObservedGeneration == s.account.Generation { // Else the spec may name another Secret since.
		st.attempt.credentials = credentialsOf(s)
		st.attempt.credentials.version = s.account.Status.ReferencedSecretResourceVersion
	}
	if failed := restoreFailure(s); failed != nil {
		st.restoreFailure(s, failed)
	}
	st.restoreConfirmed(s)
	st.restoreCheck(s)
	return st
}

// isLookUndone reports whether the status does not say that the last look was answered: it has failed, it could not be
// made, or it was due and waited. Whether a look is due still after that is not known from the record, so one is made.
func isLookUndone(status v1alpha1.PipedreamAccountStatus) bool {
	fetched := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionFetched)
	return fetched != nil && fetched.Status != metav1.ConditionTrue
}

// restoreFailure remembers a failure where the reason says that it belongs.
func (st *state) restoreFailure(s snapshot, failed *attempt.Failure) {
	status := s.account.Status
	switch because := failed.Row.Reason; because {
	case v1alpha1.ReasonCredentialsMissing, v1alpha1.ReasonCredentialsInvalid:
		st.attempt.blocker = failed
		st.check.unusable = unusable{
			credentialsVersion: status.ReferencedSecretResourceVersion,
			generation:         status.ObservedGeneration,
			reason:             because,
		}
	case v1alpha1.ReasonSecretNotOwned, v1alpha1.ReasonSecretTerminating:
		st.attempt.blocker = failed
	default: // The status does not tell whether a failed request to the API server was the write of the Secret.
		if given := verdictKindOf(failed.Row.Kind); given != "" {
			st.restoreVerdict(s, given, failed)
		} else {
			st.attempt.failure, st.attempt.failedIn = failed, s.rateLimited()
		}
	}
}

// restoreVerdict remembers what Pipedream has last said about the account. How often it has said so, and when it did
// for the last time, is lost; the failure says when the account is looked at again.
func (st *state) restoreVerdict(s snapshot, given refresh.VerdictKind, shown *attempt.Failure) {
	if !isAboutDesired(s) {
		return
	}
	st.attempt.verdict.given = refresh.Verdict{Kind: given, Since: shown.Since, Count: 1}
	shown.IsRestored = true
	st.attempt.verdict.failure = shown
}

// restoreConfirmed remembers the verdict that has turned condition Ready False. Condition Fetched may say
// something else since: that the PipedreamAccount is suspended, or that an attempt has failed. Neither ends
// the verdict.
func (st *state) restoreConfirmed(s snapshot) {
	shown := shownVerdict(s.account.Status)
	if shown == nil || !isAboutDesired(s) {
		return
	}
	row := rows.Of(shown.Reason)
	if st.attempt.verdict.given.Kind == "" {
		st.restoreVerdict(s, verdictKindOf(row.Kind), attempt.New(row, "", triedBefore(s), shown.LastTransitionTime.Time))
	}
	st.attempt.verdict.given.Confirmed = verdictKindOf(row.Kind)
}

// shownVerdict returns the condition that shows a confirmed verdict; nil if none does. Of credentials that have
// expired, Ready says only that, and Healthy says that the account is dead.
func shownVerdict(status v1alpha1.PipedreamAccountStatus) *metav1.Condition {
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionHealthy} {
		if isVerdict(meta.FindStatusCondition(status.Conditions, kind)) {
			return meta.FindStatusCondition(status.Conditions, kind)
		}
	}
	return nil
}

// isVerdict reports whether a condition shows what Pipedream says about the account; nil does not.
func isVerdict(condition *metav1.Condition) bool {
	return condition != nil && condition.Status == metav1.ConditionFalse && verdictKindOf(rows.Of(condition.Reason).Kind) != ""
}

// isAboutDesired reports whether the status is about the account that the spec asks for. If the spec has
// changed since, this is known only if Ready was about the credentials in the Secret, and the spec still asks
// for their account.
func isAboutDesired(s snapshot) bool {
	status := s.account.Status
	if status.ObservedGeneration == s.account.Generation {
		return !isOfOtherAPI(s)
	}
	ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
	isAboutHeld := isVerdict(ready) || ready != nil && ready.Status == metav1.ConditionTrue
	held := s.record()
	return isAboutHeld && held != nil && held.Request == s.desired.Request
}

// isOfOtherAPI reports whether the status is about another API than the one that is asked now, as far as the record
// tells: the spec is the same, and whether the credentials in the Secret are the ones that are asked for is not as
// condition Ready says. Of credentials that have expired, Ready says only that. They count as the ones that were asked
// for, which costs an early look at most.
func isOfOtherAPI(s snapshot) bool {
	status, held := s.account.Status, s.record()
	if held == nil || status.ObservedGeneration != s.account.Generation {
		return false
	}
	ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
	wasOutdated := ready != nil && ready.Reason == v1alpha1.ReasonAccountOutdated
	return wasOutdated != (held.Request != s.desired.Request)
}

func (st *state) restoreCheck(s snapshot) {
	status := s.account.Status
	version := status.Secret.ResourceVersion
	if version == "" {
		return
	}
	st.check.last = lastCheck{targetVersion: version, generation: status.ObservedGeneration, outcome: refresh.Good}
	if s.targetVersion() != version {
		st.attempt.written = writtenBefore(s)
		return
	}
	st.cache.target = ownedsecret.Seen{Version: version}
	st.cache.targetType = targetType{uid: s.target.UID, name: s.account.TargetType()}
	st.attempt.written = writtenIn(s)
}

// writtenBefore returns what the status tells of the record that was written last, if the Secret holds the
// record of an earlier fetch: somebody has put an older Secret back while no process watched it.
func writtenBefore(s snapshot) writtenRecord {
	held, status := s.record(), s.account.Status
	if held == nil || status.FetchTime == nil || !held.FetchTime.Before(status.FetchTime.Time) {
		return writtenRecord{}
	}
	last := writtenRecord{content: unknownContent, fetchTime: status.FetchTime.Time}
	if status.ExpirationTime != nil {
		last.expirationTime = status.ExpirationTime.Time
	}
	return last
}

// restoreHealth returns what condition Healthy says.
func restoreHealth(status v1alpha1.PipedreamAccountStatus) pipedream.Health {
	healthy := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionHealthy)
	switch {
	case healthy == nil:
		return ""
	case healthy.Status == metav1.ConditionTrue:
		return pipedream.Healthy
	case healthy.Reason == v1alpha1.ReasonAccountUnhealthy:
		return pipedream.Unhealthy
	}
	return pipedream.HealthUnknown
}

// restoreFailure returns the failure that condition Fetched is about; nil if there is none.
func restoreFailure(s snapshot) *attempt.Failure {
	status := s.account.Status
	fetched := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionFetched)
	if fetched == nil || fetched.Status != metav1.ConditionFalse {
		return nil
	}
	row := rows.Of(fetched.Reason)
	stalledAt := conditions.ChangedAt(status.Conditions, v1alpha1.ConditionStalled, row.Reason)
	restored := attempt.New(row, "", triedBefore(s), attempt.SinceInStatus(row, fetched.LastTransitionTime.Time, stalledAt, s.now))
	restored.IsRestored, restored.RefusedOver = true, s.targetVersion()
	if restored.IsDeletion() {
		restored.RefusedOver = deletionOf(s).held
	}
	restored.WasReady = meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady)
	if status.NextAttemptTime != nil {
		// The clock may have been wrong then.
		restored.NotBefore = retry.Limit(status.NextAttemptTime.Time, s.now)
	}
	if restored.Row.Class == reason.Paused && mayBeOfAnotherLimit(s) {
		restored.NotBefore = s.now
	}
	return restored
}

// mayBeOfAnotherLimit reports whether the status may tell of a rate limit of another project, another API key or
// another API: it does not tell which ones these were.
func mayBeOfAnotherLimit(s snapshot) bool {
	status := s.account.Status
	return status.ObservedGeneration != s.account.Generation || isOfOtherAPI(s) ||
		s.account.UsesAPIKey() && status.ReferencedSecretResourceVersion != s.credentialsVersion()
}

func (s snapshot) identity() string { return s.account.Namespace + "/" + s.account.Name }

// triedBefore returns the inputs of the last attempt, as the status and the record tell.
func triedBefore(s snapshot) attempt.Inputs {
	generation, renewRequest := s.account.Status.ObservedGeneration, s.desired.RenewRequest
	if isOfOtherAPI(s) {
		generation = 0 // An attempt that is made with another address is another attempt.
	}
	if held := s.record(); held != nil {
		renewRequest = held.RenewRequest // Another may have been made since.
	}
	return attempt.Inputs{
		Generation:         generation,
		CredentialsVersion: s.account.Status.ReferencedSecretResourceVersion,
		RenewRequest:       renewRequest,
	}
}
