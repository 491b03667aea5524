// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

// rehearsalTimeout is less than the time for which a turn at the limiter is kept.
const rehearsalTimeout = 3 * time.Second

// storeTries is how often a write is made again when somebody else was faster.
const storeTries = 3

// storeUnstored stores the token that could not be stored when it was issued, if
// the credentials are still those that it was issued for.
func (r *Reconciler) storeUnstored(ctx context.Context, o *observation) (again bool, err error) {
	unstored := o.memory.unstored
	if o.credentials != nil && unstored.credentials != o.credentialsRecord() {
		credentials, err := r.readCredentials(ctx, o)
		if err != nil {
			return false, err
		}
		if credentials != nil {
			if unstored.inputs != inputsOf(unstored.token.AccessToken, *credentials, unstored.scopes, unstored.api) {
				o.memory.unstored = nil
				return true, nil
			}
			unstored.credentials, unstored.credentialsVersion = o.credentialsRecord(), o.credentials.ResourceVersion
		}
	}
	// A request that was made meanwhile is answered by a token that nobody has seen.
	unstored.renewRequest = o.wanted.RenewRequest
	return r.store(ctx, o)
}

// store writes the unstored token to the target. What was refused is in the
// memory; an error leaves the token there for the next visit. A token that replaces
// a refused one is to be tried.
func (r *Reconciler) store(ctx context.Context, o *observation) (again bool, err error) {
	for range storeTries {
		if o.targetState() == renewal.Foreign {
			o.meet(renewal.NotOwned)
			r.Metrics.attempted(o.decision.Why, v1alpha1.ReasonSecretNotOwned)
			return false, nil
		}
		err = r.write(ctx, o, *o.memory.unstored)
		switch {
		case err == nil:
			return r.stored(o), nil
		case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
			o.memory.unstored = nil
			return false, nil
		case !isOvertaken(err):
			o.memory.readLive = true
			return false, r.failWrite(o, err)
		}
		o.memory.readLive = true
		live, readErr := r.target(ctx, o)
		if readErr != nil {
			return false, readErr
		}
		o.target = live
		if o.heldInputs() == o.memory.unstored.inputs {
			return r.stored(o), nil
		}
	}
	return false, err
}

// stored forgets the token that is stored now, and tells whether it is to be tried.
func (r *Reconciler) stored(o *observation) (again bool) {
	r.Metrics.attempted(o.decision.Why, v1alpha1.ReasonIssued)
	o.storedFor = o.decision.Why
	if again = o.decision.Why == renewal.Revoked; again {
		o.memory.verification.replaced(o.memory.unstored.inputs, o.token.Generation, o.now)
	}
	o.memory.unstored, o.memory.failure = nil, nil
	return again
}

// rewrite writes the target anew with the token that it holds. What is to be said of
// the next token is then decided on again.
func (r *Reconciler) rewrite(ctx context.Context, o *observation) (again bool, err error) {
	if o.held == nil {
		o.memory.checked = checked{}
		return true, nil
	}
	if o.isReverted() {
		o.memory.rewrites.Add(o.now)
	}
	held := *o.held
	held.credentialsVersion = o.memory.checked.credentialsVersion
	err = r.write(ctx, o, held)
	switch {
	case err == nil:
		if failed := o.memory.failure; failed != nil && failed.reason == v1alpha1.ReasonSecretWriteRefused {
			o.memory.failure = nil
		}
		return true, nil
	case isOvertaken(err):
		o.memory.checked = checked{}
		o.memory.readLive = true
		return false, err
	}
	err = r.failRewrite(o, err)
	return err == nil, err
}

// write creates or replaces the target, and remembers it as good. Only creating
// can meet a foreign Secret, and then it fails; replacing names the version that
// was observed, and fails when there is another.
func (r *Reconciler) write(ctx context.Context, o *observation, held heldToken) error {
	secret, err := o.secretWith(held)
	if err != nil {
		return err
	}
	if o.target == nil {
		err = r.Client.Create(ctx, secret)
	} else {
		err = r.replace(ctx, o, secret)
	}
	if err != nil {
		return err
	}
	m := o.memory
	o.target = &metav1.PartialObjectMetadata{ObjectMeta: secret.ObjectMeta}
	m.secretVersion, m.genuine = secret.ResourceVersion, secret.ResourceVersion
	m.targetType = targetType{uid: secret.UID, name: string(secret.Type)}
	m.checked = checked{
		secretVersion:      secret.ResourceVersion,
		credentialsVersion: held.credentialsVersion,
		generation:         o.token.Generation,
		outcome:            renewal.Good,
	}
	m.stored = stored{inputs: held.inputs, issueTime: held.token.IssueTime, expirationTime: held.token.ExpirationTime}
	m.shapedFor = o.token.Generation
	m.rewriteFailure = nil
	return nil
}

// rehearse finds out, before a token is asked for, whether the API server would
// store it where there is no Secret any more: a namespace or a PipedreamToken that is
// being deleted, a quota or a policy may stand in the way. A first token is issued
// without, for most need none of this, however long they have waited.
func (r *Reconciler) rehearse(ctx context.Context, o *observation) (isRefused bool, err error) {
	if o.target != nil || !o.hadToken() || o.rehearsed {
		return false, nil
	}
	o.rehearsed = true
	ctx, cancel := context.WithTimeout(ctx, rehearsalTimeout)
	defer cancel()
	if isReplaced, err := r.isReplaced(ctx, o); isReplaced || err != nil {
		return true, err
	}
	secret, err := o.secretWith(madeUpToken("a", o.wanted.Scopes))
	if err != nil {
		return true, r.failWrite(o, err)
	}
	err = r.Client.Create(ctx, secret, client.DryRunAll)
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return true, nil
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err):
		return true, r.failWrite(o, err)
	}
	// Anything else is for the write itself to meet: a webhook that can't rehearse, or
	// a Secret that the cache does not show yet.
	return false, nil
}

// hadToken tells whether a token is known to have been issued before, stored or not.
func (o *observation) hadToken() bool {
	failed := o.memory.failure
	return !o.memory.lastIssue.IsZero() || o.token.Status.IssueTime != nil ||
		failed != nil && failed.reason == v1alpha1.ReasonSecretWriteRefused
}

// isOvertaken tells whether a write failed because somebody else was faster.
func isOvertaken(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
}

// replace updates the target. Some clusters let only those change an owner
// reference who may delete the object; there, an orphaned target stays one.
func (r *Reconciler) replace(ctx context.Context, o *observation, secret *corev1.Secret) error {
	err := r.Client.Update(ctx, secret)
	if apierrors.IsForbidden(err) && !metav1.IsControlledBy(o.target, o.token) {
		secret.OwnerReferences = o.target.OwnerReferences
		return r.Client.Update(ctx, secret)
	}
	return err
}
