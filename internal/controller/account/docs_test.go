// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// TestEachReasonIsTestedAndExplained looks for each reason in the tests of this package and in the docs.
func TestEachReasonIsTestedAndExplained(t *testing.T) {
	t.Parallel()
	lines := strings.Split(string(harness.MustRead(t, "docs", "troubleshooting.md")), "\n")
	files, err := filepath.Glob("*_test.go")
	must(t, err)
	var tests strings.Builder
	for _, file := range files {
		tests.Write(harness.MustRead(t, "internal", "controller", "account", file))
	}
	for _, row := range rows {
		if !strings.Contains(tests.String(), "v1alpha1.Reason"+row.Reason) {
			t.Errorf("no test of this package is about %s", row.Reason)
		}
		if !slices.Contains(lines, "### "+row.Reason) {
			t.Errorf("docs/troubleshooting.md has no section %s", row.Reason)
		}
	}
}
