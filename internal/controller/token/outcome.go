// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/credentials"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// outcome is what an action has found out or done. An action changes neither the snapshot nor the
// state: state.apply remembers the outcome, and snapshot.after returns the snapshot that the next
// decision is made from.
type outcome interface {
	// isFinal reports whether the reconcile ends with this outcome. After the others, another
	// decision is made.
	isFinal() bool
}

// The outcomes.
type (
	// observed: a new snapshot was taken.
	observed struct {
		// isLive is true if the Secret was read live, and not through the cache.
		isLive bool
		// rendering is what the templates result in with made-up tokens.
		rendering rendering
	}

	// decided: this is what is done next.
	decided struct{ action renewal.Action }

	// reported: a status was applied.
	reported struct {
		status v1alpha1.PipedreamTokenStatus
		// version is the resourceVersion of the object with the status; empty if it is not known.
		version string
		// renewed is the change of condition Renewed that an event is about; nil if there is none.
		renewed *metav1.Condition
	}

	// saidUnknown: an event says that condition Verified has been Unknown since that time.
	saidUnknown struct{ since time.Time }

	// saidOther: an event says that another operator writes the Secret, too.
	saidOther struct{ at time.Time }

	// noAction: nothing was done.
	noAction struct{}

	// kept: everything is as it is desired.
	kept struct{}

	// blocked: only a change elsewhere makes an attempt possible.
	blocked struct{ why renewal.Why }

	// credentialsRead: the client credentials were read, and nothing else.
	credentialsRead struct{ found credentials.Found }

	// targetRead: the Secret was read; nil if there is none.
	targetRead struct{ target *corev1.Secret }

	// targetChecked: the Secret was read and compared with what is desired.
	targetChecked struct {
		target *corev1.Secret
		// credentials are nil if they were not read.
		credentials *credentials.Found
		check       renewal.Check
		// current is the token in the Secret; nil if it was edited.
		current *recordedToken
		// isAuthenticated is true if the token was found to be issued for the credentials.
		isAuthenticated bool
		// editor is the field manager that has last changed the Secret.
		editor string
	}

	// queued: the token request waits for its turn.
	queued struct{ ticket throttle.Ticket }

	// sentBack: the limiter did not send the token request, and wants it to queue again.
	sentBack struct{ ticket throttle.Ticket }

	// verificationQueued: the verification waits for its turn.
	verificationQueued struct{ ticket throttle.Ticket }

	// sameCredentials: the credentials turned out to be the ones that have failed. Only something
	// that is written beside them has changed.
	sameCredentials struct{}

	// abandoned: the namespace or the PipedreamToken is being deleted, so that no token is asked for.
	abandoned struct{}

	// requestFailed: Pipedream did not issue a token.
	requestFailed struct {
		cause      *pipedream.Error
		sentAt, at time.Time
	}

	// issued: Pipedream issued a token, which is to be written.
	issued struct {
		token recordedToken
		why   renewal.Why
		at    time.Time
	}

	// confirmed: the credentials are still the ones that the pending token was issued for.
	confirmed struct{ pending recordedToken }

	// discarded: the pending token is worth nothing any longer. isTerminating is true if that is so
	// because the namespace or the PipedreamToken is being deleted, or is gone.
	discarded struct{ isTerminating bool }

	// foreign: the Secret belongs to somebody else now.
	foreign struct{ target *metav1.PartialObjectMetadata }

	// terminating: the Secret is being deleted, or is about to be, so that nothing is written to it.
	terminating struct{ target *metav1.PartialObjectMetadata }

	// written: the Secret holds the token.
	written struct {
		target *metav1.PartialObjectMetadata
		token  recordedToken
		kind   writeKind
		why    renewal.Why
		// isFound is true if an earlier write of the token was done after all.
		isFound bool
		// replaced is the Secret of another writer that was replaced; nil if there was none.
		replaced *metav1.PartialObjectMetadata
	}

	// writeRefused: the API server refuses the Secret as it is.
	writeRefused struct {
		detail string
		kind   writeKind
		// isOutage is true if the cause may go away by itself.
		isOutage bool
		// target is the Secret that could not be replaced; nil if there was none.
		target *metav1.PartialObjectMetadata
		at     time.Time
	}

	// unrenderable: the templates failed with an issued token.
	unrenderable struct {
		err  error
		kind writeKind
	}

	// clusterFailed: a request to the Kubernetes API server has failed.
	clusterFailed struct {
		// step is the failed step if it was no write.
		step clusterStep
		// detail says what was being done, and how it has failed. It is safe to show.
		detail string
		// isWrite is true if the request was a write. Whether the write was done is then not known.
		isWrite bool
		kind    writeKind
		at      time.Time
	}

	// overtaken: another writer was faster. detail and at are as in clusterFailed.
	overtaken struct {
		detail string
		kind   writeKind
		at     time.Time
	}

	// verdict: Pipedream's API has answered to the current token.
	verdict struct {
		is pipedream.Verdict
		// err explains an inconclusive verdict.
		err error
		// target is the Secret with the token.
		target *corev1.Secret
	}
)

// clusterStep is a step of a reconcile that sends a request to the API server and writes nothing.
type clusterStep string

// The steps.
const (
	readTargetStep      clusterStep = "read the Secret with the token"
	readCredentialsStep clusterStep = "read what the reference names"
	dryRunStep          clusterStep = "apply the status as a dry run"
)

// writeKind says what is written.
type writeKind struct {
	// isRewrite is true if the Secret is written with the token that it holds, and not with a
	// pending one.
	isRewrite bool
	// isDriftedAgain is true if somebody has changed a Secret that was as it was desired.
	isDriftedAgain bool
	// isDryRun is true if the API server was asked whether it would create the Secret.
	isDryRun bool
}

func (observed) isFinal() bool           { return false }
func (decided) isFinal() bool            { return false }
func (reported) isFinal() bool           { return true }
func (saidUnknown) isFinal() bool        { return true }
func (saidOther) isFinal() bool          { return true }
func (noAction) isFinal() bool           { return true }
func (kept) isFinal() bool               { return true }
func (blocked) isFinal() bool            { return true }
func (credentialsRead) isFinal() bool    { return false }
func (targetRead) isFinal() bool         { return false }
func (targetChecked) isFinal() bool      { return false }
func (queued) isFinal() bool             { return false }
func (sentBack) isFinal() bool           { return false }
func (verificationQueued) isFinal() bool { return false }
func (sameCredentials) isFinal() bool    { return false }
func (abandoned) isFinal() bool          { return true }
func (requestFailed) isFinal() bool      { return true }
func (issued) isFinal() bool             { return false }
func (confirmed) isFinal() bool          { return false }
func (o discarded) isFinal() bool        { return o.isTerminating }
func (foreign) isFinal() bool            { return true }
func (terminating) isFinal() bool        { return false }
func (o written) isFinal() bool          { return !o.kind.isRewrite && o.why != renewal.Revoked }
func (o writeRefused) isFinal() bool     { return !o.kind.isRewrite }
func (o unrenderable) isFinal() bool     { return !o.kind.isRewrite }
func (clusterFailed) isFinal() bool      { return true }
func (overtaken) isFinal() bool          { return true }
func (verdict) isFinal() bool            { return false }
