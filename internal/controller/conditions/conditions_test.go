// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package conditions_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/internal/controller/conditions"
)

var at = metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))

func TestKnown(t *testing.T) {
	t.Parallel()
	all := []metav1.Condition{
		{Type: "Ready", LastTransitionTime: at},
		{Type: "Moon", LastTransitionTime: at},
		{Type: "Renewed", LastTransitionTime: metav1.NewTime(time.Unix(0, 0))},
	}
	known := conditions.Known(all, "Ready", "Renewed")
	if len(known) != 1 || known[0].Type != "Ready" {
		t.Errorf("known are %v, want condition Ready only", known)
	}
	if known[0].Reason = "Changed"; all[0].Reason != "" || all[1].Type != "Moon" {
		t.Error("the conditions were not copied")
	}
}

func TestChanged(t *testing.T) {
	t.Parallel()
	ready := metav1.Condition{Type: "Ready", Status: metav1.ConditionTrue, Reason: "Valid", Message: "until noon"}
	other := ready
	other.Message = "until midnight"
	expired := metav1.Condition{Type: "Ready", Status: metav1.ConditionFalse, Reason: "Expired"}
	for name, test := range map[string]struct {
		before, now []metav1.Condition
		isChanged   bool
	}{
		"the same":        {[]metav1.Condition{ready}, []metav1.Condition{ready}, false},
		"another message": {[]metav1.Condition{ready}, []metav1.Condition{other}, false},
		"another status":  {[]metav1.Condition{ready}, []metav1.Condition{expired}, true},
		"a new one":       {nil, []metav1.Condition{ready}, true},
		"none any longer": {[]metav1.Condition{ready}, nil, false},
	} {
		if changed := conditions.Changed(test.before, test.now, "Ready"); (changed != nil) != test.isChanged {
			t.Errorf("%s: changed is %v", name, changed)
		}
	}
	if conditions.AreSame(nil, nil) {
		t.Error("two absent conditions are taken for the same")
	}
}

func TestChangedAt(t *testing.T) {
	t.Parallel()
	all := []metav1.Condition{{Type: "Stalled", Reason: "Moon", LastTransitionTime: at}}
	for name, test := range map[string]struct {
		kind, reason string
		want         time.Time
	}{
		"it is there":        {"Stalled", "Moon", at.Time},
		"for another reason": {"Stalled", "Sun", time.Time{}},
		"it is not there":    {"Ready", "Moon", time.Time{}},
	} {
		if got := conditions.ChangedAt(all, test.kind, test.reason); !got.Equal(test.want) {
			t.Errorf("%s: it has changed at %s, want %s", name, got, test.want)
		}
	}
}
