// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package renewal_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

var (
	now     = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	issued  = now.Add(-10 * time.Minute)
	expires = now.Add(50 * time.Minute)
	later   = now.Add(3 * time.Minute)
)

// inputs are the inputs of a decision.
type inputs struct {
	desired renewal.Desired
	facts   renewal.Facts
}

// nothingDue returns inputs for which there is nothing to do: the Secret holds the desired token, which has five
// sixths of its lifetime left.
func nothingDue() *inputs {
	return &inputs{
		desired: renewal.Desired{Identity: "shop/orders", Scopes: "a b", API: "https://api.pipedream.com", RenewRequest: "1"},
		facts: renewal.Facts{
			Target: renewal.Owned,
			Record: &renewal.Record{
				IssueTime: issued, ExpirationTime: expires,
				Scopes: "a b", API: "https://api.pipedream.com", RenewRequest: "1",
			},
			Check:          renewal.Good,
			HasCredentials: true,
			LastIssue:      issued,
			LastVerified:   issued,
		},
	}
}

func (s *inputs) decide() renewal.Decision { return renewal.Decide(s.desired, s.facts, now) }

// dues are the changes that make a new token due, and the reason that Decide gives for each. They are in the order of
// precedence.
var dues = []struct {
	why  renewal.Why
	make func(*inputs)
}{
	{renewal.Missing, func(s *inputs) { s.facts.Target, s.facts.Record = renewal.Absent, nil }},
	{renewal.SecretEdited, func(s *inputs) { s.facts.Check = renewal.Edited }},
	{renewal.Expired, func(s *inputs) { s.facts.Record.ExpirationTime = now }},
	{renewal.Revoked, func(s *inputs) { s.facts.Refused = true }},
	{renewal.Due, func(s *inputs) { s.facts.Record.IssueTime = now.Add(-3 * time.Hour) }},
	{renewal.FromFuture, func(s *inputs) {
		s.facts.Record.IssueTime, s.facts.Record.ExpirationTime = now.Add(6*time.Minute), now.Add(time.Hour)
	}},
	{renewal.Outdated, func(s *inputs) { s.desired.Scopes = "a b c" }},
	{renewal.Requested, func(s *inputs) { s.desired.RenewRequest = "2" }},
	{renewal.NewCredentials, func(s *inputs) { s.facts.Check = renewal.InputsChanged }},
	{renewal.OtherTemplates, func(s *inputs) { s.facts.Check = renewal.TemplatesChanged }},
}

