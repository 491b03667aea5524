// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package retry decides how long the operator waits: after a failure, between two
// attempts that changes have triggered, and which waits it believes after a restart or a
// change of the clock.
//
// The package is pure. It reads no clock, does no I/O, and knows neither Kubernetes nor
// HTTP.
package retry

import (
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"time"
)

const (
	// LongestWait is the longest wait in the operator. Every function that limits a wait,
	// and every function that distrusts a wait, uses this constant. If two of them used
	// different limits, one function would set waits that another one ignores.
	LongestWait = 15 * time.Minute
	// MaxClockSkew is how far two clocks may differ before the operator distrusts one of
	// them.
	MaxClockSkew = 5 * time.Minute
)

// Class says how long the waits after failures are.
type Class string

// The classes of failures.
const (
	// Refused: the attempt fails until a person corrects something. The first wait is one
	// minute. Each further wait is twice as long, up to LongestWait.
	Refused Class = "Refused"
	// Transient: a later attempt may succeed without a correction. The first wait is one
	// second. Each further wait is twice as long, up to five minutes.
	Transient Class = "Transient"
)

const (
	firstRefusedWait     = time.Minute
	firstTransientWait   = time.Second
	longestTransientWait = 5 * time.Minute
	// urgentTime is the last part of the life of a token. In this time, after the expiry, and
	// while there is no token, a wait after a transient failure is at most urgentWait.
	urgentTime = 10 * time.Minute
	urgentWait = 30 * time.Second
)

// After returns how long to wait after a failure. The count is the number of failures in
// a row, which is 1 for the first failure. A wait after a transient failure is up to a
// fifth shorter, depending on the identity and the count, so that objects that fail
// together do not retry together. The result is never longer than LongestWait. Where a
// token expires meanwhile, use AfterTransient for transient failures.
func After(class Class, identity string, count int) time.Duration {
	if class == Refused {
		return Doubled(firstRefusedWait, LongestWait, count)
	}
	wait := Doubled(firstTransientWait, longestTransientWait, count)
	return wait - Spread(identity+"/"+strconv.Itoa(count), wait/5)
}

// AfterTransient returns how long to wait after a transient failure, for an object whose
// current token expires at a time. The expiry is zero if there is no token that is worth
// anything. The wait is the one of After, and at most LongestTransient.
func AfterTransient(identity string, count int, expiry, now time.Time) time.Duration {
	wait := min(Doubled(firstTransientWait, longestTransientWait, count), LongestTransient(expiry, now))
	return max(wait-Spread(identity+"/"+strconv.Itoa(count), wait/5), firstTransientWait)
}

// LongestTransient returns the longest wait after a transient failure, for an object whose
// current token expires at a time: a third of the time that is left, and at most 30
// seconds in the last ten minutes, after the expiry, and without a token, when the expiry
// is zero. A longer wait ends at most 30 seconds after the last ten minutes have begun.
// The result is never shorter than a second.
//
// While an object waits, the rest of its wait never becomes longer than the result.
func LongestTransient(expiry, now time.Time) time.Duration {
	left := expiry.Sub(now)
	if expiry.IsZero() || left <= 0 {
		return urgentWait
	}
	longest := min(left/3, longestTransientWait, max(left-urgentTime, 0)+urgentWait)
	return max(longest, firstTransientWait)
}

// LimitTransient returns the end of a wait after a transient failure, or the end of a wait
// of LongestTransient from now if the given end is later: the token for which the wait was
// set may be gone, or the clock was set back.
func LimitTransient(until, expiry, now time.Time) time.Time {
	if longest := now.Add(LongestTransient(expiry, now)); until.After(longest) {
		return longest
	}
	return until
}

// Doubled returns the wait number count in a row of waits, the first wait being number 1.
// The first wait is as given. Each further wait is twice as long, up to most. The result
// is never longer than LongestWait.
func Doubled(first, most time.Duration, count int) time.Duration {
	most = min(most, LongestWait)
	wait := first
	for range count - 1 {
		if wait > most/2 {
			return most
		}
		wait *= 2
	}
	return min(wait, most)
}

// Spread returns a duration of at least 0 and below the limit, which depends on the
// identity alone. Durations of different identities are spread evenly. Without a positive
// limit the result is 0.
func Spread(identity string, limit time.Duration) time.Duration {
	if limit <= 0 {
		return 0
	}
	digest := sha256.Sum256([]byte(identity))
	return time.Duration(binary.BigEndian.Uint64(digest[:]) % uint64(limit)) //nolint:gosec // Below limit, which is a positive int64.
}

// Limit returns the end of a wait, or LongestWait from now if the given end is later.
func Limit(until, now time.Time) time.Time {
	if longest := now.Add(LongestWait); until.After(longest) {
		return longest
	}
	return until
}

// Believe returns the end of a wait that began earlier. It returns the zero time if the
// end is farther from now than LongestWait and MaxClockSkew together: the wait then began
// while the clock was wrong.
func Believe(until, now time.Time) time.Time {
	if until.Sub(now) > LongestWait+MaxClockSkew {
		return time.Time{}
	}
	return until
}
