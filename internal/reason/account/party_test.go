// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"slices"
	"strings"
	"testing"

	"github.com/pipedream-operator/pipedream-operator/internal/reason"
)

// TestEachReasonHasAParty checks that each row has a party, and that the party is the one that the row's words name.
func TestEachReasonHasAParty(t *testing.T) {
	t.Parallel()
	for _, row := range Rows {
		var want []Party
		switch actor := row.Actor; {
		case strings.HasPrefix(actor, endUser):
			want = []Party{EndUser}
		case strings.HasPrefix(actor, author):
			want = []Party{ApplicationTeam}
		case strings.HasPrefix(actor, "whoever"), strings.HasPrefix(actor, workspaceAdmin), strings.HasPrefix(actor, reason.Administrator):
			want = []Party{PlatformTeam}
		case actor == seeFetched:
			want = []Party{SeeFetched}
		case row.Class == reason.NoFailure:
			want = []Party{Nobody}
		case strings.HasPrefix(actor, reason.Operator):
			want = []Party{Pipedream, PlatformTeam} // The words do not say who has caused the failure.
		}
		if got := PartyOf(row.Reason); !slices.Contains(want, got) {
			t.Errorf("the party of %s is %q. Its row says %q, so want one of %q", row.Reason, got, row.Actor, want)
		}
	}
	if len(parties) != len(Rows) {
		t.Errorf("%d reasons have a party, and %d reasons have a row", len(parties), len(Rows))
	}
}
