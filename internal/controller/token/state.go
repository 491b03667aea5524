// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/attempt"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

// state is what the reconciler remembers of one PipedreamToken between two reconciles. Only
// apply, restore and their methods write it. After a restart, restore fills it from the record on
// the Secret and from the reasons and times of the status; losing the rest costs a few reads, an
// early attempt, or a token that is not written yet.
type state struct {
	uid types.UID
	// firstSeen is when this process has first seen the object.
	firstSeen time.Time
	// goodUntil is when the current token expires, as was known last; zero if it was worth nothing.
	goodUntil time.Time

	cache        cacheState
	check        checkState
	attempt      attemptState
	verification verificationState
	reporting    reportingState
	// other is another operator that writes the Secret, too; nil if none is known.
	other *otherOperator
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

// checkState is what reading the Secret and the credentials has shown.
type checkState struct {
	last lastCheck
	// appliedGeneration is the generation for which the Secret last was as it is desired, the
	// token apart.
	appliedGeneration int64
	// known is the token of the record that was last written, or found on the Secret and believed.
	// After a restart it is the one that the status vouches for, without its inputs.
	known writtenToken
	// authenticatedVersion is the version of the Secret that this process last wrote, or whose
	// token it last found to be issued for the credentials.
	authenticatedVersion string
	// editor is the field manager that has last changed the Secret, as far as the API server
	// tells; empty if nobody is known to have.
	editor string
	// unusable are the last credentials that could not be used.
	unusable unusable
	// rendering is what the templates result in with made-up tokens.
	rendering rendering
	// renderError is how the templates have failed with an issued token.
	renderError renderError
}

// lastCheck is the outcome of the last check, and what it was about.
type lastCheck struct {
	targetVersion      string
	credentialsVersion string
	generation         int64
	outcome            renewal.Check
}

// unusable describes credentials that can't be used, because a key is absent or its value can't be
// a credential.
type unusable struct {
	// credentialsVersion and generation are of the Secret, and of the spec that names it.
	credentialsVersion string
	generation         int64
	// reason is a reason of condition Renewed. detail says which key it is; it is empty if only the
	// status says that the credentials can't be used.
	reason, detail string
}

// attemptState is what is known of the attempts to issue a token and to write the Secret.
type attemptState struct {
	// isRestored is true if this process has not tried anything yet: what it knows of attempts is from
	// the status.
	isRestored bool
	// written is the token that this process has last written.
	written writtenToken
	// pending is a token that was issued and could not be written yet.
	pending *recordedToken
	// failure is the last failed attempt to get a token; nil after an attempt that worked.
	failure *attempt.Failure
	// cluster is the last failed request to the API server that was no write, at clusterStep; nil since that
	// step has worked. It does not end the wait after a failure that Pipedream has answered with.
	cluster     *attempt.Failure
	clusterStep clusterStep
	// rewriteFailure is the last failed attempt to write the Secret with the current token.
	rewriteFailure *attempt.Failure
	// blocker is what makes an attempt impossible now; nil if nothing does.
	blocker *attempt.Failure

	// lastIssue is when the last token was issued.
	lastIssue time.Time
	// triggered are the attempts that were triggered by somebody, and not by the token's age.
	triggered retry.Triggers
	// rewrites are the writes because somebody has changed the Secret again.
	rewrites retry.Triggers
	// overtaken is how many writes in a row have failed because another writer was faster.
	overtaken int
}

// writtenToken tells one written token from another. It holds no secret.
type writtenToken struct {
	inputs                    string
	issueTime, expirationTime time.Time
}

// writtenAs returns a token as its Secret records it.
func writtenAs(token recordedToken) writtenToken {
	return writtenToken{inputs: token.inputs, issueTime: token.token.IssueTime, expirationTime: token.token.ExpirationTime}
}

// verificationState is what is known from verifying the current token.
type verificationState struct {
	// isRestored is true if nothing was verified since the process started: all is from the status.
	isRestored bool
	// last is when a token of the object was last verified, or when the object was first seen.
	last time.Time
	// verdict is about the token with these inputs. detail says why the verdict is inconclusive.
	verdict pipedream.Verdict
	inputs  string
	detail  string

	// at is when the current token is verified next, whatever the interval says; zero if the
	// interval decides.
	at time.Time
	// refusals counts the 401 answers in a row to the token with these inputs, and the answers in
	// between that say nothing about the token. The first one came at refusedSince.
	refusals     int
	refusedSince time.Time
	// replacement are the inputs of the token that has replaced a refused one, until it is known
	// whether the API accepts it.
	replacement string

	// These are generations of the spec; zero means none.
	//
	// triedFor is the generation for which a token was last verified.
	triedFor int64
	// acceptedFor is the generation for which the API has accepted a token. A refusal is then about
	// the token.
	acceptedFor int64
	// replacedFor is the generation for which a refused token was replaced already, to find out
	// whether the API refuses every token.
	replacedFor int64
	// suspendedFor is the generation for which the API refuses every token.
	suspendedFor int64
}

// reportingState is what was reported of the object.
type reportingState struct {
	// status is the last status that was applied, until the cache shows it. version is the
	// resourceVersion of the object with it.
	status  *v1alpha1.PipedreamTokenStatus
	version string
	// saidFailure is true if the last event about the attempts was about one that failed.
	saidFailure bool
	// saidUnknown is since when condition Verified is Unknown, if an event says so.
	saidUnknown time.Time
	// saidOther is when an event has last said that another operator writes the Secret, too.
	saidOther time.Time
}

// templateError returns what is wrong with the templates of a generation; nil if nothing is known
// to be.
func (c *checkState) templateError(generation int64) error {
	switch {
	case c.renderError.generation != generation:
		return c.rendering.err
	case c.renderError.err != nil:
		return c.renderError.err
	case c.rendering.err != nil:
		return c.rendering.err
	}
	return errRestoredTemplates
}

// activeFailure returns the failure that condition Renewed is about; nil if there is none.
func (a attemptState) activeFailure() *attempt.Failure {
	switch {
	case a.blocker != nil:
		return a.blocker
	case a.cluster != nil && !a.waitsForPipedream():
		return a.cluster
	case a.failure != nil:
		return a.failure
	}
	return a.rewriteFailure
}

// waitsForPipedream reports whether the last request to the API server has failed before the wait was
// over that Pipedream has asked for, or that only a person can end. That wait explains more.
func (a attemptState) waitsForPipedream() bool {
	failed := a.failure
	return failed != nil && !failed.IsTransient() && a.cluster.SentAt.Before(failed.NotBefore)
}

// waitsForCluster reports whether a request to the API server has failed, and the operator waits before
// it sends the next one.
func (a attemptState) waitsForCluster(now time.Time) bool {
	return slices.ContainsFunc([]*attempt.Failure{a.failure, a.cluster, a.rewriteFailure}, func(failed *attempt.Failure) bool {
		return failed != nil && failed.Row.Reason == v1alpha1.ReasonClusterUnavailable && now.Before(failed.NotBefore)
	})
}
