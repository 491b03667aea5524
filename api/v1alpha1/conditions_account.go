// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// The types of the conditions that only a PipedreamAccount has. Its Ready says whether
// the Secret holds credentials of the account that the spec asks for, which have not
// expired, and of which Pipedream has said nothing worse than "unhealthy" since. Its
// Stalled is as that of a PipedreamToken.
//
// Reasons for Ready=True: CredentialsValid. Reasons for Ready=False: NotFetched,
// CredentialsExpired, AccountOutdated, AccountDead, AccountNotFound,
// AccountNotExportable.
const (
	// ConditionFetched is the outcome of the last attempt to fetch the credentials
	// and to store them.
	//
	// Reasons for True: AccountFetched. Reasons for Unknown: NotAttempted, Queued,
	// Suspended. Reasons for False: all others of a PipedreamAccount.
	ConditionFetched = "Fetched"

	// ConditionHealthy is what Pipedream last said of the health of the account. An
	// unhealthy account still has its credentials, which may not work.
	//
	// Reasons for True: AccountHealthy. Reasons for Unknown: HealthUnknown. Reasons
	// for False: AccountUnhealthy, AccountDead.
	ConditionHealthy = "Healthy"
)

// The reasons that only the conditions of a PipedreamAccount have. Events carry the
// same reasons.
const (
	// ReasonCredentialsValid (Ready=True): the Secret holds credentials of the account
	// that have not expired.
	ReasonCredentialsValid = "CredentialsValid"
	// ReasonNotFetched (Ready=False): the Secret holds no credentials that the
	// operator has written: none were fetched yet, or somebody has deleted or edited
	// the Secret, and the operator has not fetched newer ones yet.
	ReasonNotFetched = "NotFetched"
	// ReasonCredentialsExpired (Ready=False): the credentials in the Secret have
	// expired, and the operator has no newer ones yet.
	ReasonCredentialsExpired = "CredentialsExpired"
	// ReasonAccountOutdated (Ready=False): the credentials in the Secret are of another
	// account, project, environment or API address than is asked for now.
	ReasonAccountOutdated = "AccountOutdated"

	// ReasonAccountFetched (Fetched=True): Pipedream answered the last look at the
	// account, and the Secret is as it should be.
	ReasonAccountFetched = "AccountFetched"
	// ReasonAccountDead (Ready=False, Fetched=False, Healthy=False, Stalled): Pipedream
	// says that the account is dead. The end user must connect it again.
	ReasonAccountDead = "AccountDead"
	// ReasonAccountNotFound (Ready=False, Fetched=False; Stalled after two minutes):
	// Pipedream knows no such account in the project and environment. Ready becomes
	// False when Pipedream has said so again.
	ReasonAccountNotFound = "AccountNotFound"
	// ReasonAccountNotExportable (Ready=False, Fetched=False; Stalled after two
	// minutes): Pipedream knows the account, and does not give its credentials out.
	// Ready becomes False when Pipedream has said so again.
	ReasonAccountNotExportable = "AccountNotExportable"
	// ReasonAccountAmbiguous (Fetched=False, Stalled): several accounts match
	// spec.externalUserID and spec.app.
	ReasonAccountAmbiguous = "AccountAmbiguous"
	// ReasonAccountMismatch (Fetched=False, Stalled): the account is of another app
	// than spec.app.
	ReasonAccountMismatch = "AccountMismatch"
	// ReasonCredentialsStale (Fetched=False): Pipedream answered with credentials that
	// have expired already.
	ReasonCredentialsStale = "CredentialsStale"
	// ReasonAccessDenied (Fetched=False, Stalled): Pipedream does not let the OAuth
	// client read this account: status 403, or status 401 to an access token that was
	// just issued.
	ReasonAccessDenied = "AccessDenied"
	// ReasonTokenRateLimited (Fetched=False): Pipedream told the operator to wait before
	// it asks for an access token, with which it would look at the account. Accounts
	// whose OAuth client has an access token go on.
	ReasonTokenRateLimited = "TokenRateLimited"

	// ReasonAccountHealthy (Healthy=True): Pipedream says that the account is healthy.
	ReasonAccountHealthy = "AccountHealthy"
	// ReasonAccountUnhealthy (Healthy=False): Pipedream says that the account is not
	// healthy: its credentials may not work. The operator still delivers them.
	ReasonAccountUnhealthy = "AccountUnhealthy"
	// ReasonHealthUnknown (Healthy=Unknown): Pipedream has not said whether the
	// account is healthy.
	ReasonHealthUnknown = "HealthUnknown"
)
