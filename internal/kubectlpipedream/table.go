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

// gone is shown in the column Ready for a deleted object.
const gone = "<deleted>"

// columns are the columns of status. Columns with priority 1 are shown with -o wide only.
var columns = []metav1.TableColumnDefinition{
	{Name: "Name", Type: "string", Format: "name"},
	{Name: "Ready", Type: "string"},
	{Name: "Last Attempt", Type: "string"},
	{Name: "Secret", Type: "string"},
	{Name: "Expires", Type: "string"},
	{Name: "Next Attempt", Type: "string"},
	{Name: "Age", Type: "string"},
	{Name: "Must Act", Type: "string"},
	{Name: "Health", Type: "string", Priority: 1},
	{Name: "Asks For", Type: "string", Priority: 1},
	{Name: "Message", Type: "string", Priority: 1},
}

// cellsOf returns the values in the columns.
func cellsOf(e entry, now time.Time) []any {
	return []any{
		e.shortName(),
		string(e.readiness(now)),
		orNone(e.lastAttempt().Reason),
		orNone(e.facts().secret.Name),
		expiryOf(e, now),
		nextAttemptOf(e, now),
		strings.TrimSuffix(ago(e.GetCreationTimestamp().Time, now), " ago"),
		whoOf(e.actor(now)),
		orNone(e.health().Reason),
		orNone(e.request()),
		orNone(e.explanation(now)),
	}
}

// whoOf returns the person that a text on who must act names, without what the person must look at.
func whoOf(actor string) string {
	if end := strings.IndexAny(actor, ",:;"); end > 0 {
		return actor[:end]
	}
	return orNone(actor)
}

// expiryOf returns the text for the time when the content of the Secret expires.
func expiryOf(e entry, now time.Time) string {
	if e.neverExpires() {
		return "never"
	}
	return fromNow(e.facts().expirationTime, now)
}

// nextAttemptOf returns the text for the time of the operator's next attempt.
func nextAttemptOf(e entry, now time.Time) string {
	at := e.nextAttempt(now)
	if at != nil && at.Time.Before(now) || e.lastAttempt().Reason == v1alpha1.ReasonQueued {
		return "due"
	}
	return fromNow(at, now)
}

// table returns the table of objects that status shows.
func table(entries []entry, now time.Time) *metav1.Table {
	shown := &metav1.Table{ColumnDefinitions: columns}
	for _, one := range entries {
		cells := cellsOf(one, now)
		for i := range cells {
			cells[i] = oneLine(fmt.Sprint(cells[i]))
		}
		shown.Rows = append(shown.Rows, metav1.TableRow{Cells: cells, Object: runtime.RawExtension{Object: one.object}})
	}
	return shown
}

// sortByExpiry puts objects whose Secret holds nothing first, then the objects that expire soonest, and last the
// objects that do not expire.
func sortByExpiry(entries []entry) {
	slices.SortStableFunc(entries, func(a, b entry) int {
		return cmp.Or(compareExpiry(a, b), cmp.Compare(a.key(), b.key()), cmp.Compare(a.kind.name, b.kind.name))
	})
}

func compareExpiry(a, b entry) int {
	switch {
	case a.neverExpires() && b.neverExpires():
		return 0
	case a.neverExpires():
		return 1
	case b.neverExpires():
		return -1
	}
	at := func(e entry) time.Time {
		if expires := e.facts().expirationTime; expires != nil {
			return expires.Time
		}
		return time.Time{} // The Secret holds nothing.
	}
	return at(a).Compare(at(b))
}
