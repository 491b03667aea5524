// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package refresh_test

import (
	"math"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/refresh"
)

func TestDueTime(t *testing.T) {
	t.Parallel()
	const hour = time.Hour
	tests := map[string]struct {
		life, next time.Duration // after the fetch; no refresh time if next is 0
		want       time.Duration
	}{
		"ten minutes before the end of an hour":      {life: hour, want: 50 * time.Minute},
		"ten minutes before the end of a year":       {life: 365 * 24 * hour, want: 365*24*hour - 10*time.Minute},
		"two thirds of ten minutes":                  {life: 10 * time.Minute, want: 400 * time.Second},
		"two thirds in whole seconds":                {life: 10 * time.Second, want: 6 * time.Second},
		"at once when there is no life":              {life: -time.Minute, want: -time.Minute},
		"a refresh long before the due time":         {life: hour, next: 13*time.Minute + 30*time.Second, want: 50 * time.Minute},
		"a refresh five seconds before the due time": {life: hour, next: 50*time.Minute - 5*time.Second, want: 50 * time.Minute},
		"a refresh four seconds before the due time": {life: hour, next: 50*time.Minute - 4*time.Second, want: 50*time.Minute + 11*time.Second},
		"a refresh three minutes before the end":     {life: hour, next: 57 * time.Minute, want: 57*time.Minute + 15*time.Second},
		"a refresh ten seconds before the end":       {life: hour, next: hour - 10*time.Second, want: hour},
		"a refresh at the end":                       {life: hour, next: hour, want: 50 * time.Minute},
		"a refresh after the end":                    {life: hour, next: 2 * hour, want: 50 * time.Minute},
		"a refresh before the fetch":                 {life: hour, next: -time.Minute, want: 50 * time.Minute},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			record := refresh.Record{FetchTime: now, ExpirationTime: now.Add(test.life)}
			if test.next != 0 {
				record.NextRefreshTime = now.Add(test.next)
			}
			if got := refresh.DueTime(record).Sub(now); got != test.want {
				t.Errorf("it is due %s after the fetch, want %s", got, test.want)
			}
		})
	}
}

// TestLooksPerSecond compares the demand with the number of looks that the schedule makes until the due time.
func TestLooksPerSecond(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		life, interval time.Duration // credentials that do not expire if life is 0
		next           time.Duration // of EachRefresh; else 0
		looks          float64       // in the given time
		in             time.Duration
	}{
		"an hour":                            {life: time.Hour, looks: 1, in: 50 * time.Minute},
		"an hour, each ten minutes":          {life: time.Hour, interval: 10 * time.Minute, looks: 5, in: 50 * time.Minute},
		"an hour, each eleven minutes":       {life: time.Hour, interval: 11 * time.Minute, looks: 5, in: 50 * time.Minute},
		"an hour, each day":                  {life: time.Hour, interval: 24 * time.Hour, looks: 1, in: 50 * time.Minute},
		"a day":                              {life: 24 * time.Hour, looks: 24, in: 24*time.Hour - 10*time.Minute},
		"for ever":                           {looks: 1, in: time.Hour},
		"for ever, each half minute":         {interval: 30 * time.Second, looks: 1, in: 30 * time.Second},
		"ten seconds":                        {life: 10 * time.Second, looks: 1, in: 10 * time.Second},
		"expired when they were fetched":     {life: -time.Minute, looks: 1, in: 10 * time.Second},
		"two hours, and not a second longer": {life: 2 * time.Hour, looks: 1, in: 110 * time.Minute},
		"a second longer than two hours":     {life: 2*time.Hour + time.Second, looks: 2, in: 110*time.Minute + time.Second},
		"each refresh":                       {life: time.Hour, next: 13 * time.Minute, looks: 1, in: 13*time.Minute + 15*time.Second},
		"each refresh, and each ten minutes": {life: time.Hour, next: 13 * time.Minute, interval: 10 * time.Minute, looks: 2, in: 13*time.Minute + 15*time.Second},
		"each refresh of a token for ever":   {next: 3 * time.Hour, looks: 4, in: 3*time.Hour + 15*time.Second},
		"a refresh in a second":              {life: time.Hour, next: time.Second, looks: 1, in: 2 * time.Minute},
		"a refresh just before the fetch":    {life: time.Hour, next: -time.Second, looks: 1, in: 2 * time.Minute},
		"a refresh after the expiry":         {life: time.Hour, next: 2 * time.Hour, looks: 1, in: 50 * time.Minute},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			record, desired := refresh.Record{FetchTime: now}, refresh.Desired{Interval: test.interval}
			if test.life != 0 {
				record.ExpirationTime = now.Add(test.life)
			}
			if test.next != 0 {
				record.NextRefreshTime, desired.Policy = now.Add(test.next), refresh.EachRefresh
			}
			if got, want := refresh.LooksPerSecond(desired, record), test.looks/test.in.Seconds(); math.Abs(got-want) > 1e-9 {
				t.Errorf("the demand is %v looks in %s, want %v", got*test.in.Seconds(), test.in, test.looks)
			}
			if test.life < 0 || test.life == 10*time.Second || test.next != 0 && test.next <= time.Second {
				return // The schedule then waits at least ten seconds, or looks again and again.
			}
			times, _ := schedule(desired, record, int(test.looks)+1)
			if len(times) <= int(test.looks) || times[int(test.looks)-1] > test.in || times[int(test.looks)] <= test.in {
				t.Errorf("the schedule has looks after %v, want %v in %s", times, test.looks, test.in)
			}
		})
	}
}

