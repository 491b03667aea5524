// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// gate is a Gate with a clock that is set by hand.
type gate struct {
	*pipedream.Gate
	t   *testing.T
	now time.Time
}

func newGate(t *testing.T, perSecond float64, burst int) *gate {
	t.Helper()
	return &gate{Gate: pipedream.NewGate(perSecond, burst), t: t, now: second}
}

// after sets the clock to a time after the test has begun.
func (g *gate) after(d time.Duration) *gate {
	g.now = second.Add(d)
	return g
}

func (g *gate) wantPass(key string) {
	g.t.Helper()
	if at := g.Enter(key, g.now); !at.Equal(g.now) {
		g.t.Errorf("%s after the beginning %s has to wait for %s, want it to pass", g.now.Sub(second), key, at.Sub(g.now))
	}
}

// wantTurn checks that a key is told to come back at a time after the beginning,
// but for what the bucket rounds off.
func (g *gate) wantTurn(key string, turn time.Duration) {
	g.t.Helper()
	at := g.Enter(key, g.now)
	if off := at.Sub(second.Add(turn)); off.Abs() > time.Microsecond || !at.After(g.now) {
		g.t.Errorf("%s after the beginning %s may pass at %s, want %s", g.now.Sub(second), key, at.Sub(second), turn)
	}
}

// drain lets the burst pass.
func (g *gate) drain(burst int) {
	g.t.Helper()
	for i := range burst {
		g.wantPass(fmt.Sprintf("drain-%d", i))
	}
}

func TestTheGateLetsABurstPassAndThenPaces(t *testing.T) {
	t.Parallel()
	g := newGate(t, 5, 10)
	g.drain(10)
	g.wantTurn("a", 200*time.Millisecond)
	g.wantTurn("b", 400*time.Millisecond)
	g.wantTurn("c", 600*time.Millisecond)
	g.after(200 * time.Millisecond).wantPass("a")
	g.after(400 * time.Millisecond).wantPass("b")
	g.after(600 * time.Millisecond).wantPass("c")
	// Two seconds of quiet make room for a burst again, and for no more than that.
	g.after(time.Hour).drain(10)
	g.wantTurn("d", time.Hour+200*time.Millisecond)
}

func TestWhoAsksAgainKeepsItsPlace(t *testing.T) {
	t.Parallel()
	g := newGate(t, 1, 1)
	g.drain(1)
	for range 100 {
		g.wantTurn("a", time.Second)
	}
	g.wantTurn("b", 2*time.Second)
	g.after(999*time.Millisecond).wantTurn("a", time.Second)
	g.after(1999*time.Millisecond).wantTurn("b", 2*time.Second)
	g.wantPass("a")
	// Its place is used up: the next one is behind all who wait.
	g.wantTurn("a", 3*time.Second)
	g.after(2 * time.Second).wantPass("b")
	g.after(3 * time.Second).wantPass("a")
}

func TestAPlaceIsLostTenSecondsAfterItsTurn(t *testing.T) {
	t.Parallel()
	g := newGate(t, 1, 1)
	g.drain(1)
	for i := range 30 {
		g.wantTurn(fmt.Sprintf("waiting-%d", i), time.Duration(i+1)*time.Second)
	}
	g.after(11 * time.Second).wantPass("waiting-0") // its turn was 10 s ago
	g.after(12*time.Second+1).wantTurn("waiting-1", 31*time.Second)
	g.after(12*time.Second+1).wantTurn("waiting-1", 31*time.Second)
}

func TestPlacesThatNobodyUsesAreForgotten(t *testing.T) {
	t.Parallel()
	g := newGate(t, 100, 1)
	g.drain(1)
	for i := range 1000 {
		g.Enter(fmt.Sprintf("deleted-%d", i), g.now)
	}
	if got := g.Places(); got != 1000 {
		t.Errorf("%d have a place, want 1000", got)
	}
	g.after(time.Hour).wantPass("a")
	if got := g.Places(); got != 0 {
		t.Errorf("after an hour %d still have a place", got)
	}
}

