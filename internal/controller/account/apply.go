// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"fmt"
	"time"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/attempt"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/credentials"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/refresh"
)

// apply remembers an outcome. After restore, nothing else writes the state.
func (st *state) apply(s snapshot, o outcome) {
	if showsCluster(o) {
		st.attempt.cluster = nil
	}
	switch o := o.(type) {
	case observed:
		st.applyObserved(s, o)
	case decided:
		st.attempt.applyDecided(o)
	case reported:
		st.reporting.apply(o)
	case blocked:
		st.setBlocker(s, o.why)
	case credentialsRead:
		st.check.applyCredentials(s, o.found, o.keyName)
	case targetChecked:
		st.applyCheck(s, o)
		limitWait(st, s.after(o))
	case kept:
		st.attempt.overtaken = 0
	case answered:
		st.attempt.verdict = st.attempt.verdict.answered(o.health)
	default:
		st.applyAttempt(s, o)
	}
}

// showsCluster reports whether an outcome shows that the API server answers requests about Secrets.
func showsCluster(o outcome) bool {
	switch o := o.(type) {
	case observed:
		return o.isLive
	case credentialsRead, targetChecked, written, writeRefused, kept:
		return true
	}
	return false
}

// applyObserved remembers what a new snapshot shows by itself.
func (st *state) applyObserved(s snapshot, o observed) {
	if o.isLive {
		st.cache.target = ownedsecret.Seen{Version: s.targetVersion()}
	}
	st.check.templates = o.templates
	if !isUnseen(s, st.reporting) {
		st.reporting.status = nil
	}
	if st.attempt.verdict.request != s.desired.Request {
		st.attempt.askForAnother(s)
	}
	st.attempt.leaveLimit(s)
	limitWait(st, s)
}

func (a *attemptState) applyDecided(o decided) {
	if o.action != refresh.Blocked && o.action != refresh.Read {
		a.blocker = nil
	}
}

// limitWait remembers when the credentials in the Secret expire, and cuts a wait short that has become too
// long for them.
func limitWait(st *state, s snapshot) {
	st.goodUntil = goodUntil(s, *st)
	for _, failed := range []*attempt.Failure{st.attempt.failure, st.attempt.cluster} {
		if failed != nil && s.now.Before(failed.NotBefore) {
			failed.LimitWait(st.goodUntil, s.now)
		}
	}
}

func (c *checkState) applyCredentials(s snapshot, found credentials.Found, keyName string) {
	if found.Secret == nil {
		return
	}
	c.apiKey = apiKeyName{credentialsVersion: found.Secret.ResourceVersion, generation: s.account.Generation, name: keyName}
	c.unusable = unusable{}
	if !found.IsUsable() {
		c.unusable = unusable{
			credentialsVersion: found.Secret.ResourceVersion, generation: s.account.Generation,
			reason: found.Reason, detail: found.Detail,
		}
	}
}

func (st *state) applyCheck(s snapshot, o targetChecked) {
	if o.target == nil {
		st.cache.target.Version = ""
		return
	}
	st.cache.target.Version = o.target.ResourceVersion
	st.cache.targetType = targetType{uid: o.target.UID, name: string(o.target.Type)}
	st.check.last = lastCheck{
		targetVersion: o.target.ResourceVersion, generation: s.account.Generation,
		outcome: o.check, isDrifted: o.isDrifted, lists: o.lists,
	}
	if st.check.editor = ""; o.check == refresh.Edited || o.isDrifted || isSuperseded(s.after(o), *st) {
		st.check.editor = o.editor
	}
}

// applyAttempt remembers the outcome of an attempt to look at the account and to write the Secret.
func (st *state) applyAttempt(s snapshot, o outcome) {
	switch o := o.(type) {
	case foreign:
		st.setBlocker(s.after(o), refresh.NotOwned)
	case terminating:
		st.cache.target.Version = ownedsecret.Version(o.target)
	case lookFailed:
		st.applyLookFailed(s, o)
	case verdictGiven:
		st.applyVerdict(s, o)
	case unchanged:
		st.applyLook(s, o.look, o.why)
		if !o.look.isStale {
			st.attempt.written = writtenIn(s) // Also an older Secret, if Pipedream gives out what it holds.
		}
	case written:
		st.applyWritten(s, o)
	default:
		if !st.applyUnwritten(s, o) {
			return
		}
	}
	st.attempt.isRestored = false
	if failed, isOfCluster := o.(clusterFailed); !isOfCluster || failed.isWrite {
		st.attempt.credentials = credentialsOf(s)
	}
}

// applyUnwritten remembers that a write of the Secret has failed, or any other request to the API server. It
// returns false for any other outcome.
func (st *state) applyUnwritten(s snapshot, o outcome) bool {
	switch o := o.(type) {
	case unrenderable:
		failed := st.fail(s, v1alpha1.ReasonTemplateInvalid, o.err.Error(), o.at)
		failed.NotBefore = failed.Paced(s.identity(), goodUntil(s, *st), o.at)
		st.attempt.countTriggered(o.why, o.at)
	case writeRefused:
		failed := attempt.New(rows.Of(v1alpha1.ReasonSecretWriteRefused), o.detail, s.inputs(), o.at)
		failed.RefusedOver, failed.IsOutage = ownedsecret.Version(o.target), o.isOutage
		failed = st.addFailure(s, failed, o.at)
		failed.NotBefore = failed.Paced(s.identity(), goodUntil(s, *st), o.at)
		st.cache.target.IsUncertain = true
	case clusterFailed:
		st.applyClusterFailed(s, o)
	case overtaken:
		st.check.last, st.cache.target.IsUncertain = lastCheck{}, true
		if st.attempt.overtaken++; st.attempt.overtaken >= maxOvertaken {
			st.applyClusterFailed(s, clusterFailed{detail: o.detail, isWrite: true, at: o.at})
		}
	default:
		return false
	}
	return true
}

