// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/attempt"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/refresh"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

// restore returns the state of an object that this process sees for the first time, from the record
// on the Secret and from the reasons and times of the status. It never reads a message. What the
// status has lost costs a read or an early look.
func restore(s snapshot) *state {
	st := &state{uid: s.account.UID, firstSeen: s.firstSeen}
	st.attempt.isRestored = true
	st.attempt.looks.Since = s.firstSeen
	st.attempt.verdictFor = s.desired.Request
	st.attempt.health = restoreHealth(s.account.Status)
	if s.account.Status.ObservedGeneration == s.account.Generation { // Else the spec may name another Secret since.
		st.attempt.credentials = credentialsOf(s)
		st.attempt.credentials.version = s.account.Status.ReferencedSecretResourceVersion
	}
	if failed := restoreFailure(s); failed != nil {
		st.restoreFailure(s, failed)
	}
	st.restoreCheck(s)
	return st
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
	case v1alpha1.ReasonClusterUnavailable:
		st.attempt.cluster = failed
	default:
		if given := verdictKindOf(failed.Row.Kind); given != "" && failed.Row.Reason != v1alpha1.ReasonAccessDenied {
			st.restoreVerdict(s, given, failed)
			return
		}
		st.attempt.failure = failed
	}
	// A failed attempt does not end a verdict that has turned Ready False.
	ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
	if row := rows.Of(reasonIn(ready)); ready != nil && ready.Status == metav1.ConditionFalse && verdictKindOf(row.Kind) != "" {
		st.restoreVerdict(s, verdictKindOf(row.Kind), attempt.New(row, "", failed.Tried, ready.LastTransitionTime.Time))
	}
}

// restoreVerdict remembers what Pipedream has said about the account.
func (st *state) restoreVerdict(s snapshot, given refresh.VerdictKind, shown *attempt.Failure) {
	if s.account.Status.ObservedGeneration != s.account.Generation {
		return // It may be about another account.
	}
	ready := meta.FindStatusCondition(s.account.Status.Conditions, v1alpha1.ConditionReady)
	st.attempt.verdict = refresh.Verdict{
		Kind: given, Since: shown.Since, Last: earlier(shown.Since, s.now), Count: 1,
		IsConfirmed: reasonIn(ready) == shown.Row.Reason || !given.IsDoubtful(),
	}
	shown.IsRestored = true
	st.attempt.verdictFailure = shown
}

func reasonIn(condition *metav1.Condition) string {
	if condition == nil {
		return ""
	}
	return condition.Reason
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
	renewRequest := s.desired.RenewRequest
	if held := s.record(); held != nil {
		renewRequest = held.RenewRequest // Another may have been made since.
	}
	restored := attempt.New(rows.Of(fetched.Reason), "", attempt.Inputs{
		Generation:         status.ObservedGeneration,
		CredentialsVersion: status.ReferencedSecretResourceVersion,
		RenewRequest:       renewRequest,
	}, earlier(fetched.LastTransitionTime.Time, s.now))
	restored.IsRestored, restored.RefusedOver = true, s.targetVersion()
	if restored.IsDeletion() {
		restored.RefusedOver = deletionOf(s).held
	}
	restored.WasReady = meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady)
	if status.NextAttemptTime != nil {
		// The clock may have been wrong then.
		restored.NotBefore = retry.Limit(status.NextAttemptTime.Time, s.now)
	}
	return restored
}

func (s snapshot) identity() string { return s.account.Namespace + "/" + s.account.Name }
