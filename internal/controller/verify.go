// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

// restsMessage is the message of condition Verified while trying is no use. It is
// recognized after a restart.
const restsMessage = "Pipedream answers 401 to a token that it has just issued, so that the answer says nothing about the token. " +
	"Verification rests until the spec changes: check that `spec.scopes` may list the project's accounts."

// noTokenKeyMessage is the message of condition Verified while the held token can't be
// tried.
const noTokenKeyMessage = "The held token can't be tried, because no key of the Secret holds it and nothing else. " +
	"Give one of the templates in `spec.secret.data` nothing but `{{ .AccessToken }}`, or remove `spec.verification`."

// verifyHeld tries the held token on Pipedream's API. What follows from the
// verdict is for the next decision.
func (r *Reconciler) verifyHeld(ctx context.Context, o *observation) (again bool, err error) {
	if o.verificationPlace = r.Verifications.Enter(o.asker(), pipedream.DueRenewal); !o.verificationPlace.IsTurn {
		return true, nil
	}
	target, err := r.readTarget(ctx, o)
	if err != nil || target == nil || o.checkState() == renewal.Unchecked {
		return true, err
	}
	var verdict pipedream.Verdict
	verifyErr := r.Verifications.Send(o.asker(), func() (err error) {
		verdict, err = r.Pipedream.Verify(ctx, pipedream.NewSensitive(string(target.Data[target.Annotations[v1alpha1.TokenKeyAnnotation]])), o.trial())
		return err
	})
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case errors.Is(verifyErr, pipedream.ErrNotYet):
		o.verificationPlace.IsTurn = false
		return true, nil
	}
	r.Metrics.verified(verdict)
	o.judge(verdict, verifyErr)
	return true, nil
}

// judge remembers a verdict about the held token. When the one that has replaced a
// refused token is refused too, the endpoint refuses, and not the token: trying is no
// use then.
func (o *observation) judge(verdict pipedream.Verdict, err error) {
	known := &o.memory.verification
	isReplacement := known.replacement != "" && known.replacement == o.heldInputs()
	known.last = o.now.Round(0) // By the wall clock, as the issue time that it is compared with.
	known.verdict, known.inputs, known.replacement, known.detail = verdict, o.heldInputs(), "", ""
	switch {
	case err != nil:
		known.detail = "Pipedream's answer says nothing about the token (" + err.Error() + ")."
	case verdict == pipedream.Refused && isReplacement:
		known.verdict, known.detail, known.restsFor = pipedream.Inconclusive, restsMessage, o.token.Generation
	}
}

func (o *observation) trial() pipedream.Trial {
	environment := o.token.Spec.Environment
	if environment == "" {
		environment = v1alpha1.EnvironmentProduction
	}
	return pipedream.Trial{
		ProjectID:   o.token.Spec.ProjectID,
		Environment: string(environment),
		Scopes:      o.token.Spec.Scopes,
	}
}
