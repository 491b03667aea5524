// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

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
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	applyv1alpha1 "github.com/pipedream-operator/pipedream-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

// report applies the status if it says anything new, and returns when to look
// again.
func (r *Reconciler) report(ctx context.Context, o *observation) (sleep time.Duration, err error) {
	now := r.Clock.Now()
	sleep = o.sleep(now)
	previous := o.previousStatus()
	status := o.project(previous, now)
	r.tellOfLongUnknown(ctx, o, status, now)
	if o.isAboutToIssueFirst(previous, now) || o.saysNothingNew(status, previous, now) {
		return sleep, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportTimeout)
	defer cancel()
	switch err := r.applyStatus(ctx, o, status); {
	case apierrors.IsConflict(err):
		return minRetry, nil // The cache shows soon what it is now.
	case err != nil:
		return sleep, client.IgnoreNotFound(err)
	}
	r.announce(ctx, o, previous, status)
	return sleep, nil
}

// isAboutToIssueFirst tells whether a first token is a few seconds away, so that a
// first status would be outdated as soon as it is written.
func (o *observation) isAboutToIssueFirst(previous v1alpha1.PipedreamTokenStatus, now time.Time) bool {
	if previous.ObservedGeneration != 0 || o.memory.trouble() != nil {
		return false
	}
	return o.targetState() == renewal.Leaving ||
		isWaiting(o.ticket) && o.ticket.PausedUntil.IsZero() && now.Sub(o.ticket.Since) < longQueue
}

// saysNothingNew tells whether a status is the one that stands, but for a next attempt
// that waits for its turn for a few seconds.
func (o *observation) saysNothingNew(status, previous v1alpha1.PipedreamTokenStatus, now time.Time) bool {
	if isWaiting(o.ticket) && !o.isLongQueue(now) {
		status.NextAttemptTime = previous.NextAttemptTime
	}
	return equality.Semantic.DeepEqual(previous, status)
}

// sleep returns the time to the next visit, if nothing changes before. It counts
// from the moment that was decided by: what has come due since is due at once.
func (o *observation) sleep(now time.Time) time.Duration {
	wake := o.now.Add(renewal.Sleep(o.wanted, o.observed(), o.decision, o.now))
	moments := []time.Time{o.memory.trouble().stallsAt(), o.nextAttempt()}
	if isWaiting(o.ticket) {
		// The dispatcher wakes it when its turn has come; this is when there is something else
		// to say, or another lane to wait in.
		moments = append(moments, o.ticket.Since.Add(longQueue), o.nearEnd())
	}
	for _, at := range moments {
		if at.After(o.now) {
			wake = earlier(wake, at)
		}
	}
	return max(wake.Sub(now), time.Millisecond)
}

// previousStatus returns the status that stands: the cached one, unless the cache
// is older than what we have applied.
func (o *observation) previousStatus() v1alpha1.PipedreamTokenStatus {
	m := o.memory
	cached := &metav1.PartialObjectMetadata{ObjectMeta: o.token.ObjectMeta}
	if m.reported != nil && isOlder(cached, m.reportedVersion) {
		return *m.reported
	}
	m.reported = nil
	return o.token.Status
}

// applyStatus applies the whole status, as its only writer.
func (r *Reconciler) applyStatus(ctx context.Context, o *observation, status v1alpha1.PipedreamTokenStatus) error {
	configuration, err := o.configurationOf(status)
	if err != nil {
		return err
	}
	if err := r.Client.Status().Apply(ctx, configuration, client.ForceOwnership); err != nil {
		return err
	}
	o.memory.reported = &status
	if version := configuration.ResourceVersion; version != nil {
		o.memory.reportedVersion = *version
	}
	return nil
}

// isReplaced finds out whether the PipedreamToken is another one by now, or none: a
// Secret also goes away with the PipedreamToken that owns it, and the cache may show
// that first. A status that nobody keeps is applied.
func (r *Reconciler) isReplaced(ctx context.Context, o *observation) (bool, error) {
	configuration, err := o.configurationOf(o.previousStatus())
	if err != nil {
		return false, err
	}
	err = r.Client.Status().Apply(ctx, configuration, client.ForceOwnership, client.DryRunAll)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return true, nil
	}
	return false, err
}

// configurationOf returns a status to apply, to the version of the object that was
// observed and no other: a status is not applied to a successor of the same name. On a
// status the API server does not compare the UID.
func (o *observation) configurationOf(status v1alpha1.PipedreamTokenStatus) (*applyv1alpha1.PipedreamTokenApplyConfiguration, error) {
	content, err := json.Marshal(status)
	if err != nil {
		return nil, fmt.Errorf("encode status: %w", err)
	}
	applied := &applyv1alpha1.PipedreamTokenStatusApplyConfiguration{}
	if err := json.Unmarshal(content, applied); err != nil {
		return nil, fmt.Errorf("decode status: %w", err)
	}
	version := o.token.ResourceVersion
	if o.memory.reported != nil {
		version = o.memory.reportedVersion
	}
	return applyv1alpha1.PipedreamToken(o.token.Name, o.token.Namespace).WithResourceVersion(version).WithStatus(applied), nil
}

