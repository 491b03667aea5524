// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/internal/controller/attempt"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/credentials"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

// apply remembers an outcome. After restore, nothing else writes the state.
func (st *state) apply(s snapshot, o outcome) {
	st.attempt.clearCluster(o)
	switch o := o.(type) {
	case observed:
		st.applyObserved(s, o)
		limitWaits(st, s)
	case decided:
		st.attempt.unblock(o.action)
	case reported:
		st.reporting.apply(o)
	case saidUnknown:
		st.reporting.saidUnknown = o.since
	case saidOther:
		st.reporting.saidOther = o.at
	case blocked:
		st.setBlocker(s, o.why)
	case credentialsRead:
		st.check.applyCredentials(s, o.found)
	case targetRead:
		st.cache.read(o.target)
	case targetChecked:
		st.applyCheck(s, o)
		limitWaits(st, s.after(o))
	case verdict:
		st.cache.read(o.target)
		st.verification.apply(s.after(o), o)
		limitWaits(st, s.after(o))
	default:
		st.applyAttempt(s, o)
	}
}

// clearCluster forgets the last failed request to the API server when the same step has worked, and when
// an attempt has got past all steps.
func (a *attemptState) clearCluster(o outcome) {
	var worked []clusterStep
	switch o := o.(type) {
	case observed:
		if o.isLive {
			worked = []clusterStep{readTargetStep}
		}
	case credentialsRead:
		worked = []clusterStep{readCredentialsStep}
	case targetRead, verdict:
		worked = []clusterStep{readTargetStep}
	case targetChecked:
		if worked = []clusterStep{readTargetStep}; o.credentials != nil {
			worked = append(worked, readCredentialsStep)
		}
	case requestFailed, issued, written, kept:
		a.cluster = nil
	}
	if slices.Contains(worked, a.clusterStep) {
		a.cluster = nil
	}
}

// applyObserved remembers what a new snapshot shows by itself.
func (st *state) applyObserved(s snapshot, o observed) {
	if o.isLive {
		st.cache.target = ownedsecret.Seen{Version: s.targetVersion()}
	}
	st.check.rendering = o.rendering
	if !isUnseen(s, st.reporting) {
		st.reporting.status = nil
	}
	st.findOther(s)
	// The outcome of a write of the pending token was unknown, and is settled by looking. For a
	// PipedreamToken that is being deleted, nothing is written any longer.
	switch pending := st.attempt.pending; {
	case pending == nil:
	case s.currentInputs() == pending.inputs:
		st.attempt.pending = nil
		if failed := st.attempt.failure; failed != nil && failed.IsOfCluster() {
			st.attempt.failure = nil
		}
	case s.isTokenTerminating(), !s.now.Before(pending.token.ExpirationTime):
		st.attempt.pending = nil
	}
}

// limitWaits remembers when the current token expires, and cuts waits short that have become too long
// for it.
func limitWaits(st *state, s snapshot) {
	st.goodUntil = goodUntil(s, *st)
	for _, failed := range []*attempt.Failure{st.attempt.failure, st.attempt.cluster, st.attempt.rewriteFailure} {
		if failed != nil && s.now.Before(failed.NotBefore) {
			failed.LimitWait(st.goodUntil, s.now)
		}
	}
}

// findOther remembers a record of another operator. A record counts if it was issued since this
// process has seen the object, or if it has replaced a record of this process. Copies of earlier
// records, which an operator leaves that does not run any longer, do not count.
func (st *state) findOther(s snapshot) {
	record := s.record() // Also one that is not believed: the clocks of two operators may differ.
	if record == nil || s.currentInputs() == st.attempt.written.inputs {
		return
	}
	name, isName := ownedsecret.OperatorOf(s.target)
	isNew := !record.IssueTime.Before(st.firstSeen.Truncate(time.Second))
	hasReplaced := st.attempt.written.inputs != "" && name != ""
	if !isName || name == s.operator || !isNew && !hasReplaced {
		return
	}
	st.other = st.other.found(name, s.currentInputs(), record.ExpirationTime.Sub(record.IssueTime), s.now)
}

// apply remembers what was reported.
func (p *reportingState) apply(o reported) {
	p.status = &o.status
	if o.version != "" {
		p.version = o.version
	}
	if o.renewed != nil && o.renewed.Status != metav1.ConditionUnknown {
		p.saidFailure = o.renewed.Status == metav1.ConditionFalse
	}
}

// read remembers that the Secret was read live.
func (c *cacheState) read(target *corev1.Secret) {
	if target == nil {
		c.target.Version = ""
		return
	}
	c.target.Version = target.ResourceVersion
	c.targetType = targetType{uid: target.UID, name: string(target.Type)}
}

// applyCredentials remembers whether the client credentials can be used.
func (c *checkState) applyCredentials(s snapshot, found credentials.Found) {
	if found.Secret == nil {
		return
	}
	c.unusable = unusable{}
	if found.Credentials == nil {
		c.unusable = unusable{
			credentialsVersion: found.Secret.ResourceVersion,
			generation:         s.token.Generation,
			reason:             found.Reason,
			detail:             found.Detail,
		}
	}
}

// applyCheck remembers what comparing the Secret with what is desired has shown.
func (st *state) applyCheck(s snapshot, o targetChecked) {
	st.cache.read(o.target)
	if o.credentials != nil {
		st.check.applyCredentials(s, *o.credentials)
	}
	if o.target == nil || o.check == "" {
		return
	}
	if o.isAuthenticated {
		st.check.authenticatedVersion = o.target.ResourceVersion
	}
	after := s.after(o)
	st.check.last = lastCheck{
		targetVersion:      o.target.ResourceVersion,
		credentialsVersion: after.credentialsVersion(),
		generation:         s.token.Generation,
		outcome:            o.check,
	}
	if o.check == renewal.Good {
		st.check.appliedGeneration = s.token.Generation
	}
	if o.current != nil {
		st.check.known = writtenAs(*o.current)
	}
	if st.check.editor = ""; o.check == renewal.Edited || isSuperseded(after, *st) || o.check == renewal.Drifted && isDriftedAgain(after, *st) {
		st.check.editor = o.editor
	}
}
