// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"cmp"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/reason"
	reasons "github.com/pipedream-operator/pipedream-operator/internal/reason/account"
	"github.com/pipedream-operator/pipedream-operator/internal/refresh"
)

// accountSubject is a PipedreamAccount.
type accountSubject struct{ *v1alpha1.PipedreamAccount }

var _ subject = accountSubject{}

func (a accountSubject) facts() facts {
	status := a.Status
	return facts{
		isSuspended: a.Spec.Suspend, conditions: status.Conditions, observedGeneration: status.ObservedGeneration, secret: status.Secret,
		contentTime: status.FetchTime, expirationTime: status.ExpirationTime, status: status,
	}
}

// nextAttempt returns when the operator looks at the account again, as far as the status tells. Under BeforeExpiry the
// status does not say when Pipedream refreshes the credentials; the Secret does, see plannedLook.
func (a accountSubject) nextAttempt(now time.Time) *metav1.Time {
	if next := a.Status.NextAttemptTime; next != nil {
		return next
	}
	if a.Status.FetchTime == nil {
		return nil
	}
	record := refresh.Record{FetchTime: a.Status.FetchTime.Time}
	if expires := a.Status.ExpirationTime; expires != nil {
		record.ExpirationTime = expires.Time
	}
	if refreshes := a.Status.NextRefreshTime; refreshes != nil {
		record.NextRefreshTime = refreshes.Time
	}
	return a.plannedLook(record, now)
}

// plannedLook returns when the operator looks at the account again by its schedule, for the credentials with a
// record; nil if it does not. Credentials that have expired are due since then.
func (a accountSubject) plannedLook(record refresh.Record, now time.Time) *metav1.Time {
	switch expires := record.ExpirationTime; {
	case a.Spec.Suspend, ownedsecret.IsTerminating(a):
		return nil
	case !expires.IsZero() && expires.Before(now):
		return new(metav1.NewTime(expires))
	}
	desired := refresh.Desired{
		Policy:   refresh.Policy(a.TargetFetchPolicy()),
		Interval: time.Duration(a.Spec.FetchIntervalSeconds) * time.Second,
	}
	return new(metav1.NewTime(refresh.NextLook(desired, record, now)))
}

func (a accountSubject) row(because string) reason.Row {
	if a.UsesAPIKey() {
		return reasons.ForAPIKey(reasons.Rows.Of(because), a.Spec.WorkspaceID != "")
	}
	return reasons.Rows.Of(because)
}

// request returns the app and the account. It does not name the end user.
func (a accountSubject) request() string {
	app := cmp.Or(a.Spec.App, a.Status.Account.App)
	id := cmp.Or(a.Spec.AccountID, a.Status.Account.ID)
	switch {
	case app == "":
		return id
	case id == "":
		return app
	}
	return app + " " + id
}

// isNewSince compares the version of the Secret: a fetch that brings the same credentials does not change the
// time of the fetch, and still records the request on the Secret.
func (a accountSubject) isNewSince(earlier subject) bool {
	return a.Status.Secret.ResourceVersion != earlier.facts().secret.ResourceVersion
}
