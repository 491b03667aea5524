// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/attempt"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/reason"
	"github.com/pipedream-operator/pipedream-operator/internal/refresh"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

// maxOvertaken is how often a write is tried when another writer is faster.
const maxOvertaken = 3

// state is what the reconciler remembers of one PipedreamAccount between two reconciles. Only apply,
// restore and their methods write it. It never holds credentials. After a restart, restore fills it
// from the record on the Secret and from the reasons and times of the status; losing the rest costs a
// read or an early look.
type state struct {
	uid types.UID
	// firstSeen is when this process has first seen the object.
	firstSeen time.Time
	// goodUntil is until when the app accepts the credentials in the Secret, as far as the last snapshot shows; zero if
	// they are worth nothing.
	goodUntil time.Time

	cache     cacheState
	check     checkState
	attempt   attemptState
	reporting reportingState
}

// cacheState is what this process knows beyond a cache that may lag behind.
type cacheState struct {
	// target is the version of the Secret that was last written or read live.
	target ownedsecret.Seen
	// targetType is the type of the Secret that was last written or read.
	targetType targetType
}

// targetType is the type of the Secret with a UID. The type of a Secret never changes.
type targetType struct {
	uid  types.UID
	name string
}

// checkState is what reading the Secret and the client credentials has shown.
type checkState struct {
	last lastCheck
	// editor is the field manager that has last changed the Secret, as far as the API server tells;
	// empty if nobody is known to have.
	editor string
	// unusable are the last client credentials that could not be used, or the last API key.
	unusable unusable
	// apiKey is the name of the API key that was last read.
	apiKey apiKeyName
	// templates is what is wrong with the templates of a generation, whatever the account is.
	templates templateCheck
}

// lastCheck is the outcome of the last check, and what it was about.
type lastCheck struct {
	targetVersion string
	generation    int64
	outcome       refresh.Check
	// isDrifted is true if only labels, annotations or the owner reference are not as desired.
	isDrifted bool
	// lists are the recorded lists of labels and annotations, which the cache does not keep. They are nil
	// if they were not read: then they are as desired.
	lists map[string]string
}

// apiKeyName is the name of an API key at the limiters. The key itself is not remembered.
type apiKeyName struct {
	// credentialsVersion and generation are of the Secret, and of the spec that names it.
	credentialsVersion string
	generation         int64
	name               string
}

// unusable describes client credentials or an API key that can't be used, because a key of the Secret is
// absent or its value can't be a credential.
type unusable struct {
	// credentialsVersion and generation are of the Secret, and of the spec that names it.
	credentialsVersion string
	generation         int64
	// reason is a reason of condition Fetched. detail says which key it is; it is empty if only the
	// status says that the credentials can't be used.
	reason, detail string
}

// attemptState is what is known of the looks at the account and of the writes of the Secret.
type attemptState struct {
	// isRestored is true if this process has not tried anything yet: what it knows of attempts is from
	// the status.
	isRestored bool
	// credentials are the client credentials that the last attempt was made with.
	credentials triedCredentials
	// written tells the credentials that this process has last written from any others.
	written writtenRecord
	// failure is the last failed attempt; nil after an attempt that worked.
	failure *attempt.Failure
	// failedIn is what the rate of requests was limited for when the failed attempt was made.
	failedIn string
	// cluster is the last failed request to the API server that was no write; nil since one has worked. It
	// does not end the wait after a failure that Pipedream has answered with.
	cluster *attempt.Failure
	// blocker is what makes an attempt impossible now; nil if nothing does.
	blocker *attempt.Failure
	// verdict is what Pipedream says about the account that the spec asks for. verdictOfHeld is what it has
	// said about the account whose credentials are in the Secret, while the spec asks for another one.
	verdict, verdictOfHeld verdictState
	// looks are the looks that this process has made.
	looks refresh.Looks
	// omitted is how many fields of the credentials no key of a Secret can have.
	omitted int
	// triggered are the looks that were triggered by somebody, and not by the time.
	triggered retry.Triggers
	// overtaken is how many writes in a row have failed because another writer was faster.
	overtaken int
}

// triedCredentials are the name and the resourceVersion of a Secret with client credentials.
type triedCredentials struct{ name, version string }

