// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package refresh_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/refresh"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

var (
	now     = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	fetched = now.Add(-10 * time.Minute)
	expires = now.Add(50 * time.Minute)
	later   = now.Add(3 * time.Minute)
)

// scene is all that a decision is made from.
type scene struct {
	desired refresh.Desired
	facts   refresh.Facts
}

// quiet is a scene in which there is nothing to do: credentials with most of their life to come,
// stored just as they are desired.
func quiet() *scene {
	return &scene{
		desired: refresh.Desired{Request: "account", Rendering: "plain", RenewRequest: "1"},
		facts: refresh.Facts{
			Target: refresh.Owned,
			Record: &refresh.Record{
				FetchTime: fetched, ExpirationTime: expires,
				Request: "account", Rendering: "plain", RenewRequest: "1",
			},
			Check:          refresh.Good,
			HasCredentials: true,
			Looks:          refresh.Looks{Since: fetched.Add(-time.Hour), Last: fetched},
		},
	}
}

func (s *scene) decide() refresh.Decision { return refresh.Decide(s.desired, s.facts, now) }

// What makes a fetch due, by the reason that is given for it, in the order of precedence.
var dues = []struct {
	why  refresh.Why
	make func(*scene)
}{
	{refresh.Missing, func(s *scene) { s.facts.Target, s.facts.Record = refresh.Absent, nil }},
	{refresh.SecretEdited, func(s *scene) { s.facts.Check = refresh.Edited }},
	{refresh.Expired, func(s *scene) {
		s.facts.Record.FetchTime, s.facts.Record.ExpirationTime = now.Add(-time.Hour), now
		s.facts.Looks.Last = now.Add(-time.Hour)
	}},
	{refresh.Expiring, func(s *scene) {
		s.facts.Record.FetchTime, s.facts.Record.ExpirationTime = now.Add(-time.Hour), now.Add(9*time.Minute)
		s.facts.Looks.Last = now.Add(-time.Hour)
	}},
	{refresh.IntervalElapsed, func(s *scene) { s.desired.Interval = 10 * time.Minute }},
	{refresh.Outdated, func(s *scene) { s.desired.Request = "another account" }},
	{refresh.Requested, func(s *scene) { s.desired.RenewRequest = "2" }},
	{refresh.TemplateChanged, func(s *scene) { s.desired.Rendering = "templates" }},
}

