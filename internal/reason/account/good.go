// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/reason"
)

// goodRows are the rows of all conditions while all is well.
var goodRows = []reason.Row{
	{
		Mechanics: reason.Mechanics{Reason: v1alpha1.ReasonCredentialsValid, Class: reason.NoFailure},
		Places: ready(metav1.ConditionTrue,
			"the Secret holds credentials of the account that the spec asks for, which have not expired"),
		Words: reason.Words{
			Meaning: "Pods that read the Secret have the credentials of the account.",
			Actor:   reason.Nobody,
			Short:   "all is well: the Secret holds credentials that have not expired",
		},
	},
	{
		Mechanics: reason.Mechanics{Reason: v1alpha1.ReasonAccountFetched, Class: reason.NoFailure},
		Places:    fetched(metav1.ConditionTrue),
		Words: reason.Words{
			Meaning: "Pipedream has answered the last look at the account, and the Secret is as it should be.",
			Actor:   reason.Nobody,
			Short:   "all is well: Pipedream has answered the last look at the account",
		},
	},
	{
		Mechanics: reason.Mechanics{Reason: v1alpha1.ReasonAccountHealthy, Class: reason.NoFailure},
		Places:    healthy(metav1.ConditionTrue, "Pipedream says that the account is healthy"),
		Words: reason.Words{
			Meaning: "Pipedream says that the account is healthy.",
			Actor:   reason.Nobody,
			Short:   "all is well: Pipedream says that the account is healthy",
		},
	},
}
