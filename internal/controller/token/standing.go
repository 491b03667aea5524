// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"encoding/json"
	"fmt"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	applyv1alpha1 "github.com/pipedream-operator/pipedream-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
)

// standingStatus returns the status that stands: the cached one, unless the cache is older than
// the status that this process has applied.
func standingStatus(s snapshot, reported reportingState) v1alpha1.PipedreamTokenStatus {
	if isUnseen(s, reported) {
		return *reported.status
	}
	return s.token.Status
}

// isUnseen reports whether the cache does not show yet the status that this process has applied.
func isUnseen(s snapshot, reported reportingState) bool {
	return reported.status != nil && ownedsecret.IsOlder(s.token.ResourceVersion, reported.version)
}

// configurationOf returns a status to apply, to the version of the object that was observed and no
// other: a status is not applied to a successor of the same name. On a status the API server does
// not compare the UID.
func configurationOf(s snapshot, reported reportingState, status v1alpha1.PipedreamTokenStatus) (*applyv1alpha1.PipedreamTokenApplyConfiguration, error) {
	content, err := json.Marshal(status)
	if err != nil {
		return nil, fmt.Errorf("encode status: %w", err)
	}
	applied := &applyv1alpha1.PipedreamTokenStatusApplyConfiguration{}
	if err := json.Unmarshal(content, applied); err != nil {
		return nil, fmt.Errorf("decode status: %w", err)
	}
	version := s.token.ResourceVersion
	if isUnseen(s, reported) {
		version = reported.version
	}
	return applyv1alpha1.PipedreamToken(s.token.Name, s.token.Namespace).WithResourceVersion(version).WithStatus(applied), nil
}
