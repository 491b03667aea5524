// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"github.com/pipedream-operator/pipedream-operator/internal/controller/credentials"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/refresh"
)

// readCredentials reads the client credentials or the API key live.
func (a actions) readCredentials(ctx context.Context, s snapshot) (outcome, error) {
	var found credentials.Found
	var err error
	if s.account.UsesAPIKey() {
		found, err = credentials.ReadAPIKey(ctx, a.client, s.account.Namespace, s.account.Spec.APIKeyRef)
	} else {
		found, err = credentials.Read(ctx, a.client, s.account.Namespace, s.account.Spec.ClientSecretRef)
	}
	if err != nil {
		return a.failedRead(ctx, ownedsecret.Failed("read the Secret `"+s.account.CredentialsSecretName()+"`", err))
	}
	if found.APIKey.IsEmpty() {
		return credentialsRead{found: found}, nil
	}
	return credentialsRead{found, a.requests.KeyName(found.APIKey, s.account.Spec.WorkspaceID)}, nil
}

// block finds out what makes an attempt impossible. It reads the credentials that the spec names if only the status
// of an earlier process says that they can't be used.
func (a actions) block(ctx context.Context, s snapshot, st state, why refresh.Why) (outcome, error) {
	isUnread := why == refresh.NoCredentials && s.credentialsSecret != nil && st.check.unusable.detail == "" && !s.areCredentialsRead &&
		!st.attempt.waitsForCluster(s.now)
	if !isUnread || st.attempt.blocker.IsRestoredWith(isReady(s, st)) {
		return blocked{why}, nil
	}
	return a.readCredentials(ctx, s)
}

// check reads the Secret, and finds out whether it is as the operator wrote it.
func (a actions) check(ctx context.Context, s snapshot) (outcome, error) {
	target, err := ownedsecret.Read(ctx, a.client, ownedsecret.Key(s.account))
	if err != nil {
		return a.failedRead(ctx, err)
	}
	found := targetChecked{target: target}
	if target == nil {
		return found, nil
	}
	found.editor = ownedsecret.Editor(target)
	s = s.after(found)
	if s.record() == nil || !layout.IsIntact(target) {
		found.check = refresh.Edited
		return found, nil
	}
	found.check, found.isDrifted, found.lists = refresh.Good, isDrifted(s, target), listsOf(target.Annotations)
	return found, nil
}

// isDrifted reports whether labels, annotations or the owner reference of an intact Secret are not as
// the spec asks for.
func isDrifted(s snapshot, target *corev1.Secret) bool {
	kept := layout.Build(s.account, s.target, ownedsecret.Desired{
		Type: target.Type, Data: target.Data, Record: s.record().annotations(),
		Labels: plain(s.account.Spec.Secret.Labels), Annotations: plain(s.account.Spec.Secret.Annotations),
	})
	return !ownedsecret.IsUpToDate(kept, s.target, s.account)
}
