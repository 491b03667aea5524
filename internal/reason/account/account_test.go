// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account_test

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/reason"
	"github.com/pipedream-operator/pipedream-operator/internal/reason/account"
	"github.com/pipedream-operator/pipedream-operator/internal/reason/token"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// declared returns the values of the constants in a Go file whose names have a prefix, and the comment of
// each, by the values.
func declared(t *testing.T, prefix string, path ...string) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(gotoken.NewFileSet(), filepath.Join(append([]string{harness.Root()}, path...)...), nil, parser.ParseComments)
	harness.Must(t, err)
	found := map[string]string{}
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, prefix) {
			return true
		}
		if literal, ok := spec.Values[0].(*ast.BasicLit); ok && literal.Kind == gotoken.STRING {
			value, err := strconv.Unquote(literal.Value)
			harness.Must(t, err)
			found[value] = strings.Join(strings.Fields(spec.Doc.Text()), " ")
		}
		return true
	})
	return found
}

func ownReasons(t *testing.T) map[string]string {
	t.Helper()
	own := declared(t, "Reason", "api", "v1alpha1", "conditions_account.go")
	if len(own) < 15 {
		t.Fatalf("there are only %d reasons: %v", len(own), own)
	}
	return own
}

// TestEachReasonHasARow reads the reasons where they are declared. A reason that PipedreamTokens have, too,
// means the same there.
func TestEachReasonHasARow(t *testing.T) {
	t.Parallel()
	own, shared := ownReasons(t), declared(t, "Reason", "api", "v1alpha1", "conditions.go")
	for because := range own {
		if _, err := account.Rows.Lookup(because); err != nil {
			t.Error(err)
		}
	}
	seen := map[string]bool{}
	for _, row := range account.Rows {
		_, isOwn := own[row.Reason]
		_, isShared := shared[row.Reason]
		if isOwn == isShared {
			t.Errorf("the row %q has a constant of its own: %v, and a shared one: %v", row.Reason, isOwn, isShared)
		}
		if isShared {
			if diff := cmp.Diff(token.Rows.Of(row.Reason).Mechanics, row.Mechanics); diff != "" {
				t.Errorf("the mechanics of %s (-of PipedreamTokens +here):\n%s", row.Reason, diff)
			}
		}
		if seen[row.Reason] {
			t.Errorf("the reason %s has two rows", row.Reason)
		}
		seen[row.Reason] = true
	}
}

// TestTheAPINamesTheConditionsOfEachReason compares the comments of the reasons with the rows.
func TestTheAPINamesTheConditionsOfEachReason(t *testing.T) {
	t.Parallel()
	for because, comment := range ownReasons(t) {
		row := account.Rows.Of(because)
		_, places, _ := strings.Cut(comment, "(")
		places, _, _ = strings.Cut(places, ")")
		var named []string
		for _, part := range strings.FieldsFunc(places, func(r rune) bool { return strings.ContainsRune(",; ", r) }) {
			if strings.Contains(part, "=") {
				named = append(named, part)
			}
		}
		var want []string
		for _, place := range row.Places {
			want = append(want, place.String())
		}
		slices.Sort(named)
		slices.Sort(want)
		if diff := cmp.Diff(want, named); diff != "" {
			t.Errorf("the conditions of %s (-as its row says +as its comment says):\n%s", because, diff)
		}
		if strings.Contains(places, "Stalled") != row.Stalls || strings.Contains(places, "Stalled after two minutes") != (row.Grace == 2*time.Minute) {
			t.Errorf("the comment of %s says (%s); it stalls: %v, after %s", because, places, row.Stalls, row.Grace)
		}
	}
}

// TestEachFailureHasOneRow reads the failures where they are declared. TokenRejected is none: it shows as
// AccessDenied.
func TestEachFailureHasOneRow(t *testing.T) {
	t.Parallel()
	counts, want := map[string]int{}, map[string]int{}
	for _, row := range account.Rows {
		if row.Kind != "" {
			counts[string(row.Kind)]++
		}
	}
	for _, file := range []string{"error.go", "account.go"} {
		path := filepath.Join(harness.Root(), "internal", "pipedream", file)
		parsed, err := parser.ParseFile(gotoken.NewFileSet(), path, nil, 0)
		harness.Must(t, err)
		ast.Inspect(parsed, func(node ast.Node) bool {
			spec, ok := node.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Kind" {
				value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
				harness.Must(t, err)
				want[value] = 1
			}
			return true
		})
	}
	delete(want, string(pipedream.TokenRejected))
	if len(want) < 14 {
		t.Errorf("there are only %d failures: %v", len(want), want)
	}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("how many rows each failure has (-want +got):\n%s", diff)
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
	for _, row := range account.Rows {
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
		v1alpha1.ReasonAccountDead:          {reason.Refused, "0s"},
		v1alpha1.ReasonAccountNotFound:      {reason.Refused, "2m0s"},
		v1alpha1.ReasonAccountNotExportable: {reason.Refused, "2m0s"},
		v1alpha1.ReasonAccountAmbiguous:     {reason.Refused, "0s"},
		v1alpha1.ReasonAccountMismatch:      {reason.Refused, "0s"},
		v1alpha1.ReasonCredentialsStale:     {reason.Transient, "never"},
		v1alpha1.ReasonAccessDenied:         {reason.Refused, "0s"},
		v1alpha1.ReasonCredentialsMissing:   {reason.Missing, "2m0s"},
		v1alpha1.ReasonCredentialsInvalid:   {reason.Refused, "0s"},
		v1alpha1.ReasonCredentialsRejected:  {reason.Refused, "0s"},
		v1alpha1.ReasonScopeRejected:        {reason.Refused, "0s"},
		v1alpha1.ReasonScopeNotGranted:      {reason.Refused, "0s"},
		v1alpha1.ReasonRequestRejected:      {reason.Refused, "0s"},
		v1alpha1.ReasonSecretNotOwned:       {reason.Refused, "0s"},
		v1alpha1.ReasonSecretTerminating:    {reason.Missing, "2m0s"},
		v1alpha1.ReasonSecretWriteRefused:   {reason.Refused, "0s"},
		v1alpha1.ReasonTemplateInvalid:      {reason.Refused, "0s"},
		v1alpha1.ReasonRateLimited:          {reason.Paused, "never"},
		v1alpha1.ReasonTokenRateLimited:     {reason.Paused, "never"},
		v1alpha1.ReasonEndpointUnavailable:  {reason.Transient, "never"},
		v1alpha1.ReasonMalformedResponse:    {reason.Transient, "never"},
		v1alpha1.ReasonClusterUnavailable:   {reason.Transient, "never"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(mechanics{})); diff != "" {
		t.Errorf("the mechanics of failures (-want +got):\n%s", diff)
	}
}

// TestEachReasonHasPlainWords checks that no row has a gap.
func TestEachReasonHasPlainWords(t *testing.T) {
	t.Parallel()
	for _, row := range account.Rows {
		if row.Meaning == "" || row.Actor == "" || row.Short == "" || len(row.Places) == 0 {
			t.Errorf("the row of %s lacks plain words or a condition: %+v", row.Reason, row)
		}
		failed := reason.Place{Condition: v1alpha1.ConditionFetched, Status: metav1.ConditionFalse}
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
