// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/reason"
)

// The texts of the column "tried again" that several rows have.
const (
	afterDelivery         = "as soon as the Secret with the credentials changes"
	afterRefusal          = "at once when the spec changes, else after 1 minute, doubling to 15 minutes"
	afterTransientFailure = "after 1 second, doubling to 5 minutes, but at most after a third of the time that the current token is still valid; " +
		"after 30 seconds at most in the token's last 10 minutes and when it has expired"
)

// attemptRows are the rows of condition Renewed while no new token can be had.
var attemptRows = []reason.Row{
	{
		Mechanics: reason.NotAttempted,
		Places:    renewed(metav1.ConditionUnknown),
		Words: reason.Words{
			Meaning: "Nothing was asked of Pipedream yet.",
			Actor:   reason.Nobody + "; when this stays, " + reason.Administrator + ": does the operator run, and does it watch this namespace?",
			Short:   "the operator has not asked Pipedream for a token yet",
		},
	},
	{
		Mechanics: reason.Queued,
		Places:    renewed(metav1.ConditionUnknown),
		Words: reason.Words{
			Meaning: "A token is due, and waits for its turn or for a time.",
			Actor:   reason.Operator,
			Short:   "a token is due; its request waits for its turn, or until a set time",
			Retry:   "at its turn, or at that time",
		},
	},
	{
		Mechanics: reason.Suspended,
		Places:    renewed(metav1.ConditionUnknown),
		Words: reason.Words{
			Meaning: "Somebody has set spec.suspend: the token is neither renewed nor verified, and the Secret is not written.",
			Actor:   author + ", when the token is to be renewed again",
			Short:   "`spec.suspend` is true: the operator asks Pipedream for nothing and does not write the Secret",
			Retry:   "as soon as `spec.suspend` is false or absent",
		},
	},
	{
		Mechanics: reason.CredentialsMissing,
		Places:    renewed(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "{detail}",
			Advice:   "Create the Secret with the client credentials, or add the key, or correct `spec.clientSecretRef`. The operator tries again as soon as one of them changes.",
			Meaning:  "There is no client ID or no client secret to ask with.",
			Actor:    clientOwner,
			Short:    "the client ID or the client secret is missing",
			Retry:    afterDelivery,
		},
	},
	{
		Mechanics: reason.CredentialsInvalid,
		Places:    renewed(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "{detail}",
			Advice: "The operator did not send these credentials. Write the OAuth client's ID and secret into this Secret, each value alone under its key " +
				"and in visible ASCII characters. White space around a value is ignored. The operator tries again as soon as the Secret changes.",
			Meaning: "The client ID or the client secret in the Secret is not as Pipedream issues them; it was not sent.",
			Actor:   clientOwner,
			Short:   "the client ID or the client secret is a value that Pipedream can't have issued; the operator does not send it",
			Retry:   afterDelivery,
		},
	},
	{
		Mechanics: reason.CredentialsRejected,
		Places:    renewed(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "Pipedream rejected the client credentials ({detail})",
			Advice: "Write the OAuth client's current ID and secret into the Secret that `spec.clientSecretRef` names. " +
				"The operator tries them as soon as they change.",
			Meaning: "Pipedream does not know this client ID with this client secret.",
			Actor:   clientOwner,
			Short:   "Pipedream does not know this client ID with this client secret",
			Retry:   "as soon as the client ID or the client secret changes, else after 1 minute, doubling to 15 minutes",
		},
	},
	{
		Mechanics: reason.ScopeRejected,
		Places:    renewed(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "Pipedream does not grant the scopes of the spec ({detail})",
			Advice:   "Correct `spec.scopes`.",
			Meaning:  "Pipedream does not grant a scope that the spec asks for.",
			Actor:    author,
			Short:    "Pipedream does not grant a scope that the spec asks for",
			Retry:    afterRefusal,
		},
	},
	{
		Mechanics: reason.ScopeNotGranted,
		Places:    renewed(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "Pipedream issued a token without all the scopes that `spec.scopes` asks for ({detail})",
			Advice:   "The operator dropped the token. Remove these scopes from `spec.scopes`, or allow them for the OAuth client at Pipedream.",
			Meaning:  "Pipedream issued a token without a scope that the spec asks for; it was not stored.",
			Actor:    author + ", or whoever may change the OAuth client at Pipedream",
			Short:    "Pipedream issued a token without a scope that the spec asks for",
			Retry:    afterRefusal,
		},
	},
	{
		Mechanics: reason.RequestRejected,
		Places:    renewed(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "Pipedream refused the token request ({detail})",
			Advice:   "Check the operator's --api-url and its proxy settings, and that the OAuth client exists and may have these scopes.",
			Meaning:  "Pipedream, or something in between, refuses the request itself.",
			Actor:    reason.Administrator + ": the operator's --api-url or its proxy",
			Short:    "Pipedream, or a proxy on the way there, refuses the request with any other 3xx or 4xx status",
			Retry:    afterRefusal,
		},
	},
	{
		Mechanics: reason.SecretNotOwned,
		Places:    renewed(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "The name of the Secret is taken ({detail})",
			Advice: "The operator leaves this Secret untouched. Delete it, or create a PipedreamToken with another `spec.secret.name`. " +
				"To hand the Secret over without a gap, remove its controller if it has one, and set its annotation `" + v1alpha1.OwnerAnnotation + "` to the name of this PipedreamToken.",
			Meaning: "The name of the Secret is taken by somebody else's.",
			Actor:   author,
			Short:   "a Secret with this name exists and does not belong to the PipedreamToken",
			Retry:   "as soon as the name is free",
		},
	},
	{
		Mechanics: reason.SecretTerminating,
		Places:    renewed(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "{detail}",
			Advice: "Until it is gone, the operator asks for no token and writes no Secret; then it makes the Secret anew, unless the PipedreamToken itself is deleted. " +
				"Each finalizer is removed by the controller that has set it: find out why that one does not. If it does not exist any longer, remove its finalizer.",
			Meaning: "The Secret, or the PipedreamToken itself, is being deleted, and finalizers hold it; until it is gone, no token is issued.",
			Actor:   "whoever runs the controllers whose finalizers the message names",
			Short:   "the Secret, or the PipedreamToken itself, is being deleted, and finalizers hold it",
			Retry:   "as soon as the Secret is gone; not while the PipedreamToken itself is being deleted",
		},
	},
	{
		Mechanics: reason.SecretWriteRefused,
		Places:    renewed(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "The API server refuses to store the Secret ({detail})",
			Advice: "Check quotas and admission policies of the namespace, that admission webhooks for Secrets answer, and that the Secret is neither immutable nor of another type than `spec.secret.type`. " +
				"The operator keeps a token that is issued already, and stores it as soon as the API server allows it.",
			Meaning: "The token was issued, and the cluster does not store it.",
			Actor:   reason.Administrator + ": a quota, an admission policy, or an immutable Secret",
			Short:   "the API server does not store the Secret",
			Retry:   "when the Secret changes, else after 1 minute, doubling to 15 minutes; after status 500 as after `ClusterUnavailable`",
		},
	},
	{
		Mechanics: reason.TemplateInvalid,
		Places:    renewed(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "The templates in `spec.secret.data` can't be rendered ({detail})",
			Advice:   "Correct the templates. Until then the operator asks for no token, and the Secret stays as it is.",
			Meaning:  "The Secret can't be made as spec.secret.data says.",
			Actor:    author,
			Short:    "the Secret can't be made as `spec.secret.data` says",
			Retry:    "as soon as the spec changes",
		},
	},
	{
		Mechanics: reason.RateLimited,
		Places:    renewed(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "Pipedream limits the rate of token requests ({detail})",
			Advice: "The operator waits and tries again. If this stays, lower the operator's --token-requests-per-second, " +
				"or find other clients that send requests from the same IP address.",
			Meaning: "Pipedream wants fewer requests; all token requests of the operator pause.",
			Actor:   reason.Operator,
			Short:   "Pipedream asks for fewer requests",
			Retry:   "when Pipedream says, else after 1 minute, doubling; at most after 15 minutes",
		},
	},
	{
		Mechanics: reason.EndpointUnavailable,
		Places:    renewed(metav1.ConditionFalse),
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
		Places:    renewed(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "Pipedream's answer contains no usable token ({detail})",
			Advice:   "The operator tries again. If this stays, check the operator's --api-url and its proxy settings.",
			Meaning:  "Something answers that is not Pipedream's API as it is known.",
			Actor:    reason.Operator + "; when this stays, " + reason.Administrator + ": --api-url and proxy",
			Short:    "the answer has a success status, but no usable token",
			Retry:    afterTransientFailure,
		},
	},
	{
		Mechanics: reason.ClusterUnavailable,
		Places:    renewed(metav1.ConditionFalse),
		Words: reason.Words{
			Happened: "A request to the Kubernetes API server failed ({detail})",
			Advice: "The operator tries again, and keeps a token that Pipedream has issued in its memory until the Secret can be written. " +
				"If this stays, check the API server, and whether the operator's ServiceAccount may get, create and update Secrets in this namespace.",
			Meaning: "The Kubernetes API server did not answer the operator, or refused to.",
			Actor:   reason.Operator + "; when this stays, " + reason.Administrator + ": the API server, and the operator's permissions",
			Short:   "the Kubernetes API server did not read or write a Secret for the operator",
			Retry:   afterTransientFailure,
		},
	},
}
