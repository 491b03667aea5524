// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token_test

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/reason"
	"github.com/pipedream-operator/pipedream-operator/internal/reason/token"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// constant is a constant of a Go file.
type constant struct{ name, value, comment string }

// constantsIn returns the constants of a Go file that have a value of text.
func constantsIn(t *testing.T, path ...string) []constant {
	t.Helper()
	file, err := parser.ParseFile(gotoken.NewFileSet(), filepath.Join(append([]string{harness.Root()}, path...)...), nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var found []constant
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		literal, ok := spec.Values[0].(*ast.BasicLit)
		if !ok || literal.Kind != gotoken.STRING {
			return true
		}
		value, err := strconv.Unquote(literal.Value)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, constant{spec.Names[0].Name, value, strings.Join(strings.Fields(spec.Doc.Text()), " ")})
		return true
	})
	return found
}

// constantsOfTheAPI returns the constants of conditions and reasons whose names begin so.
func constantsOfTheAPI(t *testing.T, prefix string) []constant {
	t.Helper()
	return slices.DeleteFunc(constantsIn(t, "api", "v1alpha1", "conditions.go"), func(one constant) bool {
		return !strings.HasPrefix(one.name, prefix)
	})
}

// TestEachReasonHasARow reads the reasons where they are declared.
func TestEachReasonHasARow(t *testing.T) {
	t.Parallel()
	declared := map[string]bool{}
	for _, one := range constantsOfTheAPI(t, "Reason") {
		declared[one.value] = true
		if _, err := token.Rows.Lookup(one.value); err != nil {
			t.Errorf("%s: %v", one.name, err)
		}
	}
	if len(declared) < 20 {
		t.Errorf("there are only %d reasons: %v", len(declared), declared)
	}
	seen := map[string]bool{}
	for _, row := range token.Rows {
		if !declared[row.Reason] {
			t.Errorf("the row %q has no constant in api/v1alpha1", row.Reason)
		}
		if seen[row.Reason] {
			t.Errorf("the reason %s has two rows", row.Reason)
		}
		seen[row.Reason] = true
	}
}

// reasonsFor is the part of a condition's comment that names its reasons.
var reasonsFor = regexp.MustCompile(`Reasons for (True|Unknown|False): ([A-Za-z, ]+)\.`)

// TestTheAPINamesTheReasonsOfEachCondition compares the comments of the conditions with
// the rows.
func TestTheAPINamesTheReasonsOfEachCondition(t *testing.T) {
	t.Parallel()
	named, rows := map[string][]string{}, map[string][]string{}
	for _, one := range constantsOfTheAPI(t, "Condition") {
		for _, match := range reasonsFor.FindAllStringSubmatch(one.comment, -1) {
			named[one.value+"="+match[1]] = strings.Split(match[2], ", ")
		}
	}
	for _, row := range token.Rows {
		for _, place := range row.Places {
			rows[place.String()] = append(rows[place.String()], row.Reason)
		}
	}
	for _, reasons := range []map[string][]string{named, rows} {
		for _, some := range reasons {
			slices.Sort(some)
		}
	}
	if diff := cmp.Diff(named, rows); diff != "" {
		t.Errorf("the reasons of each condition (-as its comment says +as the rows say):\n%s", diff)
	}
}

// TestTheAPINamesTheConditionsOfEachReason compares the comments of the reasons with the
// rows.
func TestTheAPINamesTheConditionsOfEachReason(t *testing.T) {
	t.Parallel()
	for _, one := range constantsOfTheAPI(t, "Reason") {
		row := token.Rows.Of(one.value)
		_, places, _ := strings.Cut(one.comment, "(")
		places, _, _ = strings.Cut(places, ")")
		for _, place := range row.Places {
			if !strings.Contains(places, place.String()) {
				t.Errorf("the comment of %s says (%s), without %s", one.name, places, place)
			}
		}
		if strings.Contains(places, "Stalled") != row.Stalls || strings.Contains(places, "Stalled after two minutes") != (row.Grace == 2*time.Minute) {
			t.Errorf("the comment of %s says (%s); it stalls: %v, after %s", one.name, places, row.Stalls, row.Grace)
		}
	}
}

