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

// gone stands in place of Ready for an object that was deleted meanwhile.
const gone = "<deleted>"

// table is how status shows objects of a kind.
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

// sortByExpiry puts first what holds nothing that expires, then what expires soonest.
func sortByExpiry(entries []entry) {
	slices.SortStableFunc(entries, func(a, b entry) int {
		return cmp.Or(a.expiry().Compare(b.expiry()), cmp.Compare(a.key(), b.key()))
	})
}
