//go:build upgrade

// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package upgrade_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// noon is when the objects of these tests are looked at.
var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func in(d time.Duration) *metav1.Time { return new(metav1.NewTime(noon.Add(d))) }

// seenAt returns an object as it was seen at a time before noon.
func seenAt(ago time.Duration, status v1alpha1.PipedreamTokenStatus, conditions ...metav1.Condition) *sight {
	status.Conditions = conditions
	return &sight{
		at: noon.Add(-ago), token: &v1alpha1.PipedreamToken{ObjectMeta: metav1.ObjectMeta{UID: "token"}, Status: status},
		secret: &corev1.Secret{ObjectMeta: metav1.ObjectMeta{UID: "secret"}},
	}
}

func condition(kind string, status metav1.ConditionStatus, reason string, since time.Duration) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, LastTransitionTime: *in(-since)}
}

func TestWhatIsDue(t *testing.T) {
	good := condition("Renewed", "True", "Issued", time.Hour)
	bad := condition("Renewed", "False", "CredentialsRejected", time.Hour)
	ready := condition("Ready", "True", "TokenValid", time.Hour)
	held := condition("Renewed", "False", "SecretTerminating", time.Minute)
	heldSince := func(ago time.Duration, status v1alpha1.PipedreamTokenStatus, conditions ...metav1.Condition) *sight {
		seen := seenAt(time.Hour, status, conditions...)
		seen.token.DeletionTimestamp = in(-ago)
		return seen
	}
	tests := map[string]struct {
		history []*sight
		want    bool
	}{
		"nothing":                            {[]*sight{seenAt(time.Hour, v1alpha1.PipedreamTokenStatus{RenewalTime: in(time.Minute), ExpirationTime: in(time.Hour)}, good, ready)}, false},
		"a renewal":                          {[]*sight{seenAt(time.Hour, v1alpha1.PipedreamTokenStatus{RenewalTime: in(-time.Minute)}, good)}, true},
		"another attempt":                    {[]*sight{seenAt(time.Hour, v1alpha1.PipedreamTokenStatus{NextAttemptTime: in(0)}, bad)}, true},
		"a later attempt":                    {[]*sight{seenAt(time.Hour, v1alpha1.PipedreamTokenStatus{NextAttemptTime: in(3 * time.Second)}, bad)}, false},
		"an attempt that waits for its turn": {[]*sight{seenAt(time.Hour, v1alpha1.PipedreamTokenStatus{}, bad)}, true},
		"no other attempt": {[]*sight{seenAt(time.Hour, v1alpha1.PipedreamTokenStatus{RenewalTime: in(-time.Minute)},
			condition("Renewed", "False", "TemplateInvalid", time.Hour))}, false},
		"the expiry":   {[]*sight{seenAt(time.Hour, v1alpha1.PipedreamTokenStatus{ExpirationTime: in(0)}, bad, ready)}, true},
		"a new object": {[]*sight{seenAt(time.Hour, v1alpha1.PipedreamTokenStatus{})}, true},
		"a call for a person": {[]*sight{seenAt(time.Hour, v1alpha1.PipedreamTokenStatus{},
			condition("Renewed", "False", "CredentialsMissing", 2*time.Minute))}, true},
		"a deletion that the status does not tell of": {[]*sight{heldSince(time.Minute, v1alpha1.PipedreamTokenStatus{}, good, ready)}, true},
		"a deletion that the status tells of":         {[]*sight{heldSince(time.Minute, v1alpha1.PipedreamTokenStatus{ExpirationTime: in(time.Hour)}, held, ready)}, false},
		"a deletion that calls for a person":          {[]*sight{heldSince(2*time.Minute, v1alpha1.PipedreamTokenStatus{}, held)}, true},
		"a deletion, and the expiry":                  {[]*sight{heldSince(time.Minute, v1alpha1.PipedreamTokenStatus{ExpirationTime: in(0)}, held, ready)}, true},
		"a deleted object":                            {[]*sight{{at: noon.Add(-time.Hour)}}, false},
		"what was due until a moment ago": {[]*sight{
			seenAt(time.Hour, v1alpha1.PipedreamTokenStatus{RenewalTime: in(-time.Minute)}, good),
			seenAt(3*time.Second, v1alpha1.PipedreamTokenStatus{RenewalTime: in(time.Hour)}, good),
		}, true},
		"what was due until a while ago": {[]*sight{
			seenAt(time.Hour, v1alpha1.PipedreamTokenStatus{RenewalTime: in(-time.Minute)}, good),
			seenAt(10*time.Second, v1alpha1.PipedreamTokenStatus{RenewalTime: in(time.Hour)}, good),
		}, false},
		"nothing, but the request itself makes it look so": {[]*sight{
			seenAt(time.Hour, v1alpha1.PipedreamTokenStatus{RenewalTime: in(time.Hour)}, good),
			seenAt(0, v1alpha1.PipedreamTokenStatus{}, condition("Renewed", "Unknown", "Queued", 0)),
		}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := isDue(test.history, noon); got != test.want {
				t.Errorf("isDue is %t, want %t", got, test.want)
			}
		})
	}
}

