// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/refresh"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

// layout lists what is recorded on the Secret of a PipedreamAccount.
var layout = ownedsecret.Layout{
	v1alpha1.OwnerAnnotation,
	v1alpha1.FetchedAtAnnotation,
	v1alpha1.ExpiresAtAnnotation,
	v1alpha1.NextRefreshAtAnnotation,
	v1alpha1.AccountAnnotation,
	v1alpha1.AppAnnotation,
	v1alpha1.RequestAnnotation,
	v1alpha1.RenderingAnnotation,
	v1alpha1.RenewRequestAnnotation,
	v1alpha1.LabelsAnnotation,
	v1alpha1.AnnotationsAnnotation,
}

// timeTolerance is by how much the expiry and the next refresh of two answers may differ and still
// count as the same: they are counted from the Date of each answer, in whole seconds.
const timeTolerance = 2 * time.Second

// record is what is recorded of the credentials in a Secret.
type record struct {
	refresh.Record
	// account and app say whose credentials they are; app is empty if Pipedream did not say.
	account, app string
}

// parseRecord reads the record of a Secret from its annotations. It returns nil if they are not as
// the operator writes them.
func parseRecord(annotations map[string]string) *record {
	fetched, isFetched := ownedsecret.ParseTime(annotations[v1alpha1.FetchedAtAnnotation])
	expires, isExpiring := parseOptionalTime(annotations[v1alpha1.ExpiresAtAnnotation])
	next, isNext := parseOptionalTime(annotations[v1alpha1.NextRefreshAtAnnotation])
	account, app := annotations[v1alpha1.AccountAnnotation], annotations[v1alpha1.AppAnnotation]
	if !isFetched || !isExpiring || !isNext || !pipedream.IsAccountID(account) || app != "" && !pipedream.IsAppSlug(app) {
		return nil
	}
	return &record{
		Record: refresh.Record{
			FetchTime:       fetched,
			ExpirationTime:  expires,
			NextRefreshTime: next,
			Request:         annotations[v1alpha1.RequestAnnotation],
			Rendering:       annotations[v1alpha1.RenderingAnnotation],
			RenewRequest:    annotations[v1alpha1.RenewRequestAnnotation],
		},
		account: account,
		app:     app,
	}
}

// parseOptionalTime reads a time of the record that may be empty, which gives the zero time.
func parseOptionalTime(text string) (time.Time, bool) {
	if text == "" {
		return time.Time{}, true
	}
	return ownedsecret.ParseTime(text)
}

// annotations returns the record as annotations.
func (r record) annotations() map[string]string {
	return map[string]string{
		v1alpha1.FetchedAtAnnotation:     r.FetchTime.UTC().Format(time.RFC3339),
		v1alpha1.ExpiresAtAnnotation:     formatOptionalTime(r.ExpirationTime),
		v1alpha1.NextRefreshAtAnnotation: formatOptionalTime(r.NextRefreshTime),
		v1alpha1.AccountAnnotation:       r.account,
		v1alpha1.AppAnnotation:           r.app,
		v1alpha1.RequestAnnotation:       r.Request,
		v1alpha1.RenderingAnnotation:     r.Rendering,
		v1alpha1.RenewRequestAnnotation:  r.RenewRequest,
	}
}

func formatOptionalTime(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339)
}

// recordOf returns the record of an account that was fetched for what is desired.
func recordOf(fetched pipedream.Account, desired refresh.Desired) record {
	return record{
		Record: refresh.Record{
			FetchTime:       fetched.FetchTime,
			ExpirationTime:  fetched.ExpirationTime,
			NextRefreshTime: fetched.NextRefreshTime,
			Request:         desired.Request,
			Rendering:       desired.Rendering,
			RenewRequest:    desired.RenewRequest,
		},
		account: fetched.ID,
		app:     fetched.App,
	}
}

// settledBy returns the record with the times of an earlier record where the two differ only by what
// two answers may differ by, and with a refresh time that the schedule can follow. The fetch time is always the one of
// the earlier record. So a record of the same credentials is the same text.
func (r record) settledBy(earlier record, desired refresh.Desired, now time.Time) record {
	r.FetchTime = earlier.FetchTime
	if isNearlySame(r.ExpirationTime, earlier.ExpirationTime) {
		r.ExpirationTime = earlier.ExpirationTime
	}
	r.NextRefreshTime = refresh.SettledRefreshTime(desired, earlier.Record, r.NextRefreshTime, now)
	if isNearlySame(r.NextRefreshTime, earlier.NextRefreshTime) {
		r.NextRefreshTime = earlier.NextRefreshTime
	}
	return r
}

// isOlderThan reports whether the record is of an answer that was given before the one of another record; nil is
// never older. A record from far ahead is from a clock that was wrong, and says nothing. Of two answers in one
// second, the credentials that expire first are older.
func (r record) isOlderThan(other *record, now time.Time) bool {
	switch {
	case other == nil, other.FetchTime.Sub(now) > retry.MaxClockSkew:
		return false
	case r.FetchTime.Equal(other.FetchTime):
		return !r.ExpirationTime.IsZero() && r.ExpirationTime.Before(other.ExpirationTime)
	}
	return r.FetchTime.Before(other.FetchTime)
}

func isNearlySame(a, b time.Time) bool {
	return a.IsZero() == b.IsZero() && a.Sub(b).Abs() <= timeTolerance
}

// listsOf returns the recorded lists of labels and annotations.
func listsOf(annotations map[string]string) map[string]string {
	lists := map[string]string{}
	for _, key := range []string{v1alpha1.LabelsAnnotation, v1alpha1.AnnotationsAnnotation} {
		lists[key] = annotations[key]
	}
	return lists
}

// renderingOf returns a digest of how the spec asks for the credentials to be written. Labels and
// annotations belong to it, because the operator keeps no credentials with which it could write the
// Secret again.
func renderingOf(owner *v1alpha1.PipedreamAccount) string {
	parts := []string{owner.TargetType()}
	for _, texts := range []map[string]string{plain(owner.Spec.Secret.Data), plain(owner.Spec.Secret.Labels), plain(owner.Spec.Secret.Annotations)} {
		parts = append(parts, "")
		for _, key := range slices.Sorted(maps.Keys(texts)) {
			parts = append(parts, key, texts[key])
		}
	}
	if owner.Spec.AccountID != "" {
		// The app of an account that is named by its ID is compared at a look only.
		parts = append(parts, "", owner.Spec.App)
	}
	return ownedsecret.KeyedDigest("rendering", parts...)
}

// plain returns a map of named strings as one of strings.
func plain[V ~string](named map[string]V) map[string]string {
	texts := make(map[string]string, len(named))
	for key, value := range named {
		texts[key] = string(value)
	}
	return texts
}

// timestamp returns a time in the whole seconds of a status; nil for zero.
func timestamp(at time.Time) *metav1.Time {
	if at.IsZero() {
		return nil
	}
	return new(metav1.NewTime(at.UTC().Truncate(time.Second)))
}

func show(at *metav1.Time) string { return at.UTC().Format(time.RFC3339) }