// Whatever comes, and however often it asks, no second sees more requests than the
// burst and the rate allow, and nobody waits longer than those before it explain.
func TestTheGatePacesAThousandWhoComeTogether(t *testing.T) {
	t.Parallel()
	const rate, burst, keys = 5, 10, 1000
	g := newGate(t, rate, burst)
	waiting := map[string]bool{}
	for i := range keys {
		waiting[fmt.Sprintf("orders-%d", i)] = true
	}
	var passed []time.Time
	for len(waiting) > 0 {
		next := g.now.Add(time.Hour)
		for key := range waiting {
			at := g.Enter(key, g.now)
			if at.Equal(g.now) {
				passed = append(passed, at)
				delete(waiting, key)
			} else if at.Before(next) {
				next = at
			}
		}
		if len(waiting) > 0 {
			g.now = next
		}
	}
	for i := burst + rate; i < len(passed); i++ {
		if between := passed[i].Sub(passed[i-burst-rate]); between < time.Second-time.Microsecond {
			t.Fatalf("%d requests pass within %s", burst+rate+1, between)
		}
	}
	want := time.Duration(keys-burst) * time.Second / rate
	if took := passed[keys-1].Sub(second); took < want-time.Second || took > want+time.Second {
		t.Errorf("it took %s, want %s", took, want)
	}
}

func TestAPauseRefusesEverybody(t *testing.T) {
	t.Parallel()
	const pause = 90 * time.Second
	g := newGate(t, 5, 10)
	g.drain(10)
	g.wantTurn("waiting", 200*time.Millisecond)
	g.after(time.Second)
	if end := g.Pause(second.Add(pause), g.now); !end.Equal(second.Add(pause)) {
		t.Errorf("the pause ends after %s, want %s", end.Sub(second), pause)
	}
	g.wantTurn("waiting", pause)
	g.wantTurn("new", pause)
	g.after(pause-1).wantTurn("waiting", pause)
	g.after(pause-1).wantTurn("newer", pause)
}

func TestAfterAPauseOnePassesAndTheOthersArePaced(t *testing.T) {
	t.Parallel()
	const pause = time.Minute
	for _, burst := range []int{1, 2, 10, 100} {
		t.Run(fmt.Sprintf("burst %d", burst), func(t *testing.T) {
			t.Parallel()
			g := newGate(t, 5, burst)
			g.drain(burst)
			g.wantTurn("a", 200*time.Millisecond)
			g.Pause(second.Add(pause), g.now)
			g.after(pause).wantPass("b")
			g.wantTurn("a", pause+200*time.Millisecond)
			g.wantTurn("c", pause+400*time.Millisecond)
			g.wantTurn("b", pause+600*time.Millisecond)
			g.after(pause + 200*time.Millisecond).wantPass("a")
		})
	}
}

// Those who waited when the pause began have lost their places, and do not count as
// if they had used them.
func TestAPauseIsForgottenWithAllThatWaited(t *testing.T) {
	t.Parallel()
	g := newGate(t, 5, 10)
	g.drain(10)
	for i := range 1000 {
		g.Enter(fmt.Sprintf("waiting-%d", i), g.now)
	}
	g.Pause(second.Add(time.Second), g.now)
	g.after(time.Second).wantPass("waiting-999")
	for i := range 10 {
		g.wantTurn(fmt.Sprintf("waiting-%d", i), time.Second+time.Duration(i+1)*200*time.Millisecond)
	}
	if got := g.Places(); got != 10 {
		t.Errorf("%d have a place, want 10", got)
	}
}

func TestTheLengthOfAPause(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ retryAfter, want time.Duration }{
		"as long as it is said":         {retryAfter: 90 * time.Second, want: 90 * time.Second},
		"a quarter of an hour":          {retryAfter: 15 * time.Minute, want: 15 * time.Minute},
		"at most a quarter":             {retryAfter: 15*time.Minute + 1, want: 15 * time.Minute},
		"not a day":                     {retryAfter: 24 * time.Hour, want: 15 * time.Minute},
		"not a thousand years":          {retryAfter: 1<<63 - 1, want: 15 * time.Minute},
		"a second at least":             {retryAfter: time.Millisecond, want: time.Second},
		"a second, if it was to be now": {retryAfter: 0, want: time.Second},
		"a second, if it is past":       {retryAfter: -time.Hour, want: time.Second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGate(t, 5, 10)
			end := g.Pause(second.Add(test.retryAfter), g.now)
			if got := end.Sub(second); got != test.want {
				t.Errorf("the pause takes %s, want %s", got, test.want)
			}
			g.wantTurn("a", test.want)
		})
	}
}

// pauses returns how long some pauses are that come one after the other, each
// after an answer that did not say how long to wait.
func (g *gate) pauses(count int) []time.Duration {
	g.t.Helper()
	var pauses []time.Duration
	for range count {
		end := g.Pause(time.Time{}, g.now)
		pauses = append(pauses, end.Sub(g.now))
		g.now = end
	}
	return pauses
}

