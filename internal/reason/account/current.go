// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/reason"
)

// retrySeeFetched is the text of the column "tried again" while condition Fetched says when
// Pipedream is asked again.
const retrySeeFetched = "see Fetched"

// currentRows are the rows of conditions Ready and Healthy while the credentials in the
// Secret are not good, or are not known to work.
var currentRows = []reason.Row{
	{
		Mechanics: reason.Mechanics{Reason: v1alpha1.ReasonNotFetched, Class: reason.NoFailure},
		Places: ready(metav1.ConditionFalse,
			"no credentials were fetched yet; or the Secret was deleted or edited, and the operator has not fetched newer ones yet"),
		Words: reason.Words{
			Meaning: "There are no credentials for pods to use.",
			Actor:   seeFetched,
			Short:   "the Secret holds no credentials that the operator has written",
			Retry:   retrySeeFetched,
		},
	},
	{
		Mechanics: reason.Mechanics{Reason: v1alpha1.ReasonCredentialsExpired, Class: reason.NoFailure},
		Places:    ready(metav1.ConditionFalse, "the credentials have expired, and the operator has no newer ones yet"),
		Words: reason.Words{
			Meaning: "Pods have credentials whose time is past.",
			Actor:   seeFetched,
			Short:   "the credentials in the Secret have expired",
			Retry:   retrySeeFetched,
		},
	},
	{
		Mechanics: reason.Mechanics{Reason: v1alpha1.ReasonAccountOutdated, Class: reason.NoFailure},
		Places: ready(metav1.ConditionFalse,
			"the credentials are of another account, project, environment or API address than the spec asks for, and the operator has not fetched newer ones yet"),
		Words: reason.Words{
			Meaning: "The credentials in the Secret are not of the account that the spec asks for now.",
			Actor:   seeFetched,
			Short:   "the credentials in the Secret are not of the account that the spec asks for now",
			Retry:   retrySeeFetched,
		},
	},
	{
		Mechanics: reason.Mechanics{Reason: v1alpha1.ReasonAccountUnhealthy, Class: reason.NoFailure},
		Places:    healthy(metav1.ConditionFalse, "Pipedream says that the account is not healthy, and gives its credentials out"),
		Words: reason.Words{
			Meaning: "Pipedream says that the account is not healthy: its credentials may not work.",
			Actor:   endUser + ", if the app refuses the credentials",
			Short:   "Pipedream says that the account is not healthy: its credentials may not work",
			Retry:   "at the next look",
		},
	},
	{
		Mechanics: reason.Mechanics{Reason: v1alpha1.ReasonHealthUnknown, Class: reason.NoFailure},
		Places:    healthy(metav1.ConditionUnknown, "Pipedream's answer does not say whether the account is healthy, or there was no answer yet"),
		Words: reason.Words{
			Meaning: "Pipedream has not said whether the account is healthy.",
			Actor:   reason.Nobody,
			Short:   "Pipedream has not said whether the account is healthy",
			Retry:   "at the next look",
		},
	},
}
