// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package ownedsecret

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestDescribeDeletion(t *testing.T) {
	t.Parallel()
	const deleted = "Secret `orders` is being deleted"
	long := "example.com/" + strings.Repeat("x", 250)
	for name, test := range map[string]struct {
		finalizers []string
		want       string
	}{
		"no finalizer":                    {nil, deleted},
		"one":                             {[]string{"example.com/kept"}, deleted + ", and is held by its finalizer `example.com/kept`"},
		"two":                             {[]string{"foregroundDeletion", "b.io/c_d"}, deleted + ", and is held by its finalizers `foregroundDeletion`, `b.io/c_d`"},
		"many":                            {[]string{"a/1", "a/2", "a/3", "a/4", "a/5"}, deleted + ", and is held by its finalizers `a/1`, `a/2`, `a/3` and 2 more"},
		"one that no message can hold":    {[]string{long}, deleted + ", and is held by 1 finalizer"},
		"some that no message can show":   {[]string{"a`b", "line\nfeed", "\x1b[31m"}, deleted + ", and is held by 3 finalizers"},
		"one to show and one not to show": {[]string{"<b>", "a/1"}, deleted + ", and is held by its finalizers `a/1` and 1 more"},
	} {
		object := &metav1.ObjectMeta{Name: "orders", Finalizers: test.finalizers}
		if got := DescribeDeletion("Secret", object); got != test.want {
			t.Errorf("%s: it says %q, want %q", name, got, test.want)
		}
	}
}
