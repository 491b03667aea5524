// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

// restsMessage is the message of condition Verified while trying is no use. It is
// recognized after a restart.
const restsMessage = "Pipedream answers 401 to a token that it has just issued, so that the answer says nothing about the token. " +
	"Verification rests until the spec changes: check that `spec.scopes` may list the project's accounts."

// verifyHeld tries the held token on Pipedream's API. What follows from the
// verdict is for the next decision.
func (r *Reconciler) verifyHeld(ctx context.Context, o *observation) (again bool, err error) {
	now := r.Clock.Now()
	if turn := r.Verifications.Enter(o.wanted.Identity, now); turn.After(now) {
		o.verificationTurn = turn
		return true, nil
	}
	target, err := r.readTarget(ctx, o)
	if err != nil || target == nil || o.checkState() == renewal.Unchecked {
		return true, err
	}
	verdict, verifyErr := r.Pipedream.Verify(ctx, pipedream.NewSensitive(string(target.Data[keyAccessToken])), o.trial())
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	known := &o.memory.verification
	known.last = o.now.Round(0) // By the wall clock, as the issue time that it is compared with.
	known.judge(o.heldInputs(), verdict, verifyErr)
	return true, nil
}

// verifyReplacement tries the token that has replaced a refused one. When it is
// refused too, the endpoint refuses, and not the token: trying is no use then.
func (r *Reconciler) verifyReplacement(ctx context.Context, o *observation, token pipedream.Sensitive) {
	known := &o.memory.verification
	verdict, err := r.Pipedream.Verify(ctx, token, o.trial())
	known.last = r.Clock.Now().Round(0)
	known.judge(o.heldInputs(), verdict, err)
	if verdict == pipedream.Refused {
		known.verdict, known.detail, known.restsFor = pipedream.Inconclusive, restsMessage, o.token.Generation
	}
}

func (v *verification) judge(inputs string, verdict pipedream.Verdict, err error) {
	v.inputs, v.verdict, v.detail = inputs, verdict, ""
	if err != nil {
		v.detail = "Pipedream's answer says nothing about the token (" + err.Error() + ")."
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
