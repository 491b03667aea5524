// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package refresh

import (
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

const (
	// hastyRefresh is the shortest time between two announced refreshes that the schedule follows.
	hastyRefresh = 2 * time.Minute
	// overdueRefresh is how long before the fetch an announced refresh may be that has not come yet: it may just be
	// made, or the clocks may differ.
	overdueRefresh = time.Minute
)

// refreshTime returns when a look shows that Pipedream has refreshed the credentials by its own word, and whether the
// schedule follows that.
func refreshTime(desired Desired, record Record) (time.Time, bool) {
	next := record.NextRefreshTime
	if desired.Policy != EachRefresh || next.IsZero() || !next.After(record.FetchTime.Add(-overdueRefresh)) {
		return time.Time{}, false
	}
	at := next.Add(afterRefresh)
	if isRefreshedInTime(record) && record.expires() {
		at = earliest(at, record.ExpirationTime)
	}
	return at.Truncate(time.Second), true
}

// AnnouncedRefresh returns when Pipedream refreshes the credentials by its own word, if the schedule follows that; else
// it returns zero.
func AnnouncedRefresh(desired Desired, record Record) time.Time {
	if _, follows := refreshTime(desired, record); !follows {
		return time.Time{}
	}
	return record.NextRefreshTime
}

// isRefreshedInTime reports whether Pipedream refreshes the credentials before they expire by its own word, if it has
// announced a refresh.
func isRefreshedInTime(record Record) bool {
	return !record.expires() || record.NextRefreshTime.Before(record.ExpirationTime)
}

// SettledRefreshTime returns the refresh time that the Record is to have after a look that was made now and has brought
// the same credentials as before. It is what Pipedream says, unless the refresh that the schedule follows has not come
// in time: then it changes only if Pipedream says a time that is five minutes ahead, and a time that changes with each
// answer does not cause a look each time.
func SettledRefreshTime(desired Desired, before Record, said, now time.Time) time.Time {
	refreshed, follows := refreshTime(desired, before)
	if follows && !now.Before(refreshed) && said.Sub(now) < longestStaleWait {
		return before.NextRefreshTime
	}
	return said
}

// GoodUntil returns until when the app accepts the credentials by what Pipedream says: until they expire, or until an
// announced refresh if the provider ends them then. If a look after the announced time has shown that there was no refresh,
// it is when they expire. It returns zero for credentials that do not end.
func GoodUntil(desired Desired, record Record, looks Looks, now time.Time) time.Time {
	refreshed, follows := refreshTime(desired, record)
	if !follows || !isRefreshedInTime(record) || !looks.lastBefore(now).Before(refreshed) {
		return record.ExpirationTime
	}
	return record.NextRefreshTime
}

// nextFollowing returns when the next look is to be made at credentials whose refresh Pipedream has announced: after
// the refresh, and a second after they expire; again and again while neither has brought newer ones.
func nextFollowing(record Record, refreshed time.Time, looks Looks, now time.Time) time.Time {
	last, begin := looks.lastBefore(now), refreshed
	end := record.ExpirationTime.Add(afterExpiry)
	if record.expires() {
		begin = earliest(refreshed, end)
	}
	next := nextStale(begin, last)
	if last.Before(refreshed) {
		next = earliest(next, refreshed)
	}
	next = latest(next, retry.EndOf(looks.Followed, hastyRefresh+afterRefresh, now).Truncate(time.Second))
	if record.expires() && last.Before(end) {
		next = earliest(next, end)
	}
	return next
}
