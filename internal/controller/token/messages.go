// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/attempt"
)

// noTokenKeyMessage is the message of condition Verified while the current token can't be
// verified.
const noTokenKeyMessage = "The operator can't verify the token, because no key of the Secret holds the token and nothing else. " +
	"Give one of the templates in `spec.secret.data` nothing but `{{ .AccessToken }}`, or remove `spec.verification`."

// cannotListMessage is the message of condition Verified while no answer of the API can tell
// anything about the current token.
const cannotListMessage = "The operator can't verify the token: `spec.scopes` needs `connect:accounts:read` or `connect:projects:read`. " +
	"Add one of these scopes, or remove `spec.verification`."

// suspendedMessage is the message of condition Verified while verification is suspended.
const suspendedMessage = "Pipedream answered 401 to the current token. The operator knows of no token that Pipedream has accepted for this spec, " +
	"so it can't tell whether this token is revoked. Verification is suspended: " +
	"the operator tries again within an hour (or at `spec.verification.intervalSeconds`, if that is longer), and at once when the spec changes. " +
	"A revoked token stays in the Secret until its renewal. " +
	"Check `spec.projectID`, `spec.environment`, and that the OAuth client may list the project's accounts."

// newTokenRefusedMessage is the detail while a token that replaces a refused one is refused, too,
// and it is not known yet what that means.
const newTokenRefusedMessage = "Pipedream answers 401 to a token that it has just issued. It may not know the token yet: " +
	"the operator tries the token again 10 s and 1 min after the first answer, before it concludes anything."

// explainFailure says what happened, since when, until when the current token is good, and what to do.
func explainFailure(failed *attempt.Failure, status *v1alpha1.PipedreamTokenStatus) string {
	happened, advice := failed.Row.Explain(failed.Detail)
	return happened + ", since " + failed.Since.UTC().Format(time.RFC3339) + ". " + explainCurrent(status) + " " + advice
}

// explainCurrent says what the current token is worth.
func explainCurrent(status *v1alpha1.PipedreamTokenStatus) string {
	if meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady) {
		return "The current token is valid until " + show(status.ExpirationTime) + "."
	}
	return "The Secret holds no usable token."
}

// explainSuspension returns the message of condition Renewed while the PipedreamToken is suspended.
func explainSuspension(status *v1alpha1.PipedreamTokenStatus) string {
	return "`spec.suspend` is true: the operator asks Pipedream for nothing, and does not write the Secret. " +
		explainCurrent(status) + " To go on, set `spec.suspend` to false, or remove it."
}

// timestamp returns a time in the whole seconds of a status; nil for zero.
func timestamp(at time.Time) *metav1.Time {
	if at.IsZero() {
		return nil
	}
	return new(metav1.NewTime(at.UTC().Truncate(time.Second)))
}

func show(at *metav1.Time) string { return at.UTC().Format(time.RFC3339) }
