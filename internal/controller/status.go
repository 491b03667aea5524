// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

// longQueue is how long waiting is not worth a status.
const longQueue = 10 * time.Second

// project computes the status from what was observed, from the last failure and
// from the limiter's answer. It is pure.
func (o *observation) project(previous v1alpha1.PipedreamTokenStatus, now time.Time) v1alpha1.PipedreamTokenStatus {
	status := v1alpha1.PipedreamTokenStatus{
		Conditions:                  knownConditions(previous.Conditions),
		ObservedGeneration:          o.token.Generation,
		ClientSecretResourceVersion: o.credentialsVersionRead(previous),
	}
	if o.targetState() == renewal.Owned {
		status.Secret = v1alpha1.CheckedSecret{Name: o.target.Name}
		if o.checkState() == renewal.Good {
			status.Secret.ResourceVersion = o.target.ResourceVersion
		}
	}
	held := renewal.HeldToken(o.wanted, o.observed(), now)
	if held != renewal.StateNone {
		record := o.record()
		status.IssueTime = timestamp(record.IssueTime)
		status.ExpirationTime = timestamp(record.ExpirationTime)
		status.RenewalTime = timestamp(renewal.DueTime(o.wanted, *record))
	}
	status.NextAttemptTime = timestamp(o.nextAttempt())
	o.projectConditions(&status, held, now)
	return status
}

func (o *observation) projectConditions(status *v1alpha1.PipedreamTokenStatus, held renewal.State, now time.Time) {
	set := func(condition metav1.Condition) {
		condition.ObservedGeneration = o.token.Generation
		condition.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
		meta.SetStatusCondition(&status.Conditions, condition)
	}
	set(o.readyCondition(status, held))
	set(o.renewedCondition(status, now))
	if o.wanted.VerifyEvery > 0 {
		verified := o.verifiedCondition(status)
		set(verified)
		o.dateVerified(status)
		if verified.Status != metav1.ConditionTrue && o.memory.verification.acceptedFor == o.token.Generation {
			status.AcceptedGeneration = o.token.Generation
		}
	} else {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionVerified)
	}
	// What has failed for another generation is no person's business before it has
	// failed for this one.
	if trouble := o.memory.trouble(); trouble.stalled(now) && trouble.tried.generation == o.token.Generation {
		set(metav1.Condition{
			Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue,
			Reason: trouble.reason, Message: trouble.message(status),
		})
	} else {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionStalled)
	}
}

// knownConditions returns a copy of our conditions, without those that the schema
// has put there and that nobody has ever observed.
func knownConditions(conditions []metav1.Condition) []metav1.Condition {
	return slices.DeleteFunc(slices.Clone(conditions), func(condition metav1.Condition) bool {
		switch condition.Type {
		case v1alpha1.ConditionReady, v1alpha1.ConditionRenewed, v1alpha1.ConditionVerified, v1alpha1.ConditionStalled:
			return condition.LastTransitionTime.Unix() <= 0
		}
		return true
	})
}

// credentialsVersionRead returns the version of the credentials that the last
// attempt or check was made with.
func (o *observation) credentialsVersionRead(previous v1alpha1.PipedreamTokenStatus) string {
	switch {
	case o.memory.trouble() != nil:
		return o.memory.trouble().tried.credentialsVersion
	case o.memory.checked.credentialsVersion != "":
		return o.memory.checked.credentialsVersion
	}
	return previous.ClientSecretResourceVersion
}

