// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"os"
	"path/filepath"
	"testing"
)

// Must ends the test if err is not nil.
func Must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// MustRead returns the content of a file. Its path is relative to the root of this repository, unless the first
// element begins with a slash.
func MustRead(tb testing.TB, elements ...string) []byte {
	tb.Helper()
	path := filepath.Join(elements...)
	if !filepath.IsAbs(path) {
		path = filepath.Join(Root(), path)
	}
	content, err := os.ReadFile(path) //nolint:gosec // A test chooses the path.
	Must(tb, err)
	return content
}

// MustWrite writes a file into a folder that the test removes at its end, and returns the path of the file. Only
// the current user can read it.
func MustWrite(tb testing.TB, name string, content []byte) (path string) {
	tb.Helper()
	path = filepath.Join(tb.TempDir(), name)
	Must(tb, os.WriteFile(path, content, 0o600))
	return path
}