func TestWhyIsGivenInOrder(t *testing.T) {
	t.Parallel()
	for i, first := range dues {
		for _, second := range dues[i:] {
			if first.why == refresh.Expired && second.why == refresh.Expiring {
				continue // Credentials can't be both.
			}
			t.Run(string(first.why)+" before "+string(second.why), func(t *testing.T) {
				t.Parallel()
				s := quiet()
				second.make(s)
				first.make(s)
				want := refresh.Decision{Action: refresh.Fetch, Why: first.why}
				if diff := cmp.Diff(want, s.decide()); diff != "" {
					t.Errorf("decision (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// What lets no fetch be made, whatever is due.
func TestWhatKeepsAFetchFromBeingMade(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		given func(*scene)
		want  func(why refresh.Why) refresh.Decision
	}{
		"the owner has suspended it": {
			func(s *scene) { s.desired.Suspended = true },
			func(why refresh.Why) refresh.Decision {
				return refresh.Decision{Action: refresh.Rest, Why: why}
			},
		},
		"the owner has suspended it, and all else is wrong": {
			func(s *scene) {
				s.desired.Suspended, s.facts.HasCredentials, s.facts.TemplateInvalid, s.facts.OtherType = true, false, true, true
				s.facts.NotBefore, s.facts.Queued = later, true
			},
			func(why refresh.Why) refresh.Decision {
				return refresh.Decision{Action: refresh.Rest, Why: why}
			},
		},
		"the templates fail": {
			func(s *scene) { s.facts.TemplateInvalid = true },
			func(refresh.Why) refresh.Decision {
				return refresh.Decision{Action: refresh.Blocked, Why: refresh.BadTemplate}
			},
		},
		"the Secret is of another type": {
			func(s *scene) { s.facts.OtherType = true },
			func(refresh.Why) refresh.Decision {
				return refresh.Decision{Action: refresh.Blocked, Why: refresh.OtherType}
			},
		},
		"there is nothing to ask with": {
			func(s *scene) { s.facts.HasCredentials = false },
			func(refresh.Why) refresh.Decision {
				return refresh.Decision{Action: refresh.Blocked, Why: refresh.NoCredentials}
			},
		},
		"the last fetch has failed": {
			func(s *scene) { s.facts.NotBefore = later },
			func(why refresh.Why) refresh.Decision {
				return refresh.Decision{Action: refresh.Wait, Why: why, Until: later}
			},
		},
		"the account is dead": {
			func(s *scene) { s.facts.Verdict = refresh.Verdict{Kind: refresh.Dead, Last: now, Count: 1} },
			func(why refresh.Why) refresh.Decision {
				return refresh.Decision{Action: refresh.Wait, Why: why, Until: now.Add(time.Minute)}
			},
		},
		"the last look was five seconds ago": {
			func(s *scene) {
				s.facts.Looks.Last = now.Add(-5 * time.Second)
				s.desired.Interval = 0
			},
			nil,
		},
	}
	for name, test := range tests {
		for _, due := range dues {
			t.Run(name+": "+string(due.why), func(t *testing.T) {
				t.Parallel()
				s := quiet()
				due.make(s)
				test.given(s)
				got := s.decide()
				if test.want == nil {
					if got.Action == refresh.Fetch {
						t.Errorf("it decides %+v", got)
					}
					return
				}
				if diff := cmp.Diff(test.want(due.why), got); diff != "" {
					t.Errorf("decision (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	end := func(s *scene, at time.Time) { // the credentials expire then
		s.facts.Record.FetchTime, s.facts.Record.ExpirationTime = at.Add(-time.Hour), at
	}
	tests := map[string]struct {
		given func(*scene)
		want  refresh.Decision
	}{
		"all is well": {
			given: func(*scene) {},
			want:  refresh.Decision{Action: refresh.Keep},
		},
		"all is well, and the credentials do not expire": {
			given: func(s *scene) { s.facts.Record.ExpirationTime = time.Time{} },
			want:  refresh.Decision{Action: refresh.Keep},
		},
		"a foreign Secret stands in the way": {
			given: func(s *scene) { s.facts.Target, s.facts.Record = refresh.Foreign, nil },
			want:  refresh.Decision{Action: refresh.Blocked, Why: refresh.NotOwned},
		},
		"a foreign Secret stands in the way, and it is suspended": {
			given: func(s *scene) { s.facts.Target, s.desired.Suspended = refresh.Foreign, true },
			want:  refresh.Decision{Action: refresh.Rest, Why: refresh.NotOwned},
		},
		"it is suspended, and all is well": {
			given: func(s *scene) { s.desired.Suspended = true },
			want:  refresh.Decision{Action: refresh.Rest},
		},
		"it is suspended, and the Secret is about to go": {
			given: func(s *scene) {
				s.desired.Suspended, s.facts.Target, s.facts.CollectedBy = true, refresh.Terminating, later
			},
			want: refresh.Decision{Action: refresh.Rest, Why: refresh.Missing, Until: later},
		},
		"the Secret is about to go": {
			given: func(s *scene) { s.facts.Target, s.facts.CollectedBy = refresh.Terminating, later },
			want:  refresh.Decision{Action: refresh.Wait, Why: refresh.Missing, Until: later},
		},
		"the Secret is being deleted": {
			given: func(s *scene) { s.facts.Target = refresh.Terminating },
			want:  refresh.Decision{Action: refresh.Blocked, Why: refresh.BeingDeleted},
		},
		"the owner is being deleted": {
			given: func(s *scene) { s.facts.OwnerTerminating, s.facts.Record.ExpirationTime = true, now },
			want:  refresh.Decision{Action: refresh.Blocked, Why: refresh.BeingDeleted},
		},
		"the owner is being deleted, and suspended": {
			given: func(s *scene) { s.facts.OwnerTerminating, s.desired.Suspended = true, true },
			want:  refresh.Decision{Action: refresh.Blocked, Why: refresh.BeingDeleted},
		},
		"the owner is being deleted, and the Secret was not read": {
			given: func(s *scene) { s.facts.OwnerTerminating, s.facts.Check = true, refresh.Unchecked },
			want:  refresh.Decision{Action: refresh.Read},
		},
		"a read has failed": {
			given: func(s *scene) { s.facts.Check, s.facts.ClusterNotBefore = refresh.Unchecked, later },
			want:  refresh.Decision{Action: refresh.Wait, Until: later},
		},
		"a read has failed long ago": {
			given: func(s *scene) { s.facts.Check, s.facts.ClusterNotBefore = refresh.Unchecked, now },
			want:  refresh.Decision{Action: refresh.Read},
		},
		"a read has failed, and the credentials have expired": {
			given: func(s *scene) { s.facts.Record.ExpirationTime, s.facts.ClusterNotBefore = now.Add(-time.Hour), later },
			want:  refresh.Decision{Action: refresh.Wait, Why: refresh.Expired, Until: later},
		},
		"the last look has failed, and nothing else is due": {
			given: func(s *scene) { s.facts.NotBefore, s.facts.Looks.Again = later, true },
			want:  refresh.Decision{Action: refresh.Wait, Why: refresh.IntervalElapsed, Until: later},
		},
		"the wait after a failed look is over": {
			given: func(s *scene) { s.facts.NotBefore, s.facts.Looks.Again = now, true },
			want:  refresh.Decision{Action: refresh.Fetch, Why: refresh.IntervalElapsed},
		},
		"the Secret has changed": {
			given: func(s *scene) { s.facts.Check = refresh.Unchecked },
			want:  refresh.Decision{Action: refresh.Read},
		},
		"the Secret has changed while it is suspended": {
			given: func(s *scene) { s.facts.Check, s.desired.Suspended = refresh.Unchecked, true },
			want:  refresh.Decision{Action: refresh.Read},
		},
		"the Secret has changed, and a fetch is due": {
			given: func(s *scene) { s.facts.Check, s.desired.RenewRequest = refresh.Unchecked, "2" },
			want:  refresh.Decision{Action: refresh.Fetch, Why: refresh.Requested},
		},
		"the Secret has changed, and the fetch that is due waits for its turn": {
			given: func(s *scene) { s.facts.Check, s.desired.RenewRequest, s.facts.Queued = refresh.Unchecked, "2", true },
			want:  refresh.Decision{Action: refresh.Read},
		},
		"the Secret has changed, and the fetch that is due has failed": {
			given: func(s *scene) {
				s.facts.Check, s.desired.RenewRequest, s.facts.NotBefore = refresh.Unchecked, "2", later
			},
			want: refresh.Decision{Action: refresh.Read},
		},
		"the fetch that is due waits for its turn": {
			given: func(s *scene) { s.desired.RenewRequest, s.facts.Queued = "2", true },
			want:  refresh.Decision{Action: refresh.Fetch, Why: refresh.Requested},
		},
		"an empty request asks for nothing": {
			given: func(s *scene) { s.desired.RenewRequest = "" },
			want:  refresh.Decision{Action: refresh.Keep},
		},
		"a request comes after a failure": {
			given: func(s *scene) { s.desired.RenewRequest, s.facts.NotBefore, s.facts.Changed = "2", later, true },
			want:  refresh.Decision{Action: refresh.Fetch, Why: refresh.Requested},
		},
		"a request comes after a verdict": {
			given: func(s *scene) {
				s.desired.RenewRequest, s.facts.Changed = "2", true
				s.facts.Verdict = refresh.Verdict{Kind: refresh.Dead, Last: now, Count: 5}
			},
			want: refresh.Decision{Action: refresh.Fetch, Why: refresh.Requested},
		},
		"requests come again and again": {
			given: func(s *scene) {
				s.desired.RenewRequest, s.facts.Triggered = "2", retry.Triggers{Last: now, Count: 3}
			},
			want: refresh.Decision{Action: refresh.Wait, Why: refresh.Requested, Until: now.Add(40 * time.Second)},
		},
		"a request comes while the credentials are stale": {
			given: func(s *scene) {
				end(s, now.Add(-time.Minute))
				s.desired.RenewRequest = "2"
				s.facts.Looks.Last = now.Add(-20 * time.Second)
			},
			want: refresh.Decision{Action: refresh.Fetch, Why: refresh.Requested},
		},
		"requests come again and again while the credentials are stale": {
			given: func(s *scene) {
				end(s, now.Add(-time.Minute))
				s.desired.RenewRequest, s.facts.Triggered = "2", retry.Triggers{Last: now, Count: 6}
				s.facts.Looks.Last = now.Add(-20 * time.Second)
			},
			want: refresh.Decision{Action: refresh.Wait, Why: refresh.Expired, Until: now.Add(31 * time.Second)},
		},
		"the credentials were looked at in the second of their expiry": {
			given: func(s *scene) { end(s, now); s.facts.Looks.Last = now },
			want:  refresh.Decision{Action: refresh.Wait, Why: refresh.Expired, Until: now.Add(time.Second)},
		},
		"the credentials have expired a second ago, and were looked at four seconds before": {
			given: func(s *scene) { end(s, now.Add(-time.Second)); s.facts.Looks.Last = now.Add(-5 * time.Second) },
			want:  refresh.Decision{Action: refresh.Fetch, Why: refresh.Expired},
		},
		"Pipedream keeps credentials that have expired": {
			given: func(s *scene) {
				end(s, now.Add(-time.Minute))
				s.facts.Looks.Last = now
			},
			want: refresh.Decision{Action: refresh.Wait, Why: refresh.Expired, Until: now.Add(31 * time.Second)},
		},
		"Pipedream has kept expired credentials for an hour": {
			given: func(s *scene) {
				end(s, now.Add(-time.Hour))
				s.facts.Looks.Last = now
			},
			want: refresh.Decision{Action: refresh.Wait, Why: refresh.Expired, Until: now.Add(151 * time.Second)},
		},
		"a look shortly before the expiry brought nothing newer": {
			given: func(s *scene) { end(s, now.Add(2*time.Minute)); s.facts.Looks.Last = now.Add(-8 * time.Minute) },
			want:  refresh.Decision{Action: refresh.Keep},
		},
		"the account is refreshed late": {
			given: func(s *scene) { end(s, now.Add(time.Second)); s.facts.Looks.LateSince = now.Add(-23 * time.Hour) },
			want:  refresh.Decision{Action: refresh.Keep},
		},
		"the account is refreshed late, and its credentials expire now": {
			given: func(s *scene) { end(s, now); s.facts.Looks.LateSince = now.Add(-23 * time.Hour) },
			want:  refresh.Decision{Action: refresh.Wait, Why: refresh.Expired, Until: now.Add(time.Second)},
		},
		"the account was refreshed late a day ago": {
			given: func(s *scene) { end(s, now.Add(9*time.Minute)); s.facts.Looks.LateSince = now.Add(-24 * time.Hour) },
			want:  refresh.Decision{Action: refresh.Fetch, Why: refresh.Expiring},
		},
		"the account was refreshed late by a clock that has been set back": {
			given: func(s *scene) { end(s, now.Add(9*time.Minute)); s.facts.Looks.LateSince = now.Add(time.Hour) },
			want:  refresh.Decision{Action: refresh.Fetch, Why: refresh.Expiring},
		},
		"the last look was made by a clock that has been set back": {
			given: func(s *scene) { end(s, now.Add(9*time.Minute)); s.facts.Looks.Last = now.Add(time.Hour) },
			want:  refresh.Decision{Action: refresh.Fetch, Why: refresh.Expiring},
		},
		"the credentials were fetched by a clock that was an hour ahead": {
			given: func(s *scene) {
				s.facts.Record.FetchTime, s.facts.Record.ExpirationTime = now.Add(time.Hour), now.Add(5*time.Hour)
				s.facts.Looks.Last = time.Time{}
			},
			want: refresh.Decision{Action: refresh.Fetch, Why: refresh.IntervalElapsed},
		},
		"the credentials were fetched by a clock that was an hour ahead, and are looked at since": {
			given: func(s *scene) {
				s.facts.Record.FetchTime, s.facts.Record.ExpirationTime = now.Add(time.Hour), time.Time{}
				s.facts.Looks.Last = now.Add(-11 * time.Second)
			},
			want: refresh.Decision{Action: refresh.Keep},
		},
		"an older Secret was put back": {
			given: func(s *scene) { s.facts.Superseded = true },
			want:  refresh.Decision{Action: refresh.Fetch, Why: refresh.SecretEdited},
		},
		"an older Secret was put back just after a look": {
			given: func(s *scene) { s.facts.Superseded, s.facts.Looks.Last = true, now.Add(-3*time.Second) },
			want:  refresh.Decision{Action: refresh.Wait, Why: refresh.SecretEdited, Until: now.Add(7 * time.Second)},
		},
		"an older Secret was put back, and its credentials have expired": {
			given: func(s *scene) { s.facts.Superseded = true; end(s, now.Add(-time.Minute)) },
			want:  refresh.Decision{Action: refresh.Fetch, Why: refresh.SecretEdited},
		},
		"older Secrets are put back again and again": {
			given: func(s *scene) {
				s.facts.Superseded, s.facts.Triggered = true, retry.Triggers{Last: now, Count: 2}
				end(s, now.Add(-time.Minute))
			},
			want: refresh.Decision{Action: refresh.Wait, Why: refresh.SecretEdited, Until: now.Add(20 * time.Second)},
		},
		"the account was dead a minute ago": {
			given: func(s *scene) {
				s.facts.Verdict = refresh.Verdict{Kind: refresh.Dead, Last: now.Add(-time.Minute), Count: 1}
			},
			want: refresh.Decision{Action: refresh.Fetch, Why: refresh.IntervalElapsed},
		},
		"there is a fresh access token": {
			given: func(s *scene) {
				s.desired.RenewRequest, s.facts.NotBefore, s.facts.HasFreshBearer = "2", later, true
				s.facts.Looks.Last = now
			},
			want: refresh.Decision{Action: refresh.Fetch, Why: refresh.Requested},
		},
		"there is a fresh access token, and nothing is due": {
			given: func(s *scene) { s.facts.HasFreshBearer = true },
			want:  refresh.Decision{Action: refresh.Keep},
		},
		"a failure was long ago by the clock of then": {
			given: func(s *scene) { s.desired.RenewRequest, s.facts.NotBefore = "2", now.Add(time.Hour) },
			want:  refresh.Decision{Action: refresh.Fetch, Why: refresh.Requested},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := quiet()
			test.given(s)
			if diff := cmp.Diff(test.want, s.decide()); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCurrentCredentials(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		given func(*scene)
		want  refresh.State
	}{
		"good":                       {func(*scene) {}, refresh.StateValid},
		"without an expiry":          {func(s *scene) { s.facts.Record.ExpirationTime = time.Time{} }, refresh.StateValid},
		"while it is suspended":      {func(s *scene) { s.desired.Suspended = true }, refresh.StateValid},
		"not checked yet":            {func(s *scene) { s.facts.Check = refresh.Unchecked }, refresh.StateValid},
		"none":                       {func(s *scene) { s.facts.Target, s.facts.Record = refresh.Absent, nil }, refresh.StateNone},
		"in a Secret that goes":      {func(s *scene) { s.facts.Target = refresh.Terminating }, refresh.StateValid},
		"in a Secret of others":      {func(s *scene) { s.facts.Target = refresh.Foreign }, refresh.StateNone},
		"edited":                     {func(s *scene) { s.facts.Check = refresh.Edited }, refresh.StateNone},
		"expired":                    {func(s *scene) { s.facts.Record.ExpirationTime = now }, refresh.StateExpired},
		"expired, of another":        {func(s *scene) { s.facts.Record.ExpirationTime, s.desired.Request = now, "b" }, refresh.StateExpired},
		"of another account":         {func(s *scene) { s.desired.Request = "b" }, refresh.StateOutdated},
		"written with other keys":    {func(s *scene) { s.desired.Rendering = "b" }, refresh.StateValid},
		"with a record of no shape":  {func(s *scene) { s.facts.Record = nil }, refresh.StateNone},
		"a second before the expiry": {func(s *scene) { s.facts.Record.ExpirationTime = now.Add(time.Second) }, refresh.StateValid},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := quiet()
			test.given(s)
			if got := refresh.CurrentCredentials(s.desired, s.facts, now); got != test.want {
				t.Errorf("the credentials are %s, want %s", got, test.want)
			}
		})
	}
}

func TestTriggeredReasons(t *testing.T) {
	t.Parallel()
	want := map[refresh.Why]bool{
		refresh.Missing: true, refresh.SecretEdited: true, refresh.Expired: false, refresh.Expiring: false,
		refresh.IntervalElapsed: false, refresh.Outdated: true, refresh.Requested: true, refresh.TemplateChanged: true,
	}
	for _, due := range dues {
		if got := due.why.IsTriggered(); got != want[due.why] {
			t.Errorf("%s is triggered: %t, want %t", due.why, got, want[due.why])
		}
	}
	if refresh.NotOwned.IsTriggered() {
		t.Error("what makes a fetch impossible triggers none")
	}
}