func (o *observation) readyCondition(status *v1alpha1.PipedreamTokenStatus, held renewal.State) metav1.Condition {
	ready := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse}
	switch held {
	case renewal.StateValid:
		ready.Status, ready.Reason = metav1.ConditionTrue, v1alpha1.ReasonTokenValid
		ready.Message = "The Secret holds a token that is good until " + show(status.ExpirationTime) + "."
	case renewal.StateExpired:
		ready.Reason = v1alpha1.ReasonTokenExpired
		ready.Message = "The held token expired at " + show(status.ExpirationTime) + ", and no newer one could be had yet. Condition Renewed says why."
	case renewal.StateRevoked:
		ready.Reason = v1alpha1.ReasonTokenRevoked
		ready.Message = "Pipedream refuses the held token, and no newer one could be had yet. Condition Renewed says why."
	case renewal.StateOutdated:
		ready.Reason = v1alpha1.ReasonTokenOutdated
		ready.Message = "The held token has other scopes, or is of another API address, than is asked for now, and no such token could be had yet. Condition Renewed says why."
	case renewal.StateNone:
		ready.Reason = v1alpha1.ReasonNotIssued
		if o.targetState() == renewal.Owned {
			ready.Message = "The Secret does not hold what was written there: somebody has changed it. Condition Renewed says what follows."
			break
		}
		ready.Message = "There is no Secret with a token of this PipedreamToken. Condition Renewed says why."
	}
	return ready
}

func (o *observation) renewedCondition(status *v1alpha1.PipedreamTokenStatus, now time.Time) metav1.Condition {
	renewed := metav1.Condition{Type: v1alpha1.ConditionRenewed}
	trouble := o.memory.trouble()
	// Ready says that this condition tells why it is False: it must, and at once.
	isReady := meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady)
	waits := o.explainWaiting(isReady, now)
	switch previous := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionRenewed); {
	case trouble != nil:
		renewed.Status, renewed.Reason = metav1.ConditionFalse, trouble.reason
		renewed.Message = trouble.message(status)
	case waits != "":
		renewed.Status, renewed.Reason, renewed.Message = metav1.ConditionUnknown, v1alpha1.ReasonQueued, waits
	case isWaiting(o.ticket) && meta.IsStatusConditionFalse(status.Conditions, v1alpha1.ConditionRenewed):
		return *previous // Nothing was tried since it failed.
	case status.IssueTime != nil:
		renewed.Status, renewed.Reason = metav1.ConditionTrue, v1alpha1.ReasonIssued
		renewed.Message = "A token was issued at " + show(status.IssueTime) + ", and is renewed at " + show(status.RenewalTime) + "." + o.explainGrant() + o.explainFight()
	case previous != nil:
		return *previous
	default:
		renewed.Status, renewed.Reason = metav1.ConditionUnknown, v1alpha1.ReasonNotAttempted
		renewed.Message = "No token was issued yet."
	}
	return renewed
}

// explainWaiting says what a token that is due waits for; nothing if that is soon over.
func (o *observation) explainWaiting(isReady bool, now time.Time) string {
	if isWaiting(o.ticket) && (!isReady || o.isLongQueue(now)) {
		return o.explainQueue()
	}
	if o.decision.Action == renewal.Wait && o.decision.Why != "" && (!isReady || o.decision.Until.Sub(now) > longQueue) {
		return o.explainSpacing()
	}
	return ""
}

func (o *observation) isLongQueue(now time.Time) bool {
	return now.Sub(o.ticket.Since) >= longQueue || o.ticket.PausedUntil.Sub(now) > longQueue
}

func (o *observation) explainQueue() string {
	if paused := o.ticket.PausedUntil; !paused.IsZero() {
		return "A token is due, and waits: Pipedream limits the rate of token requests, and none is sent before " + show(timestamp(paused)) + "."
	}
	return "A token is due, and waits for its turn since " + show(timestamp(o.ticket.Since)) +
		": the token requests of all PipedreamTokens are paced, and the most urgent ones go first."
}

func (o *observation) explainSpacing() string {
	message := "A token is due, and waits until " + show(timestamp(o.decision.Until)) +
		": the tokens of one PipedreamToken are at least 10 s apart, and more when they are asked for again and again."
	if editor := o.memory.editor; editor != "" && o.decision.Why == renewal.SecretEdited {
		message += fmt.Sprintf(" The Secret was changed by the field manager %q: it must leave the Secret's data and annotations to this operator.", editor)
	}
	return message
}

