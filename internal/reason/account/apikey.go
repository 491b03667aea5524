// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"cmp"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/reason"
)

// keyOwner is who must act when something is wrong with an API key.
const keyOwner = "whoever keeps the API key in the Secret that spec.apiKeyRef names"

// withWorkspace ends the advice about a refused API key if the spec names a workspace: Pipedream may answer in the
// same way when the user is not in that workspace.
const withWorkspace = " If the key is current, check `spec.workspaceID`: Pipedream may refuse a key like this, too, when its user is not a member of that workspace."

// ForAPIKey returns a row with the words for a PipedreamAccount that has an API key in place of an OAuth client.
// hasWorkspace is true if its spec names a workspace.
func ForAPIKey(row reason.Row, hasWorkspace bool) reason.Row {
	words := apiKeyWords[row.Reason]
	row.Happened = cmp.Or(words.Happened, row.Happened)
	row.Advice = cmp.Or(words.Advice, row.Advice)
	row.Meaning = cmp.Or(words.Meaning, row.Meaning)
	row.Actor = cmp.Or(words.Actor, row.Actor)
	if row.Reason == v1alpha1.ReasonCredentialsRejected && hasWorkspace {
		row.Advice += withWorkspace
	}
	return row
}

// apiKeyWords are the words of rows that differ for a PipedreamAccount with an API key. Words that are empty are the
// same.
var apiKeyWords = map[string]reason.Words{
	v1alpha1.ReasonCredentialsMissing: {
		Advice:  "Create the Secret with the API key, or add the key to it, or correct `spec.apiKeyRef`. The operator tries again as soon as one of them changes.",
		Meaning: "There is no API key to ask with.",
		Actor:   keyOwner,
	},
	v1alpha1.ReasonCredentialsInvalid: {
		Advice: "The operator did not send this API key. Write the user's API key into this Secret, alone under its key and in visible ASCII characters. " +
			"White space around it is ignored. The operator tries again as soon as the Secret changes.",
		Meaning: "The API key in the Secret is not as Pipedream issues it; it was not sent.",
		Actor:   keyOwner,
	},
	v1alpha1.ReasonCredentialsRejected: {
		Happened: "Pipedream rejected the API key ({detail})",
		Advice: "The key was revoked or mistyped. The user of the key finds the current one at https://pipedream.com/user. Write it into the Secret that " +
			"`spec.apiKeyRef` names. The operator tries it as soon as the Secret changes.",
		Meaning: "Pipedream does not know this API key, or it was revoked.",
		Actor:   keyOwner,
	},
	v1alpha1.ReasonAccessDenied: {
		Happened: "Pipedream does not let the user of the API key read this account ({detail})",
		Advice: "Check that the user of the API key is a member of the account's workspace and may use the account, and check `spec.workspaceID` if it is set. " +
			"Credentials in the Secret stay as they are.",
		Meaning: "Pipedream does not let the user of the API key read this account.",
		Actor:   workspaceAdmin + ": the members of the workspace, and with whom the account is shared",
	},
	v1alpha1.ReasonRequestRejected: {
		Advice: "Check `spec.accountID`. If the user of the API key is in several workspaces, set `spec.workspaceID`: Pipedream may ask for it. " +
			"If that does not help, check the operator's --api-url and its proxy settings.",
	},
	v1alpha1.ReasonRateLimited: {
		Happened: "Pipedream limits the rate of requests with this API key ({detail})",
		Advice:   "The operator waits and tries again. If this stays, find other programs that use this API key, or set longer values of `spec.fetchIntervalSeconds`.",
		Meaning:  "Pipedream wants fewer requests; all requests of the operator with this API key pause.",
	},
	v1alpha1.ReasonAccountNotFound: {
		Advice: "Check `spec.accountID`, and `spec.workspaceID` if it is set. The user of the API key must have connected the account, or must be one with whom it is shared. " +
			"The Secret stays as it is.",
		Meaning: "Pipedream shows no such account to the user of the API key.",
		Actor:   author + ": account and workspace",
	},
	v1alpha1.ReasonAccountDead: {
		Advice: "The account must be connected again at Pipedream. The Secret stays as it is. If the account gets a new ID, change `spec.accountID`.",
	},
}
