// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package conditions compares the conditions of statuses, for the controllers of all kinds. The
// package is pure.
package conditions

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Known returns a copy of the conditions of the given types, without the ones that the schema has put
// there and that nobody has ever observed.
func Known(all []metav1.Condition, types ...string) []metav1.Condition {
	return slices.DeleteFunc(slices.Clone(all), func(condition metav1.Condition) bool {
		return !slices.Contains(types, condition.Type) || condition.LastTransitionTime.Unix() <= 0
	})
}

// AreSame reports whether two conditions have the same status and the same reason. An absent condition,
// which is nil, is like no other.
func AreSame(a, b *metav1.Condition) bool {
	return a != nil && b != nil && a.Status == b.Status && a.Reason == b.Reason
}

// Changed returns the condition of a type if its status or reason is not what it was, else nil.
func Changed(before, now []metav1.Condition, kind string) *metav1.Condition {
	current := meta.FindStatusCondition(now, kind)
	if AreSame(meta.FindStatusCondition(before, kind), current) {
		return nil
	}
	return current
}

// ChangedAt returns when the condition of a type last changed its status; zero if there is none with this
// reason.
func ChangedAt(all []metav1.Condition, kind, reason string) time.Time {
	if condition := meta.FindStatusCondition(all, kind); condition != nil && condition.Reason == reason {
		return condition.LastTransitionTime.Time
	}
	return time.Time{}
}
