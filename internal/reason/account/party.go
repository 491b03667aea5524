// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import "github.com/pipedream-operator/pipedream-operator/api/v1alpha1"

// Party is a group of people. docs/who-must-act.md has a table for each party, with the reasons that this party acts on
// first. Words.Actor of a row says more exactly who that is.
type Party string

// The parties, in the order in which docs/who-must-act.md lists them.
const (
	// EndUser has connected the account.
	EndUser Party = "the end user"
	// ApplicationTeam writes the PipedreamAccount, and runs the pods that use the Secret.
	ApplicationTeam Party = "the application team"
	// PlatformTeam runs the cluster and the operator, and administers the workspace and the OAuth client at Pipedream.
	PlatformTeam Party = "the platform team"
	// Pipedream is the company that runs the API. The operator asks it again by itself.
	Pipedream Party = "Pipedream"
	// SeeFetched stands for the party of the reason of condition Fetched.
	SeeFetched Party = "see Fetched"
	// Nobody must act.
	Nobody Party = "nobody"
)

// parties has the party of each reason.
var parties = map[string]Party{
	v1alpha1.ReasonAccountDead:      EndUser,
	v1alpha1.ReasonAccountUnhealthy: EndUser,

	v1alpha1.ReasonAccountNotFound:  ApplicationTeam,
	v1alpha1.ReasonAccountAmbiguous: ApplicationTeam,
	v1alpha1.ReasonAccountMismatch:  ApplicationTeam,
	v1alpha1.ReasonSuspended:        ApplicationTeam,
	v1alpha1.ReasonSecretNotOwned:   ApplicationTeam,
	v1alpha1.ReasonTemplateInvalid:  ApplicationTeam,

	v1alpha1.ReasonAccountNotExportable: PlatformTeam,
	v1alpha1.ReasonAccessDenied:         PlatformTeam,
	v1alpha1.ReasonCredentialsMissing:   PlatformTeam,
	v1alpha1.ReasonCredentialsInvalid:   PlatformTeam,
	v1alpha1.ReasonCredentialsRejected:  PlatformTeam,
	v1alpha1.ReasonScopeRejected:        PlatformTeam,
	v1alpha1.ReasonScopeNotGranted:      PlatformTeam,
	v1alpha1.ReasonRequestRejected:      PlatformTeam,
	v1alpha1.ReasonSecretTerminating:    PlatformTeam,
	v1alpha1.ReasonSecretWriteRefused:   PlatformTeam,
	v1alpha1.ReasonClusterUnavailable:   PlatformTeam,

	v1alpha1.ReasonCredentialsStale:    Pipedream,
	v1alpha1.ReasonRateLimited:         Pipedream,
	v1alpha1.ReasonTokenRateLimited:    Pipedream,
	v1alpha1.ReasonEndpointUnavailable: Pipedream,
	v1alpha1.ReasonMalformedResponse:   Pipedream,

	v1alpha1.ReasonNotFetched:         SeeFetched,
	v1alpha1.ReasonCredentialsExpired: SeeFetched,
	v1alpha1.ReasonAccountOutdated:    SeeFetched,

	v1alpha1.ReasonNotAttempted:     Nobody,
	v1alpha1.ReasonQueued:           Nobody,
	v1alpha1.ReasonHealthUnknown:    Nobody,
	v1alpha1.ReasonCredentialsValid: Nobody,
	v1alpha1.ReasonAccountFetched:   Nobody,
	v1alpha1.ReasonAccountHealthy:   Nobody,
}

// PartyOf returns the party that acts first on a reason of PipedreamAccounts; empty if the reason has none.
func PartyOf(reason string) Party { return parties[reason] }
