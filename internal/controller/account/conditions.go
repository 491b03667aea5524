// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/attempt"
	"github.com/pipedream-operator/pipedream-operator/internal/reason"
	reasons "github.com/pipedream-operator/pipedream-operator/internal/reason/account"
	"github.com/pipedream-operator/pipedream-operator/internal/refresh"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

func readyCondition(v view, status *v1alpha1.PipedreamAccountStatus, current refresh.State) metav1.Condition {
	ready := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse}
	switch current {
	case refresh.StateValid:
		if because := v.state.attempt.verdict.unreadyReason(); because != "" {
			ready.Reason = because
			ready.Message = v.rowOf(rows.Of(because)).Meaning + " Pipedream said so after it gave out the credentials in the Secret, which are from " +
				show(status.FetchTime) + ". Condition Fetched says who must act."
			break
		}
		ready.Status, ready.Reason = metav1.ConditionTrue, v1alpha1.ReasonCredentialsValid
		ready.Message = "The Secret holds credentials of the account that do not expire."
		if status.ExpirationTime != nil {
			ready.Message = "The Secret holds credentials of the account that are valid until " + show(status.ExpirationTime) + "."
		}
	case refresh.StateExpired:
		ready.Reason = v1alpha1.ReasonCredentialsExpired
		ready.Message = "The credentials in the Secret expired at " + show(status.ExpirationTime) + ", and the operator has no newer ones yet. Condition Fetched says why."
	case refresh.StateOutdated:
		ready.Reason = v1alpha1.ReasonAccountOutdated
		where := "project, environment"
		if v.account.UsesAPIKey() {
			where = "workspace"
		}
		ready.Message = "The credentials in the Secret are of another account, " + where + " or API address than the ones that are asked for now, " +
			"and the operator has no newer ones yet. Condition Fetched says why."
	case refresh.StateNone:
		ready.Reason = v1alpha1.ReasonNotFetched
		ready.Message = "There is no Secret with credentials for this PipedreamAccount. Condition Fetched says why."
		if v.targetState() == refresh.Owned {
			ready.Message = "Somebody has changed the Secret, so it does not hold what the operator wrote. Condition Fetched says what follows."
		}
	}
	return ready
}

func fetchedCondition(v view, status *v1alpha1.PipedreamAccountStatus, failed *attempt.Failure) metav1.Condition {
	fetched := metav1.Condition{Type: v1alpha1.ConditionFetched, Status: metav1.ConditionUnknown}
	// Ready says that this condition tells why it is False: it must, and at once.
	isReady := meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady)
	previous := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionFetched)
	waiting := waitingCondition(v, previous, isReady)
	switch {
	case v.isSuspended():
		fetched.Reason, fetched.Message = v1alpha1.ReasonSuspended, explainSuspension(status)
	case failed != nil:
		fetched.Status, fetched.Reason, fetched.Message = metav1.ConditionFalse, failed.Row.Reason, messageOf(v, failed, status)
	case waiting != nil:
		return *waiting
	case (isWaiting(v.ticket) || v.state.attempt.looks.Again) && meta.IsStatusConditionFalse(status.Conditions, v1alpha1.ConditionFetched):
		return *previous // Nothing was tried since it failed.
	case status.FetchTime != nil:
		fetched.Status, fetched.Reason = metav1.ConditionTrue, v1alpha1.ReasonAccountFetched
		fetched.Message = "Pipedream answered the last look at the account, and the Secret holds the credentials that were fetched at " + show(status.FetchTime) + "." +
			explainPolicy(v, status) + explainOmitted(v) + explainDrift(v)
	case previous != nil && previous.Reason != v1alpha1.ReasonSuspended:
		return *previous
	default:
		fetched.Reason, fetched.Message = v1alpha1.ReasonNotAttempted, "The operator has not asked Pipedream for the account yet."
	}
	return fetched
}

