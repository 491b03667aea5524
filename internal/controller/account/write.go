// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"context"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/refresh"
)

// store writes the credentials of an account to the Secret, if the Secret does not hold all of them
// already. Credentials that have expired are not written: a consumer could do nothing with them. Nor are the
// credentials of an answer that is older than the one in the Secret: another operator was faster, such as the new
// leader, and the provider may have ended the older credentials since.
func (a actions) store(ctx context.Context, s snapshot, st state, why refresh.Why, fetched pipedream.Account) (outcome, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	answer := lookOf(s, fetched, a.clock.Now())
	if useless := holdsNone(s.account, answer, why, fetched.Credentials); useless != nil {
		return useless, nil
	}
	var lastErr error
	for range maxOvertaken {
		seen, ended := a.compare(ctx, s, st, why, answer, fetched)
		if ended != nil {
			return ended, nil
		}
		secret, err := a.write(ctx, s, seen.record, fetched.Credentials)
		switch {
		case err == nil:
			return written{look: seen, target: metadataOf(secret), why: why}, nil
		case ownedsecret.IsNamespaceTerminating(err):
			return abandoned{}, nil
		case !ownedsecret.IsOvertaken(err):
			return a.failedWrite(s, err)
		}
		live, readErr := ownedsecret.Metadata(ctx, a.client, ownedsecret.Key(s.account))
		if readErr != nil {
			return a.uncertain(readErr)
		}
		s.target, lastErr = live, err
		if answer.record.isOlderThan(s.record(), a.clock.Now()) {
			break
		}
	}
	return overtaken{detail: lastErr.Error(), target: s.target, at: a.clock.Now()}, lastErr
}

// compare returns what an answer brings to the Secret that is there; or the outcome if nothing is to be written.
func (a actions) compare(ctx context.Context, s snapshot, st state, why refresh.Why, answer look, fetched pipedream.Account) (look, outcome) {
	if ended := a.unwritable(ctx, s); ended != nil {
		return answer, ended
	}
	secret, seen, err := built(s, st, answer, fetched)
	switch {
	case err != nil:
		return seen, unrenderable{err: err, why: why, at: answer.at}
	case secret == nil, seen.isStale:
		return seen, unchanged{look: seen, why: why}
	}
	return seen, nil
}

// lookOf returns what an answer brings, before it is compared with the Secret that is there.
func lookOf(s snapshot, fetched pipedream.Account, now time.Time) look {
	answer := look{
		record: recordOf(fetched, s.desired), omitted: omitted(s.account, fetched.Credentials),
		isNewer: true, at: now,
	}
	expires := answer.record.ExpirationTime
	answer.isStale = !expires.IsZero() && !now.Before(expires)
	return answer
}

// unwritable returns the outcome if the Secret must not be written now; else nil.
func (a actions) unwritable(ctx context.Context, s snapshot) outcome {
	switch s.targetState() {
	case refresh.Foreign:
		return foreign{s.target}
	case refresh.Terminating:
		return terminating{s.target}
	case refresh.Absent, refresh.Owned:
	}
	return a.lookAgain(ctx, s)
}

// write writes the Secret with the credentials of an account, and returns it. It reads first what the cache
// has left out of the Secret that it replaces.
func (a actions) write(ctx context.Context, s snapshot, r record, credentials map[string]pipedream.Sensitive) (*corev1.Secret, error) {
	var err error
	if s.target, err = ownedsecret.Complete(ctx, a.client, s.target); err != nil {
		return nil, err
	}
	secret, err := buildSecret(s, r, credentials)
	if err != nil {
		return nil, err
	}
	if err := ownedsecret.Write(ctx, a.client, s.account, s.target, secret); err != nil {
		return nil, err
	}
	return secret, nil
}

// built returns the Secret with the credentials of an account; nil if the Secret that is there holds all
// of them already. The fetch time of credentials that are the same stays as it is.
//
// The Secret that is there may be known from the cache only, which has no more of it than the record. The
// digest of its content tells whether its data and its record are the same; the last check, whether its
// labels and annotations are as desired.
func built(s snapshot, st state, seen look, fetched pipedream.Account) (*corev1.Secret, look, error) {
	check := checkOf(s, st)
	if before := s.record(); before != nil && check != refresh.Edited && seen.record.account == before.account {
		settled := seen
		settled.record, settled.isNewer = seen.record.settledBy(*before, s.desired, seen.at), false
		secret, err := buildSecret(s, settled.record, fetched.Credentials)
		switch {
		case err != nil:
			return nil, seen, err
		case check == refresh.Good && !st.check.last.isDrifted && contentOf(secret.Annotations) == contentOf(s.target.Annotations):
			return nil, settled, nil
		case layout.Digest(recorded(s, st, secret), secret.Data) == contentOf(s.target.Annotations):
			return secret, settled, nil // Only the record has changed, or labels and annotations.
		}
	}
	secret, err := buildSecret(s, seen.record, fetched.Credentials)
	return secret, seen, err
}

// recorded returns the record of the Secret that is there, with its lists of labels and annotations.
func recorded(s snapshot, st state, desired *corev1.Secret) map[string]string {
	all := maps.Clone(s.target.Annotations)
	lists := st.check.last.lists
	if lists == nil || st.check.last.targetVersion != s.targetVersion() {
		lists = listsOf(desired.Annotations)
	}
	maps.Copy(all, lists)
	return all
}

func contentOf(annotations map[string]string) string { return annotations[v1alpha1.ContentAnnotation] }

// failedWrite returns the outcome of a write that has failed: the API server refuses the Secret, or it
// is not known whether the write was done. Only then there is an error.
func (a actions) failedWrite(s snapshot, err error) (outcome, error) {
	if detail, ok := ownedsecret.Refusal(err); ok {
		return writeRefused{detail: detail, isOutage: ownedsecret.IsOutage(err), target: s.target, at: a.clock.Now()}, nil
	}
	return a.uncertain(err)
}

// uncertain returns the outcome of a write of which it is not known whether it was done.
func (a actions) uncertain(err error) (outcome, error) {
	return clusterFailed{detail: err.Error(), isWrite: true, at: a.clock.Now()}, err
}
