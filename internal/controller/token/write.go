// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

// writePending writes a token that was issued, in this reconcile or in an earlier one, if the
// credentials are still the ones that it was issued for.
func (a actions) writePending(ctx context.Context, s snapshot, st state, why renewal.Why) (outcome, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	pending := *st.attempt.pending
	if s.credentialsSecret != nil && pending.credentialsRecord != s.credentialsRecord() {
		switch {
		case !s.areCredentialsRead:
			return readCredentials(ctx, a, s)
		case s.clientCredentials == nil: // The credentials can't be used: the token is the best there is.
		case !pending.isFor(*s.clientCredentials):
			return discarded{}, nil
		default:
			pending.credentialsRecord, pending.credentialsVersion = s.credentialsRecord(), s.credentialsVersion()
			return confirmed{pending}, nil
		}
	}
	// This token is not stored yet, so it also answers a request to renew that was made meanwhile, unless the
	// token is due for renewal itself.
	if s.now.Before(renewal.DueTime(s.desired, pending.renewalRecord())) {
		pending.renewRequest = s.desired.RenewRequest
	}
	return a.writeToken(ctx, s, st, pending, why)
}

// writeToken writes a pending token to the Secret. It tries again when another writer was faster,
// but never writes a Secret that belongs to somebody else.
func (a actions) writeToken(ctx context.Context, s snapshot, st state, pending recordedToken, why renewal.Why) (outcome, error) {
	var err error
	var faster *metav1.PartialObjectMetadata
	for range maxOvertaken {
		isGone, isSuspended := lookAgain(ctx, a.cache, s)
		switch {
		case isGone:
			return discarded{isTerminating: true}, nil
		case isSuspended:
			return noAction{}, nil // The token stays pending until the suspension ends.
		case s.targetState() == renewal.Foreign:
			return foreign{s.target}, nil
		case s.targetState() == renewal.Terminating:
			return terminating{s.target}, nil
		}
		var secret *corev1.Secret
		secret, err = a.write(ctx, s, st, pending)
		switch {
		case err == nil:
			return written{target: metadataOf(secret), token: pending, why: why, replaced: faster}, nil
		case ownedsecret.IsNamespaceTerminating(err):
			return discarded{isTerminating: true}, nil
		case !ownedsecret.IsOvertaken(err):
			return failedWrite(s, err, writeKind{}, a.clock.Now())
		}
		live, readErr := ownedsecret.Metadata(ctx, a.client, ownedsecret.Key(s.token))
		if readErr != nil {
			return uncertain(readErr, writeKind{}, a.clock.Now())
		}
		s.target, faster = live, live
		if s.currentInputs() == pending.inputs {
			return written{target: s.target, token: pending, why: why, isFound: true}, nil
		}
	}
	return uncertain(err, writeKind{}, a.clock.Now())
}

// rewrite writes the Secret again with the token that it holds. What is to be said of the next
// token is then decided on again.
func (a actions) rewrite(ctx context.Context, s snapshot, st state) (outcome, error) {
	if s.current == nil {
		return a.check(ctx, s, st)
	}
	kind := writeKind{isRewrite: true, isDriftedAgain: isDriftedAgain(s, st)}
	current := *s.current
	current.credentialsVersion = st.check.last.credentialsVersion
	secret, err := a.write(ctx, s, st, current)
	switch {
	case err == nil:
		return written{target: metadataOf(secret), token: current, kind: kind}, nil
	case ownedsecret.IsOvertaken(err):
		return overtaken{detail: err.Error(), kind: kind, at: a.clock.Now()}, err
	}
	return failedWrite(s, err, kind, a.clock.Now())
}

func (a actions) write(ctx context.Context, s snapshot, st state, current recordedToken) (*corev1.Secret, error) {
	var err error
	if s.target, err = ownedsecret.Complete(ctx, a.client, s.target); err != nil {
		return nil, err
	}
	secret, err := buildSecret(s, st.check.rendering, current)
	if err != nil {
		return nil, err
	}
	if err := ownedsecret.Write(ctx, a.client, s.token, s.target, secret); err != nil {
		return nil, err
	}
	return secret, nil
}

// failedWrite returns the outcome of a write that has failed: the API server refuses the Secret,
// the templates fail with this token, or it is not known whether the write was done. Only then
// there is an error.
func failedWrite(s snapshot, err error, kind writeKind, now time.Time) (outcome, error) {
	if failed, ok := errors.AsType[templatesFailedError](err); ok {
		return unrenderable{err: failed.error, kind: kind}, nil
	}
	if detail, ok := ownedsecret.Refusal(err); ok {
		return writeRefused{detail: detail, isOutage: ownedsecret.IsOutage(err), kind: kind, target: s.target, at: now}, nil
	}
	return uncertain(err, kind, now)
}

// uncertain returns the outcome of a write of which it is not known whether it was done.
func uncertain(err error, kind writeKind, now time.Time) (outcome, error) {
	return clusterFailed{detail: err.Error(), isWrite: true, kind: kind, at: now}, err
}

func isTemplatesFailed(err error) bool {
	_, ok := errors.AsType[templatesFailedError](err)
	return ok
}
