// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

var (
	tokenKind  = v1alpha1.SchemeGroupVersion.WithKind("PipedreamToken")
	secretKind = corev1.SchemeGroupVersion.WithKind("Secret")
)

// collectionTime is how long after the creation of a PipedreamToken the Secret of its
// predecessor is expected to be collected.
const collectionTime = 10 * time.Second

// observation is what one visit knows.
type observation struct {
	token  *v1alpha1.PipedreamToken
	wanted renewal.Wanted
	memory *memory
	// target and credentials are the metadata of the two Secrets; nil when absent.
	target, credentials *metav1.PartialObjectMetadata
	// now is the one moment that the visit decides by.
	now time.Time
	// clientCredentials are those that a check has read; nil before.
	clientCredentials *pipedream.Credentials
	// rehearsed tells that the API server would store the Secret.
	rehearsed bool
	// held is the token that a check has read; nil before.
	held *heldToken
	// decision is the last one made.
	decision renewal.Decision
	// ticket is the ticket of a token request that waits for its turn, and
	// verificationTicket the ticket of a verification; zero when none waits.
	ticket, verificationTicket throttle.Ticket
	// storedFor is why a token was issued that this visit has stored; empty for none.
	storedFor renewal.Why
}

// observe looks at the two Secrets, through the cache where it is recent enough.
func (r *Reconciler) observe(ctx context.Context, token *v1alpha1.PipedreamToken) (*observation, error) {
	name := client.ObjectKeyFromObject(token)
	known, isNew := r.memories.of(name, token.UID)
	o := &observation{token: token, wanted: wantedBy(token, r.Pipedream.Address()), memory: known, now: r.Clock.Now()}
	var err error
	if o.target, err = r.target(ctx, o); err != nil {
		return nil, err
	}
	credentials := types.NamespacedName{Namespace: token.Namespace, Name: token.Spec.ClientSecretRef.Name}
	if o.credentials, err = metadataOf(ctx, r.Cache, credentials); err != nil {
		return nil, err
	}
	if isNew {
		known.firstSeen = o.now
		r.recall(o)
	}
	// The outcome of its write was unknown, and is settled by looking.
	if unstored := known.unstored; unstored != nil && (o.heldInputs() == unstored.inputs || !o.now.Before(unstored.token.ExpirationTime)) {
		known.unstored = nil
	}
	return o, nil
}

// target returns the metadata of the Secret to write. When the cache is older
// than what we know of, it is read live.
func (r *Reconciler) target(ctx context.Context, o *observation) (*metav1.PartialObjectMetadata, error) {
	name := types.NamespacedName{Namespace: o.token.Namespace, Name: o.token.TargetName()}
	cached, err := metadataOf(ctx, r.Cache, name)
	if err != nil {
		return nil, err
	}
	if !o.memory.readLive && !isOlder(cached, o.memory.secretVersion) {
		return cached, nil
	}
	live, err := metadataOf(ctx, r.Client, name)
	if err != nil {
		return nil, err
	}
	o.memory.readLive = false
	o.memory.secretVersion = ""
	if live != nil {
		o.memory.secretVersion = live.ResourceVersion
	}
	return live, nil
}

// isOlder tells whether what the cache holds is older than a version known to exist.
func isOlder(cached *metav1.PartialObjectMetadata, version string) bool {
	if version == "" {
		return false
	}
	if cached == nil {
		return true
	}
	order, err := resourceversion.CompareResourceVersion(cached.ResourceVersion, version)
	return err != nil || order < 0
}

// metadataOf returns the metadata of a Secret, or nil if there is none.
func metadataOf(ctx context.Context, reader client.Reader, name types.NamespacedName) (*metav1.PartialObjectMetadata, error) {
	metadata := &metav1.PartialObjectMetadata{}
	metadata.SetGroupVersionKind(secretKind)
	if err := reader.Get(ctx, name, metadata); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	return metadata, nil
}

// wantedBy resolves the spec, and what its absent fields mean.
func wantedBy(token *v1alpha1.PipedreamToken, api string) renewal.Wanted {
	return renewal.Wanted{
		Identity:     token.Namespace + "/" + token.Name,
		Scopes:       strings.Join(slices.Sorted(slices.Values(token.Spec.Scopes)), " "),
		API:          api,
		RenewRequest: token.Annotations[v1alpha1.RenewRequestAnnotation],
		RenewBefore:  time.Duration(token.Spec.RenewBeforeSeconds) * time.Second,
		VerifyEvery:  time.Duration(token.Spec.Verification.IntervalSeconds) * time.Second,
	}
}

// observed returns the state of the world as package renewal sees it.
func (o *observation) observed() renewal.Observed {
	m := o.memory
	observed := renewal.Observed{
		Target:             o.targetState(),
		LeavesBy:           o.leavesBy(),
		Record:             o.record(),
		Check:              o.checkState(),
		Superseded:         o.isSuperseded(),
		HasCredentials:     o.hasCredentials(),
		Unstored:           o.canStore(),
		Refused:            m.verification.verdict == pipedream.Refused && m.verification.inputs == o.heldInputs(),
		LastIssue:          m.lastIssue,
		LastByEvent:        m.byEvent.Last,
		Repeats:            m.byEvent.Count,
		LastVerified:       m.verification.last,
		VerifyAt:           o.verifyAt(),
		VerifyNow:          m.verification.triedFor != 0 && m.verification.triedFor != o.token.Generation,
		VerificationQueued: isWaiting(o.verificationTicket),
		Unverified:         o.isUnverified(),
		VerificationRests:  o.hasNoTokenKey() || !o.trial().CanList(),
		TemplateInvalid:    o.templateError() != nil,
		OtherType:          o.isOfOtherType(),
		Reverted:           o.isReverted(),
		LastRewrite:        m.rewrites.Last,
		Rewrites:           m.rewrites.Count,
	}
	observed.VerificationSuspended = m.verification.suspendedFor == o.token.Generation
	if m.failure != nil {
		observed.NotBefore = m.failure.notBefore
		observed.Changed = !m.failure.isAbout(o)
	}
	if m.rewriteFailure != nil && m.rewriteFailure.isAbout(o) {
		observed.RewriteNotBefore = m.rewriteFailure.notBefore
	}
	return observed
}

