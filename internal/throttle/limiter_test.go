// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

func TestABurstPassesAndThenRequestsArePaced(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{PerSecond: 5, Burst: 10})
	l.drain(10)
	l.wantNoTurn("a", "b", "c")
	l.after(200*time.Millisecond-2*time.Microsecond).wantNoTurn("a", "b", "c")
	l.after(200*time.Millisecond).wantNoTurn("c", "b")
	l.wantPass("a")
	l.after(400 * time.Millisecond).wantNoTurn("c")
	l.wantPass("b")
	l.after(600 * time.Millisecond).wantPass("c")
	// Two seconds of quiet make room for a burst again, and for no more than that.
	l.after(time.Hour).drain(10)
	l.wantNoTurn("d")
}

// No matter who comes when, and how often they ask: at no time are more requests sent than
// the burst and the rate allow, and no requester waits longer than the earlier ones explain.
func TestAThousandWhoComeTogetherArePaced(t *testing.T) {
	t.Parallel()
	const perSecond, burst, requesters = 5, 10, 1000
	l := newLimiter(t, throttle.Options{PerSecond: perSecond, Burst: burst})
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // repeatable, and no secret
	var came, went []string
	var sentAt []time.Time
	for len(went) < requesters {
		if len(came) < requesters && random.IntN(2) == 0 {
			came = append(came, fmt.Sprint("orders-", len(came)))
			l.reserve(shop(came[len(came)-1]), throttle.DueRenewal)
		}
		if waiting := came[len(went):]; len(waiting) > 0 {
			l.reserve(shop(waiting[random.IntN(len(waiting))]), throttle.DueRenewal)
		}
		for len(went) < len(came) && l.hasTurn(shop(came[len(went)])) {
			l.wantNil(l.send(came[len(went)], nil, false, nil))
			went, sentAt = append(went, came[len(went)]), append(sentAt, l.now)
		}
		if waiting := came[len(went):]; len(waiting) > 0 {
			if name := waiting[random.IntN(len(waiting))]; l.reserve(shop(name), throttle.DueRenewal).IsReady {
				t.Fatalf("it is the turn of %s, and not that of %s", name, waiting[0])
			}
		}
		if len(came) == requesters || random.IntN(4) == 0 {
			_, wait := l.ready.Next()
			l.now = l.now.Add(wait)
		}
		if l.now.Sub(second) > time.Hour {
			t.Fatalf("after an hour %d have sent", len(went))
		}
	}
	for i := range sentAt {
		for j := i; j < len(sentAt); j++ {
			window := sentAt[j].Sub(sentAt[i])
			if most := perSecond*window.Seconds() + burst + 1e-6; float64(j-i+1) > most {
				t.Fatalf("within %s %d requests are sent, want at most %f", window, j-i+1, most)
			}
		}
	}
	want := time.Duration(requesters-burst) * time.Second / perSecond
	if took := sentAt[requesters-1].Sub(second); took > want+time.Second {
		t.Errorf("it took %s, want %s", took, want)
	}
}

func TestARequesterThatReservesAgainKeepsItsPlaceInTheQueue(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{PerSecond: 1, Burst: 1})
	l.drain(1)
	for range 100 {
		l.wantNoTurn("a")
	}
	l.after(500 * time.Millisecond).wantNoTurn("b")
	for range 100 {
		l.wantNoTurn("b")
	}
	if since := l.reserve(shop("a"), throttle.DueRenewal).Since; !since.Equal(second) {
		t.Errorf("it waits since %s, want %s", since, second)
	}
	l.after(time.Second).wantNoTurn("b")
	l.wantPass("a")
	// The ticket is used up. The next one is behind all requesters that wait.
	l.wantNoTurn("a")
	l.after(2 * time.Second).wantNoTurn("a")
	l.wantPass("b")
	l.after(3 * time.Second).wantPass("a")
}

func TestARequestIsSentOnlyInATurn(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{PerSecond: 1, Burst: 1})
	l.wantNotReady(l.send("stranger", nil, false, nil))
	l.wantPass("a")
	l.wantNotReady(l.send("a", nil, false, nil))
	l.wantNotReady(l.try("a", nil, nil))
	l.after(time.Second).wantPass("a")
	if err := l.after(2*time.Second).try("a", nil, errScope); !errors.Is(err, errScope) {
		t.Errorf("the error is %v, want %v", err, errScope)
	}
}

func TestATurnIsLostAfterTenSeconds(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{PerSecond: 1, Burst: 1})
	l.drain(1)
	l.wantNoTurn("a", "b", "c")
	l.after(time.Second).wantTurn("a")
	l.after(10 * time.Second).wantTurn("a")
	l.after(11*time.Second - time.Microsecond).wantNoTurn("b")
	if requesters, _ := l.after(12 * time.Second).ready.Next(); !slices.Contains(requesters, shop("b")) {
		t.Errorf("the turn is that of %v, want b", requesters)
	}
	l.wantNotReady(l.send("a", nil, false, nil))
	// The requester is now behind all others.
	l.wantNoTurn("a", "c")
	l.wantPass("b")
	l.after(13 * time.Second).wantPass("c")
	l.after(14 * time.Second).wantPass("a")
}

