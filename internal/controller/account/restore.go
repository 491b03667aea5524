// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/attempt"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/conditions"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
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
	st.attempt.verdict.health = restoreHealth(s)
	if isAboutReferenced(s) {
		st.attempt.credentials = credentialsOf(s)
		st.attempt.credentials.version = s.account.Status.ReferencedSecretResourceVersion
	}
	if failed := restoreFailure(s); failed != nil {
		st.restoreFailure(s, failed)
	}
	st.restoreHeld(s)
	st.restoreCheck(s)
	return st
}

// isAboutReferenced reports whether the status names a version of the Secret that the spec names. If the spec has changed
// since, it may name another Secret; but no other Secret has the same version.
func isAboutReferenced(s snapshot) bool {
	status := s.account.Status
	return status.ObservedGeneration == s.account.Generation ||
		status.ReferencedSecretResourceVersion != "" && status.ReferencedSecretResourceVersion == s.credentialsVersion()
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
		given := verdictKindOf(failed.Row.Kind)
		if given == "" {
			st.attempt.failure, st.attempt.failedIn = failed, s.rateLimited()
		} else if isAbout, _ := isAboutDesired(s); isAbout {
			st.attempt.verdict.restore(given, failed)
		}
	}
}

// restoreHeld remembers the verdict about the account whose credentials are in the Secret, which the spec need not ask
// for now. Condition Fetched may say something else since: that the PipedreamAccount is suspended, that an attempt has
// failed, or what Pipedream says about the account that the spec asks for. None of them ends the verdict.
func (st *state) restoreHeld(s snapshot) {
	held, status := s.record(), s.account.Status
	row := rows.Of(status.Account.Verdict)
	kind := verdictKindOf(row.Kind)
	if kind == "" || held == nil || held.account != status.Account.ID || !timestamp(held.FetchTime).Equal(status.FetchTime) {
		return // There is no verdict about the credentials that are in the Secret now.
	}
	about := &st.attempt.verdict
	if held.Request != about.request {
		about = &st.attempt.verdictOfHeld
		about.request = held.Request
	}
	if isAbout, _ := isAboutDesired(s); !isAbout || about.health == "" {
		about.health = healthOf(kind)
	}
	if about.given.Kind == "" {
		about.restore(kind, attempt.New(row, "", triedBefore(s), saidSince(s, row.Reason)))
	}
	about.given.Confirmed = kind
}

// saidSince returns since when the status shows a verdict. It returns the time of the snapshot if the spec asks for another
// account now, so that no condition shows the verdict.
func saidSince(s snapshot, because string) time.Time {
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionHealthy} {
		if at := conditions.ChangedAt(s.account.Status.Conditions, kind, because); !at.IsZero() {
			return at
		}
	}
	return s.now
}

// isVerdict reports whether a condition shows what Pipedream says about the account; nil does not.
func isVerdict(condition *metav1.Condition) bool {
	return condition != nil && condition.Status == metav1.ConditionFalse && verdictKindOf(rows.Of(condition.Reason).Kind) != ""
}

// isAboutDesired reports whether the status is about the account that the spec asks for, and whether this is known. If
// the spec has changed since, only condition Ready and the record on the Secret may tell.
func isAboutDesired(s snapshot) (isAbout, isKnown bool) {
	status, held := s.account.Status, s.record()
	ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
	switch {
	case status.ObservedGeneration == s.account.Generation:
		return !isOfOtherAPI(s), true
	case ready == nil, held == nil:
		return false, false
	case ready.Status == metav1.ConditionTrue, isVerdict(ready): // The spec asked for the account of the Secret.
		return held.Request == s.desired.Request, true
	}
	// If Ready was AccountOutdated, the spec asked for another account than the one of the Secret.
	return false, ready.Reason == v1alpha1.ReasonAccountOutdated && held.Request == s.desired.Request
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

// restoreHealth returns the reason of condition Healthy. It is empty if there is no such condition, or if it is not known
// whether the condition is about the account that the spec asks for now.
func restoreHealth(s snapshot) string {
	healthy := meta.FindStatusCondition(s.account.Status.Conditions, v1alpha1.ConditionHealthy)
	isAbout, isKnown := isAboutDesired(s)
	switch {
	case healthy == nil, !isKnown:
		return ""
	case !isAbout:
		return v1alpha1.ReasonHealthUnknown
	}
	return healthy.Reason
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
	if restored.Row.Class == reason.Paused && mayBeOfAnotherLimit(s, restored.Row.Reason) {
		restored.NotBefore = s.now
	}
	return restored
}

// mayBeOfAnotherLimit reports whether the status may tell of a rate limit of another project, another API key or
// another API: it does not tell which ones these were. The limit for access tokens is the same for all projects.
func mayBeOfAnotherLimit(s snapshot, because string) bool {
	if because == v1alpha1.ReasonTokenRateLimited && !s.account.UsesAPIKey() {
		return isOfOtherAPI(s)
	}
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
