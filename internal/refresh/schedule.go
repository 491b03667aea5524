// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package refresh

import (
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

const (
	// longestLead is how long before their expiry credentials are fetched at most.
	longestLead = 10 * time.Minute
	// afterRefresh is how long after the refresh time that Pipedream names a look is made, because a
	// refresh takes a moment.
	afterRefresh = 15 * time.Second
	// beforeDue is how long before the due time a refresh may be so that the look waits for it.
	beforeDue = 5 * time.Second
	// afterExpiry is how long after the expiry the look is made that a look before the expiry did not
	// make needless. Pipedream may refresh credentials only when they are asked for after that.
	afterExpiry = time.Second
	// firstStaleWait and longestStaleWait limit the time between two looks while Pipedream keeps
	// credentials that have expired, or that it should have refreshed.
	firstStaleWait   = 30 * time.Second
	longestStaleWait = 5 * time.Minute
	// defaultInterval is the longest time without a look at credentials that do not expire, or that
	// live longer than longestUnwatched.
	defaultInterval  = time.Hour
	longestUnwatched = 2 * time.Hour
)

// due is a reason to fetch credentials. It holds since a time, and the fetch may be made at
// notBefore, which is the zero time if there is nothing to wait for.
type due struct {
	why              Why
	since, notBefore time.Time
}

// duesOf returns the reasons to fetch credentials, in the order of precedence. Some of them hold
// only later.
func duesOf(desired Desired, facts Facts, now time.Time) []due {
	switch {
	case facts.Target == Absent:
		return []due{triggered(Missing, facts, now)}
	case facts.Record == nil, facts.Check == Edited, facts.Superseded:
		return []due{triggered(SecretEdited, facts, now)}
	}
	dues := agingOf(desired, facts, now)
	record := facts.Record
	if record.Request != desired.Request {
		dues = append(dues, triggered(Outdated, facts, now))
	}
	if desired.RenewRequest != "" && record.RenewRequest != desired.RenewRequest {
		dues = append(dues, triggered(Requested, facts, now))
	}
	if record.Rendering != desired.Rendering {
		dues = append(dues, triggered(TemplateChanged, facts, now))
	}
	return dues
}

func triggered(why Why, facts Facts, now time.Time) due {
	return due{why: why, notBefore: latest(notBefore(facts, now), facts.Triggered.NotBefore(now))}
}

// agingOf returns the reasons to fetch credentials because time passes.
func agingOf(desired Desired, facts Facts, now time.Time) []due {
	record := *facts.Record
	var dues []due
	add := func(why Why, since, at time.Time) {
		dues = append(dues, due{why: why, since: since, notBefore: latest(at, notBefore(facts, now))})
	}
	if at, ok := nextScheduled(desired, record, facts.Looks, now); ok {
		if record.isExpired(now) {
			add(Expired, record.ExpirationTime, at)
		} else {
			add(Expiring, at, at)
		}
	}
	if at, ok := nextByInterval(desired, record, facts.Looks, now); ok {
		add(IntervalElapsed, at, at)
	}
	if at := facts.Verdict.NotBefore(now); facts.Verdict.Kind != "" || facts.Verdict.Confirmed != "" {
		add(IntervalElapsed, at, at)
	}
	if facts.Looks.Again { // A change may have mended the failure, and cuts the wait short.
		dues = append(dues, due{why: IntervalElapsed, notBefore: notBefore(facts, now)})
	}
	return dues
}

// nextScheduled returns when the next look is to be made because of the times that the credentials
// have, and whether they have any.
func nextScheduled(desired Desired, record Record, looks Looks, now time.Time) (time.Time, bool) {
	last := looks.lastBefore(now)
	end := record.ExpirationTime.Add(afterExpiry)
	due := DueTime(record)
	isDue := record.expires() && last.Before(due) && !looks.IsLate(now)
	refreshed, follows := refreshTime(desired, record)
	switch {
	case follows:
		next := nextFollowing(record, refreshed, looks, now)
		if isDue && !isRefreshedInTime(record) {
			next = earliest(next, due)
		}
		return next, true
	case !record.expires():
		return time.Time{}, false
	case isDue:
		return due, true
	}
	return nextStale(end, last), true
}

// NextLook returns when the next look after now is made by the schedule, if no look fails and none is overdue. It
// knows no earlier look: an account that Pipedream refreshes only when its credentials have expired is looked at
// later than NextLook says, a second after the expiry.
func NextLook(desired Desired, record Record, now time.Time) time.Time {
	looks := Looks{Since: now, Last: now}
	var next time.Time
	for _, schedule := range []func(Desired, Record, Looks, time.Time) (time.Time, bool){nextScheduled, nextByInterval} {
		if at, ok := schedule(desired, record, looks, now); ok && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}

// nextStale returns the first time after the last look on a grid: the begin of the grid, 30 seconds
// after that, and so on, the distances doubling to five minutes. It depends on nothing that a
// restart forgets, but for the last look.
func nextStale(begin, last time.Time) time.Time {
	next, step := begin, firstStaleWait
	for step < longestStaleWait && !next.After(last) {
		next, step = next.Add(step), 2*step
	}
	if next.After(last) {
		return next
	}
	return next.Add(last.Sub(next).Truncate(longestStaleWait)).Add(longestStaleWait)
}

// ScheduledTime returns when credentials are to be fetched again because of the times that they have, if nothing else
// asks for a look before, and whether they have any such times.
func ScheduledTime(desired Desired, record Record) (time.Time, bool) {
	refreshed, follows := refreshTime(desired, record)
	switch {
	case follows && isRefreshedInTime(record):
		return refreshed, true
	case record.expires():
		return DueTime(record), true
	}
	return refreshed, follows
}

// DueTime returns when credentials that expire are to be fetched again under BeforeExpiry, in whole
// seconds: a third of their life before they expire, or ten minutes if that is less. If Pipedream
// refreshes them after that and before they expire, it is 15 seconds after the refresh, but not
// after the expiry.
func DueTime(record Record) time.Time {
	life := record.ExpirationTime.Sub(record.FetchTime)
	at := record.ExpirationTime.Add(-min(max(life, 0)/3, longestLead))
	if next := record.NextRefreshTime; next.After(at.Add(-beforeDue)) && next.Before(record.ExpirationTime) {
		at = earliest(next.Add(afterRefresh), record.ExpirationTime)
	}
	return at.Truncate(time.Second)
}

// LooksPerSecond returns how many routine looks a second credentials ask for in the long run, if each look at
// its due time brings newer ones.
func LooksPerSecond(desired Desired, record Record) float64 {
	interval, hasInterval := intervalOf(desired, record)
	due, isScheduled := ScheduledTime(desired, record)
	if !isScheduled {
		return 1 / interval.Seconds()
	}
	life := max(due.Sub(record.FetchTime), retry.MinInterval)
	if _, follows := refreshTime(desired, record); follows {
		life = max(life, hastyRefresh)
	}
	looks := 1.0
	if hasInterval {
		looks += float64((life - 1) / interval) // The look at the due time is one of them.
	}
	return looks / life.Seconds()
}

// intervalOf returns the longest time between two looks, and whether there is one. There is one for
// credentials that do not expire.
func intervalOf(desired Desired, record Record) (time.Duration, bool) {
	switch {
	case desired.Interval > 0:
		return desired.Interval, true
	case record.expires() && record.ExpirationTime.Sub(record.FetchTime) <= longestUnwatched:
		return 0, false
	}
	return defaultInterval, true
}

// HasJustExpired reports whether a look that finds the credentials expired now is followed by another one, a second
// after their expiry, because Pipedream may refresh them then.
func HasJustExpired(record Record, now time.Time) bool {
	return record.isExpired(now) && now.Before(record.ExpirationTime.Add(afterExpiry))
}

// nextByInterval returns when the next look is to be made so that no two looks are farther apart
// than the interval, and whether there is an interval. The looks are on a grid that begins when the
// credentials were fetched, so that a restart looks at no account early.
func nextByInterval(desired Desired, record Record, looks Looks, now time.Time) (time.Time, bool) {
	interval, hasInterval := intervalOf(desired, record)
	if !hasInterval {
		return time.Time{}, false
	}
	last := looks.lastBefore(now)
	if record.FetchTime.Sub(now) > retry.MaxClockSkew {
		// The record is from a clock that was wrong, and says nothing about the time of the next look.
		if last.IsZero() {
			return now, true
		}
		return last.Add(interval), true
	}
	from := latest(last, looks.Since)
	if from.After(now) || from.Before(record.FetchTime) {
		from = record.FetchTime
	}
	return record.FetchTime.Add(from.Sub(record.FetchTime).Truncate(interval)).Add(interval), true
}

// notBefore returns when an account may be fetched again, whatever the reason is: after the waits for
// a failure and a verdict, and ten seconds after the last look. A change cuts the waits short, unless
// changes come again and again. The ten seconds end at the latest when the look after the expiry is to
// be made.
func notBefore(facts Facts, now time.Time) time.Time {
	cluster := retry.Believe(facts.ClusterNotBefore, now)
	if facts.HasFreshBearer {
		return cluster
	}
	until := latest(retry.Believe(facts.NotBefore, now), facts.Verdict.NotBefore(now))
	if facts.Changed {
		until = earliest(until, facts.Triggered.NotBefore(now))
	}
	last := facts.Looks.lastBefore(now)
	if record := facts.Record; record != nil && !record.FetchTime.After(now) {
		last = latest(last, record.FetchTime)
	}
	interval := retry.EndOf(last, retry.MinInterval, now)
	if record := facts.Record; record != nil && record.expires() {
		if end := record.ExpirationTime.Add(afterExpiry); last.Before(end) {
			interval = earliest(interval, end)
		}
	}
	return latest(cluster, latest(until, interval))
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