func TestRequestersThatDoNotUseTheirTurnDelayTheOthersNotForLong(t *testing.T) {
	t.Parallel()
	for _, inFlight := range []int{1, 10} {
		t.Run(fmt.Sprintf("%d in flight", inFlight), func(t *testing.T) {
			t.Parallel()
			l := newLimiter(t, throttle.Options{PerSecond: 100, Burst: 10, InFlight: inFlight})
			const lost = 30
			for i := range lost {
				l.reserve(shop(fmt.Sprint("deleted-", i)), throttle.NearEnd)
			}
			for l.now.Sub(second) < time.Hour && !l.hasTurn(shop("a")) {
				_, wait := l.ready.Next()
				l.now = l.now.Add(wait)
			}
			if took, most := l.now.Sub(second), lost/time.Duration(inFlight)*11*time.Second; took > most {
				t.Errorf("it took %s, want at most %s", took, most)
			}
			l.wantPass("a")
			for l.Tickets() > 0 && l.now.Sub(second) < time.Hour {
				_, wait := l.ready.Next()
				l.now = l.now.Add(wait)
			}
			if took, most := l.now.Sub(second), (lost+1)/time.Duration(inFlight)*11*time.Second; l.Tickets() > 0 || took > most {
				t.Errorf("after %s %d still have a ticket, want none after %s", took, l.Tickets(), most)
			}
		})
	}
}

func TestATicketThatIsGivenUpIsFreeAtOnce(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{PerSecond: 1, Burst: 1})
	l.drain(1)
	l.wantNoTurn("a", "b", "c", "d")
	l.Cancel(shop("b"))
	l.Cancel(shop("stranger"))
	l.after(time.Second).wantTurn("a")
	l.ready.Next()
	l.Cancel(shop("a"))
	l.check()
	if requesters, _ := l.ready.Next(); !slices.Equal(requesters, []throttle.Requester{shop("c")}) {
		t.Errorf("after a and b have gone the turn is that of %v, want c", requesters)
	}
	l.wantNotReady(l.send("a", nil, false, nil))
	l.wantPass("c")
	l.after(2 * time.Second).wantPass("d")
	if got := l.Tickets(); got != 0 {
		t.Errorf("%d have a ticket, want none", got)
	}
}

// An API that does not answer gets no more requests than may be on their way. The first
// request that ends makes room for the next one.
func TestRequestsInFlightAreBounded(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{PerSecond: 100, Burst: 100, InFlight: 3})
	flights := []*flight{l.start("a", nil), l.start("b", client("b")), l.start("c", nil)}
	l.wantNoTurn("d", "e")
	l.after(5*time.Second).wantNoTurn("d", "e")
	l.ready.Next()
	l.wantKind(flights[1].end(errUnavailable), pipedream.Unavailable)
	if requesters, _ := l.ready.Next(); !slices.Equal(requesters, []throttle.Requester{shop("d")}) {
		t.Errorf("the turn is that of %v, want d", requesters)
	}
	l.wantNoTurn("e")
	fourth := l.start("d", nil)
	l.wantNoTurn("e")
	for _, f := range []*flight{flights[0], flights[2], fourth} {
		l.wantNil(f.end(nil))
	}
	l.wantPass("e")
	if got := l.InFlight(); got != 0 {
		t.Errorf("%d requests are on their way, want none", got)
	}
}

func TestARequestThatPanicsLeaksNothing(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{PerSecond: 100, Burst: 100, InFlight: 1})
	for i := range 10 {
		l.reserve(shop("a"), throttle.NearEnd)
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic is lost")
				}
			}()
			if i%2 == 0 {
				_ = l.do(shop("a"), func() error { panic("a bug") })
			}
			_ = l.doAs(shop("a"), *client("a"), false, func() error { panic("a bug") })
		}()
		l.check()
	}
	if got := l.InFlight(); got != 0 {
		t.Errorf("%d requests are on their way, want none", got)
	}
	l.wantPass("b")
}

// A panic says nothing about the API, so it does not end a trial.
func TestAProbeThatPanicsDoesNotEndTheTrial(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{})
	l.limited("a", second.Add(time.Minute))
	l.after(time.Minute).wantTurn("a")
	func() {
		defer func() { _ = recover() }()
		_ = l.do(shop("a"), func() error { panic("a bug") })
	}()
	l.wantTurn("b")
	l.wantNoTurn("c")
}

func TestALimiterYieldsToAnother(t *testing.T) {
	t.Parallel()
	first := newLimiter(t, throttle.Options{PerSecond: 1, Burst: 1})
	l := newLimiter(t, throttle.Options{PerSecond: 100, Burst: 100, YieldTo: first.Limiter})
	l.wantPass("a")
	first.drain(1)
	first.wantNoTurn("b")
	l.wantNoTurn("c", "d")
	l.after(9*time.Second).wantNoTurn("c", "d")
	first.Cancel(shop("b"))
	l.wantPass("c")
	l.wantPass("d")
	first.wantNoTurn("b")
	l.wantNoTurn("e")
	l.after(18*time.Second).wantNoTurn("e", "f")
	// The requester of the other limiter does not come. Its turn is waited for ten seconds.
	l.after(19 * time.Second).wantNoTurn("f")
	l.wantPass("e")
}
