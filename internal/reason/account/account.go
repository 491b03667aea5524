// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package account has the rows of the reasons of PipedreamAccounts. Each file has the rows
// of one part of docs/troubleshooting.md.
//
// A new reason needs its constant in api/v1alpha1, its row here, a section in
// docs/troubleshooting.md, and `make generate`, which writes the tables in docs/.
package account

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/reason"
)

// Rows are the rows of all reasons of PipedreamAccounts, in the order in which
// docs/troubleshooting.md lists them.
var Rows = reason.Table(slices.Concat(verdictRows, attemptRows, currentRows, goodRows))

// Who must act.
const (
	clientOwner    = "whoever keeps the OAuth client's ID and secret in the Secret that spec.clientSecretRef names"
	author         = "whoever writes this PipedreamAccount"
	endUser        = "the end user, who must connect the account again"
	workspaceAdmin = "an administrator of the Pipedream workspace"
	seeFetched     = "see Fetched, which says why there are no newer credentials"
)

// fetched returns the places of a reason that only condition Fetched has.
func fetched(status metav1.ConditionStatus) []reason.Place {
	return []reason.Place{{Condition: v1alpha1.ConditionFetched, Status: status}}
}

// ready returns the places of a reason that only condition Ready has.
func ready(status metav1.ConditionStatus, when string) []reason.Place {
	return []reason.Place{{Condition: v1alpha1.ConditionReady, Status: status, When: when}}
}

// healthy returns the places of a reason that only condition Healthy has.
func healthy(status metav1.ConditionStatus, when string) []reason.Place {
	return []reason.Place{{Condition: v1alpha1.ConditionHealthy, Status: status, When: when}}
}
