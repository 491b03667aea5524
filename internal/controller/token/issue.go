// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	applyv1alpha1 "github.com/pipedream-operator/pipedream-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

const (
	// issueTimeout is how long a token request may take, and the write after it. Both go on when the
	// process is told to stop, so that no issued token is wasted.
	issueTimeout = 20 * time.Second
	// dryRunTimeout is less than the time for which the limiter keeps a turn.
	dryRunTimeout = 3 * time.Second
)

// issue has Pipedream issue a token, when the turn of the PipedreamToken has come.
func (r *Reconciler) issue(ctx context.Context, s snapshot, st state, why renewal.Why) (outcome, error) {
	if s.isQueued {
		return noAction{}, nil // The limiter wakes the PipedreamToken when its turn has come.
	}
	if !isTypeKnown(s, st.cache.targetType) {
		return r.check(ctx, s, st) // No token is spent on a Secret that can't be written.
	}
	ticket := r.TokenRequests.Reserve(s.requester(), throttle.ReserveOptions{
		Lane:                laneOf(s, why),
		CredentialReference: s.token.Namespace + "/" + s.credentialsRecord(),
	})
	if !ticket.IsReady {
		return queued{ticket}, nil
	}
	if !s.areCredentialsRead {
		found, err := r.readCredentials(ctx, s)
		if err != nil {
			return noAction{}, err
		}
		return credentialsRead{found}, nil
	}
	if s.clientCredentials == nil {
		return blocked{renewal.NoCredentials}, nil
	}
	if isSameRequest(s, st) {
		return sameCredentials{}, nil
	}
	if s.target == nil && hadToken(s, st) && !s.isDryRunDone {
		if refused, err := r.dryRun(ctx, s, st); refused != nil || err != nil {
			return refused, err
		}
	}
	return r.exchange(ctx, s, st, why, ticket)
}

// exchange exchanges the credentials for a token that is to be written.
func (r *Reconciler) exchange(ctx context.Context, s snapshot, st state, why renewal.Why, ticket throttle.Ticket) (outcome, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), issueTimeout)
	defer cancel()
	credentials := *s.clientCredentials
	var token pipedream.Token
	how := throttle.DoOptions{Credentials: &credentials, BypassRefusalCache: bypassesRefusals(s, st)}
	err := r.TokenRequests.Do(s.requester(), how, func() (err error) {
		began := r.Clock.Now()
		token, err = r.Pipedream.Issue(ctx, credentials, s.token.Spec.Scopes)
		r.Metrics.requested(err, r.Clock.Since(began))
		return err
	})
	switch {
	case errors.Is(err, throttle.ErrNotReady):
		ticket.IsReady = false
		return sentBack{ticket}, nil
	case err != nil:
		cause, ok := errors.AsType[*pipedream.Error](err)
		if !ok {
			cause = &pipedream.Error{Kind: pipedream.Unavailable, Detail: "no answer"}
		}
		return requestFailed{cause: cause, at: r.Clock.Now()}, nil
	}
	return issued{why: why, at: r.Clock.Now(), token: currentToken{
		token:              token,
		scopes:             s.desired.Scopes,
		api:                s.desired.API,
		renewRequest:       s.desired.RenewRequest,
		inputs:             inputsOf(token.AccessToken, credentials, s.desired.Scopes, s.desired.API),
		credentials:        s.credentialsRecord(),
		credentialsVersion: s.credentialsVersion(),
	}}, nil
}

// dryRun finds out, before a token is asked for, whether the API server would create the Secret
// where there is none any longer: a namespace or a PipedreamToken that is being deleted, a quota or
// a policy may stand in the way. A first token is issued without, because most first tokens need
// none of this, however long they have waited. The outcome is nil if nothing stands in the way.
func (r *Reconciler) dryRun(ctx context.Context, s snapshot, st state) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, dryRunTimeout)
	defer cancel()
	if isReplaced, err := r.isReplaced(ctx, s, st); isReplaced || err != nil {
		return noAction{}, err
	}
	kind := writeKind{isDryRun: true}
	secret, err := buildSecret(s, st.check.rendering, madeUpToken("a", s.desired.Scopes))
	if err == nil {
		err = ownedsecret.DryRunCreate(ctx, r.Client, secret)
	}
	switch {
	case err == nil:
		return nil, nil
	case ownedsecret.IsNamespaceTerminating(err):
		return noAction{}, nil
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err), isTemplatesFailed(err):
		return r.failedWrite(s, err, kind)
	}
	// Anything else is for the write itself to meet: a webhook that can't take part in a dry run, or a
	// Secret that the cache does not show yet.
	return nil, nil
}

// isReplaced finds out whether the PipedreamToken is another one by now, or none: a Secret also
// goes away with the PipedreamToken that owns it, and the cache may show that first. The status is
// applied as a dry run.
func (r *Reconciler) isReplaced(ctx context.Context, s snapshot, st state) (bool, error) {
	configuration, err := configurationOf(s, st.reporting, standingStatus(s, st.reporting))
	if err != nil {
		return false, err
	}
	err = r.Client.Status().Apply(ctx, configuration, client.ForceOwnership, client.DryRunAll)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return true, nil
	}
	return false, err
}

// standingStatus returns the status that stands: the cached one, unless the cache is older than
// the status that this process has applied.
func standingStatus(s snapshot, reported reportingState) v1alpha1.PipedreamTokenStatus {
	if isUnseen(s, reported) {
		return *reported.status
	}
	return s.token.Status
}

// isUnseen reports whether the cache does not show yet the status that this process has applied.
func isUnseen(s snapshot, reported reportingState) bool {
	return reported.status != nil && ownedsecret.IsOlder(s.token.ResourceVersion, reported.version)
}

// configurationOf returns a status to apply, to the version of the object that was observed and no
// other: a status is not applied to a successor of the same name. On a status the API server does
// not compare the UID.
func configurationOf(s snapshot, reported reportingState, status v1alpha1.PipedreamTokenStatus) (*applyv1alpha1.PipedreamTokenApplyConfiguration, error) {
	content, err := json.Marshal(status)
	if err != nil {
		return nil, fmt.Errorf("encode status: %w", err)
	}
	applied := &applyv1alpha1.PipedreamTokenStatusApplyConfiguration{}
	if err := json.Unmarshal(content, applied); err != nil {
		return nil, fmt.Errorf("decode status: %w", err)
	}
	version := s.token.ResourceVersion
	if isUnseen(s, reported) {
		version = reported.version
	}
	return applyv1alpha1.PipedreamToken(s.token.Name, s.token.Namespace).WithResourceVersion(version).WithStatus(applied), nil
}