// fail remembers a failed attempt.
func (st *state) fail(s snapshot, because, detail string, now time.Time) *attempt.Failure {
	return st.addFailure(s, attempt.New(rows.Of(because), detail, s.inputs(), now), now)
}

// addFailure remembers a failed attempt. An attempt that was made before its time was triggered by somebody.
func (st *state) addFailure(s snapshot, failed *attempt.Failure, now time.Time) *attempt.Failure {
	if last := st.attempt.failure; last != nil && now.Before(last.WaitsUntil(s.outageEnded)) {
		st.attempt.triggered.Add(now)
	}
	st.attempt.failure = failed.After(st.attempt.failure)
	st.attempt.failedIn, st.attempt.looks.Again = s.rateLimited(), true
	return st.attempt.failure
}

func (st *state) applyLookFailed(s snapshot, o lookFailed) {
	failed := st.fail(s, o.reason(), o.cause.Error(), o.at)
	failed.SentAt = o.sentAt
	failed.NotBefore = failed.Paced(s.identity(), goodUntil(s, *st), o.at)
	// The limiter and the store of access tokens decide for all who are concerned. After an answer that says
	// nothing they only say when the next request may be sent.
	if at := o.cause.RetryAt; !at.IsZero() && (!failed.IsTransient() || at.After(failed.NotBefore)) {
		failed.NotBefore = at
	}
}

// applyClusterFailed remembers a failed request to the API server. A failed write is a failed attempt. A failed
// read is remembered beside the last attempt, which it says nothing about.
func (st *state) applyClusterFailed(s snapshot, o clusterFailed) {
	var failed *attempt.Failure
	if o.isWrite {
		st.cache.target.IsUncertain = true
		failed = st.fail(s, v1alpha1.ReasonClusterUnavailable, o.detail, o.at)
	} else {
		failed = attempt.New(rows.Of(v1alpha1.ReasonClusterUnavailable), o.detail, s.inputs(), o.at).After(st.attempt.cluster)
		failed.SentAt, st.attempt.cluster = o.at, failed
	}
	failed.NotBefore = failed.Paced(s.identity(), goodUntil(s, *st), o.at)
}

func (st *state) applyWritten(s snapshot, o written) {
	st.applyLook(s, o.look, o.why)
	st.attempt.verdictOfHeld = verdictState{}
	version := o.target.ResourceVersion
	st.cache.target = ownedsecret.Seen{Version: version}
	st.cache.targetType = targetType{uid: o.target.UID, name: s.account.TargetType()}
	st.check.last = lastCheck{targetVersion: version, generation: s.account.Generation, outcome: refresh.Good, lists: listsOf(o.target.Annotations)}
	st.attempt.written = writtenIn(s.after(o))
}

// countTriggered counts a look that somebody's change has triggered. The first look is none.
func (a *attemptState) countTriggered(why refresh.Why, at time.Time) {
	if why.IsTriggered() && !a.looks.Last.IsZero() {
		a.triggered.Add(at)
	}
}

// setBlocker remembers what makes an attempt impossible, until a watch reports a change. How the last
// attempt failed stays.
func (st *state) setBlocker(s snapshot, why refresh.Why) {
	because, detail := explainBlocker(s, st.check, why)
	before := st.attempt.blocker
	tried := s.inputs()
	if why != refresh.NoCredentials { // Nothing was read or tried, so that a change of the credentials changes nothing.
		tried.CredentialsVersion = st.attempt.credentials.versionFor(s)
	}
	blocker := attempt.New(rows.Of(because), detail, tried, s.now).After(st.attempt.activeFailure())
	if at := deletionOf(s).at; why == refresh.BeingDeleted && !at.After(s.now) { // The API server's clock may be ahead.
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
func isAboutSameObjects(before *attempt.Failure, s snapshot, why refresh.Why) bool {
	if why == refresh.NotOwned {
		return before.RefusedOver == s.targetVersion()
	}
	return why != refresh.BeingDeleted || before.RefusedOver == deletionOf(s).held
}

// explainBlocker returns the reason and the detail of what makes an attempt impossible.
func explainBlocker(s snapshot, known checkState, why refresh.Why) (because, detail string) {
	name, field, what := s.account.CredentialsSecretName(), "spec.clientSecretRef.name", "client credentials"
	if s.account.UsesAPIKey() {
		field, what = "spec.apiKeyRef.name", "API key"
	}
	switch {
	case why == refresh.BeingDeleted:
		return v1alpha1.ReasonSecretTerminating, deletionOf(s).held
	case why == refresh.NotOwned:
		detail = ownedsecret.DescribeOwner(s.target, s.account)
		if ownedsecret.IsTerminating(s.target) {
			detail += "; " + ownedsecret.DescribeDeletion("Secret", s.target)
		}
		return v1alpha1.ReasonSecretNotOwned, detail
	case why == refresh.BadTemplate:
		return v1alpha1.ReasonTemplateInvalid, known.templateError(s.account.Generation).Error()
	case why == refresh.OtherType:
		return v1alpha1.ReasonSecretWriteRefused, "it exists already, and is of another type than `spec.secret.type`"
	case s.credentialsSecret == nil:
		return v1alpha1.ReasonCredentialsMissing, "Secret `" + name + "` (`" + field + "`) does not exist"
	case known.unusable.detail != "":
		return known.unusable.reason, known.unusable.detail
	}
	return known.unusable.reason, fmt.Sprintf("Secret `%s` holds no usable %s", name, what)
}
