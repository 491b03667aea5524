// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package reason_test

import (
	"strings"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/reason"
)

var table = reason.Table{
	{Mechanics: reason.CredentialsMissing, Words: reason.Words{Happened: "It broke ({detail})", Advice: "Mend it."}},
	{Mechanics: reason.CredentialsRejected, Words: reason.Words{Happened: "It is refused"}},
	{Mechanics: reason.Mechanics{Reason: "TokenAccepted", Class: reason.NoFailure, Verdict: pipedream.Accepted}},
}

func TestLookup(t *testing.T) {
	t.Parallel()
	row, err := table.Lookup("CredentialsRejected")
	if err != nil || row.Happened != "It is refused" {
		t.Errorf("got %+v, %v", row, err)
	}
	if _, err := table.Lookup("MoonIsFull"); err == nil || !strings.Contains(err.Error(), "MoonIsFull") {
		t.Errorf("a reason without a row: the error is %v", err)
	}
}

// TestUnknownReason checks that nothing is made up about a reason that another version
// of the operator has left in a status.
func TestUnknownReason(t *testing.T) {
	t.Parallel()
	row := table.Of("MoonIsFull")
	if happened, advice := row.Explain("any"); !strings.Contains(happened, "MoonIsFull") ||
		!strings.Contains(happened, "does not know") || !strings.Contains(advice, "version") {
		t.Errorf("it is explained as %q, %q", happened, advice)
	}
	if row.Meaning == "" || row.Actor == "" {
		t.Errorf("there are no words for it: %+v", row)
	}
	if row.Class.NeedsPerson() || row.Class == reason.Transient || !row.StallsAt(time.Unix(1, 0)).IsZero() {
		t.Errorf("it is taken for a failure that this version knows: %+v", row)
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	for what, want := range map[string]string{
		"no key":       "It broke (no key)",
		"":             "It broke",
		"{detail} %s!": "It broke ({detail} %s!)",
	} {
		if happened, advice := table.Of("CredentialsMissing").Explain(what); happened != want || advice != "Mend it." {
			t.Errorf("%q is explained as %q, %q", what, happened, advice)
		}
	}
	if happened, _ := table.Of("CredentialsRejected").Explain("unused"); happened != "It is refused" {
		t.Errorf("a text without a place for the detail became %q", happened)
	}
}

func TestStallsAt(t *testing.T) {
	t.Parallel()
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, test := range map[string]struct {
		mechanics reason.Mechanics
		want      time.Time
	}{
		"at once":     {reason.Mechanics{Stalls: true}, since},
		"after grace": {reason.Mechanics{Stalls: true, Grace: time.Minute}, since.Add(time.Minute)},
		"never":       {reason.Mechanics{}, time.Time{}},
	} {
		if got := test.mechanics.StallsAt(since); !got.Equal(test.want) {
			t.Errorf("%s: it stalls at %v, want %v", name, got, test.want)
		}
	}
}

func TestRowsOfResults(t *testing.T) {
	t.Parallel()
	if row, ok := table.OfKind(pipedream.CredentialsRejected); !ok || row.Reason != "CredentialsRejected" {
		t.Errorf("the row of a refusal is %+v, %v", row, ok)
	}
	if row, ok := table.OfVerdict(pipedream.Accepted); !ok || row.Reason != "TokenAccepted" {
		t.Errorf("the row of a verdict is %+v, %v", row, ok)
	}
	if row, ok := table.OfKind(pipedream.Malformed); ok {
		t.Errorf("a kind without a row has %+v", row)
	}
	if row, ok := table.OfVerdict(pipedream.Refused); ok {
		t.Errorf("a verdict without a row has %+v", row)
	}
	if _, ok := table.OfKind(""); ok {
		t.Error("no kind at all has a row")
	}
	if _, ok := table.OfVerdict(""); ok {
		t.Error("no verdict at all has a row")
	}
}
