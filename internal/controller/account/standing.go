// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
)

// standingStatus returns the status that stands: the cached one, unless the cache is older than the
// status that this process has applied.
func standingStatus(s snapshot, reporting reportingState) v1alpha1.PipedreamAccountStatus {
	if isUnseen(s, reporting) {
		return *reporting.status
	}
	return s.account.Status
}

// isUnseen reports whether the cache does not show yet the status that this process has applied.
func isUnseen(s snapshot, reporting reportingState) bool {
	return reporting.status != nil && ownedsecret.IsOlder(s.account.ResourceVersion, reporting.version)
}
