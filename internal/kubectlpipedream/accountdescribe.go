// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/refresh"
)

// describe writes what inspect shows of a PipedreamAccount only. It names neither the end user nor a value of the
// credentials.
func (a accountSubject) describe(v *view, target targetSecret) {
	record := target.record()
	a.summarize(v, record)
	if !v.secret(target) {
		return
	}
	annotations := target.secret.Annotations
	v.field("Account", annotations[v1alpha1.AccountAnnotation])
	v.field("App", cmp.Or(annotations[v1alpha1.AppAnnotation], "Pipedream's answer did not say"))
	v.field("Refresh", describeRefresh(v, record))
	v.forRequest(target)
	v.section("Keys of the Secret, and how long their values are (a value is never shown)")
	for _, key := range slices.Sorted(maps.Keys(target.secret.Data)) {
		v.heading("  %s: %s", key, countOf(len(target.secret.Data[key]), "byte"))
	}
}

func (a accountSubject) summarize(v *view, record *refresh.Record) {
	status := a.Status
	v.field("Works", v.works())
	v.field("Fetched", moment(status.FetchTime, v.now))
	if v.neverExpires() {
		v.field("Expires", "never")
	} else {
		v.field("Expires", moment(status.ExpirationTime, v.now))
	}
	next := a.nextAttempt(v.now)
	if status.NextAttemptTime == nil && record != nil {
		next = a.plannedLook(*record, v.now)
	}
	v.field("Next fetch", v.due(next))
	v.field("Fetch policy", string(a.TargetFetchPolicy()))
	v.field("Account", a.asked())
	if reference := a.Spec.APIKeyRef; a.UsesAPIKey() {
		v.field("Workspace", cmp.Or(a.Spec.WorkspaceID, "none is named"))
		v.field("API key", fmt.Sprintf("Secret %s, key %s (not looked at)", reference.Name, cmp.Or(reference.Key, v1alpha1.DefaultAPIKeyKey)))
	} else {
		v.field("Project", fmt.Sprintf("%s, %s", orNone(a.Spec.ProjectID), a.TargetEnvironment()))
		v.credentials(a.Spec.ClientSecretRef)
	}
	v.note("asks Pipedream for nothing, and does not write the Secret", "its credentials are not fetched again")
}

// asked says which account the spec asks for. The ID of an end user may be personal, and is not shown.
func (a accountSubject) asked() string {
	switch {
	case a.Spec.AccountID == "":
		return "the one of app " + a.Spec.App + " of the end user that spec.externalUserID names"
	case a.Spec.App != "":
		return a.Spec.AccountID + ", which must be of app " + a.Spec.App
	}
	return a.Spec.AccountID
}

// describeRefresh says when Pipedream refreshes the credentials, by its own word.
func describeRefresh(v *view, record *refresh.Record) string {
	if record == nil || record.NextRefreshTime.IsZero() {
		return "Pipedream's answer did not say when"
	}
	return moment(new(metav1.NewTime(record.NextRefreshTime)), v.now)
}

// record returns the record on the Secret of an account; nil if there is none that can be read.
func (t targetSecret) record() *refresh.Record {
	if t.secret == nil || t.problem != "" {
		return nil
	}
	annotations := t.secret.Annotations
	fetched, isFetched := ownedsecret.ParseTime(annotations[v1alpha1.FetchedAtAnnotation])
	if !isFetched {
		return nil
	}
	record := &refresh.Record{FetchTime: fetched}
	record.ExpirationTime, _ = ownedsecret.ParseTime(annotations[v1alpha1.ExpiresAtAnnotation])
	record.NextRefreshTime, _ = ownedsecret.ParseTime(annotations[v1alpha1.NextRefreshAtAnnotation])
	return record
}

// countOf returns a number of things, such as "1 byte" or "2 bytes".
func countOf(number int, thing string) string {
	if number == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", number, thing)
}
