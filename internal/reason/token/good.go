// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/reason"
)

// goodRows are the rows of all conditions while all is well.
var goodRows = []reason.Row{
	{
		Mechanics: reason.Mechanics{Reason: v1alpha1.ReasonTokenValid, Class: reason.NoFailure},
		Places: ready(metav1.ConditionTrue,
			"the Secret holds an unexpired token, not known to be revoked, of the scopes and API address that are asked for"),
		Words: reason.Words{
			Meaning: "Pods that read the Secret have a token that works.",
			Actor:   reason.Nobody,
			Short:   "all is well: the Secret holds a good token",
		},
	},
	{
		Mechanics: reason.Mechanics{Reason: v1alpha1.ReasonIssued, Class: reason.NoFailure},
		Places:    renewed(metav1.ConditionTrue),
		Words: reason.Words{
			Meaning: "The last token that was asked for was issued and stored.",
			Actor:   reason.Nobody,
			Short:   "all is well: the last attempt issued a token and stored it",
		},
	},
	{
		Mechanics: reason.Mechanics{Reason: v1alpha1.ReasonTokenAccepted, Class: reason.NoFailure, Verdict: pipedream.Accepted},
		Places: verified(metav1.ConditionTrue,
			"Pipedream accepted the token. A renewed token counts as accepted until it is tried itself"),
		Words: reason.Words{
			Meaning: "Pipedream has accepted the token when it was last tried.",
			Actor:   reason.Nobody,
			Short:   "all is well: Pipedream accepted the token when it was last tried",
		},
	},
}
