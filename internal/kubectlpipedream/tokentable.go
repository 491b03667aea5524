// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"cmp"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// tokenColumns are the columns of PipedreamTokens.
var tokenColumns = []metav1.TableColumnDefinition{
	{Name: "Name", Type: "string", Format: "name"},
	{Name: "Ready", Type: "string"},
	{Name: "Renewed", Type: "string"},
	{Name: "Secret", Type: "string"},
	{Name: "Expires", Type: "string"},
	{Name: "Renews", Type: "string"},
	{Name: "Age", Type: "string"},
	{Name: "Verified", Type: "string", Priority: 1},
	{Name: "Scopes", Type: "string", Priority: 1},
	{Name: "Message", Type: "string", Priority: 1},
}

// tokenCells returns the values in tokenColumns.
func tokenCells(token *v1alpha1.PipedreamToken, now time.Time) []any {
	return []any{
		token.Name,
		string(readiness(token, now)),
		orNone(condition(token, v1alpha1.ConditionRenewed).Reason),
		orNone(token.Status.Secret.Name),
		fromNow(token.Status.ExpirationTime, now),
		nextAttempt(token, now),
		ageOf(token, now),
		orNone(condition(token, v1alpha1.ConditionVerified).Reason),
		cmp.Or(strings.Join(token.Spec.Scopes, " "), "*"),
		orNone(explanation(token, now)),
	}
}

// nextAttempt returns the text for the time of the operator's next token request. After a failure, that time
// is before the planned renewal.
func nextAttempt(token *v1alpha1.PipedreamToken, now time.Time) string {
	at := cmp.Or(token.Status.NextAttemptTime, token.Status.RenewalTime)
	if at != nil && at.Time.Before(now) {
		return "due"
	}
	return fromNow(at, now)
}

func ageOf(token *v1alpha1.PipedreamToken, now time.Time) string {
	return strings.TrimSuffix(ago(token.CreationTimestamp.Time, now), " ago")
}