// isReverted tells whether the target had the shape that is wanted now before somebody
// has changed it, or whether a write that was refused is made again before its time,
// because of somebody's deed.
func (o *observation) isReverted() bool {
	refused := o.memory.rewriteFailure
	return o.memory.shapedFor == o.token.Generation ||
		refused != nil && !refused.isAbout(o) && o.now.Before(refused.notBefore)
}

// isOfOtherType tells whether the target is known to be of another type than is wanted,
// which the API server never changes.
func (o *observation) isOfOtherType() bool {
	return o.isTypeKnown() && o.target != nil && o.memory.targetType.name != o.token.TargetType()
}

// isTypeKnown tells whether there is no target, or one whose type has been read.
func (o *observation) isTypeKnown() bool {
	return o.target == nil || o.memory.targetType.uid == o.target.UID
}

func (o *observation) targetState() renewal.Target {
	switch {
	case o.target == nil:
		return renewal.Absent
	case o.now.Before(o.leavesBy()):
		return renewal.Leaving
	case belongsTo(o.target, o.token, tokenKind):
		return renewal.Owned
	}
	return renewal.Foreign
}

// isSuperseded tells whether the Secret holds another record than that of the token
// that was stored last, though that one is not due.
func (o *observation) isSuperseded() bool {
	record, stored := o.record(), o.memory.stored
	if record == nil || stored.inputs == "" {
		return false
	}
	isSame := stored.inputs == o.heldInputs() && stored.issueTime.Equal(record.IssueTime) && stored.expirationTime.Equal(record.ExpirationTime)
	due := renewal.DueTime(o.wanted, renewal.Record{IssueTime: stored.issueTime, ExpirationTime: stored.expirationTime})
	return !isSame && o.now.Before(due)
}

// leavesBy returns when the Secret of a predecessor, which had the same name and was
// deleted, is gone or is not waited for any longer; zero for any other Secret. The
// garbage collector is about to remove it, with whatever is written to it now.
func (o *observation) leavesBy() time.Time {
	if o.target == nil || !belongsTo(o.target, o.token, tokenKind) {
		return time.Time{}
	}
	controller := metav1.GetControllerOfNoCopy(o.target)
	if controller == nil || controller.UID == o.token.UID {
		return time.Time{}
	}
	return earlier(o.token.CreationTimestamp.Time, o.memory.firstSeen).Add(collectionTime)
}

// heldInputs returns the digest of what the held token was issued for, which tells
// it from any other; empty if there is none of ours.
func (o *observation) heldInputs() string {
	if o.targetState() != renewal.Owned {
		return ""
	}
	return o.target.Annotations[v1alpha1.InputsAnnotation]
}

// record returns the record on the target; nil if there is none of ours.
func (o *observation) record() *renewal.Record {
	if o.targetState() != renewal.Owned {
		return nil
	}
	return parseRecord(o.target.Annotations)
}

// trying returns what an attempt would be made with now.
func (o *observation) trying() attempt {
	return attempt{
		generation:         o.token.Generation,
		credentialsVersion: versionOf(o.credentials),
		renewRequest:       o.wanted.RenewRequest,
	}
}

// checkState returns the outcome of the last check if it was about all that is
// there now. Credentials that are gone can't be compared with.
func (o *observation) checkState() renewal.Check {
	last := o.memory.checked
	if last.secretVersion != versionOf(o.target) || last.generation != o.token.Generation ||
		o.credentials != nil && last.credentialsVersion != o.credentials.ResourceVersion {
		return renewal.Unchecked
	}
	return last.outcome
}

// canStore tells whether a token waits to be stored that is still what is wanted.
func (o *observation) canStore() bool {
	unstored := o.memory.unstored
	return unstored != nil && unstored.scopes == o.wanted.Scopes && unstored.api == o.wanted.API &&
		o.now.Before(renewal.DueTime(o.wanted, renewal.Record{
			IssueTime:      unstored.token.IssueTime,
			ExpirationTime: unstored.token.ExpirationTime,
		}))
}

// hasCredentials tells whether there are credentials, as far as is known without
// reading them.
func (o *observation) hasCredentials() bool {
	return o.credentials != nil &&
		(o.credentials.ResourceVersion != o.memory.incomplete.credentialsVersion || o.token.Generation != o.memory.incomplete.generation)
}

// requester identifies the PipedreamToken at the limiters, where namespaces take turns.
func (o *observation) requester() throttle.Requester {
	return requesterOf(client.ObjectKeyFromObject(o.token))
}

func requesterOf(name types.NamespacedName) throttle.Requester {
	return throttle.Requester{Kind: tokenKind.Kind, Group: name.Namespace, Name: name.Name}
}

func isWaiting(ticket throttle.Ticket) bool { return !ticket.Since.IsZero() && !ticket.IsReady }

func versionOf(secret *metav1.PartialObjectMetadata) string {
	if secret == nil {
		return ""
	}
	return secret.ResourceVersion
}
