// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/reason"
)

const (
	// verdictGrace is how long Pipedream must say that there are no credentials before a
	// person is called: a gateway that answers 404 for a minute must call nobody.
	verdictGrace = 2 * time.Minute

	// The texts of the column "tried again" that several rows have.
	afterVerdict      = "after 1 minute, doubling to 15 minutes; at once when the spec changes or somebody asks for it"
	afterDoubtVerdict = "after 30 seconds, then after 1 minute, doubling to 15 minutes; at once when the spec changes or somebody asks for it"
)

// verdictRows are the rows of what Pipedream says about the account itself. These reasons
// turn condition Ready False although the credentials in the Secret have not expired.
var verdictRows = []reason.Row{
	{
		Mechanics: reason.Mechanics{Reason: v1alpha1.ReasonAccountDead, Class: reason.Refused, Stalls: true, Kind: pipedream.AccountDead},
		Places: []reason.Place{
			{Condition: v1alpha1.ConditionReady, Status: metav1.ConditionFalse},
			{Condition: v1alpha1.ConditionFetched, Status: metav1.ConditionFalse},
			{Condition: v1alpha1.ConditionHealthy, Status: metav1.ConditionFalse},
		},
		Words: reason.Words{
			Happened: "Pipedream says that the account is dead: Pipedream can't refresh its credentials any longer",
			Advice: "The end user must connect the account again, in the application that uses Pipedream Connect. " +
				"The Secret stays as it is. If the account gets a new ID, change `spec.accountID`, or name the account by `spec.externalUserID` and `spec.app`.",
			Meaning: "Pipedream can't refresh the credentials of the account any longer; the end user must connect it again.",
			Actor:   endUser,
			Short:   "Pipedream says that the account is dead",
			Retry:   afterVerdict,
		},
	},
	{
		Mechanics: reason.Mechanics{Reason: v1alpha1.ReasonAccountNotFound, Class: reason.Refused, Stalls: true, Grace: verdictGrace, Kind: pipedream.AccountNotFound},
		Places: []reason.Place{
			{
				Condition: v1alpha1.ConditionReady, Status: metav1.ConditionFalse,
				When: "Pipedream has said again that there is no such account, two minutes later or after it gave out the credentials of another account of the project",
			},
			{Condition: v1alpha1.ConditionFetched, Status: metav1.ConditionFalse},
		},
		Words: reason.Words{
			Happened: "Pipedream knows no such account ({detail})",
			Advice: "Check `spec.accountID`, or `spec.externalUserID` and `spec.app`, and `spec.projectID` and `spec.environment`: an account belongs to one " +
				"environment of one project. The Secret stays as it is.",
			Meaning: "Pipedream knows no such account in this project and environment.",
			Actor:   author + ": account, project and environment",
			Short:   "Pipedream knows no such account in this project and environment, or does not show it to the user of the API key",
			Retry:   afterDoubtVerdict,
		},
	},
	{
		Mechanics: reason.Mechanics{Reason: v1alpha1.ReasonAccountNotExportable, Class: reason.Refused, Stalls: true, Grace: verdictGrace, Kind: pipedream.AccountNotExportable},
		Places: []reason.Place{
			{
				Condition: v1alpha1.ConditionReady, Status: metav1.ConditionFalse,
				When: "Pipedream has said again that it does not give the credentials out, two minutes later or after it gave out the credentials of another account of the project",
			},
			{Condition: v1alpha1.ConditionFetched, Status: metav1.ConditionFalse},
		},
		Words: reason.Words{
			Happened: "Pipedream knows the account, and does not give its credentials out ({detail})",
			Advice: "Pipedream gives out only the credentials of accounts that were connected with an OAuth client of your own, or with an API key. Set up your own OAuth client " +
				"for the app in the Pipedream project, and have the end user connect again; or call the app through Connect's API proxy.",
			Meaning: "Pipedream does not give the credentials of this account out.",
			Actor:   workspaceAdmin + ": an own OAuth client for the app, or Connect's API proxy",
			Short:   "Pipedream does not give the credentials of the account out",
			Retry:   afterDoubtVerdict,
		},
	},
	{
		Mechanics: reason.Mechanics{Reason: v1alpha1.ReasonAccountAmbiguous, Class: reason.Refused, Stalls: true, Kind: pipedream.AccountAmbiguous},
		Places:    fetched(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "Several accounts match `spec.externalUserID` and `spec.app` ({detail})",
			Advice:   "Name the account by `spec.accountID`, or delete the accounts at Pipedream that are not used any longer.",
			Meaning:  "The user has several accounts of this app, and the operator does not guess which one is meant.",
			Actor:    author,
			Short:    "several accounts match `spec.externalUserID` and `spec.app`",
			Retry:    afterVerdict,
		},
	},
	{
		Mechanics: reason.Mechanics{Reason: v1alpha1.ReasonAccountMismatch, Class: reason.Refused, Stalls: true, Kind: pipedream.AccountMismatch},
		Places:    fetched(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "The account is of another app than `spec.app` ({detail})",
			Advice:   "Correct `spec.accountID` or `spec.app`.",
			Meaning:  "The account is of another app than the spec says.",
			Actor:    author,
			Short:    "the account is of another app than `spec.app`",
			Retry:    afterVerdict,
		},
	},
	{
		Mechanics: reason.Mechanics{Reason: v1alpha1.ReasonCredentialsStale, Class: reason.Transient},
		Places:    fetched(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "Pipedream answered with credentials that have expired already ({detail})",
			Advice: "Pipedream has not refreshed the credentials of the account yet, and the operator asks again. If this stays, the end user " +
				"may have to connect the account again.",
			Meaning: "Pipedream has not refreshed the credentials of the account yet.",
			Actor:   reason.Operator + "; when this stays, see Healthy",
			Short:   "Pipedream answered with credentials that have expired already",
			Retry:   "after 30 seconds, doubling to 5 minutes",
		},
	},
	{
		Mechanics: reason.Mechanics{Reason: v1alpha1.ReasonAccessDenied, Class: reason.Refused, Stalls: true, Kind: pipedream.AccessDenied},
		Places:    fetched(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "Pipedream does not let the OAuth client read this account ({detail})",
			Advice: "Check that the OAuth client belongs to the workspace of `spec.projectID`, and that it may have the scope in the operator's --account-scopes. " +
				"Credentials in the Secret stay as they are.",
			Meaning: "Pipedream does not let the OAuth client read this account.",
			Actor:   workspaceAdmin + ": the OAuth client and its scopes",
			Short:   "Pipedream does not let the OAuth client, or the user of the API key, read the account",
			Retry:   "after 1 minute, doubling to 15 minutes; at once when the spec, the client credentials or the API key change",
		},
	},
}