// schedule returns the times after the fetch at which a client looks that always sleeps as it is
// told, while each look brings nothing newer, and the reason of each look.
func schedule(desired refresh.Desired, record refresh.Record, looks int) (times []time.Duration, whys []refresh.Why) {
	facts := refresh.Facts{
		Target: refresh.Owned, Check: refresh.Good, HasCredentials: true,
		Record: &record, Looks: refresh.Looks{Since: record.FetchTime},
	}
	at := record.FetchTime
	for range 20_000 {
		decision := refresh.Decide(desired, facts, at)
		if decision.Action == refresh.Fetch {
			times, whys = append(times, at.Sub(record.FetchTime)), append(whys, decision.Why)
			if len(times) == looks {
				break
			}
			facts.Looks.Add(desired, &record, false, at)
			continue
		}
		at = at.Add(refresh.Sleep(desired, facts, decision, at))
	}
	return times, whys
}

func TestScheduleWhileNothingChanges(t *testing.T) {
	t.Parallel()
	const s, m, h = time.Second, time.Minute, time.Hour
	each := refresh.Desired{Policy: refresh.EachRefresh}
	tests := map[string]struct {
		desired    refresh.Desired
		life, next time.Duration
		want       []time.Duration
	}{
		"credentials of an hour": {
			life: h,
			want: []time.Duration{50 * m, h + s, h + 31*s, h + 91*s, h + 211*s, h + 451*s, h + 751*s, h + 1051*s},
		},
		"credentials of an hour with a refresh near the end": {
			life: h, next: 57 * m,
			want: []time.Duration{57*m + 15*s, h + s, h + 31*s},
		},
		"a look in the second of the expiry": {
			life: h, next: h - 5*s,
			want: []time.Duration{h, h + s, h + 31*s},
		},
		"credentials of two hours have no interval of their own": {
			life: 2 * h,
			want: []time.Duration{2*h - 10*m, 2*h + s},
		},
		"credentials of more than two hours are looked at each hour": {
			life: 3*h + 30*m,
			want: []time.Duration{h, 2 * h, 3 * h, 3*h + 20*m, 3*h + 30*m + s, 3*h + 30*m + 31*s},
		},
		"credentials that do not expire are looked at each hour": {
			want: []time.Duration{h, 2 * h, 3 * h, 4 * h},
		},
		"an interval always applies": {
			desired: refresh.Desired{Interval: 20 * m}, life: h,
			want: []time.Duration{20 * m, 40 * m, 50 * m, h, h + s, h + 31*s},
		},
		"a longer interval for credentials that do not expire": {
			desired: refresh.Desired{Interval: 24 * h},
			want:    []time.Duration{24 * h, 48 * h},
		},
		"a refresh time means nothing before the due time under BeforeExpiry": {
			life: h, next: 13*m + 30*s,
			want: []time.Duration{50 * m, h + s},
		},
		"EachRefresh looks after the refresh, and again": {
			desired: each, life: h, next: 13*m + 30*s,
			want: []time.Duration{13*m + 45*s, 14*m + 15*s, 15*m + 15*s, 17*m + 15*s, 21*m + 15*s, 26*m + 15*s},
		},
		"EachRefresh looks after the expiry, too": {
			desired: each, life: h, next: 58 * m,
			want: []time.Duration{58*m + 15*s, 58*m + 45*s, 59*m + 45*s, h + s, h + m + 45*s, h + 5*m + 45*s},
		},
		"EachRefresh looks after the expiry when the refresh is later": {
			desired: each, life: h, next: h + 2*m,
			want: []time.Duration{50 * m, h + s, h + 31*s, h + 91*s, h + 2*m + 15*s, h + 3*m + 31*s},
		},
		"EachRefresh looks at the expiry when the refresh is just before": {
			desired: each, life: h, next: h - 5*s,
			want: []time.Duration{h, h + s, h + 30*s, h + 90*s},
		},
		"EachRefresh looks before the expiry when the refresh is a day later": {
			desired: each, life: h, next: 25 * h,
			want: []time.Duration{50 * m, h + s, h + 31*s, h + 91*s},
		},
		"EachRefresh looks each hour when the refresh of credentials that do not expire is a year later": {
			desired: each, next: 365 * 24 * h,
			want: []time.Duration{h, 2 * h, 3 * h},
		},
		"EachRefresh looks at the interval, too": {
			desired: refresh.Desired{Policy: refresh.EachRefresh, Interval: 10 * m}, life: h, next: 13*m + 30*s,
			want: []time.Duration{10 * m, 13*m + 45*s, 14*m + 15*s, 15*m + 15*s, 17*m + 15*s, 20 * m, 21*m + 15*s},
		},
		"EachRefresh without a refresh time is BeforeExpiry": {
			desired: each, life: h,
			want: []time.Duration{50 * m, h + s},
		},
		"EachRefresh with a refresh time long before the fetch is BeforeExpiry": {
			desired: each, life: h, next: -m,
			want: []time.Duration{50 * m, h + s},
		},
		"EachRefresh looks soon when the refresh time is just before the fetch": {
			desired: each, life: h, next: -2 * s,
			want: []time.Duration{13 * s, 43 * s, 103 * s, 223 * s},
		},
		"EachRefresh looks soon when the refresh time is nearly a minute before the fetch": {
			desired: each, life: h, next: -m + s,
			want: []time.Duration{10 * s, 46 * s, 166 * s},
		},
		"EachRefresh without an expiry": {
			desired: each, next: 30 * m,
			want: []time.Duration{30*m + 15*s, 30*m + 45*s, 31*m + 45*s},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			record := refresh.Record{FetchTime: now}
			if test.life != 0 {
				record.ExpirationTime = now.Add(test.life)
			}
			if test.next != 0 {
				record.NextRefreshTime = now.Add(test.next)
			}
			got, whys := schedule(test.desired, record, len(test.want))
			for i := range test.want {
				if i >= len(got) || got[i] != test.want[i] {
					t.Fatalf("it looks %v after the fetch for %v, want %v", got, whys, test.want)
				}
			}
		})
	}
}

