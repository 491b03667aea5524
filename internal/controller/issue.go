// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// issue has a token issued and stored, when its turn has come.
func (r *Reconciler) issue(ctx context.Context, o *observation) (again bool, err error) {
	if !o.isTypeKnown() {
		return true, r.check(ctx, o) // No token is spent on a Secret that can't be written.
	}
	if !r.takeTurn(o) {
		return r.meanwhile(ctx, o)
	}
	credentials, err := r.readCredentials(ctx, o)
	if err != nil || credentials == nil || o.isRetry() {
		return true, err
	}
	if isRefused, err := r.rehearse(ctx, o); isRefused || err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), issueTimeout)
	defer cancel()
	switch err = r.exchange(ctx, o, *credentials); {
	case errors.Is(err, throttle.ErrNotReady):
		o.ticket.IsReady = false
		return true, nil
	case err != nil:
		r.failRequest(o, err)
		return false, nil
	}
	return r.store(ctx, o)
}

// meanwhile finds out what the held token is worth, and gives it its shape, while the
// next one waits for its turn.
func (r *Reconciler) meanwhile(ctx context.Context, o *observation) (again bool, err error) {
	switch {
	case o.target != nil && o.checkState() == renewal.Unchecked:
		return true, r.check(ctx, o)
	case renewal.VerificationDue(o.wanted, o.observed(), o.now):
		return r.verifyHeld(ctx, o)
	case renewal.RewriteDue(o.wanted, o.observed(), o.now):
		return r.rewrite(ctx, o)
	}
	return false, nil
}

// takeTurn tells whether the token request may be sent, and otherwise reserves a ticket.
func (r *Reconciler) takeTurn(o *observation) bool {
	o.ticket = r.TokenRequests.Reserve(o.requester(), throttle.ReserveOptions{
		Lane:                o.lane(),
		CredentialReference: o.token.Namespace + "/" + o.credentialsRecord(),
	})
	return o.ticket.IsReady
}

// lane returns the lane of the limiter in which the token that is due waits.
func (o *observation) lane() throttle.Lane {
	switch why := o.decision.Why; {
	case why == renewal.Expired, why == renewal.Revoked:
		return throttle.NearEnd
	case why == renewal.Missing, why == renewal.SecretEdited:
		return throttle.FirstToken
	case !o.now.Before(o.nearEnd()):
		return throttle.NearEnd
	case why == renewal.Due, why == renewal.FromFuture:
		return throttle.DueRenewal
	}
	return throttle.OnDemand
}

// nearEnd returns from when on the held token is in danger; zero if there is none.
func (o *observation) nearEnd() time.Time {
	if record := o.record(); record != nil {
		return renewal.NearEnd(*record)
	}
	return time.Time{}
}

// exchange exchanges the credentials for a token that is to be stored.
func (r *Reconciler) exchange(ctx context.Context, o *observation, credentials pipedream.Credentials) error {
	var token pipedream.Token
	how := throttle.DoOptions{Credentials: &credentials, BypassRefusalCache: o.bypassesRefusalCache()}
	err := r.TokenRequests.Do(o.requester(), how, func() (err error) {
		began := r.Clock.Now()
		token, err = r.Pipedream.Issue(ctx, credentials, o.token.Spec.Scopes)
		r.Metrics.requested(err, r.Clock.Since(began))
		return err
	})
	if err != nil {
		return err
	}
	m := o.memory
	if o.decision.Why.IsByEvent() && !m.lastIssue.IsZero() {
		m.byEvent.Add(r.Clock.Now())
	}
	m.lastIssue = r.Clock.Now()
	m.unstored = &heldToken{
		token:              token,
		scopes:             o.wanted.Scopes,
		api:                o.wanted.API,
		renewRequest:       o.wanted.RenewRequest,
		inputs:             inputsOf(token.AccessToken, credentials, o.wanted.Scopes, o.wanted.API),
		credentials:        o.credentialsRecord(),
		credentialsVersion: versionOf(o.credentials),
	}
	return nil
}

// bypassesRefusalCache tells whether the attempt is made before its time, because something has
// changed since the last one failed.
func (o *observation) bypassesRefusalCache() bool {
	failed := o.memory.failure
	return failed != nil && o.now.Before(failed.notBefore)
}