// announce tells of each change of state, in an event and a log line. A routine
// renewal is none. One out of turn has a log line, also if all is then as it was.
func (r *Reconciler) announce(ctx context.Context, o *observation, previous, status v1alpha1.PipedreamTokenStatus) {
	logger := log.FromContext(ctx)
	if next := nextMoment(&status); next != nil {
		logger = logger.WithValues("next", show(next))
	}
	ctx = log.IntoContext(ctx, logger)
	renewed, ready := o.outcome(previous, status)
	if renewed != nil && renewed.Status != metav1.ConditionUnknown {
		o.memory.toldOfFailure = renewed.Status == metav1.ConditionFalse
	}
	if renewed == nil && ready == nil && o.storedFor != "" && o.storedFor != renewal.Due {
		logger.Info("token issued out of turn", "reason", o.storedFor)
	}
	for _, condition := range []*metav1.Condition{renewed, ready, changed(previous, status, v1alpha1.ConditionVerified)} {
		if isToBeTold(condition) {
			r.tell(ctx, o.token, *condition)
		}
	}
}

// isToBeTold reports whether a condition that has changed is worth an event. Unknown is
// what lasts until something is known, except when verification is suspended.
func isToBeTold(condition *metav1.Condition) bool {
	return condition != nil && (condition.Status != metav1.ConditionUnknown || condition.Reason == v1alpha1.ReasonVerificationSuspended)
}

// tellOfLongUnknown tells once, in an event and a log line, that condition Verified has
// been Unknown for an hour. If the hour was over before this process has first seen the
// object, another process has told.
func (r *Reconciler) tellOfLongUnknown(ctx context.Context, o *observation, status v1alpha1.PipedreamTokenStatus, now time.Time) {
	verified := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionVerified)
	if verified == nil || verified.Status != metav1.ConditionUnknown || status.IssueTime == nil {
		return // Without a token, condition Renewed says what is wrong.
	}
	since, told := verified.LastTransitionTime.Time, &o.memory.verification.toldUnknown
	if at := since.Add(longUnknown); now.Before(at) || !at.After(o.memory.firstSeen) || told.Equal(since) {
		return
	}
	*told = since
	log.FromContext(ctx).Info("verification has had no result for an hour", "since", show(&verified.LastTransitionTime),
		"reason", verified.Reason, "message", verified.Message)
	r.Events.Eventf(o.token, nil, corev1.EventTypeWarning, verified.Reason, verified.Type,
		"For an hour, verification has not shown whether Pipedream accepts the token. %s", verified.Message)
}

// outcome returns what has changed in the conditions about the token, as far as it is
// to be told of. A routine renewal changes nothing, though it had to queue.
func (o *observation) outcome(previous, status v1alpha1.PipedreamTokenStatus) (renewed, ready *metav1.Condition) {
	renewed, ready = changed(previous, status, v1alpha1.ConditionRenewed), changed(previous, status, v1alpha1.ConditionReady)
	before := meta.FindStatusCondition(previous.Conditions, v1alpha1.ConditionRenewed)
	isRenewal := previous.IssueTime != nil && meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionRenewed)
	if isRenewal && before != nil && before.Reason == v1alpha1.ReasonQueued && !o.memory.toldOfFailure {
		renewed = nil
	}
	if renewed != nil && ready != nil && ready.Status == metav1.ConditionTrue {
		ready = nil // It says nothing new: a token was issued.
	}
	return renewed, ready
}

// nextMoment returns when something is done next without a change: a failed attempt is
// made again, or the token is renewed. It is nil when only a change helps.
func nextMoment(status *v1alpha1.PipedreamTokenStatus) *metav1.Time {
	if meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionRenewed) {
		return status.RenewalTime
	}
	return status.NextAttemptTime
}

// changed returns a condition if its status or reason is not what it was, else nil.
func changed(previous, status v1alpha1.PipedreamTokenStatus, kind string) *metav1.Condition {
	before, now := meta.FindStatusCondition(previous.Conditions, kind), meta.FindStatusCondition(status.Conditions, kind)
	if before != nil && now != nil && before.Status == now.Status && before.Reason == now.Reason {
		return nil
	}
	return now
}

func (r *Reconciler) tell(ctx context.Context, token *v1alpha1.PipedreamToken, condition metav1.Condition) {
	severity := corev1.EventTypeNormal
	if condition.Status != metav1.ConditionTrue {
		severity = corev1.EventTypeWarning
	}
	log.FromContext(ctx).Info("condition changed", "condition", condition.Type, "status", condition.Status,
		"reason", condition.Reason, "message", condition.Message)
	r.Events.Eventf(token, nil, severity, condition.Reason, condition.Type, "%s", condition.Message)
}
