// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// problem describes an object that is not as it must be after the last calm. It is empty when the object is
// healthy.
func (s snapshot) problem() string {
	if s.token == nil {
		return "there is no PipedreamToken"
	}
	conditions := s.token.Status.Conditions
	renewed := meta.FindStatusCondition(conditions, v1alpha1.ConditionRenewed)
	switch {
	case !meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady),
		s.token.Status.ObservedGeneration != s.token.Generation,
		renewed == nil || renewed.Reason != v1alpha1.ReasonIssued,
		meta.FindStatusCondition(conditions, v1alpha1.ConditionStalled) != nil,
		s.owned != 1,
		s.answer != accepted:
		return s.describe()
	}
	return ""
}

// problem describes a PipedreamAccount that is not as it must be after the last calm. It is empty when the object is
// healthy.
func (s accountSnapshot) problem() string {
	switch {
	case s.account == nil,
		!s.isReady(),
		s.reason(v1alpha1.ConditionFetched) != v1alpha1.ReasonAccountFetched,
		s.reason(v1alpha1.ConditionStalled) != "",
		s.owned != 1,
		s.answer != accepted:
		return s.describe()
	}
	return ""
}
