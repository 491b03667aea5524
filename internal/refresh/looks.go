// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package refresh

import (
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

// lateness is how long an account that Pipedream has refreshed late is looked at only after its
// credentials have expired.
const lateness = 24 * time.Hour

// Looks are what a process remembers of its looks at one account. A restart forgets them, which
// costs one look at most. It must not forget that a look is to be made again.
type Looks struct {
	// Since is when the process first saw the account. It must be set, so that a restart makes no
	// look early.
	Since time.Time
	// Last is when the last look was made; zero if there was none.
	Last time.Time
	// Again is true if the account is to be looked at again, whatever the times of the credentials are: the last look
	// has failed or was of no use, or an earlier process has left a look undone.
	Again bool
	// LateSince is when a look shortly before the expiry last brought nothing newer: Pipedream then
	// refreshes the account only when its credentials have expired. Zero if that never happened.
	LateSince time.Time
	// Followed is when the announced refresh has come that has brought the current credentials, or two minutes
	// after the one before if that is later. It is zero if they came without an announced refresh that the
	// schedule follows.
	Followed time.Time
}

// Add records a look that was made now. The record is the one that the Secret had before the look;
// it is nil if there was none, or if the look brought no credentials. isNewer is true if the look
// brought other credentials than the Secret had, or the same with a later expiry.
//
// A look whose credentials could not be written is not added: its reason holds on.
func (l *Looks) Add(desired Desired, record *Record, isNewer bool, now time.Time) {
	l.Last, l.Again = now, false
	if record == nil {
		return
	}
	refreshed, follows := refreshTime(desired, *record)
	switch {
	case isNewer && follows && !now.Before(refreshed):
		l.Followed = latest(record.NextRefreshTime, retry.EndOf(l.Followed, hastyRefresh, now))
		return
	case isNewer:
		l.Followed = time.Time{}
		return
	case !record.expires(), follows && isRefreshedInTime(*record):
		return
	}
	if !now.Before(DueTime(*record)) && now.Before(record.ExpirationTime.Add(afterExpiry)) {
		l.LateSince = now
	}
}

// IsLate reports whether Pipedream refreshes the account only after its credentials have expired,
// so that they are expired for about a second in each life.
func (l Looks) IsLate(now time.Time) bool {
	return !l.LateSince.IsZero() && !l.LateSince.After(now) && now.Sub(l.LateSince) < lateness
}

// lastBefore returns the time of the last look. It returns zero if that is later than now, because
// it was then read from a clock that has been set back since.
func (l Looks) lastBefore(now time.Time) time.Time {
	if l.Last.After(now) {
		return time.Time{}
	}
	return l.Last
}
