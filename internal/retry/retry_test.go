// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package retry_test

import (
	"fmt"
	"math"
	"math/rand/v2"
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

func TestTheLongestWaitAfterATransientFailure(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ left, want time.Duration }{
		"much is left":                          {left: 24 * time.Hour, want: 5 * time.Minute},
		"just enough for the longest wait":      {left: 15 * time.Minute, want: 5 * time.Minute},
		"a third is left below that":            {left: 14*time.Minute + 42*time.Second, want: 4*time.Minute + 54*time.Second},
		"the wait ends in the last ten minutes": {left: 12 * time.Minute, want: 2*time.Minute + 30*time.Second},
		"the last ten minutes begin":            {left: 10 * time.Minute, want: 30 * time.Second},
		"just before the last ten minutes":      {left: 10*time.Minute + time.Second, want: 31 * time.Second},
		"in the last ten minutes":               {left: 5 * time.Minute, want: 30 * time.Second},
		"a third is 30 s":                       {left: 90 * time.Second, want: 30 * time.Second},
		"40 s":                                  {left: 40 * time.Second, want: 40 * time.Second / 3},
		"three seconds":                         {left: 3 * time.Second, want: time.Second},
		"the last second":                       {left: time.Second, want: time.Second},
		"the last nanosecond":                   {left: 1, want: time.Second},
		"the expiry":                            {left: 0, want: 30 * time.Second},
		"an hour after the expiry":              {left: -time.Hour, want: 30 * time.Second},
	}
	for name, test := range tests {
		if got := retry.LongestTransient(now.Add(test.left), now); got != test.want {
			t.Errorf("%s: the longest wait is %s, want %s", name, got, test.want)
		}
	}
	if got := retry.LongestTransient(time.Time{}, now); got != 30*time.Second {
		t.Errorf("without a token the longest wait is %s, want 30 s", got)
	}
}

// TestNoWaitAfterATransientFailureReachesPastItsBound draws waits from a seed, and looks at
// each moment of a wait whether its rest is still allowed.
func TestNoWaitAfterATransientFailureReachesPastItsBound(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // The same draws in each run.
	for range 20000 {
		// As many short lives as long ones.
		left := time.Duration(math.Exp(random.Float64()*18) * float64(time.Millisecond))
		expiry := now.Add(left)
		switch random.IntN(10) {
		case 0:
			expiry = time.Time{}
		case 1:
			expiry = now.Add(-left)
		}
		identity, count := fmt.Sprintf("shop/orders-%d", random.IntN(1000)), random.IntN(20)
		wait := retry.AfterTransient(identity, count, expiry, now)
		end := now.Add(wait)
		if wait < time.Second || wait > retry.LongestWait {
			t.Fatalf("with %s left, the wait after failure %d is %s", left, count, wait)
		}
		if !expiry.IsZero() && wait > time.Second && left > 0 && expiry.After(now) && wait > left/3 {
			t.Fatalf("with %s left, the wait after failure %d is %s, want at most a third", left, count, wait)
		}
		if urgent := expiry.IsZero() || expiry.Sub(now) <= 10*time.Minute; urgent && wait > 30*time.Second {
			t.Fatalf("with %s left, the wait after failure %d is %s, want at most 30 s", expiry.Sub(now), count, wait)
		}
		if usual := retry.After(retry.Transient, identity, count); wait > max(usual, time.Second) && wait > retry.LongestTransient(expiry, now) {
			t.Fatalf("with %s left, the wait after failure %d is %s, and %s without a deadline", left, count, wait, usual)
		}
		for range 20 {
			at := now.Add(time.Duration(random.Int64N(int64(wait))))
			if got := retry.LimitTransient(end, expiry, at); !got.Equal(end) {
				t.Fatalf("with %s left, a wait of %s is cut short by %s when %s of it have passed",
					left, wait, end.Sub(got), at.Sub(now))
			}
		}
	}
}

// TestAFailureBeforeAnExpiryIsRetriedBeforeIt has attempts fail until 40 s before the expiry.
func TestAFailureBeforeAnExpiryIsRetriedBeforeIt(t *testing.T) {
	t.Parallel()
	for _, life := range []time.Duration{time.Minute, 10 * time.Minute, 20 * time.Minute, time.Hour, 24 * time.Hour} {
		for _, answers := range []time.Duration{5 * time.Second, 40 * time.Second, 2 * time.Minute} {
			at, expiry := now.Add(life*2/3), now.Add(life)
			for count := 1; at.Before(expiry.Add(-answers)); count++ {
				at = at.Add(retry.AfterTransient("shop/orders", count, expiry, at))
			}
			if !at.Before(expiry) {
				t.Errorf("a token that lives %s is tried again %s after its expiry, though Pipedream answered again %s before it",
					life, at.Sub(expiry), answers)
			}
		}
	}
}

func TestAWaitIsCutShortWhenItsTokenIsGone(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		until, expiry time.Time
		want          time.Duration
	}{
		"the token is gone":                    {until: now.Add(4 * time.Minute), want: 30 * time.Second},
		"an older token was put back":          {until: now.Add(4 * time.Minute), expiry: now.Add(time.Minute), want: 20 * time.Second},
		"the clock was set back":               {until: now.Add(time.Hour), expiry: now.Add(2 * time.Hour), want: 5 * time.Minute},
		"a short wait without a token":         {until: now.Add(10 * time.Second), want: 10 * time.Second},
		"a wait that is over":                  {until: now.Add(-time.Minute), want: -time.Minute},
		"a wait that still fits into the life": {until: now.Add(4 * time.Minute), expiry: now.Add(time.Hour), want: 4 * time.Minute},
	} {
		if got := retry.LimitTransient(test.until, test.expiry, now).Sub(now); got != test.want {
			t.Errorf("%s: the wait ends in %s, want %s", name, got, test.want)
		}
	}
}

// Objects that fail together do not retry together, also where a deadline limits the wait.
func TestWaitsBeforeADeadlineAreSpread(t *testing.T) {
	t.Parallel()
	waits := map[time.Duration]bool{}
	for i := range 100 {
		waits[retry.AfterTransient(fmt.Sprintf("shop/orders-%d", i), 10, time.Time{}, now)] = true
	}
	if len(waits) < 90 {
		t.Errorf("100 objects without a token have only %d different waits", len(waits))
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
