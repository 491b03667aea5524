// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/attempt"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/credentials"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

// apply remembers an outcome. After restore, nothing else writes the state.
func (st *state) apply(s snapshot, o outcome) {
	switch o := o.(type) {
	case observed:
		st.applyObserved(s, o)
		limitWaits(st, s)
	case decided:
		st.unblock(o.action)
	case reported:
		st.reporting.apply(o)
	case saidUnknown:
		st.reporting.saidUnknown = o.since
	case saidOther:
		st.reporting.saidOther = o.at
	case blocked:
		st.setBlocker(s, o.why)
	case credentialsRead:
		st.applyCredentials(s, o.found)
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

// unblock remembers that nothing makes an attempt impossible, if the action shows it.
func (st *state) unblock(action renewal.Action) {
	if !slices.Contains([]renewal.Action{renewal.Blocked, renewal.Read, renewal.Verify, renewal.Rewrite}, action) {
		st.attempt.blocker = nil
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
	for _, failed := range []*attempt.Failure{st.attempt.failure, st.attempt.rewriteFailure} {
		if failed != nil && s.now.Before(failed.NotBefore) {
			failed.LimitWait(st.goodUntil, s.now)
		}
	}
}

// findOther remembers a record of another operator. A record counts if it was issued since this
// process has seen the object, or if it has replaced a record of this process. Copies of earlier
// records, which an operator leaves that does not run any longer, do not count.
func (st *state) findOther(s snapshot) {
	record := recordOf(s, *st)
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
		failed := newFailure(s, v1alpha1.ReasonClusterUnavailable, o.detail, o.at)
		st.applyFailedStep(s, failed, o.kind, o.isWrite, o.at)
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

// read remembers that the Secret was read live.
func (c *cacheState) read(target *corev1.Secret) {
	if target == nil {
		c.target.Version = ""
		return
	}
	c.target.Version = target.ResourceVersion
	c.targetType = targetType{uid: target.UID, name: string(target.Type)}
}

func (st *state) applyCredentials(s snapshot, found credentials.Found) {
	if found.Secret == nil {
		return
	}
	st.check.unusable = unusable{}
	if found.Credentials == nil {
		st.check.unusable = unusable{
			credentialsVersion: found.Secret.ResourceVersion,
			generation:         s.token.Generation,
			reason:             found.Reason,
			detail:             found.Detail,
		}
	}
}

func (st *state) applyCheck(s snapshot, o targetChecked) {
	st.cache.read(o.target)
	if o.credentials != nil {
		st.applyCredentials(s, *o.credentials)
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

// countRewrite counts a write because somebody has changed the Secret again, whether the write
// worked or not.
func (a *attemptState) countRewrite(kind writeKind, now time.Time) {
	if kind.isDriftedAgain {
		a.rewrites.Add(now)
	}
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

// setBlocker remembers what makes an attempt impossible, until the watch reports a change of a
// Secret. How the last attempt failed stays.
func (st *state) setBlocker(s snapshot, why renewal.Why) {
	reason, detail := st.explainBlocker(s, why)
	before := st.attempt.blocker
	blocker := newFailure(s, reason, detail, s.now).After(st.attempt.activeFailure())
	if at := s.deletedAt(); why == renewal.BeingDeleted && !at.After(s.now) { // The API server's clock may be ahead.
		blocker.Since = at
	}
	if before.IsStill(blocker) && isAboutSameObjects(before, s, why) {
		blocker.RefusedOver = before.RefusedOver
		blocker.IsRestored, blocker.WasReady = true, before.WasReady
	}
	st.attempt.blocker = blocker
}

// isAboutSameObjects reports whether a blocker that is known from the status names what is there now:
// whose a Secret is may have changed with the Secret, and so may the finalizers that hold an object.
func isAboutSameObjects(before *attempt.Failure, s snapshot, why renewal.Why) bool {
	if why == renewal.NotOwned {
		return before.RefusedOver == s.targetVersion()
	}
	return why != renewal.BeingDeleted || before.RefusedOver == s.describeDeletion()
}

func (st *state) explainBlocker(s snapshot, why renewal.Why) (reason, detail string) {
	switch {
	case why == renewal.BeingDeleted:
		return v1alpha1.ReasonSecretTerminating, s.describeDeletion()
	case why == renewal.NotOwned:
		detail = ownedsecret.DescribeOwner(s.target, s.token)
		if ownedsecret.IsTerminating(s.target) {
			detail += "; " + ownedsecret.DescribeDeletion("Secret", s.target)
		}
		return v1alpha1.ReasonSecretNotOwned, detail
	case why == renewal.BadTemplate:
		return v1alpha1.ReasonTemplateInvalid, st.check.templateError(s.token.Generation).Error()
	case why == renewal.OtherType:
		return v1alpha1.ReasonSecretWriteRefused, "it exists already, and is of another type than `spec.secret.type`"
	case s.credentialsSecret == nil:
		return v1alpha1.ReasonCredentialsMissing, "Secret `" + s.token.Spec.ClientSecretRef.Name + "` (`spec.clientSecretRef.name`) does not exist"
	case st.check.unusable.detail != "":
		return st.check.unusable.reason, st.check.unusable.detail
	}
	return st.check.unusable.reason, "Secret `" + s.token.Spec.ClientSecretRef.Name + "` holds no usable client credentials"
}
