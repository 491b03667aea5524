// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// The types of a PipedreamToken's conditions.
const (
	// ConditionReady says whether the Secret holds an unexpired token, not known
	// to be revoked, of the scopes and API address that the spec asks for. It is
	// about the token, never about the last attempt to renew it: a failing renewal
	// leaves Ready True until the second at which the current token expires. So it is
	// while the Secret or the PipedreamToken is being deleted and a finalizer holds it.
	//
	// Reasons for True: TokenValid. Reasons for False: NotIssued, TokenExpired,
	// TokenRevoked, TokenOutdated.
	ConditionReady = "Ready"

	// ConditionRenewed is the outcome of the last attempt to issue a token and to
	// store it.
	//
	// Reasons for True: Issued. Reasons for Unknown: NotAttempted, Queued, Suspended.
	// Reasons for False: CredentialsMissing, CredentialsInvalid, CredentialsRejected,
	// ScopeRejected, ScopeNotGranted, RequestRejected, SecretNotOwned,
	// SecretTerminating, SecretWriteRefused, TemplateInvalid, RateLimited,
	// EndpointUnavailable, MalformedResponse, ClusterUnavailable.
	ConditionRenewed = "Renewed"

	// ConditionVerified is what Pipedream last answered to the current token. It
	// exists only while spec.verification is set.
	//
	// Reasons for True: TokenAccepted. Reasons for Unknown:
	// VerificationInconclusive, VerificationSuspended. Reasons for False:
	// TokenRevoked.
	ConditionVerified = "Verified"

	// ConditionStalled exists only while it is True: attempts keep failing in a way
	// that only a person can mend. Its reason is the one of Renewed.
	ConditionStalled = "Stalled"
)