func TestAPauseOfUnknownLengthDoubles(t *testing.T) {
	t.Parallel()
	const minute = time.Minute
	g := newGate(t, 5, 10)
	want := []time.Duration{minute, 2 * minute, 4 * minute, 8 * minute}
	for len(want) < 100 {
		want = append(want, 15*minute)
	}
	if diff := cmp.Diff(want, g.pauses(len(want))); diff != "" {
		t.Errorf("pauses (-want +got):\n%s", diff)
	}
	// Another kind of answer ends the series.
	g.Resume()
	if diff := cmp.Diff(want[:3], g.pauses(3)); diff != "" {
		t.Errorf("pauses after another answer (-want +got):\n%s", diff)
	}
}

// When the first "too many" comes, others are on their way, and are answered the
// same: that tells nothing new, and is no reason to wait for a quarter of an hour.
func TestAnswersToRequestsThatWereOnTheirWayDoNotDoubleThePause(t *testing.T) {
	t.Parallel()
	g := newGate(t, 5, 10)
	g.drain(10)
	for i := range 10 {
		g.after(time.Duration(i) * time.Millisecond)
		g.Pause(time.Time{}, g.now)
	}
	end := g.Enter("a", g.now).Sub(second)
	if end < time.Minute || end > time.Minute+10*time.Millisecond {
		t.Errorf("after ten answers within 10 ms the pause takes %s, want a minute", end)
	}
	g.now = second.Add(end)
	if got := g.Pause(time.Time{}, g.now).Sub(g.now); got != 2*time.Minute {
		t.Errorf("the next pause takes %s, want 2m", got)
	}
}

func TestALaterAnswerCanProlongAPauseAndNotShortenIt(t *testing.T) {
	t.Parallel()
	g := newGate(t, 5, 10)
	g.Pause(second.Add(5*time.Minute), g.now)
	g.after(time.Second)
	if end := g.Pause(second.Add(time.Minute), g.now).Sub(second); end != 5*time.Minute {
		t.Errorf("after a shorter one the pause ends after %s, want 5m", end)
	}
	g.wantTurn("a", 5*time.Minute)
	if end := g.Pause(second.Add(7*time.Minute), g.now).Sub(second); end != 7*time.Minute {
		t.Errorf("after a longer one the pause ends after %s, want 7m", end)
	}
	g.wantTurn("a", 7*time.Minute)
}

func TestResumeDoesNotEndAPause(t *testing.T) {
	t.Parallel()
	g := newGate(t, 5, 10)
	g.Pause(second.Add(5*time.Minute), g.now)
	g.Resume() // by the answer to a request that was on its way
	g.wantTurn("a", 5*time.Minute)
}

func TestOnlyTheBurstPassesHoweverManyComeAtOnce(t *testing.T) {
	t.Parallel()
	const burst, goroutines, keys = 10, 50, 20
	g := pipedream.NewGate(1, burst)
	var passed atomic.Int64
	var all sync.WaitGroup
	for i := range goroutines {
		all.Go(func() {
			for j := range keys {
				if !g.Enter(fmt.Sprintf("orders-%d-%d", i, j), second).After(second) {
					passed.Add(1)
				}
			}
		})
	}
	all.Wait()
	if got := passed.Load(); got != burst {
		t.Errorf("%d have passed, want %d", got, burst)
	}
	if got, want := g.Places(), goroutines*keys-burst; got != want {
		t.Errorf("%d have a place, want %d", got, want)
	}
}

func TestTheGateServesManyAtOnce(t *testing.T) {
	t.Parallel()
	g := pipedream.NewGate(5, 10)
	var milliseconds atomic.Int64
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			for j := range 200 {
				now := second.Add(time.Duration(milliseconds.Add(1)) * time.Millisecond)
				switch {
				case i == 0 && j%50 == 0:
					if end := g.Pause(time.Time{}, now); end.Before(now) || end.Sub(now) > 15*time.Minute {
						t.Errorf("the pause ends at %s, which is %s from now", end, end.Sub(now))
					}
				case i == 1:
					g.Resume()
				default:
					if at := g.Enter(fmt.Sprint("orders-", j), now); at.Before(now) {
						t.Errorf("the turn is %s ago", now.Sub(at))
					}
				}
			}
		})
	}
	all.Wait()
}
