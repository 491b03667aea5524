// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command reasons writes the tables of reasons in docs/ from the rows in internal/reason. `make generate` runs it in the
// root of the repository. It prints only errors.
//
// In its page, a table stands between two comments with its name. The command replaces the text between the comments,
// and fails unless the page has each of them exactly once.
package main

import (
	"fmt"
	"os"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/reason"
	"github.com/pipedream-operator/pipedream-operator/internal/reason/account"
	"github.com/pipedream-operator/pipedream-operator/internal/reason/token"
)

func main() {
	if err := run("."); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "reasons: %v\n", err)
		os.Exit(1)
	}
}

// page is a page of the documentation with generated tables.
type page struct {
	file   string
	tables []table
}

// table is a generated table. name is its name in the comments around it.
type table struct{ name, text string }

// pages returns all pages with generated tables.
func pages() []page {
	return []page{
		{"docs/troubleshooting.md", []table{
			{"reasons of PipedreamToken", tableOfAll(token.Rows)},
			{"reasons of PipedreamAccount", tableOfAll(account.Rows)},
		}},
		{"docs/pipedreamaccount.md", []table{
			{"reasons of Ready", tableOf(account.Rows, v1alpha1.ConditionReady)},
			{"reasons of Fetched", tableOf(account.Rows, v1alpha1.ConditionFetched)},
			{"reasons of Healthy", tableOf(account.Rows, v1alpha1.ConditionHealthy)},
		}},
		{"docs/who-must-act.md", tablesOfParties()},
		{"docs/pipedreamtoken.md", []table{
			{"reasons of Ready", tableOf(token.Rows, v1alpha1.ConditionReady)},
			{"reasons of Renewed", tableOf(token.Rows, v1alpha1.ConditionRenewed)},
			{"reasons of Verified", tableOf(token.Rows, v1alpha1.ConditionVerified)},
		}},
	}
}

// run updates the tables of all pages in a folder.
func run(folder string) error {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	for _, page := range pages() {
		if err := page.update(root); err != nil {
			return fmt.Errorf("%s: %w", page.file, err)
		}
	}
	return nil
}

// update updates the tables of a page. It writes the page only if the content changes.
func (p page) update(root *os.Root) error {
	before, err := root.ReadFile(p.file)
	if err != nil {
		return err
	}
	after := string(before)
	for _, table := range p.tables {
		if after, err = table.replaceIn(after); err != nil {
			return err
		}
	}
	if after == string(before) {
		return nil
	}
	return root.WriteFile(p.file, []byte(after), 0o600)
}

// begin returns the comment before a table.
func (t table) begin() string {
	return "<!-- begin: " + t.name + ", written by `make generate` from internal/reason -->"
}

// end returns the comment after a table.
func (t table) end() string { return "<!-- end: " + t.name + " -->" }

// replaceIn returns the content of a page, with the table written between its two comments.
func (t table) replaceIn(content string) (string, error) {
	for _, comment := range []string{t.begin(), t.end()} {
		if count := strings.Count(content, comment); count != 1 {
			return "", fmt.Errorf("the page must have this comment once, and has it %d times: %s", count, comment)
		}
	}
	before, rest, _ := strings.Cut(content, t.begin())
	_, after, isInOrder := strings.Cut(rest, t.end())
	if !isInOrder {
		return "", fmt.Errorf("this comment must come after the one that begins the table: %s", t.end())
	}
	return before + t.begin() + "\n\n" + t.text + "\n" + t.end() + after, nil
}

// tableOfAll returns the table of all reasons of a kind.
func tableOfAll(rows reason.Table) string {
	var text strings.Builder
	writeLine(&text, "reason", "condition", "in short", "tried again")
	writeLine(&text, "---", "---", "---", "---")
	for _, row := range rows {
		writeLine(&text, linked(row, ""), conditionsOf(row), row.Short, row.Retry)
	}
	return text.String()
}

// tableOf returns the table of the reasons of one condition, sorted by status.
func tableOf(rows reason.Table, condition string) string {
	var text strings.Builder
	writeLine(&text, "status", "reason", "when")
	writeLine(&text, "---", "---", "---")
	for _, status := range []metav1.ConditionStatus{metav1.ConditionTrue, metav1.ConditionUnknown, metav1.ConditionFalse} {
		for _, row := range rows {
			for _, place := range row.Places {
				if place.Condition == condition && place.Status == status {
					writeLine(&text, string(status), linked(row, "troubleshooting.md"), whenOf(row, place))
				}
			}
		}
	}
	return text.String()
}

// tablesOfParties returns a table for each party, with the reasons of PipedreamAccounts that it acts on first.
func tablesOfParties() []table {
	var tables []table
	for _, party := range []account.Party{account.EndUser, account.ApplicationTeam, account.PlatformTeam, account.Pipedream, account.SeeFetched, account.Nobody} {
		var text strings.Builder
		writeLine(&text, "reason", "condition", "what it means", "who must act")
		writeLine(&text, "---", "---", "---", "---")
		for _, row := range account.Rows {
			if account.PartyOf(row.Reason) == party {
				writeLine(&text, linked(row, "troubleshooting.md"), conditionsOf(row), row.Meaning, row.Actor)
			}
		}
		tables = append(tables, table{"reasons for " + string(party), text.String()})
	}
	return tables
}

// whenOf describes when a condition has a reason.
func whenOf(row reason.Row, place reason.Place) string {
	if place.When == "" {
		return row.Short
	}
	return place.When
}

// linked returns the reason, with a link to its section in a page.
func linked(row reason.Row, page string) string {
	return "[`" + row.Reason + "`](" + page + "#" + strings.ToLower(row.Reason) + ")"
}

// conditionsOf returns the conditions in which a reason appears, including Stalled.
func conditionsOf(row reason.Row) string {
	var places []string
	for _, place := range row.Places {
		places = append(places, place.String())
	}
	conditions := strings.Join(places, ", ")
	switch {
	case !row.Stalls:
		return conditions
	case row.Grace == 0:
		return conditions + ", Stalled"
	}
	return fmt.Sprintf("%s; after %g minutes also Stalled", conditions, row.Grace.Minutes())
}

// writeLine writes a line of a table in Markdown.
func writeLine(text *strings.Builder, cells ...string) {
	for _, cell := range cells {
		text.WriteString(strings.TrimSuffix("| "+cell, " ") + " ")
	}
	text.WriteString("|\n")
}
