// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package attempt_test

import (
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/attempt"
	"github.com/pipedream-operator/pipedream-operator/internal/reason"
)

var (
	now   = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tried = attempt.Inputs{Generation: 1, CredentialsVersion: "7", RenewRequest: "a"}
	// rows has no row for a reason of another version.
	rows = reason.Table{
		row(v1alpha1.ReasonEndpointUnavailable, reason.Transient),
		row(v1alpha1.ReasonMalformedResponse, reason.Transient),
		row(v1alpha1.ReasonClusterUnavailable, reason.Transient),
		row(v1alpha1.ReasonCredentialsRejected, reason.Refused),
		row(v1alpha1.ReasonSecretWriteRefused, reason.Refused),
	}
)

func row(name string, class reason.Class) reason.Row {
	return reason.Row{Mechanics: reason.Mechanics{Reason: name, Class: class, Stalls: class == reason.Refused}}
}

func failure(because string) *attempt.Failure {
	return attempt.New(rows.Of(because), "it broke", tried, now)
}

func TestInputsAreSame(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		next attempt.Inputs
		want bool
	}{
		"nothing changes":        {tried, true},
		"a new spec":             {attempt.Inputs{Generation: 2, CredentialsVersion: "7", RenewRequest: "a"}, false},
		"new credentials":        {attempt.Inputs{Generation: 1, CredentialsVersion: "8", RenewRequest: "a"}, false},
		"a new request to renew": {attempt.Inputs{Generation: 1, CredentialsVersion: "7", RenewRequest: "b"}, false},
		"the request is removed": {attempt.Inputs{Generation: 1, CredentialsVersion: "7"}, true},
	} {
		if got := tried.IsSameAs(test.next); got != test.want {
			t.Errorf("%s: the inputs are the same: %v, want %v", name, got, test.want)
		}
	}
}

// TestPacedAsOne checks which failures in a row make the wait longer.
func TestPacedAsOne(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		last, next string
		count      int
	}{
		"twice the same":                  {v1alpha1.ReasonEndpointUnavailable, v1alpha1.ReasonEndpointUnavailable, 2},
		"one API in two ways":             {v1alpha1.ReasonEndpointUnavailable, v1alpha1.ReasonMalformedResponse, 2},
		"Pipedream, then the API server":  {v1alpha1.ReasonEndpointUnavailable, v1alpha1.ReasonClusterUnavailable, 1},
		"an outage, then a refusal":       {v1alpha1.ReasonEndpointUnavailable, v1alpha1.ReasonCredentialsRejected, 1},
		"twice a reason without a row":    {"MoonIsFull", "MoonIsFull", 2},
		"two reasons, one without a row":  {"MoonIsFull", v1alpha1.ReasonEndpointUnavailable, 1},
		"two reasons, both without a row": {"MoonIsFull", "MoonIsNew", 1},
	} {
		next := failure(test.next)
		next.Since = now.Add(time.Minute)
		if next = next.After(failure(test.last)); next.Count != test.count {
			t.Errorf("%s: the count is %d, want %d", name, next.Count, test.count)
		}
		if isSame := next.Since.Equal(now); isSame != (test.last == test.next) {
			t.Errorf("%s: it fails since %v", name, next.Since)
		}
	}
	if first := failure(v1alpha1.ReasonEndpointUnavailable).After(nil); first.Count != 1 || !first.Since.Equal(now) {
		t.Errorf("a first failure is number %d, since %v", first.Count, first.Since)
	}
}

// TestOutage checks that only an attempt that was sent in an outage need not wait after it.
func TestOutage(t *testing.T) {
	t.Parallel()
	failed := failure(v1alpha1.ReasonEndpointUnavailable)
	failed.SentAt, failed.NotBefore = now, now.Add(time.Minute)
	if failed.IsOver(time.Time{}) || !failed.WaitsUntil(now).Equal(failed.NotBefore) {
		t.Error("the outage is taken for over, and is not")
	}
	if !failed.IsOver(now.Add(time.Second)) || !failed.WaitsUntil(now.Add(time.Second)).IsZero() {
		t.Error("the attempt waits though the outage is over")
	}
	refused := failure(v1alpha1.ReasonCredentialsRejected)
	if refused.SentAt = now; refused.IsOver(now.Add(time.Second)) {
		t.Error("a refusal is taken for an outage")
	}
}

