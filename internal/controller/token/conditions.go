// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/attempt"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

func readyCondition(v view, status *v1alpha1.PipedreamTokenStatus, current renewal.State) metav1.Condition {
	ready := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse}
	switch current {
	case renewal.StateValid:
		ready.Status, ready.Reason = metav1.ConditionTrue, v1alpha1.ReasonTokenValid
		ready.Message = "The Secret holds a token that is valid until " + show(status.ExpirationTime) + "."
	case renewal.StateExpired:
		ready.Reason = v1alpha1.ReasonTokenExpired
		ready.Message = "The token in the Secret expired at " + show(status.ExpirationTime) + ", and the operator has no newer one yet. Condition Renewed says why."
	case renewal.StateRevoked:
		ready.Reason = v1alpha1.ReasonTokenRevoked
		ready.Message = "Pipedream refuses the token in the Secret, and the operator has no newer one yet. Condition Renewed says why."
	case renewal.StateOutdated:
		ready.Reason = v1alpha1.ReasonTokenOutdated
		ready.Message = "The token in the Secret was issued for other scopes or another API address than the ones that are asked for now, and the operator has no newer one yet. Condition Renewed says why."
	case renewal.StateNone:
		ready.Reason = v1alpha1.ReasonNotIssued
		if v.holdsOurs() {
			ready.Message = "Somebody has changed the Secret, so it does not hold what the operator wrote. Condition Renewed says what the operator does next."
			break
		}
		ready.Message = "There is no Secret with a token for this PipedreamToken. Condition Renewed says why."
	}
	return ready
}

func renewedCondition(v view, status *v1alpha1.PipedreamTokenStatus, failed *attempt.Failure) metav1.Condition {
	renewed := metav1.Condition{Type: v1alpha1.ConditionRenewed}
	// Ready says that this condition tells why it is False: it must, and at once.
	isReady := meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady)
	previous := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionRenewed)
	waiting := explainWaiting(v, previous, isReady)
	switch {
	case v.desired.Suspended && !v.isTokenTerminating():
		renewed.Status, renewed.Reason = metav1.ConditionUnknown, v1alpha1.ReasonSuspended
		renewed.Message = explainSuspension(status)
	case failed != nil:
		renewed.Status, renewed.Reason = metav1.ConditionFalse, failed.Row.Reason
		renewed.Message = explainFailure(failed, status)
	case isStanding(v, previous, waiting):
		return *previous
	case waiting != nil:
		renewed = *waiting
	case status.IssueTime != nil:
		renewed.Status, renewed.Reason = metav1.ConditionTrue, v1alpha1.ReasonIssued
		renewed.Message = "A token was issued at " + show(status.IssueTime) + ", and is renewed at " + show(status.RenewalTime) + "." + explainGrant(v) + explainDrift(v)
	case previous != nil && previous.Reason != v1alpha1.ReasonSuspended:
		return *previous
	default:
		renewed.Status, renewed.Reason = metav1.ConditionUnknown, v1alpha1.ReasonNotAttempted
		renewed.Message = "The operator has not asked for a token yet."
	}
	renewed.Message += explainOther(v)
	return renewed
}

// isStanding reports whether condition Renewed still says how the last attempt has failed, because a token
// waits and nothing was tried since.
func isStanding(v view, previous, waiting *metav1.Condition) bool {
	if waiting != nil {
		return waiting == previous
	}
	return isWaiting(v.ticket) && previous != nil && previous.Status == metav1.ConditionFalse
}

// verifiedCondition returns condition Verified.
func verifiedCondition(v view) metav1.Condition {
	verified := metav1.Condition{
		Type: v1alpha1.ConditionVerified, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonVerificationInconclusive,
	}
	known := v.state.verification
	switch {
	case v.hasNoTokenKey():
		verified.Message = noTokenKeyMessage
	case !trialOf(v.token).CanList():
		verified.Message = cannotListMessage
	case known.verdict == pipedream.Accepted:
		verified.Status, verified.Reason = metav1.ConditionTrue, v1alpha1.ReasonTokenAccepted
		verified.Message = "Pipedream accepted the token at the last verification."
	case known.verdict == pipedream.Refused && known.inputs == v.currentInputs():
		verified.Status, verified.Reason = metav1.ConditionFalse, v1alpha1.ReasonTokenRevoked
		verified.Message = "Pipedream answers 401 to the current token."
	case known.suspendedFor == v.token.Generation:
		verified.Reason, verified.Message = v1alpha1.ReasonVerificationSuspended, suspendedMessage
	case known.detail != "":
		verified.Message = known.detail
	default:
		verified.Message = "The operator has not verified the current token yet."
	}
	return verified
}