// healthyCondition returns condition Healthy. Its type is empty while there was no answer yet.
func healthyCondition(v view) metav1.Condition {
	healthy := metav1.Condition{Type: v1alpha1.ConditionHealthy, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonHealthUnknown}
	switch known := v.state.attempt.verdict; known.health {
	case v1alpha1.ReasonAccountDead:
		healthy.Status, healthy.Reason = metav1.ConditionFalse, v1alpha1.ReasonAccountDead
		healthy.Message = "Pipedream says that the account is dead."
	case v1alpha1.ReasonAccountHealthy:
		healthy.Status, healthy.Reason = metav1.ConditionTrue, v1alpha1.ReasonAccountHealthy
		healthy.Message = "Pipedream says that the account is healthy."
	case v1alpha1.ReasonAccountUnhealthy:
		healthy.Status, healthy.Reason = metav1.ConditionFalse, v1alpha1.ReasonAccountUnhealthy
		healthy.Message = "Pipedream says that the account is not healthy: its credentials may not work. " +
			"If the app refuses them, the end user must connect the account again."
	case v1alpha1.ReasonHealthUnknown:
		healthy.Message = "Pipedream has not said whether the account is healthy."
		if known.given.Kind != "" {
			healthy.Message = "Pipedream says nothing about the health of the account. Condition Fetched says what it says."
		}
	default:
		return metav1.Condition{}
	}
	return healthy
}

// rowOf returns a row with the words for the credentials that the PipedreamAccount is fetched with.
func (v view) rowOf(row reason.Row) reason.Row {
	if v.account.UsesAPIKey() {
		return reasons.ForAPIKey(row, v.account.Spec.WorkspaceID != "")
	}
	return row
}

// messageOf says what happened, since when, until when the current credentials are good, and what to do.
func messageOf(v view, failed *attempt.Failure, status *v1alpha1.PipedreamAccountStatus) string {
	happened, advice := v.rowOf(failed.Row).Explain(failed.Detail)
	return happened + ", since " + failed.Since.UTC().Format(time.RFC3339) + ". " + explainHeld(status) + " " + advice
}

// explainHeld says what the credentials in the Secret are worth.
func explainHeld(status *v1alpha1.PipedreamAccountStatus) string {
	ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
	switch {
	case ready == nil, isWorthNothing(ready.Reason):
		return "The Secret holds no usable credentials."
	case ready.Status != metav1.ConditionTrue:
		return "The Secret holds credentials from " + show(status.FetchTime) + ", and the app may refuse them."
	case status.ExpirationTime == nil:
		return "The credentials in the Secret do not expire."
	}
	return "The credentials in the Secret are valid until " + show(status.ExpirationTime) + "."
}

// isWorthNothing reports whether a reason of Ready says that the credentials in the Secret are of no use. The other
// reasons of Ready False are what Pipedream says about the account.
func isWorthNothing(reason string) bool {
	return reason == v1alpha1.ReasonNotFetched || reason == v1alpha1.ReasonCredentialsExpired || reason == v1alpha1.ReasonAccountOutdated
}

func explainSuspension(status *v1alpha1.PipedreamAccountStatus) string {
	return "`spec.suspend` is true: the operator asks Pipedream for nothing, and does not write the Secret. " +
		explainHeld(status) + " To go on, set `spec.suspend` to false, or remove it."
}

// waitingCondition returns condition Fetched of an account that is due for a look and waits; nil if the
// wait is over soon, and the Secret is as the spec asks for until then. The previous condition is nil if there is none.
func waitingCondition(v view, previous *metav1.Condition, isReady bool) *metav1.Condition {
	waiting := &metav1.Condition{Type: v1alpha1.ConditionFetched, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonQueued}
	isOutdated := isSecretOutdated(v) || isStillDue(v, previous)
	isUrgent := isOutdated || !isReady
	switch {
	case isWaiting(v.ticket) && (isUrgent || isDelayed(v)):
		if unanswered := unansweredCondition(v.ticket, previous); unanswered != nil {
			return unanswered
		}
		waiting.Message = explainQueue(v.ticket)
	case isOutdated && v.decision.Action == refresh.Wait, isHeldBack(v, isUrgent):
		waiting.Message = explainInterval(v)
	case isOutdated:
		waiting.Message = "The account is due for a look. Until then, the Secret may not be as the spec asks for."
	default:
		return nil
	}
	return waiting
}

// isStillDue reports whether an earlier process has left a look undone, and its last status says so. The status must
// not say anything else before the look is made, because another restart would forget it then.
func isStillDue(v view, previous *metav1.Condition) bool {
	return v.state.attempt.looks.Again && previous != nil && previous.Status == metav1.ConditionUnknown
}

// isHeldBack reports whether a look that somebody has triggered waits long enough to be told of.
func isHeldBack(v view, isUrgent bool) bool {
	return v.decision.Action == refresh.Wait && v.decision.Why.IsTriggered() && (isUrgent || v.decision.Until.Sub(v.at) > longQueue)
}

