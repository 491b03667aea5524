// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

// recall restores from the status of an object what a restart must not lose: what
// is remembered of the object, and that Pipedream wants all to wait.
func (r *Reconciler) recall(o *observation) {
	o.memory.recall(o)
	if failed := o.memory.failure; failed != nil && failed.reason == v1alpha1.ReasonRateLimited && failed.notBefore.After(o.now) {
		r.TokenRequests.Pause(failed.notBefore)
	}
}

// recall fills the memory of an object that this process sees for the first time
// from its status. What the status has lost costs a read or an early attempt.
func (m *memory) recall(o *observation) {
	status := o.token.Status
	m.verification.recall(o)
	if record := o.record(); record != nil && !record.IssueTime.After(o.now) {
		m.lastIssue = record.IssueTime
	}
	recalled := recallFailure(o)
	switch {
	case recalled == nil:
	case recalled.reason == v1alpha1.ReasonCredentialsMissing, recalled.reason == v1alpha1.ReasonCredentialsInvalid:
		m.obstacle = recalled
		m.incomplete = incomplete{
			credentialsVersion: status.ClientSecretResourceVersion,
			generation:         status.ObservedGeneration,
			reason:             recalled.reason,
		}
	case recalled.reason == v1alpha1.ReasonSecretNotOwned:
		m.obstacle = recalled
	case recalled.reason == v1alpha1.ReasonTemplateInvalid:
		m.obstacle = recalled
		if strings.Contains(recalled.told, misfitMark) {
			m.misfit = &misfit{generation: status.ObservedGeneration, err: errors.New(toldMisfit(recalled.told))}
		}
	default:
		m.failure = recalled
		if recalled.reason == v1alpha1.ReasonSecretWriteRefused {
			m.rewriteFailure = new(*recalled) // Which of the two it was, the status does not say.
		}
	}
	if status.Secret.ResourceVersion != "" {
		m.checked = checked{
			secretVersion:      status.Secret.ResourceVersion,
			credentialsVersion: status.ClientSecretResourceVersion,
			generation:         status.ObservedGeneration,
			outcome:            renewal.Good,
		}
		m.shapedFor, m.genuine = status.ObservedGeneration, status.Secret.ResourceVersion
		if versionOf(o.target) == m.genuine {
			m.targetType = targetType{uid: o.target.UID, name: o.token.TargetType()}
		}
	}
}

// toldMisfit returns what a message says of templates that have failed with a token.
func toldMisfit(message string) string {
	_, what, _ := strings.Cut(message, misfitMark)
	if end := strings.LastIndex(what, endOfWhat); end >= 0 {
		what = what[:end]
	}
	return misfitMark + what
}

// recall restores what a restart must not lose: that the held token was refused, for
// which generation of the spec the API has accepted a token, and that verification is
// suspended.
func (v *verification) recall(o *observation) {
	v.last, v.restored = o.now.Round(0), true
	status, generation := o.token.Status, o.token.Generation
	if status.AcceptedGeneration == generation && o.isOfThisAPI() {
		v.acceptedFor = generation
	}
	if verified := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionVerified); verified != nil {
		v.recallVerdict(o, *verified)
	}
}

// recallVerdict restores what the condition Verified says.
func (v *verification) recallVerdict(o *observation, verified metav1.Condition) {
	generation := o.token.Generation
	isCurrent := verified.ObservedGeneration == generation
	v.triedFor = verified.ObservedGeneration
	switch {
	case verified.Status == metav1.ConditionTrue:
		v.verdict = pipedream.Accepted
		if isCurrent && o.isOfThisAPI() {
			v.acceptedFor = generation
		}
	case verified.Status == metav1.ConditionFalse:
		if o.isOfStatus() {
			v.verdict, v.inputs, v.refusals, v.refusedSince = pipedream.Refused, o.heldInputs(), 1, v.last
			v.at = v.last.Add(renewal.RefusedRetry(v.refusals))
		}
	case verified.Reason == v1alpha1.ReasonVerificationSuspended:
		v.verdict, v.suspendedFor = pipedream.Inconclusive, verified.ObservedGeneration
	case isCurrent && o.record() != nil && !o.now.Before(verified.LastTransitionTime.Add(min(o.wanted.VerifyEvery, renewal.VerificationRecheck))):
		// The operator has verified a token of this generation, without a result. The version
		// before this one said the same of a spec for which Pipedream refuses every token. So no
		// new token is spent to find out whether Pipedream refuses every token.
		v.replacedFor = generation
	}
}

// isOfStatus reports whether the current token is the one that the status is about.
func (o *observation) isOfStatus() bool {
	record, issued := o.record(), o.token.Status.IssueTime
	return record != nil && issued != nil && issued.Time.Equal(record.IssueTime)
}

// isOfThisAPI reports whether the current token is of the API that is asked now: another
// API may refuse what this one has accepted.
func (o *observation) isOfThisAPI() bool {
	record := o.record()
	return record != nil && record.API == o.wanted.API
}

func recallFailure(o *observation) *failure {
	status := o.token.Status
	renewRequest := o.wanted.RenewRequest
	if record := o.record(); record != nil {
		renewRequest = record.RenewRequest // Another may have been made since.
	}
	renewed := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionRenewed)
	if renewed == nil || renewed.Status != metav1.ConditionFalse {
		return nil
	}
	recalled := &failure{
		reason:      renewed.Reason,
		refusedOver: versionOf(o.target),
		told:        renewed.Message,
		toldReady:   meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady),
		since:       earlier(renewed.LastTransitionTime.Time, o.now),
		tried: attempt{
			generation:         status.ObservedGeneration,
			credentialsVersion: status.ClientSecretResourceVersion,
			renewRequest:       renewRequest,
		},
		count: 1,
	}
	if status.NextAttemptTime != nil {
		// The clock may have been wrong then.
		recalled.notBefore = retry.Limit(status.NextAttemptTime.Time, o.now)
	}
	return recalled
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
