// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/attempt"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/conditions"
	"github.com/pipedream-operator/pipedream-operator/internal/reason"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

// longQueue is the shortest time of waiting that a status shows.
const longQueue = 10 * time.Second

// view is everything that a status is computed from.
type view struct {
	snapshot
	state    state
	decision renewal.Decision
	// previous is the status that stands.
	previous v1alpha1.PipedreamTokenStatus
	// at is the time of the report.
	at time.Time
}

// failure returns the failed attempt that the status is about; nil if there is none. While the
// PipedreamToken is suspended, no attempt is made, so that none is failing; that it is being deleted is
// said all the same.
func (v view) failure() *attempt.Failure {
	if v.desired.Suspended && !v.isTokenTerminating() {
		return nil
	}
	return v.state.attempt.activeFailure()
}

// project computes the status. It is pure.
func project(v view) v1alpha1.PipedreamTokenStatus {
	status := v1alpha1.PipedreamTokenStatus{
		Conditions:                  conditions.Known(v.previous.Conditions, conditionTypes...),
		ObservedGeneration:          v.token.Generation,
		ClientSecretResourceVersion: credentialsVersionRead(v),
	}
	if v.holdsOurs() {
		status.Secret = v1alpha1.CheckedSecret{Name: v.target.Name}
		if checkOf(v.snapshot, v.state) == renewal.Good {
			status.Secret.ResourceVersion = v.target.ResourceVersion
		}
	}
	current := renewal.CurrentToken(v.desired, factsOf(v.snapshot, v.state), v.at)
	if current != renewal.StateNone {
		record := v.record()
		status.IssueTime = timestamp(record.IssueTime)
		status.ExpirationTime = timestamp(record.ExpirationTime)
		if !v.desired.Suspended && !v.isTokenTerminating() {
			status.RenewalTime = timestamp(renewal.DueTime(v.desired, *record))
		}
	}
	status.NextAttemptTime = timestamp(nextAttempt(v))
	projectConditions(v, &status, current)
	return status
}

func projectConditions(v view, status *v1alpha1.PipedreamTokenStatus, current renewal.State) {
	set := func(condition metav1.Condition) {
		condition.LastTransitionTime = metav1.NewTime(v.at.Truncate(time.Second))
		meta.SetStatusCondition(&status.Conditions, condition)
	}
	generation := v.token.Generation
	ready := readyCondition(v, status, current)
	ready.ObservedGeneration = generation
	ready.Message = keptMessage(&v.previous, ready, status, true) // It says nothing but what the status says.
	set(ready)

	failed := v.failure()
	renewed := renewedCondition(v, status, failed)
	renewed.ObservedGeneration = generation
	renewed.Message = keptMessage(&v.previous, renewed, status, isAttemptRestored(v, failed) || mayOtherKnowMore(v, renewed))
	set(renewed)

	switch {
	case v.isTokenTerminating():
		// Nothing is verified any longer, so that condition Verified stays as it is.
	case v.desired.VerifyEvery > 0:
		projectVerified(v, status, set)
	default:
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionVerified)
	}
	// A failure of an older spec does not set Stalled. The current spec must fail first.
	if failed.IsStalled(v.at) && failed.Tried.Generation == generation {
		set(metav1.Condition{
			Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, ObservedGeneration: generation,
			Reason: failed.Row.Reason, Message: renewed.Message,
		})
	} else {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionStalled)
	}
}

// isAttemptRestored reports whether this process knows what condition Renewed says from the status
// only.
func isAttemptRestored(v view, failed *attempt.Failure) bool {
	switch {
	case failed != nil:
		return failed.IsRestored
	case !v.ticket.PausedUntil.IsZero():
		return false // The message says when the pause ends, which may be another time now.
	}
	return v.state.attempt.isRestored
}

// mayOtherKnowMore reports whether the message that stands may be the one of another operator that is
// certain already that two operators write the Secret.
func mayOtherKnowMore(v view, renewed metav1.Condition) bool {
	other := v.state.other
	return renewed.Status == metav1.ConditionTrue && other.isExpected(v.at) && !other.isCertain(v.at)
}

func projectVerified(v view, status *v1alpha1.PipedreamTokenStatus, set func(metav1.Condition)) {
	known := v.state.verification
	verified := verifiedCondition(v)
	// The generation for which a token was verified last. A restart knows from it whether the verdict
	// is about the spec as it is.
	verified.ObservedGeneration = known.triedFor
	// Only the words of an inconclusive verification depend on the answer.
	verified.Message = keptMessage(&v.previous, verified, status, known.isRestored || verified.Reason != v1alpha1.ReasonVerificationInconclusive)
	set(verified)
	if verified.Status != metav1.ConditionTrue && known.acceptedFor == v.token.Generation {
		status.AcceptedGeneration = v.token.Generation
	}
}

// keptMessage returns the message of a condition. If the message may be kept, the old one is, until a
// time, a status or a reason in the status changes. So a release with new words does not write
// every status at its start.
func keptMessage(previous *v1alpha1.PipedreamTokenStatus, condition metav1.Condition, status *v1alpha1.PipedreamTokenStatus, mayBeKept bool) string {
	before := meta.FindStatusCondition(previous.Conditions, condition.Type)
	isSame := mayBeKept && conditions.AreSame(before, &condition) && before.ObservedGeneration == condition.ObservedGeneration && isAboutSameToken(previous, status)
	if isSame && condition.Type != v1alpha1.ConditionReady { // The messages of the others speak of the current token.
		isSame = conditions.AreSame(meta.FindStatusCondition(previous.Conditions, v1alpha1.ConditionReady), meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady))
	}
	if isSame {
		return before.Message
	}
	return condition.Message
}

// isAboutSameToken reports whether two statuses are about the same generation, the same Secret and the
// same token. No message speaks of the next attempt.
func isAboutSameToken(a, b *v1alpha1.PipedreamTokenStatus) bool {
	return a.ObservedGeneration == b.ObservedGeneration &&
		a.IssueTime.Equal(b.IssueTime) && a.ExpirationTime.Equal(b.ExpirationTime) &&
		a.RenewalTime.Equal(b.RenewalTime) && a.Secret.Name == b.Secret.Name
}

// credentialsVersionRead returns the version of the credentials that the last attempt or check was
// made with.
func credentialsVersionRead(v view) string {
	failed := v.failure()
	switch {
	case failed != nil:
		return failed.Tried.CredentialsVersion
	case v.state.check.last.credentialsVersion != "":
		return v.state.check.last.credentialsVersion
	}
	return v.previous.ClientSecretResourceVersion
}

// nextAttempt returns when a failed attempt is made again; zero if none has failed, or if that is
// not a matter of time.
func nextAttempt(v view) time.Time {
	failed := v.failure()
	hidden := v.state.attempt.failure
	switch {
	case failed != nil && hidden != nil && hidden != failed && hidden.Row.Class == reason.Paused && v.at.Before(hidden.NotBefore):
		return hidden.NotBefore // A restart must know the pause, whatever explains more than the pause does.
	case failed == nil, isWaiting(v.ticket):
		return time.Time{}
	case v.decision.Action == renewal.Wait:
		return v.decision.Until
	}
	return failed.NotBefore
}