// explainGrant says which scopes the held token has beyond the ones that were asked for;
// nothing if there are none. It goes by the record on the Secret, so that a restart does
// not change the message. Pipedream's answer may be any text: only scopes are shown.
func (o *observation) explainGrant() string {
	record := o.record()
	if record == nil || record.Scopes == "" {
		return ""
	}
	granted := slices.DeleteFunc(strings.Fields(o.target.Annotations[v1alpha1.GrantedScopeAnnotation]), func(scope string) bool {
		return !pipedream.IsScope(scope)
	})
	slices.Sort(granted)
	extra := pipedream.NotCovered(strings.Fields(record.Scopes), slices.Compact(granted))
	if len(extra) == 0 {
		return ""
	}
	return " Pipedream granted scopes that the spec does not ask for: " + pipedream.ShowScopes(extra) + "."
}

// explainFight tells who changes the shape of the Secret again and again.
func (o *observation) explainFight() string {
	if o.decision.Action != renewal.Wait || o.decision.Why != "" || o.memory.editor == "" {
		return ""
	}
	return fmt.Sprintf(" The field manager %q has changed the Secret's labels or annotations that `spec.secret` asks for; "+
		"they are put back at ", o.memory.editor) + show(timestamp(o.decision.Until)) + "."
}

func (o *observation) verifiedCondition(status *v1alpha1.PipedreamTokenStatus) metav1.Condition {
	verified := o.verdictCondition()
	previous := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionVerified)
	if o.memory.verification.restored && previous != nil && previous.ObservedGeneration == o.memory.verification.triedFor &&
		previous.Status == verified.Status && previous.Reason == verified.Reason && o.isVerifiable() {
		verified.Message = previous.Message // A new release that words it better writes nothing at its start.
	}
	return verified
}

// dateVerified makes the generation of condition Verified the one for which a token was
// verified last; none before the first verification. A restart knows from it whether
// the verdict is about the spec as it is.
func (o *observation) dateVerified(status *v1alpha1.PipedreamTokenStatus) {
	meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionVerified).ObservedGeneration = o.memory.verification.triedFor
}

// isVerifiable reports whether an answer of Pipedream can say anything about the current
// token.
func (o *observation) isVerifiable() bool { return !o.hasNoTokenKey() && o.trial().CanList() }

// verdictCondition returns the condition Verified in the words of this release.
func (o *observation) verdictCondition() metav1.Condition {
	verified := metav1.Condition{
		Type: v1alpha1.ConditionVerified, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonVerificationInconclusive,
	}
	known := o.memory.verification
	switch {
	case o.hasNoTokenKey():
		verified.Message = noTokenKeyMessage
	case !o.trial().CanList():
		verified.Message = cannotListMessage
	case known.verdict == pipedream.Accepted:
		verified.Status, verified.Reason = metav1.ConditionTrue, v1alpha1.ReasonTokenAccepted
		verified.Message = "Pipedream accepted the token that was held at the last try."
	case known.verdict == pipedream.Refused && known.inputs == o.heldInputs():
		verified.Status, verified.Reason = metav1.ConditionFalse, v1alpha1.ReasonTokenRevoked
		verified.Message = "Pipedream answers 401 to the held token."
	case known.suspendedFor == o.token.Generation:
		verified.Reason, verified.Message = v1alpha1.ReasonVerificationSuspended, suspendedMessage
	case known.detail != "":
		verified.Message = known.detail
	default:
		verified.Message = "The held token was not tried yet."
	}
	return verified
}

// nextAttempt returns when a failed attempt is made again; zero if none has failed,
// or if that is not a matter of time.
func (o *observation) nextAttempt() time.Time {
	failure := o.memory.trouble()
	switch {
	case failure == nil, isWaiting(o.ticket):
		return time.Time{}
	case o.decision.Action == renewal.Wait:
		return o.decision.Until
	}
	return failure.notBefore
}

// timestamp returns a time in the whole seconds of a status; nil for zero.
func timestamp(at time.Time) *metav1.Time {
	if at.IsZero() {
		return nil
	}
	return new(metav1.NewTime(at.UTC().Truncate(time.Second)))
}

func show(at *metav1.Time) string { return at.UTC().Format(time.RFC3339) }
