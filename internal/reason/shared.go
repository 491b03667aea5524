// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package reason

import (
	"time"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// The mechanics of the reasons that several kinds of objects have. The constants in
// api/v1alpha1 say what each reason means.
var (
	NotAttempted = Mechanics{Reason: v1alpha1.ReasonNotAttempted, Class: NoFailure}
	Queued       = Mechanics{Reason: v1alpha1.ReasonQueued, Class: NoFailure}
	Suspended    = Mechanics{Reason: v1alpha1.ReasonSuspended, Class: NoFailure}

	// CredentialsMissing calls a person a little later: credentials are often delivered
	// after the object that names them.
	CredentialsMissing = Mechanics{
		Reason: v1alpha1.ReasonCredentialsMissing, Class: Missing, Stalls: true, Grace: 2 * time.Minute,
	}
	CredentialsInvalid = Mechanics{
		Reason: v1alpha1.ReasonCredentialsInvalid, Class: Refused, Stalls: true, Kind: pipedream.CredentialsInvalid,
	}
	CredentialsRejected = Mechanics{
		Reason: v1alpha1.ReasonCredentialsRejected, Class: Refused, Stalls: true, Kind: pipedream.CredentialsRejected,
	}
	ScopeRejected = Mechanics{
		Reason: v1alpha1.ReasonScopeRejected, Class: Refused, Stalls: true, Kind: pipedream.ScopeRejected,
	}
	ScopeNotGranted = Mechanics{
		Reason: v1alpha1.ReasonScopeNotGranted, Class: Refused, Stalls: true, Kind: pipedream.ScopeNotGranted,
	}
	RequestRejected = Mechanics{
		Reason: v1alpha1.ReasonRequestRejected, Class: Refused, Stalls: true, Kind: pipedream.RequestRejected,
	}

	// SecretTerminating calls a person a little later: most finalizers are removed soon.
	SecretTerminating = Mechanics{
		Reason: v1alpha1.ReasonSecretTerminating, Class: Missing, Stalls: true, Grace: 2 * time.Minute,
	}
	SecretNotOwned     = Mechanics{Reason: v1alpha1.ReasonSecretNotOwned, Class: Refused, Stalls: true}
	SecretWriteRefused = Mechanics{Reason: v1alpha1.ReasonSecretWriteRefused, Class: Refused, Stalls: true}
	TemplateInvalid    = Mechanics{Reason: v1alpha1.ReasonTemplateInvalid, Class: Refused, Stalls: true}

	RateLimited = Mechanics{
		Reason: v1alpha1.ReasonRateLimited, Class: Paused, Kind: pipedream.RateLimited,
	}
	EndpointUnavailable = Mechanics{
		Reason: v1alpha1.ReasonEndpointUnavailable, Class: Transient, Kind: pipedream.Unavailable,
	}
	MalformedResponse = Mechanics{
		Reason: v1alpha1.ReasonMalformedResponse, Class: Transient, Kind: pipedream.Malformed,
	}
	ClusterUnavailable = Mechanics{Reason: v1alpha1.ReasonClusterUnavailable, Class: Transient}
)

// Who must act, as far as all kinds of objects say the same.
const (
	// Nobody must act.
	Nobody = "nobody"
	// Operator must act, and does.
	Operator = "nobody yet: the operator goes on by itself"
	// Administrator of the cluster must act.
	Administrator = "an administrator of the cluster"
)
