// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle

import (
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

const (
	// outageFailures is the number of failures in a row that make an outage.
	outageFailures = 3
	// firstOutageProbe is the time from the begin of an outage to the first probe. The time
	// to the next probe doubles, up to longestOutageProbe.
	//
	// A probe may wait ten seconds for its answer. So the end of an outage is noticed within
	// twenty seconds at the latest, which leaves time to renew a token that expires in 40.
	firstOutageProbe   = time.Second
	longestOutageProbe = 10 * time.Second
	// wakeInterval is the shortest time between two moments at which the end of an outage
	// wakes requesters.
	wakeInterval = 30 * time.Second
	// longUnanswered is how long the oldest request is on its way before a ticket says that
	// Pipedream does not answer. A good answer takes less than a second.
	longUnanswered = 5 * time.Second
	// longOutage is how long Pipedream has not answered before the requesters that wait are
	// told. They are told at most toldAtOnce at a time, so that their reports do not keep
	// others from reporting.
	longOutage = 10 * time.Second
	toldAtOnce = 20
)

// outage is what a Limiter knows about whether Pipedream answers. An outage begins with
// several failures in a row. While it lasts, one request is sent at a time, as a probe. The
// first good answer ends the outage.
type outage struct {
	// isOn is true while the outage lasts. It began at begunAt.
	isOn    bool
	begunAt time.Time
	// failures counts the failures in a row since the last good answer. The first one was
	// sent at since. The last one came at failedAt, and is of a kind.
	failures        int
	since, failedAt time.Time
	kind            pipedream.Kind
	// hasTrusted is true if one of these failures was that of a trusted request.
	hasTrusted bool
	// lastGood is when the last good answer came.
	lastGood time.Time
	// falseAlarmAt is when an outage ended that was perhaps none. A request that had not
	// failed ended it. Either nobody's probe failed before, or no request has failed in it that
	// had ever succeeded.
	falseAlarmAt time.Time
	// probes counts the probes of the outage. The next one may be sent at nextProbe, unless
	// one is on its way.
	probes    int
	nextProbe time.Time
	isProbing bool
	// isTold is true if the requesters that wait are told about the outage, or were told. toTell
	// are the requesters that are not told yet.
	isTold bool
	toTell []Requester
	// failed are the requesters whose requests have failed since the last good answer, or
	// since the end of the last outage that has not woken them yet.
	failed map[Requester]struct{}
	// isEnded is true if an outage has ended that has not woken the requesters yet. wokenAt
	// is when the end of an outage last woke requesters.
	isEnded bool
	wokenAt time.Time
}

// counts reports whether the failure of a request is a sign of an outage, before the request
// has recorded it. While others have had good answers lately, a request that has never
// succeeded may have a reason of its own to fail, so it counts once. Soon after a false alarm,
// nothing counts then.
func (o *outage) counts(r *request, now time.Time) bool {
	switch {
	case r.isAlone():
		return false
	case now.Sub(o.lastGood) >= longOutage:
		return true
	case !o.falseAlarmAt.IsZero() && now.Sub(o.falseAlarmAt) < retry.LongestWait:
		return false
	}
	return r.isTrusted() || r == nil || r.streak.count == 0
}

// fail records that a request that was sent at sentAt has failed, and whether that counts as
// a sign of an outage. It returns whether an outage begins. A request that was sent before the
// last good answer says nothing new.
func (o *outage) fail(f *flight, kind pipedream.Kind, counts bool, now time.Time) (begins bool) {
	requester, sentAt := f.requester, f.sentAt
	if sentAt.Before(o.lastGood) {
		return false
	}
	if o.failed == nil {
		o.failed = map[Requester]struct{}{}
	}
	o.failed[requester] = struct{}{}
	if !o.isOn && now.Sub(o.failedAt) > retry.LongestWait {
		// A failure of long ago does not belong to an outage of today.
		o.failures, o.since, o.hasTrusted = 0, time.Time{}, false
	}
	if o.since.IsZero() || sentAt.Before(o.since) {
		o.since = sentAt
	}
	if counts {
		o.failures++
	}
	o.failedAt, o.kind = now, kind
	o.hasTrusted = o.hasTrusted || f.request.isTrusted()
	if o.isOn || o.failures < outageFailures {
		return false
	}
	o.isOn, o.begunAt, o.isTold = true, now, false
	o.probes, o.nextProbe, o.isProbing = 0, now.Add(firstOutageProbe), false
	return true
}

// succeed records that Pipedream has given a good answer to a request, before the request
// has recorded it.
func (o *outage) succeed(r *request, now time.Time) {
	if o.isOn {
		o.isEnded = true
		if r != nil && r.streak.count == 0 && (o.probes == 0 || !o.hasTrusted) {
			o.falseAlarmAt = now
		}
	}
	if !o.isEnded {
		clear(o.failed) // These requesters wait for themselves, and not for the end of an outage.
	}
	o.isOn, o.failures, o.hasTrusted = false, 0, false
	o.since, o.failedAt, o.lastGood = time.Time{}, time.Time{}, now
}

// probed records that a probe of an outage has ended without a good answer. A request that
// fails for a reason of its own does not prolong the outage.
func (o *outage) probed(f *flight, now time.Time) {
	if !o.isOn || !f.outage.Equal(o.begunAt) {
		return
	}
	o.isProbing = false
	if f.request.isAlone() {
		return
	}
	o.probes++
	o.nextProbe = now.Add(retry.Doubled(firstOutageProbe, longestOutageProbe, o.probes+1))
}

// wake returns the requesters to be woken, because an outage that they have failed in is
// over.
func (o *outage) wake(now time.Time) (requesters []Requester) {
	if !o.isEnded || o.isOn || now.Before(o.wokenAt.Add(wakeInterval)) {
		return nil
	}
	for requester := range o.failed {
		requesters = append(requesters, requester)
	}
	clear(o.failed)
	o.isEnded, o.wokenAt = false, now
	return requesters
}

// untilWake returns after which time requesters are to be woken, and zero if there is
// nobody to be woken.
func (o *outage) untilWake(now time.Time) time.Duration {
	if !o.isEnded || o.isOn {
		return 0
	}
	return max(o.wokenAt.Add(wakeInterval).Sub(now), 1)
}

// maySend reports whether a probe may be sent, or any request while there is no outage.
func (o *outage) maySend(readyToSend int, now time.Time) bool {
	return !o.isOn || !o.isProbing && readyToSend == 0 && !now.Before(o.nextProbe)
}

// tell returns the next waiting requesters that are to learn of the outage. They learn of it once
// for each outage.
func (o *outage) tell(entries map[Requester]*entry, now time.Time) (requesters []Requester) {
	if !o.isOn {
		o.toTell = nil
	} else if !o.isTold && now.Sub(o.since) >= longOutage {
		o.isTold, o.toTell = true, nil
		for _, e := range entries {
			if e.state == waiting && now.Sub(e.since) >= longOutage { // The others look by themselves.
				o.toTell = append(o.toTell, e.requester)
			}
		}
	}
	count := min(len(o.toTell), toldAtOnce)
	requesters, o.toTell = o.toTell[:count], o.toTell[count:]
	return requesters
}

// explain returns how the requests of an entry fail that waits for its turn. flights are the requests
// on their way, the oldest first.
func (o *outage) explain(e *entry, flights []*flight, now time.Time) Failing {
	switch {
	case e.state != waiting:
		return Failing{}
	case o.isOn:
		return Failing{Since: o.since, Kind: o.kind}
	case e.request.isFailing():
		return Failing{Since: e.request.streak.since, Kind: e.request.streak.kind, IsAlone: true}
	}
	// Pipedream may not answer from now on, which nobody knows before the first timeouts.
	if o.failures > 0 && now.Sub(o.since) >= longUnanswered {
		return Failing{Since: o.since, Kind: o.kind}
	}
	for _, f := range flights {
		if !f.sentAt.Before(o.lastGood) {
			if now.Sub(f.sentAt) < longUnanswered {
				break
			}
			return Failing{Since: f.sentAt, Kind: pipedream.Unavailable}
		}
	}
	return Failing{}
}

// isGood reports whether an answer of a kind shows that Pipedream works. A refusal does.
func isGood(kind pipedream.Kind) bool { return !isFailure(kind) && !isNeutral(kind) }

// isFailure reports whether a request has failed without a fault of its sender.
func isFailure(kind pipedream.Kind) bool {
	return kind == pipedream.Unavailable || kind == pipedream.Malformed
}

// isNeutral reports whether an answer of a kind says nothing about whether Pipedream works:
// the request was not sent, or Pipedream wants fewer requests.
func isNeutral(kind pipedream.Kind) bool {
	return kind == pipedream.CredentialsInvalid || kind == pipedream.RateLimited
}
