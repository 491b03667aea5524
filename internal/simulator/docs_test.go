// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// docs returns docs/simulator.md, with the lines joined that a backslash continues.
func docs(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(harness.Root(), "docs", "simulator.md"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(content), "\\\n", " ")
}

// section returns the part of docs/simulator.md below a heading.
func section(t *testing.T, heading string) string {
	t.Helper()
	_, after, ok := strings.Cut(docs(t), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("docs/simulator.md has no heading %q", heading)
	}
	level, _, _ := strings.Cut(heading, " ")
	below, _, _ := strings.Cut(after, "\n"+level+" ")
	return below
}

// TestTheDocsShowEachControlCall compares the examples in docs/simulator.md with the calls that the simulator has.
func TestTheDocsShowEachControlCall(t *testing.T) {
	t.Parallel()
	var answer struct {
		Error string `json:"error"`
	}
	if err := json.Unmarshal([]byte(newWorld(t).control(t, http.MethodGet, "moon", "").body), &answer); err != nil {
		t.Fatal(err)
	}
	_, list, ok := strings.Cut(answer.Error, "there are: ")
	if !ok {
		t.Fatalf("the answer to an unknown call is %q", answer.Error)
	}
	calls := strings.Split(list, ", ")
	// An ID in an example is any word where a call has {id}.
	isOf := func(call, example string) bool {
		pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(call), `\{id\}`, "[a-z0-9_]+") + "$"
		return regexp.MustCompile(pattern).MatchString(example)
	}

	shown := map[string]bool{"POST /_sim/clients/{id}": true} // Beside the example with PUT it says "PUT or POST".
	example := regexp.MustCompile(`(?m)^curl .*?https?://127\.0\.0\.1:8099(/_sim/[^\s'?]*).*$`)
	method := regexp.MustCompile(` -X ([A-Z]+) `)
	for _, found := range example.FindAllStringSubmatch(docs(t), -1) {
		line, does := found[0], http.MethodGet
		if named := method.FindStringSubmatch(line); named != nil {
			does = named[1]
		} else if strings.Contains(line, " -d ") {
			does = http.MethodPost
		}
		i := slices.IndexFunc(calls, func(call string) bool { return isOf(call, does+" "+found[1]) })
		if i < 0 {
			t.Errorf("docs/simulator.md shows %s %s, and the simulator has no such call", does, found[1])
			continue
		}
		shown[calls[i]] = true
	}
	for _, call := range calls {
		if !shown[call] {
			t.Errorf("docs/simulator.md has no example of %s", call)
		}
	}
}

// TestTheDocsNameEachFieldOfAnAccount compares the table of the fields with the JSON of an account.
func TestTheDocsNameEachFieldOfAnAccount(t *testing.T) {
	t.Parallel()
	want := slices.Sorted(slices.Values(simulator.AccountFields()))
	if diff := cmp.Diff(want, firstColumn(section(t, "### Accounts"))); diff != "" {
		t.Errorf("fields in docs/simulator.md (-want +got):\n%s", diff)
	}
}

// TestTheDocsNameEachAnswerForAccounts compares the table of the answers with the simulator's.
func TestTheDocsNameEachAnswerForAccounts(t *testing.T) {
	t.Parallel()
	table := section(t, "### Answers for accounts")
	want := make([]string, 0, len(simulator.AnswerValues))
	for name, values := range simulator.AnswerValues {
		want = append(want, name)
		if name == "credentials-scope" {
			continue // Its values are the scopes.
		}
		for _, value := range values {
			if !strings.Contains(table, "`"+value+"`") {
				t.Errorf("docs/simulator.md does not name `%s` of `%s`", value, name)
			}
		}
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, firstColumn(table)); diff != "" {
		t.Errorf("answers in docs/simulator.md (-want +got):\n%s", diff)
	}
}

// firstColumn returns the names in the first column of a table, in alphabetical order.
func firstColumn(table string) (names []string) {
	row := regexp.MustCompile("(?m)^\\| (`[^|]*)\\|")
	name := regexp.MustCompile("`([^`]+)`")
	for _, cell := range row.FindAllStringSubmatch(table, -1) {
		column, _, _ := strings.Cut(cell[1], ":") // The explanation follows.
		for _, found := range name.FindAllStringSubmatch(column, -1) {
			names = append(names, found[1])
		}
	}
	slices.Sort(names)
	return names
}
