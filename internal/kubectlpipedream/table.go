// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// gone is shown in the column Ready for a deleted object.
const gone = "<deleted>"

// table returns the table of objects that status shows.
func table(k *kind, entries []entry, now time.Time) *metav1.Table {
	shown := &metav1.Table{ColumnDefinitions: k.columns}
	for _, one := range entries {
		cells := one.cells(now)
		for i := range cells {
			cells[i] = oneLine(fmt.Sprint(cells[i]))
		}
		shown.Rows = append(shown.Rows, metav1.TableRow{Cells: cells, Object: runtime.RawExtension{Object: one.object}})
	}
	return shown
}

// sortByExpiry puts objects without an expiry first, and then the objects that expire soonest.
func sortByExpiry(entries []entry) {
	slices.SortStableFunc(entries, func(a, b entry) int {
		return cmp.Or(a.expiry().Compare(b.expiry()), cmp.Compare(a.key(), b.key()))
	})
}