// The reasons of the conditions. Events carry the same reasons.
const (
	// ReasonTokenValid (Ready=True): the Secret holds an unexpired token with the
	// requested scopes.
	ReasonTokenValid = "TokenValid"
	// ReasonNotIssued (Ready=False): the Secret holds no token that the operator has
	// written: none was issued yet, or somebody has deleted or edited the Secret, and
	// the operator has no newer token yet.
	ReasonNotIssued = "NotIssued"
	// ReasonTokenExpired (Ready=False): the token has expired, and the operator has no
	// newer one yet.
	ReasonTokenExpired = "TokenExpired"
	// ReasonTokenRevoked (Ready=False, Verified=False): Pipedream answered 401 to
	// the token, and the operator has no newer one yet.
	ReasonTokenRevoked = "TokenRevoked"
	// ReasonTokenOutdated (Ready=False): the token was issued for other scopes or by
	// another API address than the ones that are asked for now, and the operator has no
	// newer one yet.
	ReasonTokenOutdated = "TokenOutdated"

	// ReasonIssued (Renewed=True): the last attempt issued a token and stored it.
	ReasonIssued = "Issued"
	// ReasonNotAttempted (Renewed=Unknown): nothing was asked of Pipedream yet.
	ReasonNotAttempted = "NotAttempted"
	// ReasonQueued (Renewed=Unknown): a token is due, and waits for more than 10 s:
	// for its turn among the token requests of the whole cluster, or because changes
	// have caused new tokens again and again.
	ReasonQueued = "Queued"
	// ReasonSuspended (Renewed=Unknown): spec.suspend is true. The operator asks
	// Pipedream for nothing and does not write the Secret. Ready still says what the
	// current token is worth.
	ReasonSuspended = "Suspended"

	// ReasonCredentialsMissing (Renewed=False; Stalled after two minutes): the
	// Secret that spec.clientSecretRef names, or a key of it, is absent or empty. The
	// operator tries again as soon as the Secret changes.
	ReasonCredentialsMissing = "CredentialsMissing"
	// ReasonCredentialsInvalid (Renewed=False, Stalled): the client ID or the client
	// secret is a value that Pipedream can't have issued, such as UTF-16 text or a
	// whole line `client_secret=…`. The operator does not send it, and tries again as
	// soon as the Secret that spec.clientSecretRef names changes.
	ReasonCredentialsInvalid = "CredentialsInvalid"
	// ReasonCredentialsRejected (Renewed=False, Stalled): Pipedream does not accept
	// the client ID and client secret. The operator tries again as soon as they change,
	// else after 1 minute, doubling to 15 minutes.
	ReasonCredentialsRejected = "CredentialsRejected"
	// ReasonScopeRejected (Renewed=False, Stalled): Pipedream does not grant a
	// scope that the spec asks for.
	ReasonScopeRejected = "ScopeRejected"
	// ReasonScopeNotGranted (Renewed=False, Stalled): Pipedream issued a token, and
	// said that the token lacks a scope that the spec asks for. The token is not
	// stored.
	ReasonScopeNotGranted = "ScopeNotGranted"
	// ReasonRequestRejected (Renewed=False, Stalled): Pipedream, or something in
	// between, refuses the request in a way that trying again does not mend: any
	// other 3xx or 4xx status. The operator's API address or proxy may be wrong.
	ReasonRequestRejected = "RequestRejected"
	// ReasonSecretNotOwned (Renewed=False, Stalled): a Secret with this name exists
	// and does not belong to the PipedreamToken. The operator leaves it untouched.
	ReasonSecretNotOwned = "SecretNotOwned"
	// ReasonSecretTerminating (Renewed=False; Stalled after two minutes): the Secret,
	// or the PipedreamToken itself, was deleted ten seconds ago or earlier, and
	// finalizers still hold it; the message names them. The operator asks for no token
	// and writes no Secret. A Secret that was deleted alone is made anew as soon as it is
	// gone.
	ReasonSecretTerminating = "SecretTerminating"
	// ReasonSecretWriteRefused (Renewed=False, Stalled): the API server does not
	// store the Secret: a quota, an admission policy, a webhook that can't be asked, or
	// an immutable Secret. The operator keeps the issued token in memory, and stores it
	// as soon as the API server allows it. While a webhook can't be asked, the operator
	// tries again after 1 second, doubling to 5 minutes, else after 1 minute, doubling
	// to 15 minutes.
	ReasonSecretWriteRefused = "SecretWriteRefused"
	// ReasonTemplateInvalid (Renewed=False, Stalled): a template in spec.secret.data
	// can't be rendered. Until it is corrected, the operator asks for no token, and the
	// Secret stays as it is.
	ReasonTemplateInvalid = "TemplateInvalid"
	// ReasonRateLimited (Renewed=False): Pipedream told the operator to wait. All
	// token requests of the operator pause until then.
	ReasonRateLimited = "RateLimited"
	// ReasonEndpointUnavailable (Renewed=False): Pipedream's API is unreachable
	// (network, TLS, timeout) or answered with status 408, 425 or 5xx. A token that
	// is due has this reason also while it waits because the token requests before it
	// have failed so.
	ReasonEndpointUnavailable = "EndpointUnavailable"
	// ReasonMalformedResponse (Renewed=False): Pipedream answered with success, and
	// the answer contains no usable token.
	ReasonMalformedResponse = "MalformedResponse"
	// ReasonClusterUnavailable (Renewed=False): a request to the Kubernetes API server
	// has failed: a read of a Secret, or a write for another cause than those of
	// SecretWriteRefused. The message says which request, and its HTTP status. The
	// operator keeps an issued token in memory, and stores it as soon as the API server
	// answers.
	ReasonClusterUnavailable = "ClusterUnavailable"

	// ReasonTokenAccepted (Verified=True): Pipedream accepted the current token.
	ReasonTokenAccepted = "TokenAccepted"
	// ReasonVerificationInconclusive (Verified=Unknown): Pipedream's answer, or the
	// lack of one, says nothing about the current token.
	ReasonVerificationInconclusive = "VerificationInconclusive"
	// ReasonVerificationSuspended (Verified=Unknown): Pipedream answers 401 to the
	// current token, and has not accepted any token since the spec last changed.
	// The answer therefore says nothing about the token. The operator tries again
	// within an hour (or within the interval, if that is longer), and at once when
	// the spec changes.
	ReasonVerificationSuspended = "VerificationSuspended"
)
