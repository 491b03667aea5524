// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package token has the rows of the reasons of PipedreamTokens. Each file has the rows of
// one part of docs/troubleshooting.md.
//
// A new reason needs its constant in api/v1alpha1/conditions.go, its row here, a section
// in docs/troubleshooting.md, and `make generate`, which writes the tables in docs/.
package token

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/reason"
)

// Rows are the rows of all reasons of PipedreamTokens, in the order in which
// docs/troubleshooting.md lists them.
var Rows = reason.Table(slices.Concat(attemptRows, currentRows, goodRows))

// Who must act.
const (
	clientOwner = "whoever keeps the OAuth client's ID and secret in the Secret that spec.clientSecretRef names"
	author      = "whoever writes this PipedreamToken"
	seeRenewed  = "see Renewed, which says why there is no newer token"
)

// renewed returns the places of a reason that only condition Renewed has.
func renewed(status metav1.ConditionStatus) []reason.Place {
	return []reason.Place{{Condition: v1alpha1.ConditionRenewed, Status: status}}
}

// ready returns the places of a reason that only condition Ready has.
func ready(status metav1.ConditionStatus, when string) []reason.Place {
	return []reason.Place{{Condition: v1alpha1.ConditionReady, Status: status, When: when}}
}

// verified returns the places of a reason that only condition Verified has.
func verified(status metav1.ConditionStatus, when string) []reason.Place {
	return []reason.Place{{Condition: v1alpha1.ConditionVerified, Status: status, When: when}}
}