// isSecretOutdated reports whether the Secret holds credentials that are not yet written as the spec asks for, that
// are of another account, or that are older than the ones that were written last.
func isSecretOutdated(v view) bool {
	held := v.record()
	return held != nil && (held.Rendering != v.desired.Rendering || held.Request != v.desired.Request || isSuperseded(v.snapshot, v.state))
}

// unansweredCondition returns condition Fetched of an account that waits because Pipedream does not answer
// the requests before; nil if it waits for something else.
func unansweredCondition(ticket throttle.Ticket, previous *metav1.Condition) *metav1.Condition {
	switch failing := ticket.Failing; {
	case !ticket.PausedUntil.IsZero():
	case !failing.Since.IsZero():
		return &metav1.Condition{
			Type: v1alpha1.ConditionFetched, Status: metav1.ConditionFalse, Reason: reasonOf(failing.Kind),
			Message: "The account is due for a look. Pipedream has not answered since " + show(timestamp(failing.Since)) + ", or only with errors. " +
				"The operator sends one such request at a time until Pipedream answers, and this PipedreamAccount waits for its turn.",
		}
	case previous != nil && previous.Status == metav1.ConditionFalse && attempt.IsUnanswered(previous.Reason):
		return previous // Pipedream answers again, and nothing was tried since.
	}
	return nil
}

// isDelayed reports whether a look has waited for its turn so long that it is told of. While the credentials are good
// for long, a routine look that waits for minutes behind the looks at other accounts is no news: with many accounts in a
// project, each look waits, and two statuses would be written for each one. After an hour it is: the account may be dead
// since then.
func isDelayed(v view) bool {
	near := nearEndOf(v.snapshot, v.state)
	isRoutine := !v.decision.Why.IsTriggered() && (near.IsZero() || v.at.Before(near))
	if isRoutine && v.ticket.PausedUntil.IsZero() && v.ticket.Failing.Since.IsZero() {
		return v.at.Sub(v.ticket.Since) >= longRoutineQueue
	}
	return isLongQueue(v.ticket, v.at)
}

func isLongQueue(ticket throttle.Ticket, now time.Time) bool {
	return now.Sub(ticket.Since) >= longQueue || ticket.PausedUntil.Sub(now) > longQueue
}

func explainQueue(ticket throttle.Ticket) string {
	if paused := ticket.PausedUntil; !paused.IsZero() {
		return "The account is due for a look. Pipedream limits the rate of requests, and the operator sends none before " + show(timestamp(paused)) + "."
	}
	return "The account is due for a look. The request waits for its turn since " + show(timestamp(ticket.Since)) +
		": the operator paces the requests of all PipedreamAccounts, and sends the most urgent ones first."
}

func explainInterval(v view) string {
	message := "The account is due for a look, and the operator waits until " + show(timestamp(v.decision.Until)) +
		": it waits at least 10 s between two looks at one account, and longer if changes keep causing new looks."
	if editor := v.state.check.editor; editor != "" {
		message += fmt.Sprintf(" The field manager %q has changed the Secret. It must leave the Secret to this operator.", editor)
	}
	return message
}

// explainPolicy says when Pipedream refreshes the account next, if the spec asks for a look after each refresh.
func explainPolicy(v view, status *v1alpha1.PipedreamAccountStatus) string {
	switch {
	case v.desired.Policy != refresh.EachRefresh:
		return ""
	case status.NextRefreshTime == nil:
		return " `spec.fetchPolicy` is `EachRefresh`, but Pipedream announces no refresh of these credentials. The operator looks as with `BeforeExpiry`."
	}
	return " Pipedream announces the next refresh for " + show(status.NextRefreshTime) + ", and the operator looks at the account after that."
}

// explainOmitted says how many fields of the credentials the Secret does not hold.
func explainOmitted(v view) string {
	if v.state.attempt.omitted == 0 {
		return ""
	}
	return fmt.Sprintf(" Fields of the credentials that are not in the Secret, because no key of a Secret can have their names: %d.", v.state.attempt.omitted)
}

// explainDrift says who changes the Secret again and again.
func explainDrift(v view) string {
	if v.decision.Action != refresh.Wait || v.state.check.editor == "" {
		return ""
	}
	return fmt.Sprintf(" The field manager %q has changed labels or annotations of the Secret that `spec.secret` sets. "+
		"The operator sets them again at ", v.state.check.editor) + show(timestamp(v.decision.Until)) + "."
}
