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

// scene is all that a decision is made from.
type scene struct {
	desired renewal.Desired
	facts   renewal.Facts
}

// quiet is a scene in which there is nothing to do: a token with two thirds of its
// life to come, stored just as it is desired.
func quiet() *scene {
	return &scene{
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

func (s *scene) decide() renewal.Decision { return renewal.Decide(s.desired, s.facts, now) }

// What makes a new token due, by the reason that is given for it. They are in the
// order of precedence.
var dues = []struct {
	why  renewal.Why
	make func(*scene)
}{
	{renewal.Missing, func(s *scene) { s.facts.Target, s.facts.Record = renewal.Absent, nil }},
	{renewal.SecretEdited, func(s *scene) { s.facts.Check = renewal.Edited }},
	{renewal.Expired, func(s *scene) { s.facts.Record.ExpirationTime = now }},
	{renewal.Revoked, func(s *scene) { s.facts.Refused = true }},
	{renewal.Due, func(s *scene) { s.facts.Record.IssueTime = now.Add(-3 * time.Hour) }},
	{renewal.FromFuture, func(s *scene) {
		s.facts.Record.IssueTime, s.facts.Record.ExpirationTime = now.Add(6*time.Minute), now.Add(time.Hour)
	}},
	{renewal.Outdated, func(s *scene) { s.desired.Scopes = "a b c" }},
	{renewal.Requested, func(s *scene) { s.desired.RenewRequest = "2" }},
	{renewal.NewCredentials, func(s *scene) { s.facts.Check = renewal.InputsChanged }},
	{renewal.OtherTemplates, func(s *scene) { s.facts.Check = renewal.TemplatesChanged }},
}

func TestDecideWhenNothingIsDue(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		given func(*scene)
		want  renewal.Decision
	}{
		"all is well": {
			given: func(*scene) {},
			want:  renewal.Decision{Action: renewal.Keep},
		},
		"a foreign Secret stands in the way": {
			given: func(s *scene) { s.facts.Target, s.facts.Record = renewal.Foreign, nil },
			want:  renewal.Decision{Action: renewal.Blocked, Why: renewal.NotOwned},
		},
		"a foreign Secret stands in the way, and there is a token to store": {
			given: func(s *scene) { s.facts.Target, s.facts.HasPending = renewal.Foreign, true },
			want:  renewal.Decision{Action: renewal.Blocked, Why: renewal.NotOwned},
		},
		"a foreign Secret stands in the way, and there are no credentials": {
			given: func(s *scene) { s.facts.Target, s.facts.HasCredentials = renewal.Foreign, false },
			want:  renewal.Decision{Action: renewal.Blocked, Why: renewal.NotOwned},
		},
		"something has changed since the last check": {
			given: func(s *scene) { s.facts.Check = renewal.Unchecked },
			want:  renewal.Decision{Action: renewal.Read},
		},
		"something has changed, and the credentials are gone": {
			given: func(s *scene) { s.facts.Check, s.facts.HasCredentials = renewal.Unchecked, false },
			want:  renewal.Decision{Action: renewal.Read},
		},
		"something has changed, and verification is due": {
			given: func(s *scene) { s.facts.Check, s.desired.VerifyEvery = renewal.Unchecked, time.Minute },
			want:  renewal.Decision{Action: renewal.Read},
		},
		"verification is due": {
			given: func(s *scene) { s.desired.VerifyEvery = time.Minute },
			want:  renewal.Decision{Action: renewal.Verify},
		},
		"verification is due, and the Secret is misshapen": {
			given: func(s *scene) { s.desired.VerifyEvery, s.facts.Check = time.Minute, renewal.Drifted },
			want:  renewal.Decision{Action: renewal.Verify},
		},
		"verification is due, and the misshapen Secret can't be written yet": {
			given: func(s *scene) {
				s.desired.VerifyEvery, s.facts.Check, s.facts.RewriteNotBefore = time.Minute, renewal.Drifted, later
			},
			want: renewal.Decision{Action: renewal.Verify},
		},
		"verification is due, and the last attempt to renew has failed": {
			given: func(s *scene) { s.desired.VerifyEvery, s.facts.NotBefore = time.Minute, later },
			want:  renewal.Decision{Action: renewal.Verify},
		},
		"an older token was put back, which is good still": {
			given: func(s *scene) { s.facts.Superseded = true },
			want:  renewal.Decision{Action: renewal.Keep},
		},
		"an older token was put back, which has expired": {
			given: func(s *scene) { s.facts.Superseded, s.facts.Record.ExpirationTime = true, now },
			want:  renewal.Decision{Action: renewal.Issue, Why: renewal.SecretEdited},
		},
		"verification is due while a renewal waits": {
			given: func(s *scene) {
				s.desired.VerifyEvery, s.desired.RenewRequest, s.facts.NotBefore = time.Minute, "2", later
			},
			want: renewal.Decision{Action: renewal.Verify},
		},
		"verification is due while there are no credentials to renew with": {
			given: func(s *scene) {
				s.desired.VerifyEvery, s.desired.RenewRequest, s.facts.HasCredentials = time.Minute, "2", false
			},
			want: renewal.Decision{Action: renewal.Verify},
		},
		"the token is refused, no newer one can be had, and it is time to try it again": {
			given: func(s *scene) {
				s.desired.VerifyEvery, s.facts.Refused, s.facts.NotBefore = time.Minute, true, later
				s.facts.LastVerified, s.facts.VerifyAt = now.Add(-10*time.Second), now
			},
			want: renewal.Decision{Action: renewal.Verify},
		},
		"the token is refused, there are no credentials, and it is time to try it again": {
			given: func(s *scene) {
				s.desired.VerifyEvery, s.facts.Refused, s.facts.HasCredentials = day, true, false
				s.facts.LastVerified, s.facts.VerifyAt = now.Add(-10*time.Second), now
			},
			want: renewal.Decision{Action: renewal.Verify},
		},
		"the token is refused, and it is not yet time to try it again": {
			given: func(s *scene) {
				s.desired.VerifyEvery, s.facts.Refused, s.facts.NotBefore = time.Minute, true, later
				s.facts.VerifyAt = now.Add(1)
			},
			want: renewal.Decision{Action: renewal.Wait, Why: renewal.Revoked, Until: later},
		},
		"the token is refused, and a newer one can be had": {
			given: func(s *scene) {
				s.desired.VerifyEvery, s.facts.Refused, s.facts.VerifyAt = time.Minute, true, now
			},
			want: renewal.Decision{Action: renewal.Issue, Why: renewal.Revoked},
		},
		"the token is refused, and was to be tried again by a clock that was an hour ahead": {
			given: func(s *scene) {
				s.desired.VerifyEvery, s.facts.Refused, s.facts.NotBefore = time.Minute, true, later
				s.facts.VerifyAt = now.Add(time.Hour)
			},
			want: renewal.Decision{Action: renewal.Verify},
		},
		"verification is due, and the token is a few seconds old": {
			given: func(s *scene) {
				s.desired.VerifyEvery = 10 * time.Second
				s.facts.LastVerified, s.facts.Record.IssueTime = now.Add(-time.Minute), now.Add(-9*time.Second)
			},
			want: renewal.Decision{Action: renewal.Keep},
		},
		"verification is due, and the token is ten seconds old": {
			given: func(s *scene) {
				s.desired.VerifyEvery = 10 * time.Second
				s.facts.LastVerified, s.facts.Record.IssueTime = now.Add(-time.Minute), now.Add(-10*time.Second)
			},
			want: renewal.Decision{Action: renewal.Verify},
		},
		"the token has replaced a refused one, and is to be tried at once": {
			given: func(s *scene) {
				s.desired.VerifyEvery, s.facts.VerifyAt = day, now
				s.facts.LastVerified, s.facts.Record.IssueTime = now, now
			},
			want: renewal.Decision{Action: renewal.Verify},
		},
		"the spec has changed since the last verification, and the token is a few seconds old": {
			given: func(s *scene) {
				s.desired.VerifyEvery, s.facts.VerifyNow = day, true
				s.facts.LastVerified, s.facts.Record.IssueTime = now, now.Add(-time.Second)
			},
			want: renewal.Decision{Action: renewal.Keep},
		},
		"verification is suspended, and would be due otherwise": {
			given: func(s *scene) {
				s.desired.VerifyEvery, s.facts.VerificationSuspended, s.facts.LastVerified = time.Minute, true, now.Add(-2*time.Minute)
			},
			want: renewal.Decision{Action: renewal.Keep},
		},
		"verification is suspended, and was so for an hour": {
			given: func(s *scene) {
				s.desired.VerifyEvery, s.facts.VerificationSuspended, s.facts.LastVerified = time.Minute, true, now.Add(-time.Hour)
			},
			want: renewal.Decision{Action: renewal.Verify},
		},
		"the target is about to be removed": {
			given: func(s *scene) { s.facts.Target, s.facts.CollectedBy = renewal.Terminating, later },
			want:  renewal.Decision{Action: renewal.Wait, Why: renewal.Missing, Until: later},
		},
		"verification is due, and has to wait for its turn": {
			given: func(s *scene) { s.desired.VerifyEvery, s.facts.VerificationQueued = time.Minute, true },
			want:  renewal.Decision{Action: renewal.Keep},
		},
		"the token is to be tried now, though it was a moment ago": {
			given: func(s *scene) {
				s.desired.VerifyEvery, s.facts.LastVerified, s.facts.VerifyNow = time.Minute, now, true
			},
			want: renewal.Decision{Action: renewal.Verify},
		},
		"the token is to be tried now, and has to wait for its turn": {
			given: func(s *scene) {
				s.desired.VerifyEvery, s.facts.VerifyNow, s.facts.VerificationQueued = time.Minute, true, true
			},
			want: renewal.Decision{Action: renewal.Keep},
		},
		"the token is to be tried now, and verification is off": {
			given: func(s *scene) { s.facts.VerifyNow = true },
			want:  renewal.Decision{Action: renewal.Keep},
		},
		"verification has proved to be no use": {
			given: func(s *scene) { s.desired.VerifyEvery, s.facts.CannotVerify = time.Minute, true },
			want:  renewal.Decision{Action: renewal.Keep},
		},
		"the Secret is misshapen": {
			given: func(s *scene) { s.facts.Check = renewal.Drifted },
			want:  renewal.Decision{Action: renewal.Rewrite},
		},
		"the Secret is misshapen, and the credentials are gone": {
			given: func(s *scene) { s.facts.Check, s.facts.HasCredentials = renewal.Drifted, false },
			want:  renewal.Decision{Action: renewal.Rewrite},
		},
		"the Secret is misshapen, and was refused by the API server a moment ago": {
			given: func(s *scene) { s.facts.Check, s.facts.RewriteNotBefore = renewal.Drifted, later },
			want:  renewal.Decision{Action: renewal.Wait, Until: later},
		},
		"somebody has changed its shape": {
			given: func(s *scene) { s.facts.Check, s.facts.DriftedAgain = renewal.Drifted, true },
			want:  renewal.Decision{Action: renewal.Rewrite},
		},
		"somebody has changed its shape for the second time": {
			given: func(s *scene) {
				s.facts.Check, s.facts.DriftedAgain, s.facts.Rewrites.Count, s.facts.Rewrites.Last = renewal.Drifted, true, 1, now.Add(-time.Second)
			},
			want: renewal.Decision{Action: renewal.Wait, Until: now.Add(9 * time.Second)},
		},
		"somebody had changed its shape, and another one is desired now": {
			given: func(s *scene) {
				s.facts.Check, s.facts.Rewrites.Count, s.facts.Rewrites.Last = renewal.Drifted, 1, now.Add(-time.Second)
			},
			want: renewal.Decision{Action: renewal.Rewrite},
		},
		"somebody has changed its shape again, and the API server refuses to store it for longer": {
			given: func(s *scene) {
				s.facts.Check, s.facts.DriftedAgain, s.facts.Rewrites.Count, s.facts.Rewrites.Last = renewal.Drifted, true, 1, now.Add(-time.Second)
				s.facts.RewriteNotBefore = later
			},
			want: renewal.Decision{Action: renewal.Wait, Until: later},
		},
		"the Secret is misshapen, and the last attempt to renew has failed": {
			given: func(s *scene) { s.facts.Check, s.facts.NotBefore = renewal.Drifted, later },
			want:  renewal.Decision{Action: renewal.Rewrite},
		},
		"somebody has changed its shape, and tokens were asked for a moment ago": {
			given: func(s *scene) {
				s.facts.Check, s.facts.DriftedAgain, s.facts.Triggered.Count, s.facts.Triggered.Last = renewal.Drifted, true, 5, now
			},
			want: renewal.Decision{Action: renewal.Rewrite},
		},
		"somebody has changed its shape again, and the credentials are gone": {
			given: func(s *scene) {
				s.facts.Check, s.facts.DriftedAgain, s.facts.Rewrites.Count, s.facts.Rewrites.Last = renewal.Drifted, true, 1, now
				s.facts.HasCredentials = false
			},
			want: renewal.Decision{Action: renewal.Blocked, Why: renewal.NoCredentials},
		},
		"the target is of another type": {
			given: func(s *scene) { s.facts.Check, s.facts.OtherType = renewal.Drifted, true },
			want:  renewal.Decision{Action: renewal.Blocked, Why: renewal.OtherType},
		},
		"what is desired can't be made of any token": {
			given: func(s *scene) { s.facts.Check, s.facts.TemplateInvalid = renewal.Drifted, true },
			want:  renewal.Decision{Action: renewal.Blocked, Why: renewal.BadTemplate},
		},
		"what is desired can't be made of any token, and nothing was looked at yet": {
			given: func(s *scene) { s.facts.Check, s.facts.TemplateInvalid = renewal.Unchecked, true },
			want:  renewal.Decision{Action: renewal.Read},
		},
		"what is desired can't be made of any token, and verification is due": {
			given: func(s *scene) { s.desired.VerifyEvery, s.facts.TemplateInvalid = time.Minute, true },
			want:  renewal.Decision{Action: renewal.Verify},
		},
		"the credentials are gone": {
			given: func(s *scene) { s.facts.HasCredentials = false },
			want:  renewal.Decision{Action: renewal.Blocked, Why: renewal.NoCredentials},
		},
		"an old failure whose wait is not over": {
			given: func(s *scene) { s.facts.NotBefore = later },
			want:  renewal.Decision{Action: renewal.Keep},
		},
		"a token was issued by a clock that is five minutes ahead": {
			given: func(s *scene) { s.facts.Record.IssueTime = now.Add(5 * time.Minute) },
			want:  renewal.Decision{Action: renewal.Keep},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := quiet()
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
		given func(*scene)
		want  renewal.Decision
	}{
		"it is issued": {
			given: func(*scene) {},
			want:  renewal.Decision{Action: renewal.Issue},
		},
		"it is issued without a check": {
			given: func(s *scene) {
				if s.facts.Check == renewal.Good {
					s.facts.Check = renewal.Unchecked
				}
			},
			want: renewal.Decision{Action: renewal.Issue},
		},
		"it was issued, and is stored": {
			given: func(s *scene) { s.facts.HasPending = true },
			want:  renewal.Decision{Action: renewal.Write},
		},
		"it was issued, and is stored though the credentials are gone": {
			given: func(s *scene) { s.facts.HasPending, s.facts.HasCredentials = true, false },
			want:  renewal.Decision{Action: renewal.Write},
		},
		"it was issued a moment ago, and is stored at once": {
			given: func(s *scene) { s.facts.HasPending, s.facts.LastIssue = true, now },
			want:  renewal.Decision{Action: renewal.Write},
		},
		"it was issued, and the API server has refused it a moment ago": {
			given: func(s *scene) { s.facts.HasPending, s.facts.NotBefore = true, later },
			want:  renewal.Decision{Action: renewal.Wait, Until: later},
		},
		"it was issued, the API server has refused it, and the credentials are gone": {
			given: func(s *scene) {
				s.facts.HasPending, s.facts.NotBefore, s.facts.HasCredentials = true, later, false
			},
			want: renewal.Decision{Action: renewal.Wait, Until: later},
		},
		"there is nothing to ask with": {
			given: func(s *scene) { s.facts.HasCredentials = false },
			want:  renewal.Decision{Action: renewal.Blocked, Why: renewal.NoCredentials},
		},
		"what is desired can't be made of any token": {
			given: func(s *scene) { s.facts.TemplateInvalid, s.facts.HasCredentials = true, false },
			want:  renewal.Decision{Action: renewal.Blocked, Why: renewal.BadTemplate},
		},
		"what is desired can't be made of the token that was issued": {
			given: func(s *scene) { s.facts.TemplateInvalid, s.facts.HasPending = true, true },
			want:  renewal.Decision{Action: renewal.Blocked, Why: renewal.BadTemplate},
		},
		"the target is of another type": {
			given: func(s *scene) { s.facts.OtherType = true },
			want:  renewal.Decision{Action: renewal.Blocked, Why: renewal.OtherType},
		},
		"there is nothing to ask with, and the wait after a failure is not over": {
			given: func(s *scene) { s.facts.HasCredentials, s.facts.NotBefore = false, later },
			want:  renewal.Decision{Action: renewal.Blocked, Why: renewal.NoCredentials},
		},
		"the last attempt has failed": {
			given: func(s *scene) { s.facts.NotBefore = later },
			want:  renewal.Decision{Action: renewal.Wait, Until: later},
		},
		"the wait after a failure is over": {
			given: func(s *scene) { s.facts.NotBefore = now },
			want:  renewal.Decision{Action: renewal.Issue},
		},
		"the last token is nine seconds old": {
			given: func(s *scene) { s.facts.LastIssue = now.Add(-9 * time.Second) },
			want:  renewal.Decision{Action: renewal.Wait, Until: now.Add(time.Second)},
		},
		"the last token is ten seconds old": {
			given: func(s *scene) { s.facts.LastIssue = now.Add(-10 * time.Second) },
			want:  renewal.Decision{Action: renewal.Issue},
		},
		"the last token was issued by a clock that was set back since": {
			given: func(s *scene) { s.facts.LastIssue = now.Add(time.Hour) },
			want:  renewal.Decision{Action: renewal.Issue},
		},
		"the last deed was seen on a clock that was set back since": {
			given: func(s *scene) { s.facts.Triggered.Count, s.facts.Triggered.Last = 1, now.Add(time.Hour) },
			want:  renewal.Decision{Action: renewal.Issue},
		},
		"the last attempt has failed, and the wait is the longest": {
			given: func(s *scene) { s.facts.NotBefore = now.Add(15 * time.Minute) },
			want:  renewal.Decision{Action: renewal.Wait, Until: now.Add(15 * time.Minute)},
		},
		"the last attempt has failed on a clock that was set back since": {
			given: func(s *scene) { s.facts.NotBefore = now.Add(time.Hour) },
			want:  renewal.Decision{Action: renewal.Issue},
		},
		"the token can't be verified any longer": {
			given: func(s *scene) { s.desired.VerifyEvery, s.facts.VerificationQueued = time.Minute, true },
			want:  renewal.Decision{Action: renewal.Issue},
		},
	}
	for name, test := range tests {
		for _, due := range dues {
			t.Run(name+", because it is "+string(due.why), func(t *testing.T) {
				t.Parallel()
				s := quiet()
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

func TestGoodTokenGetsItsShapeWhileTheNextCannotBeHad(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		given func(*scene)
		want  renewal.Action
	}{
		"the last attempt has failed":     {given: func(s *scene) { s.facts.NotBefore = later }, want: renewal.Rewrite},
		"the credentials are gone":        {given: func(s *scene) { s.facts.HasCredentials = false }, want: renewal.Rewrite},
		"the next one waits to be stored": {given: func(s *scene) { s.facts.NotBefore, s.facts.HasPending = later, true }, want: renewal.Wait},
		"the templates are broken":        {given: func(s *scene) { s.facts.TemplateInvalid = true }, want: renewal.Blocked},
		"an older one was put back": {
			given: func(s *scene) { s.facts.NotBefore, s.facts.Superseded = later, true }, want: renewal.Wait,
		},
		"it is refused":     {given: func(s *scene) { s.facts.NotBefore, s.facts.Refused = later, true }, want: renewal.Wait},
		"it can be had now": {given: func(*scene) {}, want: renewal.Issue},
		"the API server has refused it a moment ago": {
			given: func(s *scene) { s.facts.NotBefore, s.facts.RewriteNotBefore = later, later }, want: renewal.Wait,
		},
		"the API server has refused it by a clock that was set back since": {
			given: func(s *scene) { s.facts.NotBefore, s.facts.RewriteNotBefore = later, now.Add(time.Hour) }, want: renewal.Rewrite,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := quiet()
			s.desired.RenewBefore, s.facts.Check = 0, renewal.Drifted
			s.facts.Record.IssueTime = now.Add(-40 * time.Minute)
			s.facts.Record.ExpirationTime = now.Add(5 * time.Minute)
			test.given(s)
			if got := s.decide().Action; got != test.want {
				t.Errorf("it decides %s, want %s", got, test.want)
			}
		})
	}
}

func TestOfTwoReasonsTheMoreCertainIsGiven(t *testing.T) {
	t.Parallel()
	// These can't be together: each is one value of the same thing.
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
				s := quiet()
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
		given func(*scene)
		want  renewal.Why
	}{
		"it can't be read": {
			given: func(s *scene) { s.facts.Record = nil },
			want:  renewal.SecretEdited,
		},
		"it can't be read, and nobody has looked since": {
			given: func(s *scene) { s.facts.Record, s.facts.Check = nil, renewal.Unchecked },
			want:  renewal.SecretEdited,
		},
		"it names another API": {
			given: func(s *scene) { s.desired.API = "https://pipedream.example" },
			want:  renewal.Outdated,
		},
		"it has fewer scopes": {
			given: func(s *scene) { s.facts.Record.Scopes = "a" },
			want:  renewal.Outdated,
		},
		"it has scopes, and none are desired": {
			given: func(s *scene) { s.desired.Scopes = "" },
			want:  renewal.Outdated,
		},
		"it expires this very second": {
			given: func(s *scene) { s.facts.Record.ExpirationTime = now },
			want:  renewal.Expired,
		},
		"its renewal time is this very second": {
			given: func(s *scene) {
				record := s.facts.Record
				life := record.ExpirationTime.Sub(record.IssueTime)
				after := renewal.DueTime(s.desired, *record).Sub(record.IssueTime)
				record.IssueTime = now.Add(-after)
				record.ExpirationTime = record.IssueTime.Add(life)
			},
			want: renewal.Due,
		},
		"it is to be renewed earlier than it was": {
			given: func(s *scene) {
				s.desired.RenewBefore = 59 * time.Minute
				s.facts.Record.IssueTime = now.Add(-30 * time.Minute)
				s.facts.Record.ExpirationTime = now.Add(30 * time.Minute)
			},
			want: renewal.Due,
		},
		"it was issued more than five minutes in the future": {
			given: func(s *scene) { s.facts.Record.IssueTime = now.Add(5*time.Minute + time.Second) },
			want:  renewal.FromFuture,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := quiet()
			test.given(s)
			want := renewal.Decision{Action: renewal.Issue, Why: test.want}
			if diff := cmp.Diff(want, s.decide()); diff != "" {
				t.Errorf("Decide (-want +got):\n%s", diff)
			}
		})
	}
}

func TestARequestThatWasRemovedAsksForNothing(t *testing.T) {
	t.Parallel()
	for name, recorded := range map[string]string{"that was answered": "1", "that no token was issued for": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := quiet()
			s.facts.Record.RenewRequest = recorded
			s.desired.RenewRequest = ""
			if diff := cmp.Diff(renewal.Decision{Action: renewal.Keep}, s.decide()); diff != "" {
				t.Errorf("Decide (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTokensThatDeedsAskForAreSpaced(t *testing.T) {
	t.Parallel()
	const minute = time.Minute
	spacing := map[int]time.Duration{
		0: 10 * time.Second, 1: 10 * time.Second, 2: 20 * time.Second, 3: 40 * time.Second, 4: 80 * time.Second,
		5: 160 * time.Second, 6: 5 * minute, 7: 5 * minute, 100: 5 * minute,
	}
	for _, due := range dues {
		t.Run(string(due.why), func(t *testing.T) {
			t.Parallel()
			for repeats, want := range spacing {
				if !due.why.IsTriggered() {
					want = 10 * time.Second
				}
				s := quiet()
				due.make(s)
				s.facts.Triggered.Count = repeats
				s.facts.LastIssue, s.facts.Triggered.Last = now, now
				waiting := renewal.Decision{Action: renewal.Wait, Why: due.why, Until: now.Add(want)}
				if diff := cmp.Diff(waiting, s.decide()); diff != "" {
					t.Errorf("after %d deeds, Decide (-want +got):\n%s", repeats, diff)
				}
				s.facts.LastIssue, s.facts.Triggered.Last = now.Add(-want), now.Add(-want)
				if diff := cmp.Diff(renewal.Decision{Action: renewal.Issue, Why: due.why}, s.decide()); diff != "" {
					t.Errorf("%s after the last of %d deeds, Decide (-want +got):\n%s", want, repeats, diff)
				}
			}
		})
	}
}

func TestSpacingCountsFromTheLastTokenAndFromTheLastDeed(t *testing.T) {
	t.Parallel()
	ago := func(seconds int) time.Time { return now.Add(-time.Duration(seconds) * time.Second) }
	tests := map[string]struct {
		lastIssue, lastByEvent time.Time
		repeats                int
		want                   renewal.Decision
	}{
		"a renewal by age came after the last deed": {
			lastIssue: ago(4), lastByEvent: ago(100), repeats: 3,
			want: renewal.Decision{Action: renewal.Wait, Why: renewal.Requested, Until: now.Add(6 * time.Second)},
		},
		"a renewal by age came in the spacing of the last deed": {
			lastIssue: ago(4), lastByEvent: ago(15), repeats: 3,
			want: renewal.Decision{Action: renewal.Wait, Why: renewal.Requested, Until: now.Add(25 * time.Second)},
		},
		"the last deed was a moment ago": {
			lastIssue: ago(4), lastByEvent: ago(4), repeats: 1,
			want: renewal.Decision{Action: renewal.Wait, Why: renewal.Requested, Until: now.Add(6 * time.Second)},
		},
		"no token was issued yet": {
			want: renewal.Decision{Action: renewal.Issue, Why: renewal.Requested},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := quiet()
			s.desired.RenewRequest = "2"
			s.facts.LastIssue, s.facts.Triggered.Last, s.facts.Triggered.Count = test.lastIssue, test.lastByEvent, test.repeats
			if diff := cmp.Diff(test.want, s.decide()); diff != "" {
				t.Errorf("Decide (-want +got):\n%s", diff)
			}
		})
	}
}

// A token's age asks for a new one with more right than a deed: if the spacing of
// deeds held it back, a token with a short life would expire in the Secret.
func TestDeedsDoNotHoldBackATokenThatIsDueByItsAge(t *testing.T) {
	t.Parallel()
	for _, deed := range dues {
		if deed.why != renewal.Requested && deed.why != renewal.NewCredentials {
			continue // the others leave no good token
		}
		t.Run(string(deed.why), func(t *testing.T) {
			t.Parallel()
			s := quiet()
			deed.make(s)
			s.facts.Record.IssueTime = now.Add(-45 * time.Second)
			s.facts.Record.ExpirationTime = now.Add(15 * time.Second)
			s.facts.LastIssue, s.facts.Triggered.Last = s.facts.Record.IssueTime, s.facts.Record.IssueTime
			s.facts.Triggered.Count = 6
			if got := s.decide(); got.Action != renewal.Issue {
				t.Errorf("Decide = %+v: the token expires in 15 s, and its renewal time is past; want it issued", got)
			}
		})
	}
}

func TestIsByEvent(t *testing.T) {
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

func TestHeldToken(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		given func(*scene)
		want  renewal.State
	}{
		"good":                                   {given: func(*scene) {}, want: renewal.StateValid},
		"in a Secret that is yet to be read":     {given: func(s *scene) { s.facts.Check = renewal.Unchecked }, want: renewal.StateValid},
		"in a Secret that lacks a key":           {given: func(s *scene) { s.facts.Check = renewal.Drifted }, want: renewal.StateValid},
		"issued for other credentials":           {given: func(s *scene) { s.facts.Check = renewal.InputsChanged }, want: renewal.StateValid},
		"and a newer one is asked for":           {given: func(s *scene) { s.desired.RenewRequest = "2" }, want: renewal.StateValid},
		"and the credentials are gone":           {given: func(s *scene) { s.facts.HasCredentials = false }, want: renewal.StateValid},
		"and the last attempt has failed":        {given: func(s *scene) { s.facts.NotBefore = later }, want: renewal.StateValid},
		"and its renewal is overdue":             {given: func(s *scene) { s.facts.Record.IssueTime = now.Add(-3 * time.Hour) }, want: renewal.StateValid},
		"and it expires in a second":             {given: func(s *scene) { s.facts.Record.ExpirationTime = now.Add(time.Second) }, want: renewal.StateValid},
		"and it expires now":                     {given: func(s *scene) { s.facts.Record.ExpirationTime = now }, want: renewal.StateExpired},
		"and it expires now and is refused":      {given: func(s *scene) { s.facts.Record.ExpirationTime, s.facts.Refused = now, true }, want: renewal.StateExpired},
		"and it is refused":                      {given: func(s *scene) { s.facts.Refused = true }, want: renewal.StateRevoked},
		"and it is refused and has other scopes": {given: func(s *scene) { s.facts.Refused, s.desired.Scopes = true, "c" }, want: renewal.StateRevoked},
		"and it has other scopes":                {given: func(s *scene) { s.desired.Scopes = "c" }, want: renewal.StateOutdated},
		"and it is of another API":               {given: func(s *scene) { s.desired.API = "https://pipedream.example" }, want: renewal.StateOutdated},
		"in an edited Secret":                    {given: func(s *scene) { s.facts.Check = renewal.Edited }, want: renewal.StateNone},
		"in a Secret without readable record":    {given: func(s *scene) { s.facts.Record = nil }, want: renewal.StateNone},
		"in no Secret":                           {given: func(s *scene) { s.facts.Target, s.facts.Record = renewal.Absent, nil }, want: renewal.StateNone},
		"in a Secret of somebody else":           {given: func(s *scene) { s.facts.Target = renewal.Foreign }, want: renewal.StateNone},
		"in no Secret, though there is a record": {given: func(s *scene) { s.facts.Target = renewal.Absent }, want: renewal.StateNone},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := quiet()
			test.given(s)
			if got := renewal.CurrentToken(s.desired, s.facts, now); got != test.want {
				t.Errorf("CurrentToken = %s, want %s", got, test.want)
			}
		})
	}
}
