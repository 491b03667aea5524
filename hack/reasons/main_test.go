// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/reason/token"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// read returns the content of a page in a folder.
func read(t *testing.T, folder, file string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(folder, file))
	harness.Must(t, err)
	return string(content)
}

// copyOfDocs returns a folder with a copy of all pages that have generated tables.
func copyOfDocs(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	harness.Must(t, os.Mkdir(filepath.Join(folder, "docs"), 0o750))
	for _, page := range pages() {
		harness.Must(t, os.WriteFile(filepath.Join(folder, page.file), []byte(read(t, harness.Root(), page.file)), 0o600))
	}
	return folder
}

func TestTheTablesInTheDocsAreUpToDate(t *testing.T) {
	t.Parallel()
	folder := copyOfDocs(t)
	harness.Must(t, run(folder))
	for _, page := range pages() {
		if diff := cmp.Diff(read(t, harness.Root(), page.file), read(t, folder, page.file)); diff != "" {
			t.Errorf("%s is stale; `make generate` brings it up to date (-is +should be):\n%s", page.file, diff)
		}
	}
}

func TestAStaleTableIsReplaced(t *testing.T) {
	t.Parallel()
	folder, page := copyOfDocs(t), pages()[0]
	before := read(t, folder, page.file)
	table := page.tables[0]
	harness.Must(t, os.WriteFile(filepath.Join(folder, page.file), []byte(strings.Replace(before, table.text, "| stale |\n", 1)), 0o600))
	harness.Must(t, run(folder))
	if diff := cmp.Diff(before, read(t, folder, page.file)); diff != "" {
		t.Errorf("the page has changed (-want +got):\n%s", diff)
	}
}

// TestBrokenComments checks that a missing or repeated comment is an error, which names the page and the comment.
func TestBrokenComments(t *testing.T) {
	t.Parallel()
	page := pages()[0]
	begin, end := page.tables[0].begin(), page.tables[0].end()
	for name, test := range map[string]struct {
		damage func(content string) string
		want   string
	}{
		"no beginning":       {func(content string) string { return strings.Replace(content, begin, "", 1) }, begin},
		"no end":             {func(content string) string { return strings.Replace(content, end, "", 1) }, end},
		"two endings":        {func(content string) string { return content + end }, end},
		"in the wrong order": {func(content string) string { return strings.NewReplacer(begin, end, end, begin).Replace(content) }, end},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := copyOfDocs(t)
			damaged := test.damage(read(t, folder, page.file))
			harness.Must(t, os.WriteFile(filepath.Join(folder, page.file), []byte(damaged), 0o600))
			err := run(folder)
			if err == nil || !strings.Contains(err.Error(), page.file) || !strings.HasSuffix(err.Error(), test.want) {
				t.Errorf("the error is %v, want one that names %s and %s", err, page.file, test.want)
			}
			if got := read(t, folder, page.file); got != damaged {
				t.Error("the page was written although it has an error")
			}
		})
	}
}

// TestEachCellFitsIntoATable checks that no text in a cell breaks the table.
func TestEachCellFitsIntoATable(t *testing.T) {
	t.Parallel()
	for _, row := range token.Rows {
		cells := []string{row.Short, row.Retry}
		for _, place := range row.Places {
			cells = append(cells, place.When)
		}
		for _, cell := range cells {
			if strings.ContainsAny(cell, "|\n") || strings.TrimSpace(cell) != cell || strings.HasSuffix(cell, ".") {
				t.Errorf("%s: this text would break the table: %q", row.Reason, cell)
			}
		}
	}
}