// credentialsOf returns the client credentials that an attempt is made with now.
func credentialsOf(s snapshot) triedCredentials {
	return triedCredentials{name: s.account.CredentialsSecretName(), version: s.credentialsVersion()}
}

// versionFor returns the version, if the spec still names the same Secret; else it returns no version.
func (c triedCredentials) versionFor(s snapshot) string {
	if c.name != s.account.CredentialsSecretName() {
		return ""
	}
	return c.version
}

// writtenRecord tells one written record from another. It is zero if it is not known what was written.
type writtenRecord struct {
	// content is the digest on the Secret, or unknownContent.
	content                                    string
	fetchTime, expirationTime, nextRefreshTime time.Time
}

// unknownContent is the content of a written record that is known from the status only. No Secret has it.
const unknownContent = "unknown"

// writtenIn returns the record on the Secret as the one that was written.
func writtenIn(s snapshot) writtenRecord {
	held := s.record()
	if held == nil {
		return writtenRecord{}
	}
	return writtenRecord{
		content:   s.target.Annotations[v1alpha1.ContentAnnotation],
		fetchTime: held.FetchTime, expirationTime: held.ExpirationTime, nextRefreshTime: held.NextRefreshTime,
	}
}

// reportingState is what was reported of the object.
type reportingState struct {
	// status is the last status that was applied, until the cache shows it. version is the
	// resourceVersion of the object with it.
	status  *v1alpha1.PipedreamAccountStatus
	version string
	// saidFailure is true if the last event about the attempts was about one that failed.
	saidFailure bool
}

// templateError returns what is wrong with the templates of a generation whatever the account is; nil if
// nothing is.
func (c *checkState) templateError(generation int64) error {
	if c.templates.generation != generation {
		return nil
	}
	return c.templates.err
}

// activeFailure returns the failure that condition Fetched is about; nil if there is none.
func (a attemptState) activeFailure() *attempt.Failure {
	switch {
	case a.blocker != nil:
		return a.blocker
	case a.cluster != nil && !a.waitsForPipedream():
		return a.cluster
	case a.failure != nil:
		return a.failure
	}
	return a.verdict.failure
}

// unreadyReasonOf returns the reason for which credentials that were fetched for a request must not be called good; empty if
// there is none.
func (a attemptState) unreadyReasonOf(request string) string {
	for _, about := range []verdictState{a.verdict, a.verdictOfHeld} {
		if about.request == request {
			return about.unreadyReason()
		}
	}
	return ""
}

// waitsForPipedream reports whether the last request to the API server has failed before the wait was over
// that Pipedream has asked for, or that only a person can end. That wait explains more.
func (a attemptState) waitsForPipedream() bool {
	failed := a.failure
	return failed != nil && !failed.IsTransient() && a.cluster.SentAt.Before(failed.NotBefore)
}

// waitsForCluster reports whether a request to the API server has failed, and the operator waits before it
// sends the next one.
func (a attemptState) waitsForCluster(now time.Time) bool {
	return slices.ContainsFunc([]*attempt.Failure{a.failure, a.cluster}, func(failed *attempt.Failure) bool {
		return failed != nil && failed.Row.Reason == v1alpha1.ReasonClusterUnavailable && now.Before(failed.NotBefore)
	})
}

// apply remembers what was reported.
func (p *reportingState) apply(o reported) {
	p.status = &o.status
	if o.version != "" {
		p.version = o.version
	}
	if o.fetched != nil && o.fetched.Status != metav1.ConditionUnknown {
		p.saidFailure = o.fetched.Status == metav1.ConditionFalse
	}
}

// leaveLimit ends the wait for a rate limit of Pipedream if the spec names another project now, or if there is another
// API key. Pipedream limits the rate of each by itself. The limit for access tokens is left with an API key only.
func (a *attemptState) leaveLimit(s snapshot) {
	limited := s.rateLimited()
	switch {
	case a.failure == nil, a.failure.Row.Class != reason.Paused, a.failedIn == limited:
	case s.account.UsesAPIKey():
		a.failure.NotBefore, a.failedIn = s.now, limited // Nothing else may be due that would show whether the key is good.
	case a.failure.Row.Reason == v1alpha1.ReasonRateLimited:
		a.failure = nil
	}
}
