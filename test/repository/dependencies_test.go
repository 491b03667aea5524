// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package repository_test

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// goList returns the lines that `go list` prints, each once.
func goList(t *testing.T, arguments ...string) map[string]bool {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", append([]string{"list"}, arguments...)...)
	command.Dir = harness.Root()
	output, err := command.Output()
	harness.Must(t, err)
	lines := map[string]bool{}
	for line := range strings.Lines(string(output)) {
		lines[strings.TrimSpace(line)] = true
	}
	delete(lines, "")
	return lines
}

// TestTheDocsExplainEachDependency compares the table in docs/development.md with go.mod, and with the modules whose code is in
// the programs of a release.
func TestTheDocsExplainEachDependency(t *testing.T) {
	t.Parallel()
	direct := goList(t, "-m", "-f", "{{if not (or .Main .Indirect)}}{{.Path}}{{end}}", "all")
	compiled := goList(t, "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./cmd/...")
	want := map[string]string{}
	for module := range direct {
		want[module] = "tests only"
		if compiled[module] {
			want[module] = "the programs"
		}
	}
	got := map[string]string{}
	_, table, _ := strings.Cut(read(t, "docs/development.md"), "\n## Dependencies\n")
	table, _, _ = strings.Cut(table, "\n## ")
	for _, match := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]+) \\| ([^|]+) \\|$").FindAllStringSubmatch(table, -1) {
		if _, ok := got[match[1]]; ok {
			t.Errorf("the table names %s twice", match[1])
		}
		got[match[1]] = match[2]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the direct dependencies, and whether their code is in the programs (-go.mod +docs/development.md):\n%s", diff)
	}
}
