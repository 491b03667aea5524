// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/conditions"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

const (
	// reportTimeout is how long a report may take. It goes on when the process is told to stop.
	reportTimeout = 5 * time.Second
	// otherRepeat is how long after an event about another operator there is another event.
	otherRepeat = time.Hour
	// longUnknown is how long condition Verified is Unknown before an event says so.
	longUnknown = time.Hour
	// longDeletion is how long a PipedreamToken or its Secret is being deleted before the status says
	// so. Most finalizers are removed within that time.
	longDeletion = 10 * time.Second
)

// reporter writes statuses, events and log lines.
type reporter struct {
	client client.Client
	clock  clock.PassiveClock
	events events.EventRecorder
}

// report applies the status if it says anything new, and records events. It returns when to look
// again.
func (r reporter) report(ctx context.Context, s snapshot, st *state, decision renewal.Decision) (sleep time.Duration, err error) {
	v := view{snapshot: s, state: *st, decision: decision, previous: standingStatus(s, st.reporting), at: r.clock.Now()}
	sleep = sleepOf(v)
	status := project(v)
	if since := r.sayLongUnknown(ctx, v, status); !since.IsZero() {
		st.apply(s, saidUnknown{since})
	}
	if r.sayOther(ctx, v) {
		st.apply(s, saidOther{v.at})
	}
	if isAboutToIssueFirst(v) || isDeletionTooNew(v, status) || saysNothingNew(v, status) {
		return sleep, nil
	}
	version, err := r.applyStatus(ctx, v, status)
	switch {
	case apierrors.IsConflict(err):
		return controller.MinRetry, nil // The cache shows soon what it is now.
	case err != nil:
		return sleep, client.IgnoreNotFound(err)
	}
	st.apply(s, reported{status, version, r.announce(ctx, v, status)})
	return sleep, nil
}

// applyStatus applies the whole status, as its only writer. It returns the version of the object
// with the status.
func (r reporter) applyStatus(ctx context.Context, v view, status v1alpha1.PipedreamTokenStatus) (version string, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportTimeout)
	defer cancel()
	configuration, err := configurationOf(v.snapshot, v.state.reporting, status)
	if err != nil {
		return "", err
	}
	if err := r.client.Status().Apply(ctx, configuration, client.ForceOwnership); err != nil {
		return "", fmt.Errorf("apply the status: %w", err)
	}
	if configuration.ResourceVersion != nil {
		version = *configuration.ResourceVersion
	}
	return version, nil
}

// isAboutToIssueFirst reports whether a first token is a few seconds away, so that a first status
// would be outdated as soon as it is written.
func isAboutToIssueFirst(v view) bool {
	if v.previous.ObservedGeneration != 0 || v.desired.Suspended || v.state.attempt.activeFailure() != nil {
		return false
	}
	return v.targetState() == renewal.Terminating ||
		isWaiting(v.ticket) && v.ticket.PausedUntil.IsZero() && v.at.Sub(v.ticket.Since) < longQueue
}

// isDeletionTooNew reports whether the PipedreamToken or its Secret is being deleted for a few seconds
// only, so that a status that says so would mostly be outdated as soon as it is written. What the
// current token is worth is said at once.
func isDeletionTooNew(v view, status v1alpha1.PipedreamTokenStatus) bool {
	failed := v.state.attempt.activeFailure()
	if !failed.IsDeletion() || !v.at.Before(failed.Since.Add(longDeletion)) {
		return false
	}
	isSaid := conditions.Changed(v.previous.Conditions, status.Conditions, v1alpha1.ConditionRenewed) == nil
	return !isSaid && (v.previous.ObservedGeneration == 0 || conditions.Changed(v.previous.Conditions, status.Conditions, v1alpha1.ConditionReady) == nil)
}

// saysNothingNew reports whether a status is the one that stands, except for a next attempt that
// waits for its turn for a few seconds, or because an outage is over: many attempts then wait, and
// each writes a status soon.
func saysNothingNew(v view, status v1alpha1.PipedreamTokenStatus) bool {
	if isWaiting(v.ticket) && (!isLongQueue(v.ticket, v.at) || v.state.attempt.failure.IsOver(v.outageEnded)) {
		status.NextAttemptTime = v.previous.NextAttemptTime
	}
	return equality.Semantic.DeepEqual(v.previous, status)
}

// sleepOf returns the time to the next reconcile, if nothing changes before. It counts from the
// moment that was decided by: anything that has come due since is due at once.
func sleepOf(v view) time.Duration {
	wake := v.now.Add(renewal.Sleep(v.desired, factsOf(v.snapshot, v.state), v.decision, v.now))
	moments := []time.Time{v.failure().StallsAt(), nextAttempt(v)}
	if failed := v.failure(); failed.IsDeletion() {
		moments = append(moments, failed.Since.Add(longDeletion))
	}
	if isWaiting(v.ticket) {
		// The limiter wakes the object when its turn has come; this is when there is something else to
		// say, or another lane to wait in.
		moments = append(moments, v.ticket.Since.Add(longQueue), nearEnd(v.snapshot))
	}
	for _, at := range moments {
		if at.After(v.now) {
			wake = earlier(wake, at)
		}
	}
	return max(wake.Sub(v.at), time.Millisecond)
}