func TestWhatIsLost(t *testing.T) {
	bad, stalled := condition("Renewed", "False", "ScopeRejected", time.Hour), condition("Stalled", "True", "ScopeRejected", time.Hour)
	times := v1alpha1.PipedreamTokenStatus{IssueTime: in(0), RenewalTime: in(time.Hour)}
	tests := map[string]struct {
		before, after *sight
		want          string
	}{
		"nothing":             {seenAt(2, times, bad, stalled), seenAt(1, times, bad, stalled), ""},
		"a condition":         {seenAt(2, times, bad, condition("Verified", "True", "TokenAccepted", 0)), seenAt(1, times, bad), "the condition Verified is gone"},
		"Stalled":             {seenAt(2, times, bad, stalled), seenAt(1, times, bad), "the condition Stalled is gone, and Renewed still says ScopeRejected"},
		"Stalled, rightly":    {seenAt(2, times, bad, stalled), seenAt(1, times, condition("Renewed", "True", "Issued", 0)), ""},
		"since when":          {seenAt(2, times, bad), seenAt(1, times, condition("Renewed", "False", "ScopeRejected", 0)), "and before it was so since"},
		"a time":              {seenAt(2, times, bad), seenAt(1, v1alpha1.PipedreamTokenStatus{RenewalTime: in(time.Hour)}, bad), "issueTime went from"},
		"a time that is over": {seenAt(2, times, bad), seenAt(1, v1alpha1.PipedreamTokenStatus{IssueTime: in(time.Minute), RenewalTime: in(2 * time.Hour)}, bad), ""},
		"the generation": {
			seenAt(2, v1alpha1.PipedreamTokenStatus{ObservedGeneration: 2}), seenAt(1, v1alpha1.PipedreamTokenStatus{ObservedGeneration: 1}), "observedGeneration went from 2 to 1",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := lost(test.before, test.after); test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("it says %q, want %q", got, test.want)
			}
		})
	}
}

func TestPreviousCommitThatIsNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "previous")
	for _, content := range []string{"", "v1.2.3\n", "6d089a2\n", "main"} {
		harness.Must(t, os.WriteFile(path, []byte(content), 0o600))
		if commit, err := previousCommit(path); err == nil || !strings.Contains(err.Error(), "git rev-parse") {
			t.Errorf("with %q the commit is %q and the error %v, want one that says how to write it", content, commit, err)
		}
	}
	missing := strings.Repeat("0", 40)
	if err := extract(t, harness.Root(), missing, filepath.Join(t.TempDir(), "source")); err == nil || !strings.Contains(err.Error(), "git fetch --unshallow") {
		t.Errorf("for a commit that is not in this clone the error is %v, want one that says to fetch the history", err)
	}
}