func TestDecideWhenNothingIsDue(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		given func(*inputs)
		want  renewal.Decision
	}{
		"nothing has changed": {
			given: func(*inputs) {},
			want:  renewal.Decision{Action: renewal.Keep},
		},
		"the Secret is foreign": {
			given: func(s *inputs) { s.facts.Target, s.facts.Record = renewal.Foreign, nil },
			want:  renewal.Decision{Action: renewal.Blocked, Why: renewal.NotOwned},
		},
		"the Secret is foreign, and a token is pending": {
			given: func(s *inputs) { s.facts.Target, s.facts.HasPending = renewal.Foreign, true },
			want:  renewal.Decision{Action: renewal.Blocked, Why: renewal.NotOwned},
		},
		"the Secret is foreign, and there are no credentials": {
			given: func(s *inputs) { s.facts.Target, s.facts.HasCredentials = renewal.Foreign, false },
			want:  renewal.Decision{Action: renewal.Blocked, Why: renewal.NotOwned},
		},
		"the inputs have changed since the last check": {
			given: func(s *inputs) { s.facts.Check = renewal.Unchecked },
			want:  renewal.Decision{Action: renewal.Read},
		},
		"the inputs have changed, and the credentials are gone": {
			given: func(s *inputs) { s.facts.Check, s.facts.HasCredentials = renewal.Unchecked, false },
			want:  renewal.Decision{Action: renewal.Read},
		},
		"the inputs have changed, and verification is due": {
			given: func(s *inputs) { s.facts.Check, s.desired.VerifyEvery = renewal.Unchecked, time.Minute },
			want:  renewal.Decision{Action: renewal.Read},
		},
		"verification is due": {
			given: func(s *inputs) { s.desired.VerifyEvery = time.Minute },
			want:  renewal.Decision{Action: renewal.Verify},
		},
		"verification is due, and the Secret has drifted": {
			given: func(s *inputs) { s.desired.VerifyEvery, s.facts.Check = time.Minute, renewal.Drifted },
			want:  renewal.Decision{Action: renewal.Verify},
		},
		"verification is due, and the drifted Secret can't be written yet": {
			given: func(s *inputs) {
				s.desired.VerifyEvery, s.facts.Check, s.facts.RewriteNotBefore = time.Minute, renewal.Drifted, later
			},
			want: renewal.Decision{Action: renewal.Verify},
		},
		"verification is due, and the last attempt to renew has failed": {
			given: func(s *inputs) { s.desired.VerifyEvery, s.facts.NotBefore = time.Minute, later },
			want:  renewal.Decision{Action: renewal.Verify},
		},
		"an older token was put back, and is still valid": {
			given: func(s *inputs) { s.facts.Superseded = true },
			want:  renewal.Decision{Action: renewal.Keep},
		},
		"an older token was put back, and has expired": {
			given: func(s *inputs) { s.facts.Superseded, s.facts.Record.ExpirationTime = true, now },
			want:  renewal.Decision{Action: renewal.Issue, Why: renewal.SecretEdited},
		},
		"verification is due while a renewal waits": {
			given: func(s *inputs) {
				s.desired.VerifyEvery, s.desired.RenewRequest, s.facts.NotBefore = time.Minute, "2", later
			},
			want: renewal.Decision{Action: renewal.Verify},
		},
		"verification is due while there are no credentials to renew with": {
			given: func(s *inputs) {
				s.desired.VerifyEvery, s.desired.RenewRequest, s.facts.HasCredentials = time.Minute, "2", false
			},
			want: renewal.Decision{Action: renewal.Verify},
		},
		"the token is refused, no newer token can be issued, and it is time to verify the token again": {
			given: func(s *inputs) {
				s.desired.VerifyEvery, s.facts.Refused, s.facts.NotBefore = time.Minute, true, later
				s.facts.LastVerified, s.facts.VerifyAt = now.Add(-10*time.Second), now
			},
			want: renewal.Decision{Action: renewal.Verify},
		},
		"the token is refused, there are no credentials, and it is time to verify the token again": {
			given: func(s *inputs) {
				s.desired.VerifyEvery, s.facts.Refused, s.facts.HasCredentials = day, true, false
				s.facts.LastVerified, s.facts.VerifyAt = now.Add(-10*time.Second), now
			},
			want: renewal.Decision{Action: renewal.Verify},
		},
		"the token is refused, and it is not yet time to verify the token again": {
			given: func(s *inputs) {
				s.desired.VerifyEvery, s.facts.Refused, s.facts.NotBefore = time.Minute, true, later
				s.facts.VerifyAt = now.Add(1)
			},
			want: renewal.Decision{Action: renewal.Wait, Why: renewal.Revoked, Until: later},
		},
		"the token is refused, and a newer token can be issued": {
			given: func(s *inputs) {
				s.desired.VerifyEvery, s.facts.Refused, s.facts.VerifyAt = time.Minute, true, now
			},
			want: renewal.Decision{Action: renewal.Issue, Why: renewal.Revoked},
		},
		"the token is refused, and the time to verify it again was set by a clock that was an hour ahead": {
			given: func(s *inputs) {
				s.desired.VerifyEvery, s.facts.Refused, s.facts.NotBefore = time.Minute, true, later
				s.facts.VerifyAt = now.Add(time.Hour)
			},
			want: renewal.Decision{Action: renewal.Verify},
		},
		"verification is due, and the token is a few seconds old": {
			given: func(s *inputs) {
				s.desired.VerifyEvery = 10 * time.Second
				s.facts.LastVerified, s.facts.Record.IssueTime = now.Add(-time.Minute), now.Add(-9*time.Second)
			},
			want: renewal.Decision{Action: renewal.Keep},
		},
		"verification is due, and the token is ten seconds old": {
			given: func(s *inputs) {
				s.desired.VerifyEvery = 10 * time.Second
				s.facts.LastVerified, s.facts.Record.IssueTime = now.Add(-time.Minute), now.Add(-10*time.Second)
			},
			want: renewal.Decision{Action: renewal.Verify},
		},
		"the token has replaced a refused token, and must be verified at once": {
			given: func(s *inputs) {
				s.desired.VerifyEvery, s.facts.VerifyAt = day, now
				s.facts.LastVerified, s.facts.Record.IssueTime = now, now
			},
			want: renewal.Decision{Action: renewal.Verify},
		},
		"the spec has changed since the last verification, and the token is a few seconds old": {
			given: func(s *inputs) {
				s.desired.VerifyEvery, s.facts.VerifyNow = day, true
				s.facts.LastVerified, s.facts.Record.IssueTime = now, now.Add(-time.Second)
			},
			want: renewal.Decision{Action: renewal.Keep},
		},
		"verification is suspended, and would be due without the suspension": {
			given: func(s *inputs) {
				s.desired.VerifyEvery, s.facts.VerificationSuspended, s.facts.LastVerified = time.Minute, true, now.Add(-2*time.Minute)
			},
			want: renewal.Decision{Action: renewal.Keep},
		},
		"verification has been suspended for an hour": {
			given: func(s *inputs) {
				s.desired.VerifyEvery, s.facts.VerificationSuspended, s.facts.LastVerified = time.Minute, true, now.Add(-time.Hour)
			},
			want: renewal.Decision{Action: renewal.Verify},
		},
		"the target is about to be removed": {
			given: func(s *inputs) { s.facts.Target, s.facts.CollectedBy = renewal.Terminating, later },
			want:  renewal.Decision{Action: renewal.Wait, Why: renewal.Missing, Until: later},
		},
		"verification is due, and has to wait for its turn": {
			given: func(s *inputs) { s.desired.VerifyEvery, s.facts.VerificationQueued = time.Minute, true },
			want:  renewal.Decision{Action: renewal.Keep},
		},
		"the token must be verified now, although it was verified a moment ago": {
			given: func(s *inputs) {
				s.desired.VerifyEvery, s.facts.LastVerified, s.facts.VerifyNow = time.Minute, now, true
			},
			want: renewal.Decision{Action: renewal.Verify},
		},
		"the token must be verified now, and has to wait for its turn": {
			given: func(s *inputs) {
				s.desired.VerifyEvery, s.facts.VerifyNow, s.facts.VerificationQueued = time.Minute, true, true
			},
			want: renewal.Decision{Action: renewal.Keep},
		},
		"the token must be verified now, and verification is off": {
			given: func(s *inputs) { s.facts.VerifyNow = true },
			want:  renewal.Decision{Action: renewal.Keep},
		},
		"the token can't be verified": {
			given: func(s *inputs) { s.desired.VerifyEvery, s.facts.CannotVerify = time.Minute, true },
			want:  renewal.Decision{Action: renewal.Keep},
		},
		"the Secret has drifted": {
			given: func(s *inputs) { s.facts.Check = renewal.Drifted },
			want:  renewal.Decision{Action: renewal.Rewrite},
		},
		"the Secret has drifted, and the credentials are gone": {
			given: func(s *inputs) { s.facts.Check, s.facts.HasCredentials = renewal.Drifted, false },
			want:  renewal.Decision{Action: renewal.Rewrite},
		},
		"the Secret has drifted, and the API server refused the write a moment ago": {
			given: func(s *inputs) { s.facts.Check, s.facts.RewriteNotBefore = renewal.Drifted, later },
			want:  renewal.Decision{Action: renewal.Wait, Until: later},
		},
		"a user has edited the Secret": {
			given: func(s *inputs) { s.facts.Check, s.facts.DriftedAgain = renewal.Drifted, true },
			want:  renewal.Decision{Action: renewal.Rewrite},
		},
		"a user has edited the Secret for the second time": {
			given: func(s *inputs) {
				s.facts.Check, s.facts.DriftedAgain, s.facts.Rewrites.Count, s.facts.Rewrites.Last = renewal.Drifted, true, 1, now.Add(-time.Second)
			},
			want: renewal.Decision{Action: renewal.Wait, Until: now.Add(9 * time.Second)},
		},
		"a user has edited the Secret before, and now the spec has changed": {
			given: func(s *inputs) {
				s.facts.Check, s.facts.Rewrites.Count, s.facts.Rewrites.Last = renewal.Drifted, 1, now.Add(-time.Second)
			},
			want: renewal.Decision{Action: renewal.Rewrite},
		},
		"a user has edited the Secret again, and the wait after a refused write is longer": {
			given: func(s *inputs) {
				s.facts.Check, s.facts.DriftedAgain, s.facts.Rewrites.Count, s.facts.Rewrites.Last = renewal.Drifted, true, 1, now.Add(-time.Second)
				s.facts.RewriteNotBefore = later
			},
			want: renewal.Decision{Action: renewal.Wait, Until: later},
		},
		"the Secret has drifted, and the last attempt to renew has failed": {
			given: func(s *inputs) { s.facts.Check, s.facts.NotBefore = renewal.Drifted, later },
			want:  renewal.Decision{Action: renewal.Rewrite},
		},
		"a user has edited the Secret, and tokens were requested a moment ago": {
			given: func(s *inputs) {
				s.facts.Check, s.facts.DriftedAgain, s.facts.Triggered.Count, s.facts.Triggered.Last = renewal.Drifted, true, 5, now
			},
			want: renewal.Decision{Action: renewal.Rewrite},
		},
		"a user has edited the Secret again, and the credentials are gone": {
			given: func(s *inputs) {
				s.facts.Check, s.facts.DriftedAgain, s.facts.Rewrites.Count, s.facts.Rewrites.Last = renewal.Drifted, true, 1, now
				s.facts.HasCredentials = false
			},
			want: renewal.Decision{Action: renewal.Blocked, Why: renewal.NoCredentials},
		},
		"the target is of another type": {
			given: func(s *inputs) { s.facts.Check, s.facts.OtherType = renewal.Drifted, true },
			want:  renewal.Decision{Action: renewal.Blocked, Why: renewal.OtherType},
		},
		"the templates fail for every token": {
			given: func(s *inputs) { s.facts.Check, s.facts.TemplateInvalid = renewal.Drifted, true },
			want:  renewal.Decision{Action: renewal.Blocked, Why: renewal.BadTemplate},
		},
		"the templates fail for every token, and nothing was read yet": {
			given: func(s *inputs) { s.facts.Check, s.facts.TemplateInvalid = renewal.Unchecked, true },
			want:  renewal.Decision{Action: renewal.Read},
		},
		"the templates fail for every token, and verification is due": {
			given: func(s *inputs) { s.desired.VerifyEvery, s.facts.TemplateInvalid = time.Minute, true },
			want:  renewal.Decision{Action: renewal.Verify},
		},
		"the credentials are gone": {
			given: func(s *inputs) { s.facts.HasCredentials = false },
			want:  renewal.Decision{Action: renewal.Blocked, Why: renewal.NoCredentials},
		},
		"an old failure whose wait is not over": {
			given: func(s *inputs) { s.facts.NotBefore = later },
			want:  renewal.Decision{Action: renewal.Keep},
		},
		"a token was issued by a clock that is five minutes ahead": {
			given: func(s *inputs) { s.facts.Record.IssueTime = now.Add(5 * time.Minute) },
			want:  renewal.Decision{Action: renewal.Keep},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := nothingDue()
			test.given(s)
			if diff := cmp.Diff(test.want, s.decide()); diff != "" {
				t.Errorf("Decide (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecideWhatToDoAboutADueToken(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		given func(*inputs)
		want  renewal.Decision
	}{
		"it is issued": {
			given: func(*inputs) {},
			want:  renewal.Decision{Action: renewal.Issue},
		},
		"it is issued without a check": {
			given: func(s *inputs) {
				if s.facts.Check == renewal.Good {
					s.facts.Check = renewal.Unchecked
				}
			},
			want: renewal.Decision{Action: renewal.Issue},
		},
		"it was issued, and is pending": {
			given: func(s *inputs) { s.facts.HasPending = true },
			want:  renewal.Decision{Action: renewal.Write},
		},
		"it was issued, and is pending, and the credentials are gone": {
			given: func(s *inputs) { s.facts.HasPending, s.facts.HasCredentials = true, false },
			want:  renewal.Decision{Action: renewal.Write},
		},
		"it was issued a moment ago, and is pending": {
			given: func(s *inputs) { s.facts.HasPending, s.facts.LastIssue = true, now },
			want:  renewal.Decision{Action: renewal.Write},
		},
		"it was issued, and the API server refused the write a moment ago": {
			given: func(s *inputs) { s.facts.HasPending, s.facts.NotBefore = true, later },
			want:  renewal.Decision{Action: renewal.Wait, Until: later},
		},
		"it was issued, the API server refused the write, and the credentials are gone": {
			given: func(s *inputs) {
				s.facts.HasPending, s.facts.NotBefore, s.facts.HasCredentials = true, later, false
			},
			want: renewal.Decision{Action: renewal.Wait, Until: later},
		},
		"there are no credentials": {
			given: func(s *inputs) { s.facts.HasCredentials = false },
			want:  renewal.Decision{Action: renewal.Blocked, Why: renewal.NoCredentials},
		},
		"the templates fail for every token": {
			given: func(s *inputs) { s.facts.TemplateInvalid, s.facts.HasCredentials = true, false },
			want:  renewal.Decision{Action: renewal.Blocked, Why: renewal.BadTemplate},
		},
		"the templates fail, and a token is pending": {
			given: func(s *inputs) { s.facts.TemplateInvalid, s.facts.HasPending = true, true },
			want:  renewal.Decision{Action: renewal.Blocked, Why: renewal.BadTemplate},
		},
		"the target is of another type": {
			given: func(s *inputs) { s.facts.OtherType = true },
			want:  renewal.Decision{Action: renewal.Blocked, Why: renewal.OtherType},
		},
		"there are no credentials, and the wait after a failure is not over": {
			given: func(s *inputs) { s.facts.HasCredentials, s.facts.NotBefore = false, later },
			want:  renewal.Decision{Action: renewal.Blocked, Why: renewal.NoCredentials},
		},
		"the last attempt has failed": {
			given: func(s *inputs) { s.facts.NotBefore = later },
			want:  renewal.Decision{Action: renewal.Wait, Until: later},
		},
		"the wait after a failure is over": {
			given: func(s *inputs) { s.facts.NotBefore = now },
			want:  renewal.Decision{Action: renewal.Issue},
		},
		"the last token is nine seconds old": {
			given: func(s *inputs) { s.facts.LastIssue = now.Add(-9 * time.Second) },
			want:  renewal.Decision{Action: renewal.Wait, Until: now.Add(time.Second)},
		},
		"the last token is ten seconds old": {
			given: func(s *inputs) { s.facts.LastIssue = now.Add(-10 * time.Second) },
			want:  renewal.Decision{Action: renewal.Issue},
		},
		"the last token was issued by a clock that was set back since": {
			given: func(s *inputs) { s.facts.LastIssue = now.Add(time.Hour) },
			want:  renewal.Decision{Action: renewal.Issue},
		},
		"the last trigger was seen on a clock that was set back since": {
			given: func(s *inputs) { s.facts.Triggered.Count, s.facts.Triggered.Last = 1, now.Add(time.Hour) },
			want:  renewal.Decision{Action: renewal.Issue},
		},
		"the last attempt has failed, and the wait is the longest": {
			given: func(s *inputs) { s.facts.NotBefore = now.Add(15 * time.Minute) },
			want:  renewal.Decision{Action: renewal.Wait, Until: now.Add(15 * time.Minute)},
		},
		"the last attempt has failed on a clock that was set back since": {
			given: func(s *inputs) { s.facts.NotBefore = now.Add(time.Hour) },
			want:  renewal.Decision{Action: renewal.Issue},
		},
		"the token can't be verified any longer": {
			given: func(s *inputs) { s.desired.VerifyEvery, s.facts.VerificationQueued = time.Minute, true },
			want:  renewal.Decision{Action: renewal.Issue},
		},
	}
	for name, test := range tests {
		for _, due := range dues {
			t.Run(name+", because it is "+string(due.why), func(t *testing.T) {
				t.Parallel()
				s := nothingDue()
				due.make(s)
				test.given(s)
				want := test.want
				if want.Action != renewal.Blocked {
					want.Why = due.why
				}
				if diff := cmp.Diff(want, s.decide()); diff != "" {
					t.Errorf("Decide (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestADriftedSecretIsRewrittenWhileNoTokenCanBeIssued(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		given func(*inputs)
		want  renewal.Action
	}{
		"the last attempt has failed": {given: func(s *inputs) { s.facts.NotBefore = later }, want: renewal.Rewrite},
		"the credentials are gone":    {given: func(s *inputs) { s.facts.HasCredentials = false }, want: renewal.Rewrite},
		"the next token is pending":   {given: func(s *inputs) { s.facts.NotBefore, s.facts.HasPending = later, true }, want: renewal.Wait},
		"the templates are broken":    {given: func(s *inputs) { s.facts.TemplateInvalid = true }, want: renewal.Blocked},
		"an older token was put back": {
			given: func(s *inputs) { s.facts.NotBefore, s.facts.Superseded = later, true }, want: renewal.Wait,
		},
		"it is refused":                {given: func(s *inputs) { s.facts.NotBefore, s.facts.Refused = later, true }, want: renewal.Wait},
		"the next token can be issued": {given: func(*inputs) {}, want: renewal.Issue},
		"the API server refused the write a moment ago": {
			given: func(s *inputs) { s.facts.NotBefore, s.facts.RewriteNotBefore = later, later }, want: renewal.Wait,
		},
		"the API server refused the write by a clock that was set back since": {
			given: func(s *inputs) { s.facts.NotBefore, s.facts.RewriteNotBefore = later, now.Add(time.Hour) }, want: renewal.Rewrite,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := nothingDue()
			s.desired.RenewBefore, s.facts.Check = 0, renewal.Drifted
			s.facts.Record.IssueTime = now.Add(-40 * time.Minute)
			s.facts.Record.ExpirationTime = now.Add(5 * time.Minute)
			test.given(s)
			if got := s.decide().Action; got != test.want {
				t.Errorf("Decide returned %s, want %s", got, test.want)
			}
		})
	}
}

// TestNothingIsAskedOfAClusterThatHasJustFailed decides while the wait after a failed request to the
// cluster is not over, and when it is.
func TestNothingIsAskedOfAClusterThatHasJustFailed(t *testing.T) {
	t.Parallel()
	due := func(s *inputs) { s.facts.Record.IssueTime = now.Add(-3 * time.Hour) }
	tests := map[string]struct {
		given       func(*inputs)
		want, after renewal.Decision
	}{
		"something has changed since the last check": {
			given: func(s *inputs) { s.facts.Check = renewal.Unchecked },
			want:  renewal.Decision{Action: renewal.Wait, Until: later},
			after: renewal.Decision{Action: renewal.Read},
		},
		"verification is due": {
			given: func(s *inputs) { s.desired.VerifyEvery = time.Minute },
			want:  renewal.Decision{Action: renewal.Wait, Until: later},
			after: renewal.Decision{Action: renewal.Verify},
		},
		"the Secret has drifted": {
			given: func(s *inputs) { s.facts.Check = renewal.Drifted },
			want:  renewal.Decision{Action: renewal.Wait, Until: later},
			after: renewal.Decision{Action: renewal.Rewrite},
		},
		"all is well": {
			given: func(*inputs) {},
			want:  renewal.Decision{Action: renewal.Keep},
			after: renewal.Decision{Action: renewal.Keep},
		},
		"a token is due": {
			given: due,
			want:  renewal.Decision{Action: renewal.Wait, Why: renewal.Due, Until: later},
			after: renewal.Decision{Action: renewal.Issue, Why: renewal.Due},
		},
		"a token is due, and the Secret was not read": {
			given: func(s *inputs) { due(s); s.facts.Check = renewal.Unchecked },
			want:  renewal.Decision{Action: renewal.Wait, Why: renewal.Due, Until: later},
			after: renewal.Decision{Action: renewal.Issue, Why: renewal.Due},
		},
		"a token waits to be stored": {
			given: func(s *inputs) { due(s); s.facts.HasPending = true },
			want:  renewal.Decision{Action: renewal.Wait, Why: renewal.Due, Until: later},
			after: renewal.Decision{Action: renewal.Write, Why: renewal.Due},
		},
		"a token is due without credentials, and the Secret was not read": {
			given: func(s *inputs) { due(s); s.facts.Check, s.facts.HasCredentials = renewal.Unchecked, false },
			want:  renewal.Decision{Action: renewal.Blocked, Why: renewal.NoCredentials},
			after: renewal.Decision{Action: renewal.Read},
		},
		"the inputs have changed since": {
			given: func(s *inputs) { s.facts.Check, s.facts.ClusterNotBefore = renewal.Unchecked, time.Time{} },
			want:  renewal.Decision{Action: renewal.Read},
			after: renewal.Decision{Action: renewal.Read},
		},
		"the clock was set back since": {
			given: func(s *inputs) { s.facts.Check, s.facts.ClusterNotBefore = renewal.Unchecked, now.Add(time.Hour) },
			want:  renewal.Decision{Action: renewal.Read},
			after: renewal.Decision{Action: renewal.Read},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := nothingDue()
			s.facts.ClusterNotBefore = later
			test.given(s)
			if diff := cmp.Diff(test.want, s.decide()); diff != "" {
				t.Errorf("Decide in the wait (-want +got):\n%s", diff)
			}
			s.facts.ClusterNotBefore = now
			if diff := cmp.Diff(test.after, s.decide()); diff != "" {
				t.Errorf("Decide after the wait (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheReasonWithPrecedenceIsGiven(t *testing.T) {
	t.Parallel()
	// These pairs exclude each other, because both reasons depend on the same input.
	exclusive := map[[2]renewal.Why]bool{
		{renewal.SecretEdited, renewal.NewCredentials}: true,
		{renewal.Expired, renewal.FromFuture}:          true,
		{renewal.Due, renewal.FromFuture}:              true,
	}
	for i, first := range dues {
		for _, second := range dues[i+1:] {
			if exclusive[[2]renewal.Why{first.why, second.why}] {
				continue
			}
			t.Run(string(first.why)+" and "+string(second.why), func(t *testing.T) {
				t.Parallel()
				s := nothingDue()
				second.make(s)
				first.make(s)
				want := renewal.Decision{Action: renewal.Issue, Why: first.why}
				if diff := cmp.Diff(want, s.decide()); diff != "" {
					t.Errorf("Decide (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestDecideByTheRecord(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		given func(*inputs)
		want  renewal.Why
	}{
		"it can't be read": {
			given: func(s *inputs) { s.facts.Record = nil },
			want:  renewal.SecretEdited,
		},
		"it can't be read, and the Secret is not checked yet": {
			given: func(s *inputs) { s.facts.Record, s.facts.Check = nil, renewal.Unchecked },
			want:  renewal.SecretEdited,
		},
		"it names another API": {
			given: func(s *inputs) { s.desired.API = "https://pipedream.example" },
			want:  renewal.Outdated,
		},
		"it has fewer scopes": {
			given: func(s *inputs) { s.facts.Record.Scopes = "a" },
			want:  renewal.Outdated,
		},
		"it has scopes, and none are desired": {
			given: func(s *inputs) { s.desired.Scopes = "" },
			want:  renewal.Outdated,
		},
		"it expires now": {
			given: func(s *inputs) { s.facts.Record.ExpirationTime = now },
			want:  renewal.Expired,
		},
		"its renewal time is now": {
			given: func(s *inputs) {
				record := s.facts.Record
				life := record.ExpirationTime.Sub(record.IssueTime)
				after := renewal.DueTime(s.desired, *record).Sub(record.IssueTime)
				record.IssueTime = now.Add(-after)
				record.ExpirationTime = record.IssueTime.Add(life)
			},
			want: renewal.Due,
		},
		"renewBeforeSeconds was increased": {
			given: func(s *inputs) {
				s.desired.RenewBefore = 59 * time.Minute
				s.facts.Record.IssueTime = now.Add(-30 * time.Minute)
				s.facts.Record.ExpirationTime = now.Add(30 * time.Minute)
			},
			want: renewal.Due,
		},
		"it was issued more than five minutes in the future": {
			given: func(s *inputs) { s.facts.Record.IssueTime = now.Add(5*time.Minute + time.Second) },
			want:  renewal.FromFuture,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := nothingDue()
			test.given(s)
			want := renewal.Decision{Action: renewal.Issue, Why: test.want}
			if diff := cmp.Diff(want, s.decide()); diff != "" {
				t.Errorf("Decide (-want +got):\n%s", diff)
			}
		})
	}
}

func TestARemovedRequestTriggersNothing(t *testing.T) {
	t.Parallel()
	for name, recorded := range map[string]string{"answered": "1", "not answered": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := nothingDue()
			s.facts.Record.RenewRequest = recorded
			s.desired.RenewRequest = ""
			if diff := cmp.Diff(renewal.Decision{Action: renewal.Keep}, s.decide()); diff != "" {
				t.Errorf("Decide (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTriggeredTokensHaveAMinimumInterval(t *testing.T) {
	t.Parallel()
	const minute = time.Minute
	intervals := map[int]time.Duration{
		0: 10 * time.Second, 1: 10 * time.Second, 2: 20 * time.Second, 3: 40 * time.Second, 4: 80 * time.Second,
		5: 160 * time.Second, 6: 5 * minute, 7: 5 * minute, 100: 5 * minute,
	}
	for _, due := range dues {
		t.Run(string(due.why), func(t *testing.T) {
			t.Parallel()
			for repeats, want := range intervals {
				if !due.why.IsTriggered() {
					want = 10 * time.Second
				}
				s := nothingDue()
				due.make(s)
				s.facts.Triggered.Count = repeats
				s.facts.LastIssue, s.facts.Triggered.Last = now, now
				waiting := renewal.Decision{Action: renewal.Wait, Why: due.why, Until: now.Add(want)}
				if diff := cmp.Diff(waiting, s.decide()); diff != "" {
					t.Errorf("after %d triggers, Decide (-want +got):\n%s", repeats, diff)
				}
				s.facts.LastIssue, s.facts.Triggered.Last = now.Add(-want), now.Add(-want)
				if diff := cmp.Diff(renewal.Decision{Action: renewal.Issue, Why: due.why}, s.decide()); diff != "" {
					t.Errorf("%s after the last of %d triggers, Decide (-want +got):\n%s", want, repeats, diff)
				}
			}
		})
	}
}

func TestTheMinimumIntervalCountsFromTheLastTokenAndFromTheLastTrigger(t *testing.T) {
	t.Parallel()
	ago := func(seconds int) time.Time { return now.Add(-time.Duration(seconds) * time.Second) }
	tests := map[string]struct {
		lastIssue, lastTriggered time.Time
		repeats                  int
		want                     renewal.Decision
	}{
		"a due token was renewed after the last trigger": {
			lastIssue: ago(4), lastTriggered: ago(100), repeats: 3,
			want: renewal.Decision{Action: renewal.Wait, Why: renewal.Requested, Until: now.Add(6 * time.Second)},
		},
		"a due token was renewed in the minimum interval of the last trigger": {
			lastIssue: ago(4), lastTriggered: ago(15), repeats: 3,
			want: renewal.Decision{Action: renewal.Wait, Why: renewal.Requested, Until: now.Add(25 * time.Second)},
		},
		"the last trigger was a moment ago": {
			lastIssue: ago(4), lastTriggered: ago(4), repeats: 1,
			want: renewal.Decision{Action: renewal.Wait, Why: renewal.Requested, Until: now.Add(6 * time.Second)},
		},
		"no token was issued yet": {
			want: renewal.Decision{Action: renewal.Issue, Why: renewal.Requested},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := nothingDue()
			s.desired.RenewRequest = "2"
			s.facts.LastIssue, s.facts.Triggered.Last, s.facts.Triggered.Count = test.lastIssue, test.lastTriggered, test.repeats
			if diff := cmp.Diff(test.want, s.decide()); diff != "" {
				t.Errorf("Decide (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTriggersDoNotDelayADueToken checks that a due token does not wait for the minimum interval of triggered tokens.
// Otherwise a token with a short lifetime would expire in the Secret.
func TestTriggersDoNotDelayADueToken(t *testing.T) {
	t.Parallel()
	for _, trigger := range dues {
		if trigger.why != renewal.Requested && trigger.why != renewal.NewCredentials {
			continue // With the other reasons the current token is not valid.
		}
		t.Run(string(trigger.why), func(t *testing.T) {
			t.Parallel()
			s := nothingDue()
			trigger.make(s)
			s.facts.Record.IssueTime = now.Add(-45 * time.Second)
			s.facts.Record.ExpirationTime = now.Add(15 * time.Second)
			s.facts.LastIssue, s.facts.Triggered.Last = s.facts.Record.IssueTime, s.facts.Record.IssueTime
			s.facts.Triggered.Count = 6
			if got := s.decide(); got.Action != renewal.Issue {
				t.Errorf("Decide = %+v: the token expires in 15 s, and its renewal time is past; want Issue", got)
			}
		})
	}
}

func TestIsTriggered(t *testing.T) {
	t.Parallel()
	triggered := map[renewal.Why]bool{
		renewal.Missing: true, renewal.SecretEdited: true, renewal.Revoked: true, renewal.Outdated: true, renewal.Requested: true, renewal.NewCredentials: true, renewal.OtherTemplates: true,
	}
	for _, due := range dues {
		if got, want := due.why.IsTriggered(), triggered[due.why]; got != want {
			t.Errorf("%s.IsTriggered() = %t, want %t", due.why, got, want)
		}
	}
}

func TestCurrentToken(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		given func(*inputs)
		want  renewal.State
	}{
		"valid":                                    {given: func(*inputs) {}, want: renewal.StateValid},
		"in a Secret that is not read yet":         {given: func(s *inputs) { s.facts.Check = renewal.Unchecked }, want: renewal.StateValid},
		"in a Secret that lacks a key":             {given: func(s *inputs) { s.facts.Check = renewal.Drifted }, want: renewal.StateValid},
		"issued for other credentials":             {given: func(s *inputs) { s.facts.Check = renewal.InputsChanged }, want: renewal.StateValid},
		"and a newer token is requested":           {given: func(s *inputs) { s.desired.RenewRequest = "2" }, want: renewal.StateValid},
		"and the credentials are gone":             {given: func(s *inputs) { s.facts.HasCredentials = false }, want: renewal.StateValid},
		"and the last attempt has failed":          {given: func(s *inputs) { s.facts.NotBefore = later }, want: renewal.StateValid},
		"and its renewal is overdue":               {given: func(s *inputs) { s.facts.Record.IssueTime = now.Add(-3 * time.Hour) }, want: renewal.StateValid},
		"and it expires in a second":               {given: func(s *inputs) { s.facts.Record.ExpirationTime = now.Add(time.Second) }, want: renewal.StateValid},
		"and it expires now":                       {given: func(s *inputs) { s.facts.Record.ExpirationTime = now }, want: renewal.StateExpired},
		"and it expires now and is refused":        {given: func(s *inputs) { s.facts.Record.ExpirationTime, s.facts.Refused = now, true }, want: renewal.StateExpired},
		"and it is refused":                        {given: func(s *inputs) { s.facts.Refused = true }, want: renewal.StateRevoked},
		"and it is refused and has other scopes":   {given: func(s *inputs) { s.facts.Refused, s.desired.Scopes = true, "c" }, want: renewal.StateRevoked},
		"and it has other scopes":                  {given: func(s *inputs) { s.desired.Scopes = "c" }, want: renewal.StateOutdated},
		"and it is of another API":                 {given: func(s *inputs) { s.desired.API = "https://pipedream.example" }, want: renewal.StateOutdated},
		"in an edited Secret":                      {given: func(s *inputs) { s.facts.Check = renewal.Edited }, want: renewal.StateNone},
		"in a Secret without readable record":      {given: func(s *inputs) { s.facts.Record = nil }, want: renewal.StateNone},
		"in no Secret":                             {given: func(s *inputs) { s.facts.Target, s.facts.Record = renewal.Absent, nil }, want: renewal.StateNone},
		"in a foreign Secret":                      {given: func(s *inputs) { s.facts.Target = renewal.Foreign }, want: renewal.StateNone},
		"in no Secret, although there is a record": {given: func(s *inputs) { s.facts.Target = renewal.Absent }, want: renewal.StateNone},
		"in a Secret that is being deleted":        {given: func(s *inputs) { s.facts.Target = renewal.Terminating }, want: renewal.StateValid},
		"in a Secret that is about to be collected": {given: func(s *inputs) {
			s.facts.Target, s.facts.Record = renewal.Terminating, nil
		}, want: renewal.StateNone},
		"of an owner that is being deleted": {given: func(s *inputs) { s.facts.OwnerTerminating = true }, want: renewal.StateValid},
		"of an owner that is being deleted, and it expires now": {given: func(s *inputs) {
			s.facts.OwnerTerminating, s.facts.Record.ExpirationTime = true, now
		}, want: renewal.StateExpired},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := nothingDue()
			test.given(s)
			if got := renewal.CurrentToken(s.desired, s.facts, now); got != test.want {
				t.Errorf("CurrentToken = %s, want %s", got, test.want)
			}
		})
	}
}