func TestTheSleep(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		given func(*scene)
		want  time.Duration
	}{
		"to the next reconcile": {func(*scene) {}, 5 * time.Minute},
		"to the expiry, when nothing can be asked": {
			func(s *scene) { s.facts.HasCredentials, s.facts.Record.ExpirationTime = false, now.Add(7*time.Second) }, 7 * time.Second,
		},
		"to the expiry, when it is suspended": {
			func(s *scene) { s.desired.Suspended, s.facts.Record.ExpirationTime = true, now.Add(7*time.Second) }, 7 * time.Second,
		},
		"to no look, when it is suspended": {
			func(s *scene) { s.desired.Suspended, s.desired.Interval = true, 10*time.Minute+time.Second }, 5 * time.Minute,
		},
		"to the second after the expiry": {
			func(s *scene) { s.facts.Record.ExpirationTime, s.facts.Looks.Last = now, now }, time.Second,
		},
		"to the second after the expiry, when nothing can be asked": {
			func(s *scene) { s.facts.HasCredentials, s.facts.Record.ExpirationTime = false, now }, time.Second,
		},
		"to the interval":                {func(s *scene) { s.desired.Interval = 10*time.Minute + time.Second }, time.Second},
		"to the end of a wait":           {func(s *scene) { s.desired.RenewRequest, s.facts.NotBefore = "2", now.Add(time.Minute) }, time.Minute},
		"to the next look after a death": {func(s *scene) { s.facts.Verdict.Add(refresh.Dead, time.Time{}, now) }, time.Minute},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := quiet()
			test.given(s)
			decision := s.decide()
			if got := refresh.Sleep(s.desired, s.facts, decision, now); got != test.want {
				t.Errorf("after %+v it sleeps %s, want %s", decision, got, test.want)
			}
		})
	}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	const s, m = time.Second, time.Minute
	type said struct {
		at   time.Duration
		kind refresh.VerdictKind // empty if Pipedream gives out credentials, and the Secret does not hold them
		// otherFetched is when another account of the project was fetched; never if it is 0.
		otherFetched time.Duration
		want         refresh.VerdictKind // that is confirmed
		wantWait     time.Duration       // until the next look
	}
	tests := map[string][]said{
		"a death is certain": {
			{0, refresh.Dead, 0, refresh.Dead, m},
			{m, refresh.Dead, 0, refresh.Dead, 2 * m},
			{3 * m, refresh.Dead, 0, refresh.Dead, 4 * m},
			{7 * m, refresh.Dead, 0, refresh.Dead, 8 * m},
			{15 * m, refresh.Dead, 0, refresh.Dead, 15 * m},
			{30 * m, refresh.Dead, 0, refresh.Dead, 15 * m},
		},
		"a 404 is confirmed by time": {
			{0, refresh.NotFound, 0, "", 30 * s},
			{30 * s, refresh.NotFound, 0, "", m},
			{90 * s, refresh.NotFound, 0, "", 2 * m},
			{210 * s, refresh.NotFound, 0, refresh.NotFound, 4 * m},
			{450 * s, refresh.NotFound, 0, refresh.NotFound, 8 * m},
		},
		"a 404 is confirmed by another account of the project": {
			{0, refresh.NotFound, 0, "", 30 * s}, {30 * s, refresh.NotFound, 20 * s, refresh.NotFound, m},
		},
		"a 404 is not confirmed by an account that was fetched before": {
			{10 * s, refresh.NotFound, 5 * s, "", 30 * s},
			{40 * s, refresh.NotFound, 10 * s, "", m},
			{100 * s, refresh.NotFound, 11 * s, refresh.NotFound, 2 * m},
		},
		"the first 404 is not confirmed by anything": {
			{10 * s, refresh.NotFound, 10 * s, "", 30 * s},
		},
		"missing credentials after a 404 begin anew": {
			{0, refresh.NotFound, 0, "", 30 * s},
			{3 * m, refresh.NotExportable, 2 * m, "", 30 * s},
			{6 * m, refresh.NotExportable, 0, refresh.NotExportable, m},
		},
		"a death after a 404 is certain": {
			{0, refresh.NotFound, 0, "", 30 * s}, {30 * s, refresh.Dead, 0, refresh.Dead, m},
		},
		"a confirmed verdict stays so": {
			{0, refresh.NotExportable, 0, "", 30 * s},
			{30 * s, refresh.NotExportable, 20 * s, refresh.NotExportable, m},
			{31 * s, refresh.NotExportable, 0, refresh.NotExportable, 2 * m},
		},
		"a death is not ended by a 404": {
			{0, refresh.Dead, 0, refresh.Dead, m},
			{m, refresh.NotFound, 0, refresh.Dead, 30 * s},
			{4 * m, refresh.NotFound, 0, refresh.NotFound, m},
		},
		"a death is not ended by two that match": {
			{0, refresh.Dead, 0, refresh.Dead, m},
			{m, refresh.Ambiguous, 0, refresh.Dead, m},
		},
		"a 404 after two that match is doubtful": {
			{0, refresh.Ambiguous, 0, "", m},
			{m, refresh.NotFound, 0, "", 30 * s},
		},
		"two that match say nothing about the credentials": {{0, refresh.Ambiguous, 0, "", m}},
		"another app says nothing about the credentials":   {{0, refresh.Mismatch, 0, "", m}},
		"credentials that the Secret does not hold do not end a death": {
			{0, refresh.Dead, 0, refresh.Dead, m},
			{m, "", 0, refresh.Dead, 10 * s},
			{2 * m, refresh.NotFound, 0, refresh.Dead, 30 * s},
		},
		"credentials that the Secret does not hold end a doubt": {
			{0, refresh.NotFound, 0, "", 30 * s},
			{30 * s, "", 0, "", 39*m + 30*s},
			{3 * m, refresh.NotFound, 0, "", 30 * s},
		},
		"a request comes at the death": {{0, refresh.Dead, 0, refresh.Dead, m}, {10 * s, refresh.Dead, 0, refresh.Dead, 2 * m}},
	}
	for name, answers := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var verdict refresh.Verdict
			for _, answer := range answers {
				at := now.Add(answer.at)
				otherFetched := time.Time{}
				if answer.otherFetched != 0 {
					otherFetched = now.Add(answer.otherFetched)
				}
				if answer.kind == "" {
					verdict = verdict.Answered()
				} else {
					verdict.Add(answer.kind, otherFetched, at)
				}
				if verdict.Confirmed != answer.want {
					t.Errorf("after %s the confirmed verdict is %q, want %q", answer.at, verdict.Confirmed, answer.want)
				}
				facts := quiet().facts
				facts.Verdict = verdict
				facts.Looks.Last = at
				wait := time.Duration(0)
				for refresh.Decide(quiet().desired, facts, at.Add(wait)).Action != refresh.Fetch && wait < time.Hour {
					wait += s
				}
				if wait != answer.wantWait {
					t.Errorf("after %s Pipedream is asked again in %s, want %s", answer.at, wait, answer.wantWait)
				}
			}
		})
	}
}

