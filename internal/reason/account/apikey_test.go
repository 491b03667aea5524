// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/reason/account"
)

// ofClients are words that mean nothing to who has an API key.
var ofClients = []string{"client", "spec.projectID", "spec.environment", "spec.externalUserID", "--account-scopes"}

// TestTheWordsForAnAPIKey have no word about OAuth clients and projects in them, where an API key can be the cause. The
// mechanics are the same.
func TestTheWordsForAnAPIKey(t *testing.T) {
	t.Parallel()
	needsNoKey := map[string]bool{ // These can't happen with an API key, or say what to do instead of it.
		v1alpha1.ReasonScopeRejected: true, v1alpha1.ReasonScopeNotGranted: true, v1alpha1.ReasonAccountAmbiguous: true,
		v1alpha1.ReasonAccountNotExportable: true,
	}
	for _, row := range account.Rows {
		changed := account.ForAPIKey(row, false)
		if diff := cmp.Diff(row.Mechanics, changed.Mechanics); diff != "" {
			t.Errorf("the mechanics of %s (-client +key):\n%s", row.Reason, diff)
		}
		if (changed.Happened == "") != (row.Happened == "") || changed.Advice != "" && !strings.HasSuffix(changed.Advice, ".") || strings.HasSuffix(changed.Happened, ".") {
			t.Errorf("the words of %s make no sentences: %+v", row.Reason, changed.Words)
		}
		text := strings.Join([]string{changed.Happened, changed.Advice, changed.Meaning, changed.Actor}, " ")
		for _, word := range ofClients {
			if strings.Contains(text, word) && !needsNoKey[row.Reason] {
				t.Errorf("the words of %s have %q in them: %s", row.Reason, word, text)
			}
		}
	}
}

// TestTheWorkspaceIsNamedIfItIsSet is about a refusal that may have two causes.
func TestTheWorkspaceIsNamedIfItIsSet(t *testing.T) {
	t.Parallel()
	for _, row := range account.Rows {
		with, without := account.ForAPIKey(row, true), account.ForAPIKey(row, false)
		if isRejected := row.Reason == v1alpha1.ReasonCredentialsRejected; isRejected != (with.Advice != without.Advice) ||
			isRejected && !strings.Contains(with.Advice, "`spec.workspaceID`") {
			t.Errorf("the advice of %s is %q with a workspace, and %q without", row.Reason, with.Advice, without.Advice)
		}
	}
}
