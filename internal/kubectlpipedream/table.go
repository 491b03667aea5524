// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// gone stands in place of Ready for a PipedreamToken that was deleted meanwhile.
const gone = "<deleted>"

// columns are those of status. Those of priority 1 are shown with -o wide only.
var columns = []metav1.TableColumnDefinition{
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

// table is how status shows PipedreamTokens.
func table(entries []entry, now time.Time) *metav1.Table {
	shown := &metav1.Table{ColumnDefinitions: columns}
	for _, one := range entries {
		shown.Rows = append(shown.Rows, row(one, now))
	}
	return shown
}

func row(one entry, now time.Time) metav1.TableRow {
	token := one.token
	cells := []any{
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
	for i := range cells {
		cells[i] = oneLine(fmt.Sprint(cells[i]))
	}
	return metav1.TableRow{Cells: cells, Object: runtime.RawExtension{Object: one.object}}
}

// nextAttempt shows when the operator asks for a token again: after a failure sooner
// than it is due.
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

// sortByExpiry puts first what holds no token, then what expires soonest.
func sortByExpiry(entries []entry) {
	slices.SortStableFunc(entries, func(a, b entry) int {
		return cmp.Or(expiryOf(a).Compare(expiryOf(b)), cmp.Compare(a.key(), b.key()))
	})
}

// expiryOf is the zero time where no token is held.
func expiryOf(one entry) time.Time {
	if expires := one.token.Status.ExpirationTime; expires != nil {
		return expires.Time
	}
	return time.Time{}
}
