// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/reason"
)

// retrySeeRenewed is the text of the column "tried again" while condition Renewed says
// when the next token is asked for.
const retrySeeRenewed = "see Renewed"

// currentRows are the rows of conditions Ready and Verified while the current token is not
// good, or is not known to be good.
var currentRows = []reason.Row{
	{
		Mechanics: reason.Mechanics{Reason: v1alpha1.ReasonNotIssued, Class: reason.NoFailure},
		Places: ready(metav1.ConditionFalse,
			"no token was issued yet; or the Secret was deleted or edited, and no newer token could be had"),
		Words: reason.Words{
			Meaning: "There is no token for pods to use.",
			Actor:   seeRenewed,
			Short:   "the Secret holds no token of this PipedreamToken",
			Retry:   retrySeeRenewed,
		},
	},
	{
		Mechanics: reason.Mechanics{Reason: v1alpha1.ReasonTokenExpired, Class: reason.NoFailure},
		Places:    ready(metav1.ConditionFalse, "the token has expired, and no newer token could be had"),
		Words: reason.Words{
			Meaning: "Pods have a token whose time is past; Pipedream refuses it.",
			Actor:   seeRenewed,
			Short:   "the token in the Secret has expired",
			Retry:   retrySeeRenewed,
		},
	},
	{
		Mechanics: reason.Mechanics{Reason: v1alpha1.ReasonTokenRevoked, Class: reason.NoFailure, Verdict: pipedream.Refused},
		Places: []reason.Place{
			{
				Condition: v1alpha1.ConditionReady, Status: metav1.ConditionFalse,
				When: "Pipedream answered 401 to the token, and no newer token could be had",
			},
			{
				Condition: v1alpha1.ConditionVerified, Status: metav1.ConditionFalse,
				When: "Pipedream answered 401 to the token. The operator replaces it. While no new token can be had, " +
					"the operator tries the token again after 10 s, doubling to 2 minutes",
			},
		},
		Words: reason.Words{
			Meaning: "Somebody has revoked the token at Pipedream; pods are refused.",
			Actor:   seeRenewed,
			Short:   "Pipedream refuses the token in the Secret",
			Retry:   retrySeeRenewed,
		},
	},
	{
		Mechanics: reason.Mechanics{Reason: v1alpha1.ReasonTokenOutdated, Class: reason.NoFailure},
		Places: ready(metav1.ConditionFalse,
			"the token has other scopes than the spec asks for, or comes from another API address, and no token with these could be had"),
		Words: reason.Words{
			Meaning: "The token in the Secret is not the one that the spec asks for now.",
			Actor:   seeRenewed,
			Short:   "the token in the Secret is not the one that the spec asks for now",
			Retry:   retrySeeRenewed,
		},
	},
	{
		Mechanics: reason.Mechanics{
			Reason: v1alpha1.ReasonVerificationInconclusive, Class: reason.NoFailure, Verdict: pipedream.Inconclusive,
		},
		Places: verified(metav1.ConditionUnknown,
			"the token was not tried yet; or the answer says nothing about it: 403, 404, 429 and 5xx; "+
				"or the token can't be tried, because no key of the Secret holds exactly the token, or no scope may list anything"),
		Words: reason.Words{
			Meaning: "Pipedream's answer, or the lack of one, says nothing about the token.",
			Actor:   reason.Nobody + ", unless it stays; then " + author + ": project, environment and scopes",
			Short:   "it is not known whether Pipedream accepts the current token",
			Retry: "at the next verification, within an hour, and at once when the spec changes; " +
				"never while no scope can list anything, or no key holds the token",
		},
	},
	{
		Mechanics: reason.Mechanics{Reason: v1alpha1.ReasonVerificationSuspended, Class: reason.NoFailure},
		Places: verified(metav1.ConditionUnknown,
			"Pipedream answers 401 to every token that is tried, and has not accepted any token since the spec last changed"),
		Words: reason.Words{
			Meaning: "Pipedream answers 401 to every token that is tried for this spec, so verification is suspended.",
			Actor:   author + ": project, environment and scopes; the operator tries again within an hour, and at once when the spec changes",
			Short:   "Pipedream answers 401 to every token that is tried",
			Retry:   "within an hour (or the interval, if that is longer), and at once when the spec changes",
		},
	},
}
