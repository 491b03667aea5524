// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package refresh_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/refresh"
)

// TestNextLookIsWhenTheNextLookIsMade compares NextLook with the decisions of a process that has just looked.
func TestNextLookIsWhenTheNextLookIsMade(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // The same accounts in each run.
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	seconds := func(most int) time.Duration { return time.Duration(random.IntN(most)) * time.Second }
	for range 2000 {
		record := refresh.Record{FetchTime: begin}
		if random.IntN(4) > 0 {
			record.ExpirationTime = begin.Add(time.Minute + seconds(4*3600))
		}
		if random.IntN(2) > 0 {
			record.NextRefreshTime = begin.Add(seconds(2 * 3600))
		}
		desired := refresh.Desired{Policy: refresh.BeforeExpiry}
		if random.IntN(2) > 0 {
			desired.Policy = refresh.EachRefresh
		}
		if random.IntN(3) == 0 {
			desired.Interval = 30*time.Second + seconds(3600)
		}
		now := begin.Add(seconds(5 * 3600))
		next := refresh.NextLook(desired, record, now)
		if next.Sub(now) < 11*time.Second {
			continue // Two looks are ten seconds apart, which is no matter of the schedule.
		}
		facts := refresh.Facts{
			Target: refresh.Owned, Check: refresh.Good, Record: &record, HasCredentials: true,
			Looks: refresh.Looks{Since: begin, Last: now},
		}
		for at, want := range map[time.Time]bool{next.Add(-time.Second): false, next: true} {
			if got := refresh.Decide(desired, facts, at); (got.Action == refresh.Fetch) != want {
				t.Fatalf("%+v with %+v: the next look after %s is at %s, and at %s the decision is %+v", record, desired, now, next, at, got)
			}
		}
	}
}
