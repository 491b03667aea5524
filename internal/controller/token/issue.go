// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

const (
	// requestTimeout is how long a token request may take, and writeTimeout how long the write of the
	// token after it. Both go on when the process is told to stop, so that no issued token is wasted.
	// Together with a report they take less than the time that the manager has for its shutdown.
	requestTimeout = 12 * time.Second
	writeTimeout   = 10 * time.Second
	// dryRunTimeout is less than the time for which the limiter keeps a turn.
	dryRunTimeout = 3 * time.Second
)

// issue has Pipedream issue a token, when the turn of the PipedreamToken has come.
func (a actions) issue(ctx context.Context, s snapshot, st state, why renewal.Why) (outcome, error) {
	if s.isQueued {
		return noAction{}, nil // The limiter wakes the PipedreamToken when its turn has come.
	}
	if !isTypeKnown(s, st.cache.targetType) {
		return a.check(ctx, s, st) // No token is spent on a Secret that can't be written.
	}
	ticket := a.tokenRequests.Reserve(s.requester(), throttle.ReserveOptions{
		Lane:                laneOf(s, why),
		Expiry:              expiryOf(s, why),
		CredentialReference: s.token.Namespace + "/" + s.credentialsRecord(),
		Scopes:              s.token.Spec.Scopes,
	})
	if !ticket.IsReady {
		return queued{ticket}, nil
	}
	if !s.areCredentialsRead {
		return readCredentials(ctx, a, s)
	}
	return a.request(ctx, s, st, why, ticket)
}

// request sends the token request, unless it is known to be of no use.
func (a actions) request(ctx context.Context, s snapshot, st state, why renewal.Why, ticket throttle.Ticket) (outcome, error) {
	isGone, isSuspended := lookAgain(ctx, a.cache, s)
	switch {
	case s.clientCredentials == nil:
		return blocked{renewal.NoCredentials}, nil
	case isGone:
		return abandoned{}, nil
	case isSuspended:
		return noAction{}, nil
	case isSameRequest(s, st):
		return sameCredentials{}, nil
	case s.target == nil && hadToken(s, st) && !s.isDryRunDone:
		if refused, err := a.dryRun(ctx, s, st); refused != nil || err != nil {
			return refused, err
		}
	}
	return a.exchange(ctx, s, st, why, ticket)
}

// exchange exchanges the credentials for a token that is to be written.
func (a actions) exchange(ctx context.Context, s snapshot, st state, why renewal.Why, ticket throttle.Ticket) (outcome, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	credentials := *s.clientCredentials
	var token pipedream.Token
	how := throttle.DoOptions{Credentials: &credentials, Scopes: s.token.Spec.Scopes, BypassRefusalCache: bypassesRefusals(s, st)}
	sentAt := a.clock.Now()
	err := a.tokenRequests.Do(s.requester(), how, func() (err error) {
		began := a.clock.Now()
		token, err = a.pipedream.Issue(ctx, credentials, s.token.Spec.Scopes)
		a.metrics.requested(err, a.clock.Since(began))
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
		return requestFailed{cause: cause, sentAt: sentAt, at: a.clock.Now()}, nil
	}
	return issued{why: why, at: a.clock.Now(), token: recordedToken{
		token:              token,
		scopes:             s.desired.Scopes,
		api:                s.desired.API,
		renewRequest:       s.desired.RenewRequest,
		inputs:             inputsOf(token.AccessToken, credentials, s.desired.Scopes, s.desired.API),
		credentialsRecord:  s.credentialsRecord(),
		credentialsVersion: s.credentialsVersion(),
	}}, nil
}

// dryRun finds out, before a token is asked for, whether the API server would create the Secret: a
// namespace or a PipedreamToken that is being deleted, a quota or a policy may prevent it. The dry
// run is made only if there was a Secret before. A first token skips it, because it rarely helps
// there. The outcome is nil if nothing prevents the write.
func (a actions) dryRun(ctx context.Context, s snapshot, st state) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, dryRunTimeout)
	defer cancel()
	switch isReplaced, err := a.isReplaced(ctx, s, st); {
	case err != nil:
		return failedRead(ctx, dryRunStep, err, a.clock.Now())
	case isReplaced:
		return abandoned{}, nil
	}
	kind := writeKind{isDryRun: true}
	secret, err := buildSecret(s, st.check.rendering, madeUpToken("a", s.desired.Scopes))
	if err == nil {
		err = ownedsecret.DryRunCreate(ctx, a.client, secret)
	}
	switch {
	case err == nil:
		return nil, nil
	case ownedsecret.IsNamespaceTerminating(err):
		return abandoned{}, nil
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err), isTemplatesFailed(err):
		return failedWrite(s, err, kind, a.clock.Now())
	}
	// Anything else is for the write itself to meet: a webhook that can't take part in a dry run, or a
	// Secret that the cache does not show yet.
	return nil, nil
}

// isReplaced finds out whether the PipedreamToken is another one by now, or none: a Secret also
// goes away with the PipedreamToken that owns it, and the cache may show that first. The status is
// applied as a dry run.
func (a actions) isReplaced(ctx context.Context, s snapshot, st state) (bool, error) {
	configuration, err := configurationOf(s, st.reporting, standingStatus(s, st.reporting))
	if err != nil {
		return false, err
	}
	err = a.client.Status().Apply(ctx, configuration, client.ForceOwnership, client.DryRunAll)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return true, nil
	}
	return false, ownedsecret.Failed("apply the status as a dry run", err)
}
