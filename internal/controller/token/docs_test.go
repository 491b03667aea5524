// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/attempt"
	reasons "github.com/pipedream-operator/pipedream-operator/internal/reason/token"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// parseGo parses the Go files that match a pattern.
func parseGo(t *testing.T, pattern string) []*ast.File {
	t.Helper()
	names, err := filepath.Glob(pattern)
	must(t, err)
	var files []*ast.File
	for _, name := range names {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		must(t, err)
		files = append(files, file)
	}
	return files
}

// reasonsOfTheAPI returns the reasons by the names of their constants.
func reasonsOfTheAPI(t *testing.T) map[string]string {
	t.Helper()
	reasons := map[string]string{}
	for _, file := range parseGo(t, filepath.Join(harness.Root(), "api", "v1alpha1", "conditions.go")) {
		ast.Inspect(file, func(node ast.Node) bool {
			if spec, ok := node.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "Reason") {
				value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
				must(t, err)
				reasons[spec.Names[0].Name] = value
			}
			return true
		})
	}
	if len(reasons) < 10 {
		t.Fatalf("there are only %d reasons: %v", len(reasons), reasons)
	}
	return reasons
}

// reasonsInTests returns the constants of reasons that the tests beside this one
// name.
func reasonsInTests(t *testing.T) map[string]bool {
	t.Helper()
	named := map[string]bool{}
	for _, file := range parseGo(t, "*_test.go") {
		ast.Inspect(file, func(node ast.Node) bool {
			if selector, ok := node.(*ast.SelectorExpr); ok {
				named[selector.Sel.Name] = true
			}
			return true
		})
	}
	return named
}

func TestEachReasonIsTestedAndExplained(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(harness.Root(), "docs", "troubleshooting.md"))
	must(t, err)
	lines := strings.Split(string(page), "\n")
	tested := reasonsInTests(t)
	for name, reason := range reasonsOfTheAPI(t) {
		if !tested[name] {
			t.Errorf("no test of this package is about %s", name)
		}
		if !hasLine(lines, "| [`"+reason+"`](#"+strings.ToLower(reason)+") |") {
			t.Errorf("the table of docs/troubleshooting.md has no row that leads to %s", reason)
		}
		if !hasLine(lines, "### "+reason) {
			t.Errorf("docs/troubleshooting.md has no section %s", reason)
		}
	}
}

func hasLine(lines []string, begin string) bool {
	for _, line := range lines {
		if line == begin || strings.HasSuffix(begin, "|") && strings.HasPrefix(line, begin) {
			return true
		}
	}
	return false
}

// TestAReasonOfAnotherVersionIsNotExplainedAsAnOutage checks the message about a failure
// that is known from a status which another version of the operator has written.
func TestAReasonOfAnotherVersionIsNotExplainedAsAnOutage(t *testing.T) {
	t.Parallel()
	failed := &attempt.Failure{Row: reasons.Rows.Of("MoonIsFull"), Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	const want = "The last attempt failed for the reason `MoonIsFull`, which this version of the operator does not know, since 2026-01-02T03:04:05Z. "
	if got := explainFailure(failed, &v1alpha1.PipedreamTokenStatus{}); !strings.HasPrefix(got, want) {
		t.Errorf("the message is\n%s\nwant it to begin with\n%s", got, want)
	}
	if failed.IsStalled(failed.Since.Add(time.Hour)) {
		t.Error("a person is called for a reason that this version does not know")
	}
}