// TestSettledRefreshTime has a look bring the same credentials, and an answer say when Pipedream refreshes them.
func TestSettledRefreshTime(t *testing.T) {
	t.Parallel()
	const s, m = time.Second, time.Minute
	never := time.Duration(math.MinInt64)
	tests := map[string]struct {
		policy           refresh.Policy
		before, at, said time.Duration // after the fetch
		wantSaid         bool
	}{
		"BeforeExpiry takes each time":                      {policy: refresh.BeforeExpiry, before: 10 * m, at: 11 * m, said: 11*m + s, wantSaid: true},
		"before the refresh, a later time":                  {before: 10 * m, at: 5 * m, said: 12 * m, wantSaid: true},
		"before the refresh, an earlier time":               {before: 10 * m, at: 5 * m, said: 5*m + s, wantSaid: true},
		"before the refresh, none":                          {before: 10 * m, at: 5 * m, said: never, wantSaid: true},
		"just before the look after the refresh":            {before: 10 * m, at: 10*m + 14*s, said: 11 * m, wantSaid: true},
		"after a refresh that has not come, a time soon":    {before: 10 * m, at: 10*m + 15*s, said: 15*m + 14*s},
		"after a refresh that has not come, a later time":   {before: 10 * m, at: 10*m + 15*s, said: 15*m + 15*s, wantSaid: true},
		"after a refresh that has not come, a time past":    {before: 10 * m, at: 10*m + 15*s, said: 9 * m},
		"after a refresh that has not come, none":           {before: 10 * m, at: 10*m + 15*s, said: never},
		"after a look without a time, a time soon":          {before: never, at: 10 * m, said: 10*m + s, wantSaid: true},
		"after a look with a time before the fetch, a time": {before: -m, at: 10 * m, said: 10*m + s, wantSaid: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			after := func(wait time.Duration) time.Time {
				if wait == never {
					return time.Time{}
				}
				return now.Add(wait)
			}
			desired := refresh.Desired{Policy: test.policy}
			if desired.Policy == "" {
				desired.Policy = refresh.EachRefresh
			}
			record := refresh.Record{FetchTime: now, ExpirationTime: now.Add(time.Hour), NextRefreshTime: after(test.before)}
			want := record.NextRefreshTime
			if test.wantSaid {
				want = after(test.said)
			}
			if got := refresh.SettledRefreshTime(desired, record, after(test.said), after(test.at)); !got.Equal(want) {
				t.Errorf("the record then has the refresh time %s, want %s", got, want)
			}
		})
	}
}

