// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/reason"
)

// The texts of the column "tried again" that several rows have.
const (
	afterDelivery         = "as soon as the Secret with the credentials changes"
	afterRefusal          = "at once when the spec changes, else after 1 minute, doubling to 15 minutes"
	afterTransientFailure = "after 1 second, doubling to 5 minutes; sooner when the credentials in the Secret have little life left"
)

// attemptRows are the rows of condition Fetched while the account can't be looked at.
var attemptRows = []reason.Row{
	{
		Mechanics: reason.NotAttempted,
		Places:    fetched(metav1.ConditionUnknown),
		Words: reason.Words{
			Meaning: "Nothing was asked of Pipedream yet.",
			Actor:   reason.Nobody + "; when this stays, " + reason.Administrator + ": does the operator run, and does it watch this namespace?",
			Short:   "the operator has not asked Pipedream for the account yet",
		},
	},
	{
		Mechanics: reason.Queued,
		Places:    fetched(metav1.ConditionUnknown),
		Words: reason.Words{
			Meaning: "The account is due for a look, which waits for its turn or for a time.",
			Actor:   reason.Operator,
			Short:   "the account is due for a look; the request waits for its turn, or until a set time",
			Retry:   "at its turn, or at that time",
		},
	},
	{
		Mechanics: reason.Suspended,
		Places:    fetched(metav1.ConditionUnknown),
		Words: reason.Words{
			Meaning: "Somebody has set spec.suspend: the account is not looked at, and the Secret is not written.",
			Actor:   author + ", when the credentials are to be fetched again",
			Short:   "`spec.suspend` is true: the operator asks Pipedream for nothing and does not write the Secret",
			Retry:   "as soon as `spec.suspend` is false or absent",
		},
	},
	{
		Mechanics: reason.CredentialsMissing,
		Places:    fetched(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "{detail}",
			Advice:   "Create the Secret with the client credentials, or add the key, or correct `spec.clientSecretRef`. The operator tries again as soon as one of them changes.",
			Meaning:  "There is no client ID or no client secret to ask with.",
			Actor:    clientOwner,
			Short:    "the client ID or the client secret is missing, or the API key is",
			Retry:    afterDelivery,
		},
	},
	{
		Mechanics: reason.CredentialsInvalid,
		Places:    fetched(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "{detail}",
			Advice: "The operator did not send these credentials. Write the OAuth client's ID and secret into this Secret, each value alone under its key " +
				"and in visible ASCII characters. White space around a value is ignored. The operator tries again as soon as the Secret changes.",
			Meaning: "The client ID or the client secret in the Secret is not as Pipedream issues them; it was not sent.",
			Actor:   clientOwner,
			Short:   "the client ID, the client secret or the API key is a value that Pipedream can't have issued; the operator does not send it",
			Retry:   afterDelivery,
		},
	},
	{
		Mechanics: reason.CredentialsRejected,
		Places:    fetched(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "Pipedream rejected the client credentials ({detail})",
			Advice: "Write the OAuth client's current ID and secret into the Secret that `spec.clientSecretRef` names. " +
				"The operator tries them as soon as they change.",
			Meaning: "Pipedream does not know this client ID with this client secret.",
			Actor:   clientOwner,
			Short:   "Pipedream does not know this client ID with this client secret, or has revoked the API key",
			Retry:   "as soon as the Secret with the client credentials or the API key changes, else after 1 minute, doubling to 15 minutes",
		},
	},
	{
		Mechanics: reason.ScopeRejected,
		Places:    fetched(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "Pipedream does not grant the OAuth client the scope for reading accounts ({detail})",
			Advice:   "Allow the scope for the OAuth client at Pipedream, or correct the operator's --account-scopes.",
			Meaning:  "Pipedream does not grant the OAuth client the scope for reading accounts.",
			Actor:    workspaceAdmin + ": the scopes of the OAuth client",
			Short:    "Pipedream does not grant the OAuth client the scope for reading accounts",
			Retry:    afterRefusal,
		},
	},
	{
		Mechanics: reason.ScopeNotGranted,
		Places:    fetched(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "Pipedream issued an access token without the scope for reading accounts ({detail})",
			Advice:   "The operator dropped the access token. Allow the scope for the OAuth client at Pipedream, or correct the operator's --account-scopes.",
			Meaning:  "Pipedream issued an access token that must not read accounts.",
			Actor:    workspaceAdmin + ": the scopes of the OAuth client",
			Short:    "Pipedream issued an access token without the scope for reading accounts",
			Retry:    afterRefusal,
		},
	},
	{
		Mechanics: reason.RequestRejected,
		Places:    fetched(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "Pipedream refused the request ({detail})",
			Advice:   "Check the operator's --api-url and its proxy settings, and `spec.projectID`.",
			Meaning:  "Pipedream, or something in between, refuses the request itself.",
			Actor:    reason.Administrator + ": the operator's --api-url or its proxy",
			Short:    "Pipedream, or a proxy on the way there, refuses the request with any other 3xx or 4xx status",
			Retry:    afterRefusal,
		},
	},
	{
		Mechanics: reason.SecretNotOwned,
		Places:    fetched(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "The name of the Secret is taken ({detail})",
			Advice: "The operator leaves this Secret untouched. Delete it, or create a PipedreamAccount with another `spec.secret.name`. " +
				"To hand the Secret over without a gap, remove its controller if it has one, and set its annotation `" + v1alpha1.OwnerAnnotation + "` to `PipedreamAccount/` and the name of this PipedreamAccount.",
			Meaning: "The name of the Secret is taken by somebody else's.",
			Actor:   author,
			Short:   "a Secret with this name exists and does not belong to the PipedreamAccount",
			Retry:   "as soon as the name is free",
		},
	},
	{
		Mechanics: reason.SecretTerminating,
		Places:    fetched(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "{detail}",
			Advice: "Until it is gone, the operator does not look at the account and writes no Secret; then it makes the Secret anew, unless the PipedreamAccount itself is deleted. " +
				"Each finalizer is removed by the controller that has set it: find out why that one does not. If it does not exist any longer, remove its finalizer.",
			Meaning: "The Secret, or the PipedreamAccount itself, is being deleted, and finalizers hold it; until it is gone, no credentials are fetched.",
			Actor:   "whoever runs the controllers whose finalizers the message names",
			Short:   "the Secret, or the PipedreamAccount itself, is being deleted, and finalizers hold it",
			Retry:   "as soon as the Secret is gone; not while the PipedreamAccount itself is being deleted",
		},
	},
	{
		Mechanics: reason.SecretWriteRefused,
		Places:    fetched(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "The API server refuses to store the Secret ({detail})",
			Advice: "Check quotas and admission policies of the namespace, and that the Secret is neither immutable nor of another type than `spec.secret.type`. " +
				"The operator fetches the credentials again when it tries again, and keeps none of them in its memory.",
			Meaning: "The credentials were fetched, and the cluster does not store them.",
			Actor:   reason.Administrator + ": a quota, an admission policy, or an immutable Secret",
			Short:   "the API server does not store the Secret",
			Retry:   "when the Secret changes, else after 1 minute, doubling to 15 minutes; after status 500 as after `ClusterUnavailable`",
		},
	},
	{
		Mechanics: reason.TemplateInvalid,
		Places:    fetched(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "The templates in `spec.secret.data` can't be rendered ({detail})",
			Advice:   "Correct the templates. Until then the Secret stays as it is.",
			Meaning:  "The Secret can't be made as spec.secret.data says.",
			Actor:    author,
			Short:    "the Secret can't be made as `spec.secret.data` says",
			Retry:    "as soon as the spec changes",
		},
	},
	{
		Mechanics: reason.RateLimited,
		Places:    fetched(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "Pipedream limits the rate of requests about the accounts of this project ({detail})",
			Advice: "The operator waits and tries again. If this stays, lower the operator's --account-requests-per-second, " +
				"or find other clients that read many accounts of this project.",
			Meaning: "Pipedream wants fewer requests; all requests of the operator about accounts of this project pause.",
			Actor:   reason.Operator,
			Short:   "Pipedream asks for fewer requests",
			Retry:   "when Pipedream says, else after 1 minute, doubling; at most after 15 minutes",
		},
	},
	{
		Mechanics: reason.Mechanics{Reason: v1alpha1.ReasonTokenRateLimited, Class: reason.Paused},
		Places:    fetched(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "Pipedream limits the rate of requests for access tokens, and the operator has none with which it could look at the account ({detail})",
			Advice: "The operator waits and tries again. If this stays, lower the operator's --token-requests-per-second, " +
				"or find out who else asks Pipedream for tokens from the same IP address.",
			Meaning: "Pipedream wants fewer requests for access tokens; all requests of the operator for tokens pause.",
			Actor:   reason.Operator,
			Short:   "Pipedream asks for fewer requests for access tokens",
			Retry:   "when Pipedream says, else after 1 minute, doubling; at most after 15 minutes",
		},
	},
	{
		Mechanics: reason.EndpointUnavailable,
		Places:    fetched(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "Pipedream's API is unreachable or returned a server error ({detail})",
			Advice:   "The operator tries again. If this stays, check the network, the operator's --api-url and its proxy settings.",
			Meaning:  "Pipedream's API is unreachable or returned a server error.",
			Actor:    reason.Operator + "; when this stays, " + reason.Administrator + ": network and proxy",
			Short:    "Pipedream's API is unreachable or returned a server error",
			Retry:    afterTransientFailure,
		},
	},
	{
		Mechanics: reason.MalformedResponse,
		Places:    fetched(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "Pipedream's answer can't be read ({detail})",
			Advice:   "The operator tries again. If this stays, check the operator's --api-url and its proxy settings.",
			Meaning:  "Something answers that is not Pipedream's API as it is known.",
			Actor:    reason.Operator + "; when this stays, " + reason.Administrator + ": --api-url and proxy",
			Short:    "the answer has a success status, but describes no account that the operator can read",
			Retry:    afterTransientFailure,
		},
	},
	{
		Mechanics: reason.ClusterUnavailable,
		Places:    fetched(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "A request to the Kubernetes API server failed ({detail})",
			Advice: "The operator tries again. It keeps no credentials in its memory, so it fetches them again to write them. " +
				"If this stays, check the API server, and whether the operator's ServiceAccount may get, create and update Secrets in this namespace.",
			Meaning: "The Kubernetes API server did not answer the operator, or refused to.",
			Actor:   reason.Operator + "; when this stays, " + reason.Administrator + ": the API server, and the operator's permissions",
			Short:   "the Kubernetes API server did not read or write a Secret for the operator",
			Retry:   afterTransientFailure,
		},
	},
}