func TestWriteRefusedWaitsForTheSameSecret(t *testing.T) {
	t.Parallel()
	failed := failure(v1alpha1.ReasonSecretWriteRefused)
	failed.RefusedOver = "5"
	if !failed.HasSameInputs(tried, "5") || failed.HasSameInputs(tried, "6") {
		t.Error("a refused write has to wait as long as the Secret has the same version, and no longer")
	}
}

// TestNeedsPerson checks which failures show that only a person can help.
func TestNeedsPerson(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		because              string
		isOutage, isRestored bool
		want                 bool
	}{
		"a policy refuses the Secret":                   {v1alpha1.ReasonSecretWriteRefused, false, false, true},
		"a webhook can't be asked":                      {v1alpha1.ReasonSecretWriteRefused, true, false, false},
		"a status says that the API server has refused": {v1alpha1.ReasonSecretWriteRefused, false, true, false},
		"a status says that Pipedream has refused":      {v1alpha1.ReasonCredentialsRejected, false, true, true},
		"the API server does not answer":                {v1alpha1.ReasonClusterUnavailable, false, false, false},
	} {
		failed := failure(test.because)
		failed.IsOutage, failed.IsRestored = test.isOutage, test.isRestored
		if got := failed.NeedsPerson(); got != test.want {
			t.Errorf("%s: a person is needed: %v, want %v", name, got, test.want)
		}
	}
}

// TestReasonOfAnotherVersion checks that a restored reason without a row calls no person, waits
// briefly, and stays known by its name.
func TestReasonOfAnotherVersion(t *testing.T) {
	t.Parallel()
	failed := failure("MoonIsFull")
	if failed.Row.Reason != "MoonIsFull" || failed.IsStalled(now.Add(time.Hour)) || !failed.WaitsBriefly() {
		t.Errorf("the reason is %s, a person is called: %v", failed.Row.Reason, failed.IsStalled(now.Add(time.Hour)))
	}
	if wait := failed.Paced("shop/orders", time.Time{}, now).Sub(now); wait > 30*time.Second {
		t.Errorf("the next attempt is in %v", wait)
	}
}

// TestSinceInStatus checks what a status tells of the begin of a failure.
func TestSinceInStatus(t *testing.T) {
	t.Parallel()
	const grace = 2 * time.Minute
	ago := func(duration time.Duration) time.Time { return now.Add(-duration) }
	for name, test := range map[string]struct {
		grace             time.Duration
		failed, stalled   time.Time
		want, stallsAfter time.Time
	}{
		"a person is called at once":                {0, ago(time.Hour), time.Time{}, ago(time.Hour), ago(time.Hour)},
		"a person is called later, and was not yet": {grace, ago(time.Hour), time.Time{}, now, now.Add(grace)},
		"a person was called":                       {grace, ago(time.Hour), ago(time.Minute), ago(3 * time.Minute), ago(time.Minute)},
		"the clock was wrong when it failed":        {0, now.Add(time.Hour), time.Time{}, now, now},
		"the clock was wrong when a person was called": {
			grace, now.Add(time.Hour), now.Add(time.Hour), ago(grace), now,
		},
	} {
		stalls := row(v1alpha1.ReasonCredentialsMissing, reason.Missing)
		stalls.Stalls, stalls.Grace = true, test.grace
		got := attempt.SinceInStatus(stalls, test.failed, test.stalled, now)
		if !got.Equal(test.want) || !stalls.StallsAt(got).Equal(test.stallsAfter) {
			t.Errorf("%s: it fails since %s, and a person is called at %s", name, got, stalls.StallsAt(got))
		}
	}
}

func TestNoFailure(t *testing.T) {
	t.Parallel()
	var none *attempt.Failure
	if none.IsDeletion() || none.IsOver(now) || none.IsStalled(now) || none.IsStill(failure("MoonIsFull")) || none.IsRestoredWith(true) {
		t.Error("something is said of no failure")
	}
}
