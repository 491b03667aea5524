// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package retry_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestTheWaitAfterARefusal(t *testing.T) {
	t.Parallel()
	want := []time.Duration{
		1: time.Minute, 2: 2 * time.Minute, 3: 4 * time.Minute, 4: 8 * time.Minute, 5: 15 * time.Minute, 6: 15 * time.Minute,
		100: 15 * time.Minute,
	}
	for count, want := range want {
		if want == 0 {
			continue
		}
		for _, identity := range []string{"shop/orders", "shop/checkout"} {
			if got := retry.After(retry.Refused, identity, count); got != want {
				t.Errorf("%s waits %s after refusal %d, want %s", identity, got, count, want)
			}
		}
	}
}

func TestTheWaitAfterATransientFailure(t *testing.T) {
	t.Parallel()
	want := map[int]time.Duration{
		0: time.Second, 1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 8: 128 * time.Second, 9: 256 * time.Second,
		10: 5 * time.Minute, 11: 5 * time.Minute, 1000: 5 * time.Minute,
	}
	for count, most := range want {
		first, last := most, time.Duration(0)
		for i := range 1000 {
			identity := fmt.Sprintf("shop/orders-%d", i)
			got := retry.After(retry.Transient, identity, count)
			if again := retry.After(retry.Transient, identity, count); again != got {
				t.Fatalf("%s waits %s after failure %d, or %s", identity, got, count, again)
			}
			first, last = min(first, got), max(last, got)
		}
		least := most - most/5
		if last > most || most-last > most/50 {
			t.Errorf("after failure %d the last waits %s, want about %s and no more", count, last, most)
		}
		if first <= least || first-least > most/50 {
			t.Errorf("after failure %d the first waits %s, want little more than %s", count, first, least)
		}
	}
}

// Two objects that happen to wait equally long once do not wait equally long again.
func TestTwoObjectsDoNotRetryTogetherAgainAndAgain(t *testing.T) {
	t.Parallel()
	const most = 5 * time.Minute
	shares := map[time.Duration]bool{}
	for count := 10; count < 20; count++ {
		shares[most-retry.After(retry.Transient, "shop/orders", count)] = true
	}
	if len(shares) != 10 {
		t.Errorf("in ten retries only %d different parts of the wait were taken off", len(shares))
	}
}

func TestDoubledWaits(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		first, most time.Duration
		count       int
		want        time.Duration
	}{
		"before the first":                    {first: time.Minute, most: time.Hour, count: 0, want: time.Minute},
		"the first":                           {first: time.Second, most: time.Minute, count: 1, want: time.Second},
		"the third":                           {first: time.Second, most: time.Minute, count: 3, want: 4 * time.Second},
		"the last below the limit":            {first: 10 * time.Second, most: time.Minute, count: 3, want: 40 * time.Second},
		"the first at the limit":              {first: 10 * time.Second, most: time.Minute, count: 4, want: time.Minute},
		"one of very many":                    {first: time.Second, most: time.Minute, count: 1 << 40, want: time.Minute},
		"a first wait above the limit":        {first: time.Hour, most: time.Minute, count: 1, want: time.Minute},
		"a limit above the longest wait":      {first: time.Minute, most: 24 * time.Hour, count: 100, want: retry.LongestWait},
		"a first wait above the longest wait": {first: 24 * time.Hour, most: 48 * time.Hour, count: 1, want: retry.LongestWait},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := retry.Doubled(test.first, test.most, test.count); got != test.want {
				t.Errorf("the wait is %s, want %s", got, test.want)
			}
		})
	}
}

func TestWaitsAreLimited(t *testing.T) {
	t.Parallel()
	longest := now.Add(retry.LongestWait)
	for name, until := range map[string]time.Time{
		"no wait": {}, "a wait that is over": now.Add(-time.Hour), "a short wait": now.Add(time.Minute), "the longest wait": longest,
	} {
		if got := retry.Limit(until, now); !got.Equal(until) {
			t.Errorf("%s is changed to end %s from now", name, got.Sub(now))
		}
	}
	for _, until := range []time.Time{longest.Add(1), now.Add(24 * time.Hour), now.Add(1<<63 - 1)} {
		if got := retry.Limit(until, now); !got.Equal(longest) {
			t.Errorf("a wait of %s is limited to %s, want %s", until.Sub(now), got.Sub(now), retry.LongestWait)
		}
	}
}

func TestWaitsThatAreTooLongAreNotBelieved(t *testing.T) {
	t.Parallel()
	last := now.Add(retry.LongestWait + retry.MaxClockSkew)
	for name, until := range map[string]time.Time{
		"no wait": {}, "a wait that is over": now.Add(-time.Hour), "the longest wait": now.Add(retry.LongestWait),
		"the longest wait, by a clock that is a little ahead": last,
	} {
		if got := retry.Believe(until, now); !got.Equal(until) {
			t.Errorf("%s is changed to end %s from now", name, got.Sub(now))
		}
	}
	for _, until := range []time.Time{last.Add(1), now.Add(24 * time.Hour), now.Add(1<<63 - 1)} {
		if got := retry.Believe(until, now); !got.IsZero() {
			t.Errorf("a wait of %s is believed to end %s from now, want no wait", until.Sub(now), got.Sub(now))
		}
	}
}

func TestSpread(t *testing.T) {
	t.Parallel()
	for _, limit := range []time.Duration{0, -time.Second} {
		if got := retry.Spread("shop/orders", limit); got != 0 {
			t.Errorf("below a limit of %s the duration is %s, want 0", limit, got)
		}
	}
	const limit = 10 * time.Second
	var counts [10]int
	for i := range 1000 {
		identity := fmt.Sprintf("shop/orders-%d", i)
		got := retry.Spread(identity, limit)
		if again := retry.Spread(identity, limit); again != got {
			t.Errorf("%s has the durations %s and %s", identity, got, again)
		}
		if got < 0 || got >= limit {
			t.Fatalf("%s has the duration %s, want it below %s", identity, got, limit)
		}
		counts[got*10/limit]++
	}
	for tenth, count := range counts {
		if count < 70 || count > 130 {
			t.Errorf("tenth %d of the time has %d of 1,000 identities: %v", tenth, count, counts)
		}
	}
}
