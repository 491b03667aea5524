// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/attempt"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/credentials"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/refresh"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// kind is the kind of the objects of this controller.
const kind = v1alpha1.KindPipedreamAccount

// collectionTime is how long after the creation of a PipedreamAccount the Secret of its predecessor
// is expected to be collected.
const collectionTime = 10 * time.Second

// snapshot is what one reconcile knows of the world. It is a value: nothing that it points to is
// changed, and after returns the next one. It never holds credentials of an account.
type snapshot struct {
	account *v1alpha1.PipedreamAccount
	desired refresh.Desired
	// target is the metadata of the Secret that holds the credentials, and credentialsSecret the
	// metadata of the Secret that holds the client credentials or the API key; nil if absent.
	target, credentialsSecret *metav1.PartialObjectMetadata
	// now is the one moment that the reconcile decides by, and firstSeen is when this process has
	// first seen the object.
	now, firstSeen time.Time
	// outageEnded is when the limiter of the project has last found that Pipedream answers again; zero if
	// it has found no outage.
	outageEnded time.Time

	// clientCredentials and apiKey are what this reconcile has read; nil and empty if it has read none, or
	// none that can be used. areCredentialsRead tells these two apart. apiKey is read for each request, and
	// nothing keeps it longer than the snapshot.
	clientCredentials  *pipedream.Credentials
	apiKey             pipedream.Sensitive
	areCredentialsRead bool
	// ticket is where the request waits for its turn; zero if none waits. isQueued is true if ticket
	// was taken for the last decision, so that there is nothing to do but wait.
	ticket   throttle.Ticket
	isQueued bool
	// writtenBecause is why the account was looked at, if this reconcile has written credentials.
	writtenBecause refresh.Why
}

// desiredBy resolves the spec, and what its absent fields mean.
func desiredBy(account *v1alpha1.PipedreamAccount, api string) refresh.Desired {
	spec := account.Spec
	app := spec.App
	if spec.AccountID != "" {
		app = "" // The ID alone says which account it is.
	}
	asked := []string{api, spec.ProjectID, string(account.TargetEnvironment()), spec.AccountID, spec.ExternalUserID, app}
	if account.UsesAPIKey() {
		asked = append(asked, spec.WorkspaceID)
	}
	return refresh.Desired{
		Request:      ownedsecret.KeyedDigest(string(account.UID), asked...),
		Rendering:    renderingOf(account),
		RenewRequest: ownedsecret.BoundRequest(account.Annotations[v1alpha1.RenewRequestAnnotation]),
		Policy:       refresh.Policy(account.TargetFetchPolicy()),
		Interval:     time.Duration(spec.FetchIntervalSeconds) * time.Second,
		Suspended:    spec.Suspend,
	}
}

// subject tells the account from any other of its project.
func (s snapshot) subject() string {
	spec := s.account.Spec
	if spec.AccountID == "" {
		return string(s.account.TargetEnvironment()) + "/" + spec.App + "/" + spec.ExternalUserID
	}
	return string(s.account.TargetEnvironment()) + "/" + spec.AccountID
}

// query returns the request for the account.
func (s snapshot) query() pipedream.AccountQuery {
	spec := s.account.Spec
	return pipedream.AccountQuery{
		ProjectID:      spec.ProjectID,
		Environment:    string(s.account.TargetEnvironment()),
		WorkspaceID:    spec.WorkspaceID,
		AccountID:      spec.AccountID,
		ExternalUserID: spec.ExternalUserID,
		App:            spec.App,
	}
}

// after returns the snapshot that the next decision is made from.
func (s snapshot) after(o outcome) snapshot {
	s.isQueued = false
	switch o := o.(type) {
	case queued:
		s.ticket, s.isQueued = o.ticket, true
	case credentialsRead:
		s.credentialsSecret, s.areCredentialsRead = o.found.Secret, true
		s.clientCredentials, s.apiKey = o.found.Credentials, o.found.APIKey
	case targetChecked:
		s.target = metadataOf(o.target)
	case foreign:
		s.target = o.target
	case terminating:
		s.target, s.ticket = o.target, throttle.Ticket{}
	case written:
		s.ticket, s.target, s.writtenBecause = throttle.Ticket{}, o.target, o.why
	case overtaken:
		s.target, s.ticket = o.target, throttle.Ticket{}
	case kept, unchanged, lookFailed, verdictGiven, unrenderable, writeRefused, clusterFailed, abandoned, bearerRefused:
		s.ticket = throttle.Ticket{} // The turn has come, or no request is made.
	}
	return s
}

