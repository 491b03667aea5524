// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"time"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// noTokenKeyMessage is the message of condition Verified while the held token can't be
// tried.
const noTokenKeyMessage = "The held token can't be tried, because no key of the Secret holds it and nothing else. " +
	"Give one of the templates in `spec.secret.data` nothing but `{{ .AccessToken }}`, or remove `spec.verification`."

// cannotListMessage is the message of condition Verified while no answer of the API can
// tell anything about the held token.
const cannotListMessage = "The operator can't verify the token: `spec.scopes` needs `connect:accounts:read` or `connect:projects:read`. " +
	"Add one of these scopes, or remove `spec.verification`."

// suspendedMessage is the message of condition Verified while verification is
// suspended.
const suspendedMessage = "Pipedream answered 401 to the current token. The operator knows of no token that Pipedream has accepted for this spec, " +
	"so it can't tell whether this token is revoked. Verification is suspended: " +
	"the operator tries again within an hour (or at `spec.verification.intervalSeconds`, if that is longer), and at once when the spec changes. " +
	"A revoked token stays in the Secret until its renewal. " +
	"Check `spec.projectID`, `spec.environment`, and that the OAuth client may list the project's accounts."

// newTokenRefusedMessage is the detail while a token that replaces a refused one is
// refused, too, and it is not known yet what that means.
const newTokenRefusedMessage = "Pipedream answers 401 to a token that it has just issued. It may not know the token yet: " +
	"the operator tries the token again 10 s and 1 min after the first answer, before it concludes anything."

const (
	// firstRetry and lastRetry are when a token that has replaced a refused one is verified
	// again if Pipedream refuses it, too, counted from the first refusal: Pipedream may not
	// know the token yet. The operator believes only the last of these answers.
	firstRetry = 10 * time.Second
	lastRetry  = time.Minute
	// longUnknown is how long condition Verified is Unknown before that is told.
	longUnknown = time.Hour
)

// verifyHeld tries the held token on Pipedream's API. What follows from the
// verdict is for the next decision.
func (r *Reconciler) verifyHeld(ctx context.Context, o *observation) (again bool, err error) {
	o.verificationTicket = r.Verifications.Reserve(o.requester(), throttle.ReserveOptions{Lane: throttle.DueRenewal})
	if !o.verificationTicket.IsReady {
		return true, nil
	}
	target, err := r.readTarget(ctx, o)
	if err != nil || target == nil || o.checkState() == renewal.Unchecked {
		return true, err
	}
	var verdict pipedream.Verdict
	verifyErr := r.Verifications.Do(o.requester(), throttle.DoOptions{}, func() (err error) {
		verdict, err = r.Pipedream.Verify(ctx, pipedream.NewSensitive(string(target.Data[target.Annotations[v1alpha1.TokenKeyAnnotation]])), o.trial())
		return err
	})
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case errors.Is(verifyErr, throttle.ErrNotReady):
		o.verificationTicket.IsReady = false
		return true, nil
	}
	r.Metrics.verified(verdict)
	o.judge(verdict, verifyErr)
	return true, nil
}

// judge remembers the API's answer to the held token.
func (o *observation) judge(verdict pipedream.Verdict, err error) {
	v, held := &o.memory.verification, o.heldInputs()
	v.last = o.now.Round(0) // By the wall clock, as the times that it is compared with.
	v.triedFor, v.restored = o.token.Generation, false
	if verdict == pipedream.Inconclusive && v.verdict == pipedream.Refused && v.inputs == held {
		v.refusals++ // It is refused until it is accepted.
		v.at = v.last.Add(renewal.RefusedRetry(v.refusals))
		return
	}
	v.countRefusals(verdict, held)
	v.verdict, v.inputs, v.detail, v.at = verdict, held, "", time.Time{}
	if v.suspendedFor != o.token.Generation {
		v.suspendedFor = 0
	}
	switch {
	case verdict == pipedream.Accepted:
		v.acceptedFor, v.suspendedFor, v.replacement = o.token.Generation, 0, ""
	case verdict == pipedream.Refused:
		v.judgeRefusal(o.token.Generation)
	case err != nil:
		v.detail = "Pipedream's answer says nothing about the token (" + err.Error() + ")."
	}
}

// countRefusals counts the 401 answers in a row to the token with these inputs.
func (v *verification) countRefusals(verdict pipedream.Verdict, inputs string) {
	switch {
	case verdict != pipedream.Refused:
		v.refusals = 0
	case v.refusals == 0 || v.inputs != inputs || v.refusedSince.After(v.last):
		v.refusals, v.refusedSince = 1, v.last
	default:
		v.refusals++
	}
}

// judgeRefusal decides what a 401 answer means. It is about the token if the API has
// accepted another one for this generation of the spec, or if no refused token was
// replaced yet; then the token is replaced. Otherwise the API refuses every token, and
// verification is suspended.
func (v *verification) judgeRefusal(generation int64) {
	isReplacement := v.replacement != "" && v.replacement == v.inputs
	switch {
	case v.suspendedFor == generation:
		v.verdict = pipedream.Inconclusive
	case isReplacement && v.last.Before(v.refusedSince.Add(lastRetry)):
		v.verdict, v.detail = pipedream.Inconclusive, newTokenRefusedMessage
		v.at = v.refusedSince.Add(lastRetry)
		if v.refusals == 1 {
			v.at = v.refusedSince.Add(firstRetry)
		}
	case v.acceptedFor == generation, v.replacedFor != generation:
		v.replacement = ""
		v.at = v.last.Add(renewal.RefusedRetry(v.refusals))
	default:
		v.verdict, v.suspendedFor, v.replacement = pipedream.Inconclusive, generation, ""
	}
}

// replaced remembers that a refused token was replaced by the one with these inputs,
// which is to be verified at once.
func (v *verification) replaced(inputs string, generation int64, now time.Time) {
	v.replacement, v.replacedFor, v.at = inputs, generation, now
}

// isUnverified tells whether it is not known whether the API accepts the held token.
// After a renewal, the verdict about the last token stands until the new one is verified.
func (o *observation) isUnverified() bool {
	v := o.memory.verification
	switch v.verdict {
	case pipedream.Accepted:
		return false
	case pipedream.Refused:
		return v.inputs != o.heldInputs()
	case pipedream.Inconclusive:
	}
	return true
}

// verifyAt returns when the held token is to be verified, whatever the interval says;
// zero when the interval decides.
func (o *observation) verifyAt() time.Time {
	v, held := o.memory.verification, o.heldInputs()
	if v.inputs == held || v.replacement != "" && v.replacement == held {
		return v.at
	}
	return time.Time{} // It was about another token.
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
