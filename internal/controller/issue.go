// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

// issue has a token issued and stored, when its turn has come.
func (r *Reconciler) issue(ctx context.Context, o *observation) (again bool, err error) {
	now := r.Clock.Now()
	if turn := r.TokenRequests.Enter(o.wanted.Identity, now); turn.After(now) {
		o.turn = turn
		if o.target != nil && o.checkState() == renewal.Unchecked {
			return false, r.check(ctx, o)
		}
		return false, nil
	}
	credentials, err := r.readCredentials(ctx, o)
	if err != nil || credentials == nil || o.isRetry() {
		return true, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), issueTimeout)
	defer cancel()
	if !r.exchange(ctx, o, *credentials) {
		return false, nil
	}
	token := o.memory.unstored.token.AccessToken
	err = r.store(ctx, o)
	if o.decision.Why == renewal.Revoked && o.memory.unstored == nil && err == nil {
		r.verifyReplacement(ctx, o, token)
	}
	return false, err
}

// exchange exchanges the credentials for a token that is to be stored. It returns
// false if it has none; why is in the memory then.
func (r *Reconciler) exchange(ctx context.Context, o *observation, credentials pipedream.Credentials) bool {
	token, err := r.Pipedream.Issue(ctx, credentials, o.token.Spec.Scopes)
	if err != nil {
		r.failRequest(o, err)
		return false
	}
	r.TokenRequests.Resume()
	m := o.memory
	if o.decision.Why.IsByEvent() && !m.lastIssue.IsZero() {
		m.attemptedByEvent(r.Clock.Now())
	}
	m.lastIssue = r.Clock.Now()
	m.unstored = &heldToken{
		token:              token,
		scopes:             o.wanted.Scopes,
		api:                o.wanted.API,
		renewRequest:       o.wanted.RenewRequest,
		inputs:             inputsOf(token.AccessToken, credentials, o.wanted.Scopes, o.wanted.API),
		credentialsVersion: versionOf(o.credentials),
	}
	return true
}
