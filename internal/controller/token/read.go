// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/internal/controller/credentials"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

// readTarget reads the Secret live. It returns nil if there is none.
func readTarget(ctx context.Context, live client.Reader, s snapshot) (*corev1.Secret, error) {
	return ownedsecret.Read(ctx, live, ownedsecret.Key(s.token))
}

// findCredentials reads the client credentials live.
func findCredentials(ctx context.Context, live client.Reader, s snapshot) (credentials.Found, error) {
	reference := s.token.Spec.ClientSecretRef
	found, err := credentials.Read(ctx, live, s.token.Namespace, reference)
	return found, ownedsecret.Failed("read the Secret `"+reference.Name+"`", err)
}

// readCredentials reads the client credentials live, and does nothing else.
func readCredentials(ctx context.Context, a actions, s snapshot) (outcome, error) {
	found, err := findCredentials(ctx, a.client, s)
	if err != nil {
		return failedRead(ctx, readCredentialsStep, err, a.clock.Now())
	}
	return credentialsRead{found}, nil
}

// block finds out what makes an attempt impossible. It reads the credentials if only the status
// of an earlier process says that they can't be used, and condition Ready has changed since.
func (a actions) block(ctx context.Context, s snapshot, st state, why renewal.Why) (outcome, error) {
	isUnread := why == renewal.NoCredentials && s.credentialsSecret != nil && st.check.unusable.detail == "" && !s.areCredentialsRead &&
		!st.attempt.waitsForCluster(s.now)
	if !isUnread || st.attempt.blocker.IsRestoredWith(renewal.CurrentToken(s.desired, factsOf(s, st), s.now) == renewal.StateValid) {
		return blocked{why}, nil
	}
	return readCredentials(ctx, a, s)
}

// check reads the Secret, and the credentials if they may be others, and compares the Secret with
// what is desired.
func (a actions) check(ctx context.Context, s snapshot, st state) (outcome, error) {
	target, err := readTarget(ctx, a.client, s)
	if err != nil {
		return failedRead(ctx, readTargetStep, err, a.clock.Now())
	}
	found := targetChecked{target: target}
	if target == nil {
		return found, nil
	}
	found.editor = ownedsecret.Editor(target)
	s = s.after(targetRead{target})
	record := recordOf(s, st)
	switch {
	case record == nil || !layout.IsIntact(target):
		found.check = renewal.Edited
		return found, nil
	case s.isTokenTerminating(), s.isTargetTerminating(): // It gets no other token, so that nothing else matters.
		found.check = renewal.Good
		return found, nil
	}
	return a.compare(ctx, s, st, found, currentIn(target, *record))
}

// compare compares an intact Secret with what is desired. If the recorded version of the credentials
// is still the current one, the credentials are not read. After a change of the Secret by somebody
// else they are read, because that person may have forged the recorded version; the digest of the
// inputs can't be forged. If the token can't be read from its Secret, any other version counts as
// other credentials.
func (a actions) compare(ctx context.Context, s snapshot, st state, found targetChecked, current recordedToken) (outcome, error) {
	isRecorded := func() bool {
		return current.credentialsRecord == s.credentialsRecord() &&
			(current.token.AccessToken.IsEmpty() || st.check.authenticatedVersion == s.targetVersion())
	}
	if s.credentialsSecret == nil || !isRecorded() {
		if !s.areCredentialsRead {
			read, err := findCredentials(ctx, a.client, s)
			if err != nil {
				return failedRead(ctx, readCredentialsStep, err, a.clock.Now())
			}
			found.credentials = &read
			s = s.withCredentials(read)
		}
		switch {
		case s.clientCredentials == nil, isRecorded(): // Without credentials, nothing can be asked for.
		case current.token.AccessToken.IsEmpty() || !current.isFor(*s.clientCredentials):
			found.check, found.current = renewal.InputsChanged, &current
			return found, nil
		default:
			current.credentialsRecord, found.isAuthenticated = s.credentialsRecord(), true
		}
	}
	found.check, found.current = compareWithDesired(s, st.check.rendering, st.check.templateError(s.token.Generation), current, found.target), &current
	return found, nil
}
