// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package renewal_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

const day = 24 * time.Hour

func TestDueTime(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		life, renewBefore time.Duration
		// latest is the latest renewal time of many tokens, after issue.
		latest time.Duration
	}{
		"after two thirds of an hour":                          {life: time.Hour, latest: 40 * time.Minute},
		"after two thirds of the shortest life":                {life: 30 * time.Second, latest: 20 * time.Second},
		"after two thirds of the longest life":                 {life: 30 * day, latest: 20 * day},
		"15 minutes before expiry":                             {life: time.Hour, renewBefore: 15 * time.Minute, latest: 45 * time.Minute},
		"ten seconds before expiry":                            {life: time.Hour, renewBefore: 10 * time.Second, latest: 59*time.Minute + 50*time.Second},
		"half of its life before expiry":                       {life: time.Hour, renewBefore: 30 * time.Minute, latest: 30 * time.Minute},
		"more than half of its life before expiry":             {life: time.Hour, renewBefore: 50 * time.Minute, latest: 30 * time.Minute},
		"before expiry by as much as its life":                 {life: time.Hour, renewBefore: time.Hour, latest: 30 * time.Minute},
		"before expiry by more than its life":                  {life: time.Hour, renewBefore: 30 * day, latest: 30 * time.Minute},
		"ten seconds after issue at the least":                 {life: 12 * time.Second, latest: 10 * time.Second},
		"ten seconds after issue, whatever the spec says":      {life: 12 * time.Second, renewBefore: 11 * time.Second, latest: 10 * time.Second},
		"ten seconds after the issue of an expired token":      {life: 0, latest: 10 * time.Second},
		"ten seconds after the issue of a token from the past": {life: -time.Hour, latest: 10 * time.Second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			record := renewal.Record{IssueTime: issued, ExpirationTime: issued.Add(test.life)}
			first, last := record.ExpirationTime.Add(day), time.Time{}
			for i := range 5000 {
				desired := renewal.Desired{Identity: fmt.Sprintf("shop/orders-%d", i), RenewBefore: test.renewBefore}
				at := renewal.DueTime(desired, record)
				if again := renewal.DueTime(desired, record); !again.Equal(at) {
					t.Fatalf("%s is renewed at %s, or at %s", desired.Identity, at, again)
				}
				if at.Nanosecond() != 0 {
					t.Fatalf("%s is renewed at %s, want whole seconds", desired.Identity, at)
				}
				if at.Before(first) {
					first = at
				}
				if at.After(last) {
					last = at
				}
			}
			latest := issued.Add(test.latest)
			earliest := latest.Add(-max(test.life, 0) / 10)
			if floor := issued.Add(10 * time.Second); earliest.Before(floor) {
				earliest = floor
			}
			// All renewal times lie in the window. At each end at most a hundredth of the window is free.
			slack := latest.Sub(earliest)/100 + time.Second
			if last.After(latest) || latest.Sub(last) > slack {
				t.Errorf("the last token is renewed %s after issue, want %s", last.Sub(issued), test.latest)
			}
			if first.Before(earliest.Truncate(time.Second)) || first.Sub(earliest) > slack {
				t.Errorf("the first token is renewed %s after issue, want %s", first.Sub(issued), earliest.Sub(issued))
			}
		})
	}
}

func TestDueTimeDependsOnIdentityAndLifetimeOnly(t *testing.T) {
	t.Parallel()
	s := nothingDue()
	want := renewal.DueTime(s.desired, *s.facts.Record)
	desired := renewal.Desired{Identity: s.desired.Identity}
	record := renewal.Record{IssueTime: issued, ExpirationTime: expires}
	if got := renewal.DueTime(desired, record); !got.Equal(want) {
		t.Errorf("DueTime = %s, want %s", got, want)
	}
}

func TestTheRenewalsOfTokensIssuedTogetherAreSpread(t *testing.T) {
	t.Parallel()
	const (
		tokens = 1000
		life   = time.Hour
		window = life / 10
		bucket = 30 * time.Second
		most   = 1.5
	)
	record := renewal.Record{IssueTime: issued, ExpirationTime: issued.Add(life)}
	begin := issued.Add(life*2/3 - window)
	var counts [window / bucket]int
	for i := range tokens {
		at := renewal.DueTime(renewal.Desired{Identity: fmt.Sprintf("team-%d/orders-%d", i%20, i)}, record)
		counts[at.Sub(begin)/bucket]++
	}
	peak := 0
	for _, count := range counts {
		peak = max(peak, count)
	}
	mean := float64(tokens) / float64(len(counts))
	if got := float64(peak) / mean; got > most {
		t.Errorf("the busiest %s has %d renewals, %.2f times the mean; want at most %.1f: %v", bucket, peak, got, most, counts)
	}
}

func TestNearEnd(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ life, before time.Duration }{
		"in its last ten minutes":           {life: time.Hour, before: 10 * time.Minute},
		"in the last sixth of a long life":  {life: 30 * 24 * time.Hour, before: 5 * 24 * time.Hour},
		"in its whole life, if it is short": {life: time.Minute, before: 10 * time.Minute},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expires := issued.Add(test.life)
			got := renewal.NearEnd(renewal.Record{IssueTime: issued, ExpirationTime: expires})
			if want := expires.Add(-test.before); !got.Equal(want) {
				t.Errorf("the token is near its end from %s on, want %s", got, want)
			}
		})
	}
}

// TestAnOperatorThatYieldsRenewsALittleLater has two operators write one target by turns.
func TestAnOperatorThatYieldsRenewsALittleLater(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		life, renewBefore, longest time.Duration
	}{
		"an hour":                   {life: time.Hour, longest: 5 * time.Minute},
		"30 days":                   {life: 30 * day, longest: 5 * time.Minute},
		"30 seconds":                {life: 30 * time.Second, longest: 13 * time.Second / 4},
		"ten seconds before expiry": {life: time.Hour, renewBefore: 10 * time.Second, longest: (6*time.Minute + 10*time.Second) / 4},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := nothingDue()
			s.desired.RenewBefore = test.renewBefore
			s.facts.Record.ExpirationTime = issued.Add(test.life)
			s.facts.LastVerified = issued
			due := renewal.DueTime(s.desired, *s.facts.Record)
			s.facts.Yields = true
			if got := renewal.Decide(s.desired, s.facts, due).Action; got != renewal.Keep {
				t.Errorf("when the token is due it decides %s, want Keep", got)
			}
			at := due
			for renewal.Decide(s.desired, s.facts, at).Action == renewal.Keep {
				at = at.Add(renewal.Sleep(s.desired, s.facts, renewal.Decide(s.desired, s.facts, at), at))
			}
			if got := renewal.Decide(s.desired, s.facts, at); got.Action != renewal.Issue || got.Why != renewal.Due {
				t.Errorf("at %s it decides %+v, want it to renew the token", at, got)
			}
			if late := at.Sub(due); late > test.longest || !at.Before(s.facts.Record.ExpirationTime) {
				t.Errorf("it renews %s later than when the token is due, want at most %s", late, test.longest)
			}
			s.facts.Yields = false
			if got := renewal.Decide(s.desired, s.facts, due).Action; got != renewal.Issue {
				t.Errorf("when it does not yield it decides %s, want Issue", got)
			}
		})
	}
}
