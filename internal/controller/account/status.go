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
	"github.com/pipedream-operator/pipedream-operator/internal/refresh"
)

const (
	// longQueue is the shortest time of waiting that a status shows.
	longQueue = 10 * time.Second
	// longRoutineQueue is the same for routine looks at accounts whose credentials are good for longer.
	longRoutineQueue = time.Hour
)

// view is everything that a status is computed from.
type view struct {
	snapshot
	state    state
	decision refresh.Decision
	// previous is the status that stands.
	previous v1alpha1.PipedreamAccountStatus
	// at is the time of the report.
	at time.Time
}

// failure returns the failed attempt that the status is about; nil if there is none. While the
// PipedreamAccount is suspended, no attempt is made, so that none is failing; that it is being deleted is
// said all the same.
func (v view) failure() *attempt.Failure {
	if v.isSuspended() {
		return nil
	}
	return v.state.attempt.activeFailure()
}

// isSuspended reports whether the status says that the PipedreamAccount is suspended.
func (v view) isSuspended() bool {
	return v.desired.Suspended && !ownedsecret.IsTerminating(v.account)
}

// project computes the status. It is pure.
func project(v view) v1alpha1.PipedreamAccountStatus {
	status := v1alpha1.PipedreamAccountStatus{
		Conditions:                      conditions.Known(v.previous.Conditions, conditionTypes...),
		ObservedGeneration:              v.account.Generation,
		ReferencedSecretResourceVersion: credentialsVersionRead(v),
	}
	facts := factsOf(v.snapshot, v.state)
	if v.holdsOurs() {
		status.Secret = v1alpha1.CheckedSecret{Name: v.target.Name}
		if facts.Check == refresh.Good && !v.state.check.last.isDrifted {
			status.Secret.ResourceVersion = v.target.ResourceVersion
		}
	}
	current := refresh.CurrentCredentials(v.desired, facts, v.at)
	if held := v.record(); held != nil && current != refresh.StateNone {
		status.Account = v1alpha1.FetchedAccount{ID: held.account, App: held.app, Verdict: v.state.attempt.unreadyReasonOf(held.Request)}
		status.FetchTime, status.ExpirationTime = timestamp(held.FetchTime), timestamp(held.ExpirationTime)
		status.NextRefreshTime = timestamp(refresh.AnnouncedRefresh(v.desired, held.Record))
	}
	status.NextAttemptTime = timestamp(nextAttempt(v))
	projectConditions(v, &status, current)
	return status
}

func projectConditions(v view, status *v1alpha1.PipedreamAccountStatus, current refresh.State) {
	set := func(condition metav1.Condition) {
		condition.ObservedGeneration = v.account.Generation
		condition.LastTransitionTime = metav1.NewTime(v.at.Truncate(time.Second))
		meta.SetStatusCondition(&status.Conditions, condition)
	}
	ready := readyCondition(v, status, current)
	ready.Message = v.keptMessage(ready, status, true) // It says nothing but what the status says.
	set(ready)

	failed := v.failure()
	fetched := fetchedCondition(v, status, failed)
	fetched.Message = v.keptMessage(fetched, status, isAttemptRestored(v))
	set(fetched)

	if healthy := healthyCondition(v); healthy.Type != "" {
		healthy.Message = v.keptMessage(healthy, status, true)
		set(healthy)
	}
	// A failure of an older spec does not set Stalled. The current spec must fail first.
	if failed.IsStalled(v.at) && failed.Tried.Generation == v.account.Generation {
		set(metav1.Condition{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, Reason: failed.Row.Reason, Message: fetched.Message})
	} else {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionStalled)
	}
}

// isAttemptRestored reports whether this process knows what condition Fetched says from the status
// only.
func isAttemptRestored(v view) bool {
	switch failed := v.failure(); {
	case failed != nil:
		return failed.IsRestored
	case !v.ticket.PausedUntil.IsZero():
		return false // The message says when the pause ends, which may be another time now.
	}
	return v.state.attempt.isRestored
}

// keptMessage returns the message of a condition. If the message may be kept, the old one is, until a
// time, a status or a reason in the status changes. So a release with new words does not write
// every status at its start.
func (v view) keptMessage(condition metav1.Condition, status *v1alpha1.PipedreamAccountStatus, mayBeKept bool) string {
	before := meta.FindStatusCondition(v.previous.Conditions, condition.Type)
	isSame := mayBeKept && conditions.AreSame(before, &condition) && before.ObservedGeneration == v.account.Generation && isAboutSame(&v.previous, status)
	if isSame && condition.Type != v1alpha1.ConditionReady { // The messages of the others speak of the current credentials.
		isSame = conditions.AreSame(meta.FindStatusCondition(v.previous.Conditions, v1alpha1.ConditionReady), meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady))
	}
	if isSame {
		return before.Message
	}
	return condition.Message
}

// isAboutSame reports whether two statuses are about the same generation, the same Secret and the same
// credentials. No message speaks of the next attempt.
func isAboutSame(a, b *v1alpha1.PipedreamAccountStatus) bool {
	return a.ObservedGeneration == b.ObservedGeneration && a.Account == b.Account &&
		a.FetchTime.Equal(b.FetchTime) && a.ExpirationTime.Equal(b.ExpirationTime) && a.NextRefreshTime.Equal(b.NextRefreshTime) &&
		a.Secret.Name == b.Secret.Name
}

// credentialsVersionRead returns the version of the client credentials that the last attempt was made
// with. A newer version that nobody has read yet is not reported: many accounts may share the client, and a
// status for each of them would say nothing about the account.
func credentialsVersionRead(v view) string {
	if failed := v.failure(); failed != nil {
		return failed.Tried.CredentialsVersion
	}
	return v.state.attempt.credentials.versionFor(v.snapshot)
}

// nextAttempt returns when a failed attempt is made again; zero if none has failed, or if that is not a
// matter of time.
func nextAttempt(v view) time.Time {
	failed := v.failure()
	switch {
	case failed == nil, isWaiting(v.ticket):
		return time.Time{}
	case v.decision.Action == refresh.Wait:
		return v.decision.Until
	case failed == v.state.attempt.verdict.failure:
		return later(v.state.attempt.verdict.given.NotBefore(v.at), failed.NotBefore)
	}
	return failed.NotBefore
}