// announce records each change of a condition, in an event and a log line. A routine renewal is
// none. A token that was issued out of turn has a log line, also if everything is then as it was. It
// returns the change of condition Renewed; nil for none.
func (r reporter) announce(ctx context.Context, v view, status v1alpha1.PipedreamTokenStatus) (renewed *metav1.Condition) {
	logger := log.FromContext(ctx)
	if next := nextMoment(&status); next != nil {
		logger = logger.WithValues("next", show(next))
	}
	ctx = log.IntoContext(ctx, logger)
	renewed, ready := changes(v, status)
	if renewed == nil && ready == nil && v.issuedBecause != "" && v.issuedBecause != renewal.Due {
		logger.Info("token issued out of turn", "reason", v.issuedBecause)
	}
	for _, condition := range []*metav1.Condition{renewed, ready, conditions.Changed(v.previous.Conditions, status.Conditions, v1alpha1.ConditionVerified)} {
		if isWorthEvent(condition) {
			r.recordEvent(ctx, v.token, *condition)
		}
	}
	return renewed
}

// isWorthEvent reports whether a condition that has changed is worth an event. Unknown lasts until
// something is known and is not, except when verification or the whole PipedreamToken is suspended.
func isWorthEvent(condition *metav1.Condition) bool {
	return condition != nil && (condition.Status != metav1.ConditionUnknown ||
		condition.Reason == v1alpha1.ReasonVerificationSuspended || condition.Reason == v1alpha1.ReasonSuspended)
}

// sayLongUnknown says once, in an event and a log line, that condition Verified has been Unknown
// for an hour. If the hour was over before this process has first seen the object, an earlier
// process has recorded the event. It returns since when the condition is Unknown if it has said so now.
func (r reporter) sayLongUnknown(ctx context.Context, v view, status v1alpha1.PipedreamTokenStatus) (since time.Time) {
	verified := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionVerified)
	isQuiet := v.desired.Suspended || v.isTokenTerminating()
	if verified == nil || verified.Status != metav1.ConditionUnknown || status.IssueTime == nil || isQuiet {
		return time.Time{} // Without a token, while suspended, or on its way out, condition Renewed says why.
	}
	since = verified.LastTransitionTime.Time
	if at := since.Add(longUnknown); v.at.Before(at) || !at.After(v.firstSeen) || v.state.reporting.saidUnknown.Equal(since) {
		return time.Time{}
	}
	log.FromContext(ctx).Info("verification has had no result for an hour", "since", show(&verified.LastTransitionTime),
		"reason", verified.Reason, "message", verified.Message)
	r.events.Eventf(v.token, nil, corev1.EventTypeWarning, verified.Reason, verified.Type,
		"For an hour, verification has not shown whether Pipedream accepts the token. %s", verified.Message)
	return since
}

// sayOther says in an event and a log line that another operator writes the Secret, too, each hour
// while this is so. It reports whether it has said so now.
func (r reporter) sayOther(ctx context.Context, v view) bool {
	message := strings.TrimSpace(explainOther(v))
	if message == "" || v.at.Sub(v.state.reporting.saidOther).Abs() < otherRepeat {
		return false
	}
	log.FromContext(ctx).Info("another operator writes the same Secret", "operator", v.state.other.name, "message", message)
	r.events.Eventf(v.token, nil, corev1.EventTypeWarning, v1alpha1.EventTwoOperators, v1alpha1.ConditionRenewed, "%s", message)
	return true
}

// changes returns the changes in the conditions about the token that are worth an event. A routine
// renewal changes nothing, though it had to queue.
func changes(v view, status v1alpha1.PipedreamTokenStatus) (renewed, ready *metav1.Condition) {
	renewed, ready = conditions.Changed(v.previous.Conditions, status.Conditions, v1alpha1.ConditionRenewed), conditions.Changed(v.previous.Conditions, status.Conditions, v1alpha1.ConditionReady)
	before := meta.FindStatusCondition(v.previous.Conditions, v1alpha1.ConditionRenewed)
	isRenewal := v.previous.IssueTime != nil && meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionRenewed)
	if isRenewal && before != nil && before.Reason == v1alpha1.ReasonQueued && !v.state.reporting.saidFailure {
		renewed = nil
	}
	if renewed != nil && ready != nil && ready.Status == metav1.ConditionTrue {
		ready = nil // It says nothing new: a token was issued.
	}
	return renewed, ready
}

// nextMoment returns when something is done next without a change: a failed attempt is made again,
// or the token is renewed. It is nil if only a change helps.
func nextMoment(status *v1alpha1.PipedreamTokenStatus) *metav1.Time {
	if meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionRenewed) {
		return status.RenewalTime
	}
	return status.NextAttemptTime
}

func (r reporter) recordEvent(ctx context.Context, token *v1alpha1.PipedreamToken, condition metav1.Condition) {
	severity := corev1.EventTypeNormal
	if condition.Status != metav1.ConditionTrue && condition.Reason != v1alpha1.ReasonSuspended {
		severity = corev1.EventTypeWarning
	}
	log.FromContext(ctx).Info("condition changed", "condition", condition.Type, "status", condition.Status,
		"reason", condition.Reason, "message", condition.Message)
	r.events.Eventf(token, nil, severity, condition.Reason, condition.Type, "%s", condition.Message)
}