func TestGoodUntil(t *testing.T) {
	t.Parallel()
	const s, m = time.Second, time.Minute
	tests := map[string]struct {
		policy                 refresh.Policy
		life, next, last, want time.Duration // after the fetch; 0 for none
	}{
		"to the expiry":                               {policy: refresh.BeforeExpiry, life: 60 * m, next: 10 * m, want: 60 * m},
		"to the refresh":                              {life: 60 * m, next: 10 * m, want: 10 * m},
		"to the refresh, with a look before":          {life: 60 * m, next: 10 * m, last: 10*m + 14*s, want: 10 * m},
		"to the expiry, as there was no refresh":      {life: 60 * m, next: 10 * m, last: 10*m + 15*s, want: 60 * m},
		"to the expiry, as the refresh is after that": {life: 60 * m, next: 61 * m, want: 60 * m},
		"to the expiry, as there is no refresh":       {life: 60 * m, want: 60 * m},
		"to the refresh of one that does not expire":  {next: 10 * m, want: 10 * m},
		"for ever":                                    {},
		"for ever, as there was no refresh":           {next: 10 * m, last: 10*m + 15*s},
		"to the refresh, as the last look is to come": {life: 60 * m, next: 10 * m, last: 20 * m, want: 10 * m},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			after := func(wait time.Duration) time.Time {
				if wait == 0 {
					return time.Time{}
				}
				return now.Add(wait)
			}
			desired := refresh.Desired{Policy: test.policy}
			if desired.Policy == "" {
				desired.Policy = refresh.EachRefresh
			}
			record := refresh.Record{FetchTime: now, ExpirationTime: after(test.life), NextRefreshTime: after(test.next)}
			got := refresh.GoodUntil(desired, record, refresh.Looks{Since: now, Last: after(test.last)}, now.Add(12*m))
			if want := after(test.want); !got.Equal(want) {
				t.Errorf("they are good until %s, want %s", got, want)
			}
		})
	}
}

// TestAChangeMendsAFailureAfterARestart has nothing be due but what has failed before the restart.
func TestAChangeMendsAFailureAfterARestart(t *testing.T) {
	t.Parallel()
	facts := refresh.Facts{
		Target: refresh.Owned, Check: refresh.Good, HasCredentials: true, Record: &refresh.Record{FetchTime: now, ExpirationTime: now.Add(time.Hour)},
		Looks: refresh.Looks{Since: now.Add(20 * time.Minute), Again: true}, NotBefore: now.Add(30 * time.Minute),
	}
	for changed, want := range map[bool]refresh.Action{false: refresh.Wait, true: refresh.Fetch} {
		facts.Changed = changed
		if got := refresh.Decide(refresh.Desired{}, facts, now.Add(20*time.Minute)); got.Action != want {
			t.Errorf("changed: %v: the decision is %+v, want %s", changed, got, want)
		}
	}
}
