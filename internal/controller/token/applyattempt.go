// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"time"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/attempt"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

// applyAttempt remembers the outcome of an attempt to issue a token or to write the Secret.
func (st *state) applyAttempt(s snapshot, o outcome) {
	switch o := o.(type) {
	case kept:
		st.attempt.failure, st.attempt.rewriteFailure, st.attempt.pending = nil, nil, nil
		st.attempt.overtaken = 0
		return
	case sameCredentials:
		st.attempt.failure.Tried.CredentialsVersion = s.credentialsVersion()
		return
	case foreign:
		st.setBlocker(s.after(o), renewal.NotOwned)
	case requestFailed:
		st.applyRequestFailed(s, o)
	case clusterFailed:
		st.applyClusterFailed(s, o)
	case issued:
		st.attempt.applyIssued(o)
	case terminating:
		st.cache.target.Version = ownedsecret.Version(o.target) // The pending token waits until the Secret is gone.
	case confirmed:
		st.attempt.pending = &o.pending
	case discarded:
		st.attempt.pending = nil
	default:
		if !st.applyWrite(s, o) {
			return
		}
	}
	st.attempt.isRestored = false
}

func (st *state) applyRequestFailed(s snapshot, o requestFailed) {
	detail := o.cause.Error()
	if o.cause.Kind == pipedream.ScopeRejected && len(s.token.Spec.Scopes) > 0 {
		detail = pipedream.ShowScopes(s.token.Spec.Scopes) + "; " + detail
	}
	failed := st.attempt.fail(s, newFailure(s, reasonOf(o.cause.Kind), detail, o.at), o.at)
	failed.SentAt = o.sentAt
	failed.CredentialsDigest = digestOf(st.uid, *s.clientCredentials)
	failed.NotBefore = failed.Paced(s.desired.Identity, goodUntil(s, *st), o.at)
	// The limiter decides for all who are concerned.
	isCommon := o.cause.Kind == pipedream.RateLimited || o.cause.Kind == pipedream.CredentialsRejected
	if at := o.cause.RetryAt; !at.IsZero() && (isCommon || at.After(failed.NotBefore)) {
		failed.NotBefore = at
	}
}

// fail remembers a failed attempt. An attempt that was made before its time was triggered by
// somebody.
func (a *attemptState) fail(s snapshot, failed *attempt.Failure, now time.Time) *attempt.Failure {
	if last := a.failure; last != nil && now.Before(last.WaitsUntil(s.outageEnded)) {
		a.triggered.Add(now)
	}
	a.failure = failed.After(a.failure)
	return a.failure
}

func (a *attemptState) applyIssued(o issued) {
	if o.why.IsTriggered() && !a.lastIssue.IsZero() {
		a.triggered.Add(o.at)
	}
	a.lastIssue = o.at
	a.pending = &o.token
}

// applyClusterFailed remembers a failed request to the API server. A failed write is a failed attempt. A
// failed read is remembered beside the last attempt, which it says nothing about.
func (st *state) applyClusterFailed(s snapshot, o clusterFailed) {
	failed := newFailure(s, v1alpha1.ReasonClusterUnavailable, o.detail, o.at)
	if o.isWrite || o.kind.isRewrite {
		st.applyFailedStep(s, failed, o.kind, o.isWrite, o.at)
		return
	}
	failed.SentAt = o.at
	if st.attempt.clusterStep == o.step {
		failed = failed.After(st.attempt.cluster)
	}
	st.attempt.cluster, st.attempt.clusterStep = failed, o.step
	failed.NotBefore = failed.Paced(s.desired.Identity, goodUntil(s, *st), o.at)
}

// applyFailedStep remembers how an attempt to get or to write a token has failed, or a write of the
// Secret with the current token. A token that is pending stays so: it is written later.
func (st *state) applyFailedStep(s snapshot, failed *attempt.Failure, kind writeKind, isUncertain bool, at time.Time) {
	st.attempt.countRewrite(kind, s.now)
	if isUncertain {
		st.cache.target.IsUncertain = true
	}
	if kind.isRewrite {
		failed = failed.After(st.attempt.rewriteFailure)
		st.attempt.rewriteFailure = failed
	} else {
		failed = st.attempt.fail(s, failed, at)
	}
	failed.NotBefore = failed.Paced(s.desired.Identity, goodUntil(s, *st), at)
}
