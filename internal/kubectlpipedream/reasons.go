// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import "github.com/pipedream-operator/pipedream-operator/api/v1alpha1"

// plainWords say what a reason means, and who must act.
type plainWords struct{ meaning, actor string }

// Who must act.
const (
	nobody        = "nobody"
	operator      = "nobody yet: the operator goes on by itself"
	clientOwner   = "whoever keeps the OAuth client's ID and secret in the Secret that spec.clientSecretRef names"
	author        = "whoever writes this PipedreamToken"
	administrator = "an administrator of the cluster"
	seeRenewed    = "see Renewed, which says why there is no newer token"
)

// wordsFor has all reasons.
var wordsFor = map[string]plainWords{
	v1alpha1.ReasonTokenValid:               {"Pods that read the Secret have a token that works.", nobody},
	v1alpha1.ReasonNotIssued:                {"There is no token for pods to use.", seeRenewed},
	v1alpha1.ReasonTokenExpired:             {"Pods have a token whose time is past; Pipedream refuses it.", seeRenewed},
	v1alpha1.ReasonTokenRevoked:             {"Somebody has revoked the token at Pipedream; pods are refused.", seeRenewed},
	v1alpha1.ReasonTokenOutdated:            {"The token in the Secret is not the one that the spec asks for now.", seeRenewed},
	v1alpha1.ReasonIssued:                   {"The last token that was asked for was issued and stored.", nobody},
	v1alpha1.ReasonNotAttempted:             {"Nothing was asked of Pipedream yet.", "nobody; when this stays, " + administrator + ": does the operator run, and does it watch this namespace?"},
	v1alpha1.ReasonQueued:                   {"A token is due, and waits for its turn or for a time.", operator},
	v1alpha1.ReasonCredentialsMissing:       {"There is no client ID or no client secret to ask with.", clientOwner},
	v1alpha1.ReasonCredentialsInvalid:       {"The client ID or the client secret in the Secret is not as Pipedream issues them; it was not sent.", clientOwner},
	v1alpha1.ReasonCredentialsRejected:      {"Pipedream does not know this client ID with this client secret.", clientOwner},
	v1alpha1.ReasonScopeRejected:            {"Pipedream does not grant a scope that the spec asks for.", author},
	v1alpha1.ReasonScopeNotGranted:          {"Pipedream issued a token without a scope that the spec asks for; it was not stored.", author + ", or whoever may change the OAuth client at Pipedream"},
	v1alpha1.ReasonRequestRejected:          {"Pipedream, or something in between, refuses the request itself.", administrator + ": the operator's --api-url or its proxy"},
	v1alpha1.ReasonSecretNotOwned:           {"The name of the Secret is taken by somebody else's.", author},
	v1alpha1.ReasonSecretWriteRefused:       {"The token was issued, and the cluster does not store it.", administrator + ": a quota, an admission policy, or an immutable Secret"},
	v1alpha1.ReasonTemplateInvalid:          {"The Secret can't be made as spec.secret.data says.", author},
	v1alpha1.ReasonRateLimited:              {"Pipedream wants fewer requests; all token requests of the operator pause.", operator},
	v1alpha1.ReasonEndpointUnavailable:      {"Pipedream is out of reach or out of order.", operator + "; when this stays, " + administrator + ": network and proxy"},
	v1alpha1.ReasonMalformedResponse:        {"Something answers that is not Pipedream's API as it is known.", operator + "; when this stays, " + administrator + ": --api-url and proxy"},
	v1alpha1.ReasonTokenAccepted:            {"Pipedream has accepted the token when it was last tried.", nobody},
	v1alpha1.ReasonVerificationSuspended:    {"Pipedream answers 401 to every token that is tried for this spec, so verification is suspended.", author + ": project, environment and scopes; the operator tries again within an hour, and at once when the spec changes"},
	v1alpha1.ReasonVerificationInconclusive: {"Pipedream's answer, or the lack of one, says nothing about the token.", "nobody, unless it stays; then " + author + ": project, environment and scopes"},
}
