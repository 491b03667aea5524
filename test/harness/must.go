// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"os"
	"path/filepath"
	"testing"
)

// Must ends the test if err is not nil.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// MustRead returns the content of a file. The elements of its path begin at the root of
// this repository, unless the first one begins with a slash.
func MustRead(t testing.TB, elements ...string) []byte {
	t.Helper()
	path := filepath.Join(elements...)
	if !filepath.IsAbs(path) {
		path = filepath.Join(Root(), path)
	}
	content, err := os.ReadFile(path) //nolint:gosec // A test chooses it.
	Must(t, err)
	return content
}

// MustWrite writes a new file into a folder that the test removes at its end, and returns
// the path of the file. Only this user can read it.
func MustWrite(t testing.TB, name string, content []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	Must(t, os.WriteFile(path, content, 0o600))
	return path
}