func metadataOf(secret *corev1.Secret) *metav1.PartialObjectMetadata {
	if secret == nil {
		return nil
	}
	return &metav1.PartialObjectMetadata{ObjectMeta: secret.ObjectMeta}
}

// targetState returns what the Secret is to the PipedreamAccount.
func (s snapshot) targetState() refresh.Target {
	switch {
	case s.target == nil:
		return refresh.Absent
	case !ownedsecret.BelongsTo(s.target, s.account):
		return refresh.Foreign
	case ownedsecret.IsTerminating(s.target), s.now.Before(s.collectedBy()):
		return refresh.Terminating
	}
	return refresh.Owned
}

// collectedBy returns when the Secret of a predecessor is collected or is not waited for any
// longer; zero for any other Secret, and for one that is being deleted already. A predecessor had
// the same name and was deleted.
func (s snapshot) collectedBy() time.Time {
	if s.target == nil || ownedsecret.IsTerminating(s.target) || !ownedsecret.IsOfPredecessor(s.target, s.account) {
		return time.Time{}
	}
	return earlier(s.account.CreationTimestamp.Time, s.firstSeen).Add(collectionTime)
}

// isTargetTerminating reports whether the Secret belongs to the PipedreamAccount and is being deleted.
func (s snapshot) isTargetTerminating() bool {
	return s.targetState() == refresh.Terminating && ownedsecret.IsTerminating(s.target)
}

// holdsOurs reports whether there is a Secret that belongs to the PipedreamAccount. The Secret of a
// predecessor that is about to be collected is none.
func (s snapshot) holdsOurs() bool {
	return s.targetState() == refresh.Owned || s.isTargetTerminating()
}

// record returns the record on the Secret; nil if there is none, or if the Secret is foreign.
func (s snapshot) record() *record {
	if !s.holdsOurs() {
		return nil
	}
	return parseRecord(s.target.Annotations)
}

// inputs returns what an attempt would be made with now.
func (s snapshot) inputs() attempt.Inputs {
	return attempt.Inputs{
		Generation:         s.account.Generation,
		CredentialsVersion: s.credentialsVersion(),
		RenewRequest:       s.desired.RenewRequest,
	}
}

func (s snapshot) targetVersion() string { return ownedsecret.Version(s.target) }

func (s snapshot) credentialsVersion() string { return ownedsecret.Version(s.credentialsSecret) }

// credentialsReference tells one version of the client credentials, and where they are, from any
// other.
func (s snapshot) credentialsReference() string {
	return credentials.Reference(s.account.Namespace, s.account.Spec.ClientSecretRef, s.credentialsVersion())
}

// asksFor tells the requests with an API key apart: an answer that refuses one of them says nothing about the others,
// unless it refuses the key.
func (s snapshot) asksFor() []string {
	return []string{s.account.Spec.AccountID}
}

// rateLimited tells what Pipedream limits the rate of requests for: the project, or one version of the API key.
func (s snapshot) rateLimited() string {
	if reference := s.account.Spec.APIKeyRef; s.account.UsesAPIKey() {
		return strings.Join([]string{reference.Name, reference.Key, s.credentialsVersion()}, "/")
	}
	return s.account.Spec.ProjectID
}

// requester identifies the PipedreamAccount at the limiters.
func (s snapshot) requester() throttle.Requester {
	return requesterOf(types.NamespacedName{Namespace: s.account.Namespace, Name: s.account.Name})
}

func requesterOf(name types.NamespacedName) throttle.Requester {
	return throttle.Requester{Kind: kind, Group: name.Namespace, Name: name.Name}
}

// deletion describes which of a PipedreamAccount and its Secret are being deleted. at is when the deletion
// began, by the API server's clock, and held says which finalizers hold them. Both are empty if neither
// is being deleted.
type deletion struct {
	at   time.Time
	held string
}

func deletionOf(s snapshot) deletion {
	var found deletion
	add := func(kind string, object metav1.Object) {
		at := object.GetDeletionTimestamp().Time
		if found.held != "" {
			found.held, at = found.held+"; ", earlier(at, found.at)
		}
		found.at, found.held = at, found.held+ownedsecret.DescribeDeletion(kind, object)
	}
	if ownedsecret.IsTerminating(s.account) {
		add(kind, s.account)
	}
	if s.isTargetTerminating() {
		add("Secret", s.target)
	}
	return found
}

func isWaiting(ticket throttle.Ticket) bool { return !ticket.Since.IsZero() && !ticket.IsReady }

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
