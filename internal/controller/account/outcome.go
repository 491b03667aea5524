// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/credentials"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/refresh"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// outcome is what an action has found out or done. An action changes neither the snapshot nor the
// state: state.apply remembers the outcome, and snapshot.after returns the snapshot that the next
// decision is made from. No outcome holds credentials of an account.
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
		// templates says whether the templates are invalid whatever the account is.
		templates templateCheck
	}

	// decided: this is what is done next.
	decided struct{ action refresh.Action }

	// reported: a status was applied.
	reported struct {
		status v1alpha1.PipedreamAccountStatus
		// version is the resourceVersion of the object with the status; empty if it is not known.
		version string
		// fetched is the change of condition Fetched that an event is about; nil if there is none.
		fetched *metav1.Condition
	}

	// noAction: nothing was done.
	noAction struct{}

	// kept: everything is as it is desired.
	kept struct{}

	// blocked: only a change elsewhere makes an attempt possible.
	blocked struct{ why refresh.Why }

	// credentialsRead: the client credentials or the API key were read, and nothing else.
	credentialsRead struct {
		found credentials.Found
		// keyName is the name of the API key at the limiters; empty if none was read.
		keyName string
	}

	// targetChecked: the Secret was read; nil if there is none.
	targetChecked struct {
		target *corev1.Secret
		check  refresh.Check
		// isDrifted is true if the credentials are as they were written, and labels, annotations or
		// the owner reference of the Secret are not.
		isDrifted bool
		// lists are the recorded lists of labels and annotations.
		lists map[string]string
		// editor is the field manager that has last changed the Secret.
		editor string
	}

	// queued: the request waits for its turn.
	queued struct{ ticket throttle.Ticket }

	// lookFailed: Pipedream was asked, and its answer or the lack of one says nothing about the account.
	lookFailed struct {
		cause *pipedream.Error
		// isForToken is true if the request was the one for the access token with which the account is looked at.
		isForToken bool
		// sentAt is when the request was sent.
		sentAt time.Time
		// why is why the account was to be looked at.
		why refresh.Why
		at  time.Time
	}

	// bearerRefused: Pipedream has refused the access token, and another access token may help.
	bearerRefused struct{}

	// verdictGiven: Pipedream has said something bad about the account.
	verdictGiven struct {
		cause *pipedream.Error
		why   refresh.Why
		// otherFetched is when the project has last given out the credentials of another account; zero if it
		// has not.
		otherFetched time.Time
		at           time.Time
	}

	// answered: Pipedream has given out the credentials of the account. stored is the outcome of storing them.
	answered struct {
		health pipedream.Health
		stored outcome
	}

	// unchanged: the account was looked at, and the Secret holds all of it already.
	unchanged struct {
		look look
		why  refresh.Why
	}

	// written: the account was looked at, and the Secret holds its credentials now.
	written struct {
		look   look
		target *metav1.PartialObjectMetadata
		why    refresh.Why
	}

	// unrenderable: the templates failed with the credentials of the account.
	unrenderable struct {
		err error
		why refresh.Why
		at  time.Time
	}

	// terminating: the Secret is being deleted, or is about to be, so that nothing is written to it.
	terminating struct{ target *metav1.PartialObjectMetadata }

	// foreign: the Secret belongs to somebody else now.
	foreign struct{ target *metav1.PartialObjectMetadata }

	// writeRefused: the API server refuses the Secret as it is.
	writeRefused struct {
		detail string
		// isOutage is true if the cause may go away by itself.
		isOutage bool
		// target is the Secret that could not be replaced; nil if there was none.
		target *metav1.PartialObjectMetadata
		at     time.Time
	}

	// clusterFailed: a request to the Kubernetes API server has failed. detail says what was being done,
	// and how it has failed. It is safe to show.
	clusterFailed struct {
		detail string
		// isWrite is true if the request was a write. Whether the write was done is then not known.
		isWrite bool
		at      time.Time
	}

	// overtaken: another writer was faster. detail and at are as in clusterFailed.
	overtaken struct {
		detail string
		// target is the Secret as it was read after that; nil if there is none any longer.
		target *metav1.PartialObjectMetadata
		at     time.Time
	}

	// abandoned: the namespace or the PipedreamAccount is being deleted, so that nothing is asked for or
	// written.
	abandoned struct{}
)

// look is what a look at the account has shown beside its credentials.
type look struct {
	// record is the one that the Secret has after the look.
	record record
	// omitted is how many fields of the credentials no key of a Secret can have.
	omitted int
	// isStale is true if the credentials had expired already when Pipedream gave them out.
	isStale bool
	// isNewer is true if the credentials are others than the Secret had.
	isNewer bool
	at      time.Time
}

func (observed) isFinal() bool        { return false }
func (decided) isFinal() bool         { return false }
func (reported) isFinal() bool        { return true }
func (noAction) isFinal() bool        { return true }
func (kept) isFinal() bool            { return true }
func (blocked) isFinal() bool         { return true }
func (credentialsRead) isFinal() bool { return false }
func (targetChecked) isFinal() bool   { return false }
func (queued) isFinal() bool          { return false }
func (lookFailed) isFinal() bool      { return true }
func (bearerRefused) isFinal() bool   { return false }
func (verdictGiven) isFinal() bool    { return true }
func (a answered) isFinal() bool      { return a.stored.isFinal() }
func (unchanged) isFinal() bool       { return true }
func (written) isFinal() bool         { return true }
func (unrenderable) isFinal() bool    { return true }
func (terminating) isFinal() bool     { return false }
func (foreign) isFinal() bool         { return true }
func (writeRefused) isFinal() bool    { return true }
func (clusterFailed) isFinal() bool   { return true }
func (overtaken) isFinal() bool       { return true }
func (abandoned) isFinal() bool       { return true }

// templateCheck says whether the templates of a generation are invalid.
type templateCheck struct {
	generation int64
	err        error
}
