// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream

import (
	"maps"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// placeKept is how long a turn waits for the one whose turn it is.
	placeKept = 10 * time.Second
	// minPause and maxPause bound how long requests pause after "too many".
	minPause = time.Minute
	maxPause = 15 * time.Minute
)

// Gate paces requests: a token bucket for all who ask, and a pause for all when
// the API wants fewer. Nobody waits inside: who may not go yet is told when.
// It is safe for concurrent use, and reads no clock.
type Gate struct {
	mu     sync.Mutex
	bucket *rate.Limiter
	// turns holds a place for each that was told to wait.
	turns       map[string]time.Time
	pausedUntil time.Time
	// limited counts the answers "too many" since the last that was none.
	limited int
}

// NewGate returns a Gate that lets perSecond requests a second pass in the long
// run, and burst at once after a quiet time.
func NewGate(perSecond float64, burst int) *Gate {
	return &Gate{bucket: rate.NewLimiter(rate.Limit(perSecond), burst), turns: map[string]time.Time{}}
}

// Enter asks for one request of key. It returns now when the request may be sent
// at once, else the time at which to ask again. Whoever asks again keeps the
// place that it has; a place that is not used ten seconds after its turn is lost.
func (g *Gate) Enter(key string, now time.Time) time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now.Before(g.pausedUntil) {
		return g.pausedUntil
	}
	turn, waiting := g.turns[key]
	if !waiting || now.Sub(turn) > placeKept {
		turn = now.Add(g.bucket.ReserveN(now, 1).DelayFrom(now))
	}
	if turn.After(now) {
		g.turns[key] = turn
		return turn
	}
	delete(g.turns, key)
	maps.DeleteFunc(g.turns, func(_ string, turn time.Time) bool { return now.Sub(turn) > placeKept })
	return now
}

// Pause lets no request pass until the API wants to be asked again, for at most
// 15 minutes. When it did not say (zero), the pause is a minute, and doubles when
// the first answer after a pause is of that kind again. It returns the end of the
// pause. All places are given up, so that the end of a pause is no stampede.
func (g *Gate) Pause(retryAt, now time.Time) time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	isPaused := now.Before(g.pausedUntil)
	switch {
	case isPaused && retryAt.IsZero():
		// A request that was on its way when the pause began tells nothing new.
		return g.pausedUntil
	case retryAt.IsZero():
		retryAt = now.Add(minPause << min(g.limited, 4))
	}
	if !isPaused {
		g.limited++
	}
	end := now.Add(min(max(retryAt.Sub(now), time.Second), maxPause))
	if !end.After(g.pausedUntil) {
		return g.pausedUntil
	}
	g.pausedUntil = end
	clear(g.turns)
	// A fresh bucket, for those who have lost their places have paid for them; it
	// begins with one request, and fills at its usual rate.
	g.bucket = rate.NewLimiter(g.bucket.Limit(), g.bucket.Burst())
	g.bucket.AllowN(end, g.bucket.Burst()-1)
	return g.pausedUntil
}

// Resume tells that a request ended otherwise than with "too many".
func (g *Gate) Resume() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limited = 0
}
