// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/attempt"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/refresh"
)

// verdictState is what Pipedream has said about one account.
type verdictState struct {
	// request is the digest of which account it is.
	request string
	given   refresh.Verdict
	// failure is the failure that the verdict shows as; nil while there is no verdict.
	failure *attempt.Failure
	// health is the reason of condition Healthy that the last answer gives. It is empty if there was no answer, and
	// condition Healthy is not known to be about another account.
	health string
}

// healthReasons are the reasons of condition Healthy, by what Pipedream says about an account when it gives out its
// credentials.
var healthReasons = map[pipedream.Health]string{
	pipedream.Healthy:       v1alpha1.ReasonAccountHealthy,
	pipedream.Unhealthy:     v1alpha1.ReasonAccountUnhealthy,
	pipedream.HealthUnknown: v1alpha1.ReasonHealthUnknown,
}

// answered returns the state after Pipedream has given out the credentials of the account.
func (v verdictState) answered(health pipedream.Health) verdictState {
	return verdictState{request: v.request, given: v.given.Answered(), health: healthReasons[health]}
}

// delivered returns the state when the Secret holds the credentials that Pipedream has given out.
func (v verdictState) delivered() verdictState {
	return verdictState{request: v.request, health: v.health}
}

// unreadyReason returns the reason for which the credentials in the Secret must not be called good although
// they have not expired; empty if there is none.
func (v verdictState) unreadyReason() string {
	switch v.given.Confirmed {
	case refresh.Dead:
		return v1alpha1.ReasonAccountDead
	case refresh.NotFound:
		return v1alpha1.ReasonAccountNotFound
	case refresh.NotExportable:
		return v1alpha1.ReasonAccountNotExportable
	case refresh.Ambiguous, refresh.Mismatch:
	}
	return ""
}

// healthOf returns the reason of condition Healthy that a verdict gives.
func healthOf(kind refresh.VerdictKind) string {
	if kind == refresh.Dead {
		return v1alpha1.ReasonAccountDead
	}
	return v1alpha1.ReasonHealthUnknown
}

// restore remembers a verdict that is known from the status. How often Pipedream has said so, and when it did for the
// last time, is lost; the failure says when the account is looked at again.
func (v *verdictState) restore(kind refresh.VerdictKind, shown *attempt.Failure) {
	shown.IsRestored = true
	v.given, v.failure = refresh.Verdict{Kind: kind, Since: shown.Since, Count: 1}, shown
	if kind == refresh.Dead {
		v.given.Confirmed = kind
	}
}

// verdicts are the verdicts of package refresh, by the failures of package pipedream.
var verdicts = map[pipedream.Kind]refresh.VerdictKind{
	pipedream.AccountDead:          refresh.Dead,
	pipedream.AccountNotFound:      refresh.NotFound,
	pipedream.AccountNotExportable: refresh.NotExportable,
	pipedream.AccountAmbiguous:     refresh.Ambiguous,
	pipedream.AccountMismatch:      refresh.Mismatch,
}

func verdictKindOf(given pipedream.Kind) refresh.VerdictKind { return verdicts[given] }
