// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// noTokenKeyMessage is the message of condition Verified while the current token can't be
// verified.
const noTokenKeyMessage = "The held token can't be tried, because no key of the Secret holds it and nothing else. " +
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

// message says what happened, since when, until when the current token is good, and what to do.
func (f *failure) message(status *v1alpha1.PipedreamTokenStatus) string {
	happened, advice := f.explain()
	held := "No usable token is held."
	if meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady) {
		held = "The held token is good until " + show(status.ExpirationTime) + "."
	}
	return happened + ", since " + f.since.UTC().Format(time.RFC3339) + ". " + held + " " + advice
}

// inBrackets returns the detail of the failure, to be put behind a statement; empty if the detail
// is not known.
func (f *failure) inBrackets() string {
	if f.detail == "" {
		return ""
	}
	return " (" + f.detail + ")"
}

// explain says what happened, and what to do about it.
func (f *failure) explain() (happened, advice string) {
	switch f.reason {
	case v1alpha1.ReasonCredentialsMissing, v1alpha1.ReasonCredentialsInvalid, v1alpha1.ReasonCredentialsRejected:
		return f.explainCredentials()
	case v1alpha1.ReasonScopeRejected:
		return "Pipedream does not grant the scopes" + f.inBrackets(), "Correct `spec.scopes`."
	case v1alpha1.ReasonScopeNotGranted:
		return "Pipedream issued a token without all the scopes that `spec.scopes` asks for" + f.inBrackets(),
			"The token was dropped. Remove these scopes from the spec, or let the OAuth client have them at Pipedream."
	case v1alpha1.ReasonRequestRejected:
		return "Pipedream refuses the token request" + f.inBrackets(),
			"Check the operator's --api-url and its proxy settings, and that the OAuth client exists and may have these scopes."
	case v1alpha1.ReasonSecretNotOwned:
		return "A Secret with the wanted name exists, and does not belong to this PipedreamToken",
			"It is left untouched. Delete it, or create a PipedreamToken with another `spec.secret.name`."
	case v1alpha1.ReasonSecretWriteRefused:
		return "The API server does not store the Secret" + f.inBrackets(),
			"Check quotas and admission policies of the namespace, and that the Secret is not immutable, nor of another type than `spec.secret.type`; a token that is issued already is kept, and stored once that is possible."
	case v1alpha1.ReasonTemplateInvalid:
		return "The templates in `spec.secret.data` can't be rendered" + f.inBrackets(),
			"Correct them; that is noticed at once. Until then no token is asked for, and the Secret stays as it is."
	case v1alpha1.ReasonRateLimited:
		return "Pipedream limits the rate of token requests" + f.inBrackets(),
			"Nothing is to be done unless this stays; then lower the operator's --token-requests-per-second, or look for others who ask from the same IP address."
	case v1alpha1.ReasonMalformedResponse:
		return "Pipedream's answer holds no usable token" + f.inBrackets(), "Check the operator's --api-url and its proxy settings if this stays."
	}
	return "Pipedream is out of reach or out of order" + f.inBrackets(), "Check the network, the operator's --api-url and its proxy settings if this stays."
}

// explainCredentials explains a failure that only other client credentials mend.
func (f *failure) explainCredentials() (happened, advice string) {
	switch f.reason {
	case v1alpha1.ReasonCredentialsMissing:
		return f.detail, "Deliver it, or correct `spec.clientSecretRef`; that is noticed at once."
	case v1alpha1.ReasonCredentialsInvalid:
		return f.detail, "Pipedream was not asked. Write the OAuth client's ID and secret into this Secret, each value alone and in visible ASCII characters; " +
			"white space around a value is ignored. A change of the Secret is noticed at once."
	}
	return "Pipedream rejects the client credentials" + f.inBrackets(),
		"Put the OAuth client's current ID and secret into the Secret that `spec.clientSecretRef` names; they are tried at once when they change."
}