// explainWaiting returns condition Renewed of a token that is due and waits; nil if the wait is over
// soon. The previous condition is nil if there is none.
func explainWaiting(v view, previous *metav1.Condition, isReady bool) *metav1.Condition {
	queued := &metav1.Condition{Type: v1alpha1.ConditionRenewed, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonQueued}
	switch {
	case isWaiting(v.ticket) && (!isReady || isLongQueue(v.ticket, v.at)):
		if unanswered := explainUnanswered(v.ticket, previous); unanswered != nil {
			return unanswered
		}
		queued.Message = explainQueue(v.ticket)
	case v.decision.Action == renewal.Wait && v.decision.Why != "" && (!isReady || v.decision.Until.Sub(v.at) > longQueue):
		queued.Message = explainInterval(v)
	default:
		return nil
	}
	return queued
}

// explainUnanswered returns condition Renewed of a token that waits because Pipedream does not answer
// the requests before; nil if it waits for something else.
func explainUnanswered(ticket throttle.Ticket, previous *metav1.Condition) *metav1.Condition {
	switch failing := ticket.Failing; {
	case !ticket.PausedUntil.IsZero():
	case !failing.Since.IsZero():
		return &metav1.Condition{
			Type: v1alpha1.ConditionRenewed, Status: metav1.ConditionFalse,
			Reason: reasonOf(failing.Kind), Message: explainFailing(failing),
		}
	case previous != nil && previous.Status == metav1.ConditionFalse && attempt.IsUnanswered(previous.Reason):
		return previous // Pipedream answers again, and nothing was tried since.
	}
	return nil
}

func isLongQueue(ticket throttle.Ticket, now time.Time) bool {
	return now.Sub(ticket.Since) >= longQueue || ticket.PausedUntil.Sub(now) > longQueue
}

func explainQueue(ticket throttle.Ticket) string {
	if paused := ticket.PausedUntil; !paused.IsZero() {
		return "A token is due. Pipedream limits the rate of token requests, and the operator sends none before " + show(timestamp(paused)) + "."
	}
	return "A token is due. Its request has been waiting for its turn since " + show(timestamp(ticket.Since)) +
		": the operator paces the token requests of all PipedreamTokens, and sends the most urgent ones first."
}

// explainFailing says since when Pipedream does not answer the requests before this one.
func explainFailing(failing throttle.Failing) string {
	since := show(timestamp(failing.Since))
	if failing.IsAlone {
		return "A token is due. Since " + since + ", each token request with these credentials and scopes has failed. " +
			"The operator sends one of them at a time, and this PipedreamToken waits for its turn."
	}
	return "A token is due. Since " + since + ", Pipedream has not answered, or has answered only with errors. " +
		"The operator sends one token request at a time until Pipedream answers, and this PipedreamToken waits for its turn."
}

func explainInterval(v view) string {
	message := "A token is due, and the operator waits until " + show(timestamp(v.decision.Until)) +
		": it waits at least 10 s between two tokens of one PipedreamToken, and longer if changes keep causing new tokens."
	if editor := v.state.check.editor; editor != "" && (v.decision.Why == renewal.SecretEdited || isSuperseded(v.snapshot, v.state)) {
		message += fmt.Sprintf(" The field manager %q has changed the Secret. It must leave the Secret's data and annotations to this operator.", editor)
	}
	return message
}

// explainGrant says which scopes the current token has beyond the ones that were asked for; empty
// if there are none. It goes by the record on the Secret, so that a restart does not change the
// message. Pipedream's answer may be any text: only scopes are shown.
func explainGrant(v view) string {
	record := v.record()
	if record == nil || record.Scopes == "" || len(v.target.Annotations[v1alpha1.GrantedScopeAnnotation]) > ownedsecret.LongestScope {
		return "" // The cache does not have a longer one, and a message must not depend on who was asked.
	}
	granted := slices.DeleteFunc(strings.Fields(v.target.Annotations[v1alpha1.GrantedScopeAnnotation]), func(scope string) bool {
		return !pipedream.IsScope(scope)
	})
	slices.Sort(granted)
	extra := pipedream.NotCovered(strings.Fields(record.Scopes), slices.Compact(granted))
	if len(extra) == 0 {
		return ""
	}
	return " Pipedream granted scopes that the spec does not ask for: " + pipedream.ShowScopes(extra) + "."
}

// explainOther says that two operators write the Secret; empty if this is not certain. Both say it in
// the same words, so that neither of them changes the message of the other.
func explainOther(v view) string {
	other := v.state.other
	if !other.isCertain(v.at) {
		return ""
	}
	names := []string{other.name, v.operator}
	slices.Sort(names) // The empty name comes first.
	one := "The operator `" + names[0] + "`"
	if names[0] == "" {
		one = "An operator without leader election"
	}
	return " " + one + " writes the same Secret as the operator `" + names[1] + "`: " +
		"two operators must not watch one namespace. Uninstall one of them, or give each of them other namespaces with `--namespaces`."
}

// explainDrift says who changes the Secret again and again.
func explainDrift(v view) string {
	if v.decision.Action != renewal.Wait || v.decision.Why != "" || v.state.check.editor == "" {
		return ""
	}
	return fmt.Sprintf(" The field manager %q has changed labels or annotations of the Secret that `spec.secret` sets. "+
		"The operator sets them again at ", v.state.check.editor) + show(timestamp(v.decision.Until)) + "."
}
