// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"fmt"
	"time"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

// applyWrite remembers the outcome of a write of the Secret. It returns false for any other outcome.
func (st *state) applyWrite(s snapshot, o outcome) bool {
	switch o := o.(type) {
	case written:
		st.applyWritten(s, o)
	case writeRefused:
		failed := newFailure(s, v1alpha1.ReasonSecretWriteRefused, o.detail, o.at)
		failed.RefusedOver, failed.IsOutage = ownedsecret.Version(o.target), o.isOutage
		st.applyFailedStep(s, failed, o.kind, !o.kind.isRewrite && !o.kind.isDryRun, o.at)
	case unrenderable:
		st.attempt.countRewrite(o.kind, s.now)
		st.check.renderError = renderError{
			generation: s.token.Generation,
			err:        fmt.Errorf("with the issued token, %w", o.err),
		}
		st.setBlocker(s, renewal.BadTemplate)
	case overtaken:
		// The Secret is read live before the next write.
		st.check.last, st.cache.target.IsUncertain = lastCheck{}, true
		if st.attempt.overtaken++; st.attempt.overtaken < maxOvertaken {
			st.attempt.countRewrite(o.kind, s.now)
			break
		}
		failed := newFailure(s, v1alpha1.ReasonClusterUnavailable, o.detail, o.at)
		st.applyFailedStep(s, failed, o.kind, true, o.at)
	default:
		return false
	}
	return true
}

func (st *state) applyWritten(s snapshot, o written) {
	st.attempt.countRewrite(o.kind, s.now)
	st.attempt.overtaken = 0
	st.verification.isRestored = false
	if o.replaced != nil {
		replaced := s
		replaced.target = o.replaced
		st.findOther(replaced)
	}
	st.check.known = writtenAs(o.token)
	if o.isFound {
		st.cache.target = ownedsecret.Seen{Version: o.target.ResourceVersion}
	} else {
		st.rememberWritten(s, o)
	}
	if o.kind.isRewrite {
		if failed := st.attempt.failure; failed != nil && failed.Row.Reason == v1alpha1.ReasonSecretWriteRefused {
			st.attempt.failure = nil
		}
		return
	}
	if o.why == renewal.Revoked {
		st.verification.replaced(o.token.inputs, s.token.Generation, s.now)
	}
	st.attempt.pending, st.attempt.failure = nil, nil
}

func (st *state) rememberWritten(s snapshot, o written) {
	version := o.target.ResourceVersion
	st.cache.target.Version = version
	st.cache.targetType = targetType{uid: o.target.UID, name: s.token.TargetType()}
	st.check.authenticatedVersion = version
	st.check.appliedGeneration = s.token.Generation
	st.check.last = lastCheck{
		targetVersion:      version,
		credentialsVersion: o.token.credentialsVersion,
		generation:         s.token.Generation,
		outcome:            renewal.Good,
	}
	st.attempt.written = st.check.known
	st.other = st.other.overwritten()
	st.attempt.rewriteFailure = nil
}

// countRewrite counts a write because somebody has changed the Secret again, whether the write
// worked or not.
func (a *attemptState) countRewrite(kind writeKind, now time.Time) {
	if kind.isDriftedAgain {
		a.rewrites.Add(now)
	}
}