// TestEachResultHasOneRow reads the results of requests to Pipedream where they are
// declared.
func TestEachResultHasOneRow(t *testing.T) {
	t.Parallel()
	counts := map[string]int{}
	for _, row := range token.Rows {
		counts["kind "+string(row.Kind)]++
		counts["verdict "+string(row.Verdict)]++
	}
	delete(counts, "kind ")
	delete(counts, "verdict ")
	want := map[string]int{}
	for file, prefix := range map[string]string{"error.go": "kind ", "verify.go": "verdict "} {
		for _, one := range constantsIn(t, "internal", "pipedream", file) {
			if ast.IsExported(one.name) {
				want[prefix+one.value] = 1
			}
		}
	}
	if len(want) < 11 {
		t.Errorf("there are only %d results: %v", len(want), want)
	}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("how many rows each result has (-want +got):\n%s", diff)
	}
}

// TestMechanics states for each failure how it is paced, and when a person is called.
func TestMechanics(t *testing.T) {
	t.Parallel()
	type mechanics struct {
		class reason.Class
		calls string
	}
	got := map[string]mechanics{}
	for _, row := range token.Rows {
		if row.Class == reason.NoFailure {
			continue
		}
		calls := "never"
		if row.Stalls {
			calls = row.Grace.String()
		}
		got[row.Reason] = mechanics{row.Class, calls}
	}
	want := map[string]mechanics{
		v1alpha1.ReasonCredentialsMissing:  {reason.Missing, "2m0s"},
		v1alpha1.ReasonCredentialsInvalid:  {reason.Refused, "0s"},
		v1alpha1.ReasonCredentialsRejected: {reason.Refused, "0s"},
		v1alpha1.ReasonScopeRejected:       {reason.Refused, "0s"},
		v1alpha1.ReasonScopeNotGranted:     {reason.Refused, "0s"},
		v1alpha1.ReasonRequestRejected:     {reason.Refused, "0s"},
		v1alpha1.ReasonSecretNotOwned:      {reason.Refused, "0s"},
		v1alpha1.ReasonSecretTerminating:   {reason.Missing, "2m0s"},
		v1alpha1.ReasonSecretWriteRefused:  {reason.Refused, "0s"},
		v1alpha1.ReasonTemplateInvalid:     {reason.Refused, "0s"},
		v1alpha1.ReasonRateLimited:         {reason.Paused, "never"},
		v1alpha1.ReasonEndpointUnavailable: {reason.Transient, "never"},
		v1alpha1.ReasonMalformedResponse:   {reason.Transient, "never"},
		v1alpha1.ReasonClusterUnavailable:  {reason.Transient, "never"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(mechanics{})); diff != "" {
		t.Errorf("the mechanics of failures (-want +got):\n%s", diff)
	}
}

// TestEachReasonHasPlainWords checks that no row has a gap.
func TestEachReasonHasPlainWords(t *testing.T) {
	t.Parallel()
	for _, row := range token.Rows {
		if row.Meaning == "" || row.Actor == "" || row.Short == "" || len(row.Places) == 0 {
			t.Errorf("the row of %s lacks plain words or a condition: %+v", row.Reason, row)
		}
		failed := reason.Place{Condition: v1alpha1.ConditionRenewed, Status: metav1.ConditionFalse}
		isFailure := row.Class != reason.NoFailure
		if slices.Contains(row.Places, failed) != isFailure {
			t.Errorf("%s is of class %s and appears in %v", row.Reason, row.Class, row.Places)
		}
		if isFailure != (row.Happened != "") || isFailure != (row.Advice != "") {
			t.Errorf("%s is of class %s and is explained as %q, %q", row.Reason, row.Class, row.Happened, row.Advice)
		}
		if isFailure && (row.Retry == "" || strings.HasSuffix(row.Happened, ".") || !strings.HasSuffix(row.Advice, ".")) {
			t.Errorf("the words of %s make no sentences: %+v", row.Reason, row.Words)
		}
		if !isFailure && row.Stalls || !row.Stalls && row.Grace != 0 {
			t.Errorf("%s calls a person for nothing: %+v", row.Reason, row.Mechanics)
		}
	}
}
