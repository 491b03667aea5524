// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"context"
	"encoding/json"
	"fmt"
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
	applyv1alpha1 "github.com/pipedream-operator/pipedream-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/conditions"
	"github.com/pipedream-operator/pipedream-operator/internal/refresh"
)

const (
	// reportTimeout is how long a report may take. It goes on when the process is told to stop.
	reportTimeout = 5 * time.Second
	// longDeletion is how long a PipedreamAccount or its Secret is being deleted before the status says
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
func (r reporter) report(ctx context.Context, s snapshot, st *state, decision refresh.Decision) (sleep time.Duration, err error) {
	v := view{snapshot: s, state: *st, decision: decision, previous: standingStatus(s, st.reporting), at: r.clock.Now()}
	sleep = sleepOf(v)
	status := project(v)
	if isAboutToFetchFirst(v) || isDeletionTooNew(v, status) || saysNothingNew(v, status) {
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

// applyStatus applies the whole status, as its only writer, to the version of the object that was
// observed and no other: a status is not applied to a successor of the same name. It returns the
// version of the object with the status.
func (r reporter) applyStatus(ctx context.Context, v view, status v1alpha1.PipedreamAccountStatus) (version string, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportTimeout)
	defer cancel()
	content, err := json.Marshal(status)
	if err != nil {
		return "", fmt.Errorf("encode the status: %w", err)
	}
	applied := &applyv1alpha1.PipedreamAccountStatusApplyConfiguration{}
	if err := json.Unmarshal(content, applied); err != nil {
		return "", fmt.Errorf("decode the status: %w", err)
	}
	observed := v.account.ResourceVersion
	if isUnseen(v.snapshot, v.state.reporting) {
		observed = v.state.reporting.version
	}
	configuration := applyv1alpha1.PipedreamAccount(v.account.Name, v.account.Namespace).WithResourceVersion(observed).WithStatus(applied)
	if err := r.client.Status().Apply(ctx, configuration, client.ForceOwnership); err != nil {
		return "", fmt.Errorf("apply the status: %w", err)
	}
	if configuration.ResourceVersion != nil {
		version = *configuration.ResourceVersion
	}
	return version, nil
}

// isAboutToFetchFirst reports whether the first credentials are a few seconds away, so that a first
// status would be outdated as soon as it is written.
func isAboutToFetchFirst(v view) bool {
	if v.previous.ObservedGeneration != 0 || v.desired.Suspended || v.state.attempt.activeFailure() != nil {
		return false
	}
	return v.targetState() == refresh.Terminating ||
		isWaiting(v.ticket) && v.ticket.PausedUntil.IsZero() && v.at.Sub(v.ticket.Since) < longQueue
}

// isDeletionTooNew reports whether the PipedreamAccount or its Secret is being deleted for a few seconds
// only, so that a status that says so would mostly be outdated as soon as it is written. What the
// credentials are worth is said at once.
func isDeletionTooNew(v view, status v1alpha1.PipedreamAccountStatus) bool {
	failed := v.failure()
	if !failed.IsDeletion() || !v.at.Before(failed.Since.Add(longDeletion)) {
		return false
	}
	isSaid := conditions.Changed(v.previous.Conditions, status.Conditions, v1alpha1.ConditionFetched) == nil
	isReadySaid := conditions.Changed(v.previous.Conditions, status.Conditions, v1alpha1.ConditionReady) == nil
	return !isSaid && (v.previous.ObservedGeneration == 0 || isReadySaid)
}

// saysNothingNew reports whether a status is the one that stands, except for a next attempt that waits
// for its turn for a few seconds, or because an outage is over: many attempts then wait, and each writes a
// status soon.
func saysNothingNew(v view, status v1alpha1.PipedreamAccountStatus) bool {
	if isWaiting(v.ticket) && (!isLongQueue(v.ticket, v.at) || v.state.attempt.failure.IsOver(v.outageEnded)) {
		status.NextAttemptTime = v.previous.NextAttemptTime
	}
	return equality.Semantic.DeepEqual(v.previous, status)
}

// sleepOf returns the time to the next reconcile, if nothing changes before. It counts from the moment that
// was decided by: anything that has come due since is due at once. It counts from now, too: a look that was
// made meanwhile is later than the moment that was decided by, and says when the next look is due.
func sleepOf(v view) time.Duration {
	facts := factsOf(v.snapshot, v.state)
	wake := earlier(
		v.now.Add(refresh.Sleep(v.desired, facts, v.decision, v.now)),
		v.at.Add(refresh.Sleep(v.desired, facts, v.decision, v.at)),
	)
	moments := []time.Time{v.failure().StallsAt(), nextAttempt(v)}
	if failed := v.failure(); failed.IsDeletion() {
		moments = append(moments, failed.Since.Add(longDeletion))
	}
	if isWaiting(v.ticket) {
		// A limiter wakes the object when its turn has come; this is when there is something else to say, or
		// another lane to wait in.
		moments = append(moments, v.ticket.Since.Add(longQueue), v.ticket.Since.Add(longRoutineQueue), nearEndOf(v.snapshot, v.state))
	}
	for _, at := range moments {
		if at.After(v.now) {
			wake = earlier(wake, at)
		}
	}
	return max(wake.Sub(v.at), time.Millisecond)
}

// announce records an event and writes a log line for each change that is worth it. It returns the
// change of condition Fetched; nil for none.
func (r reporter) announce(ctx context.Context, v view, status v1alpha1.PipedreamAccountStatus) (fetched *metav1.Condition) {
	if next := status.NextAttemptTime; next != nil {
		ctx = log.IntoContext(ctx, log.FromContext(ctx).WithValues("next", show(next)))
	}
	fetched, ready := changes(v, status)
	healthy := conditions.Changed(v.previous.Conditions, status.Conditions, v1alpha1.ConditionHealthy)
	if healthy != nil && (healthy.Reason == v1alpha1.ReasonAccountDead || isFirstHealth(v, healthy)) {
		healthy = nil // The others say so.
	}
	for _, condition := range []*metav1.Condition{fetched, ready, healthy} {
		if condition != nil && (condition.Status != metav1.ConditionUnknown || condition.Reason == v1alpha1.ReasonSuspended) {
			r.recordEvent(ctx, v.account, *condition)
		}
	}
	return fetched
}

// isFirstHealth reports whether a good health is the first that is known.
func isFirstHealth(v view, healthy *metav1.Condition) bool {
	return healthy.Status == metav1.ConditionTrue && meta.FindStatusCondition(v.previous.Conditions, v1alpha1.ConditionHealthy) == nil
}

// changes returns the changes in the conditions that are worth an event. A routine look changes nothing,
// though it had to queue; nor does an expiry that Pipedream's late refreshes bring with each life.
func changes(v view, status v1alpha1.PipedreamAccountStatus) (fetched, ready *metav1.Condition) {
	fetched = conditions.Changed(v.previous.Conditions, status.Conditions, v1alpha1.ConditionFetched)
	ready = conditions.Changed(v.previous.Conditions, status.Conditions, v1alpha1.ConditionReady)
	if isRoutine(v, status) {
		fetched = nil
	}
	isLate := ready != nil && isLateByNature(v, ready)
	if isLate || fetched != nil && ready != nil && (ready.Status == metav1.ConditionTrue || ready.Reason == fetched.Reason) {
		ready = nil // It says nothing new.
	}
	return fetched, ready
}

// isRoutine reports whether a look that had to queue has gone well, and nothing else was to be said.
func isRoutine(v view, status v1alpha1.PipedreamAccountStatus) bool {
	before := meta.FindStatusCondition(v.previous.Conditions, v1alpha1.ConditionFetched)
	hasQueued := before != nil && before.Reason == v1alpha1.ReasonQueued && !v.state.reporting.saidFailure
	return hasQueued && v.previous.FetchTime != nil && meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionFetched)
}

// isLateByNature reports whether condition Ready has changed because Pipedream refreshes the account only
// when its credentials have expired.
func isLateByNature(v view, ready *metav1.Condition) bool {
	before := meta.FindStatusCondition(v.previous.Conditions, v1alpha1.ConditionReady)
	hasExpired := ready.Reason == v1alpha1.ReasonCredentialsExpired ||
		before != nil && before.Reason == v1alpha1.ReasonCredentialsExpired && ready.Status == metav1.ConditionTrue
	return hasExpired && v.state.attempt.looks.IsLate(v.at) && v.state.attempt.activeFailure() == nil
}

func (r reporter) recordEvent(ctx context.Context, account *v1alpha1.PipedreamAccount, condition metav1.Condition) {
	severity := corev1.EventTypeNormal
	if condition.Status != metav1.ConditionTrue {
		severity = corev1.EventTypeWarning
	}
	log.FromContext(ctx).Info("condition changed", "condition", condition.Type, "status", condition.Status,
		"reason", condition.Reason, "message", condition.Message)
	r.events.Eventf(account, nil, severity, condition.Reason, condition.Type, "%s", condition.Message)
}
