// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

func TestAPauseRefusesEverybody(t *testing.T) {
	t.Parallel()
	const pause = 90 * time.Second
	begin := map[string]func(g *gate){
		"that the API asks for": func(g *gate) { g.limited("late", second.Add(pause)) },
		"that is recalled":      func(g *gate) { g.Pause(second.Add(pause)) },
	}
	for name, begin := range begin {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGate(t, pipedream.GateOptions{})
			g.drain(5)
			g.wantTurn("waiting")
			begin(g)
			if got := g.Enter(shop("waiting"), pipedream.DueRenewal); got.IsTurn || !got.PausedUntil.Equal(second.Add(pause)) {
				t.Errorf("whose turn it was has now %+v", got)
			}
			g.wantNotYet(g.send("waiting", nil, false, nil))
			g.wantNoTurn("new")
			g.after(pause-time.Millisecond).wantNoTurn("waiting", "new", "newer")
			g.after(pause).wantNoTurn("newer")
			if got := g.Enter(shop("waiting"), pipedream.DueRenewal); !got.IsTurn || !got.PausedUntil.IsZero() {
				t.Errorf("after the pause it has %+v", got)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{})
	want := func(when string, want pipedream.Load) {
		t.Helper()
		if diff := cmp.Diff(want, g.Load()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	want("when nothing goes on", pipedream.Load{})
	g.wantTurn("a")
	want("when somebody may send", pipedream.Load{})
	g.Pause(second.Add(time.Minute))
	g.Enter(shop("b"), pipedream.NearEnd)
	g.Enter(shop("c"), pipedream.OnDemand)
	g.Enter(shop("d"), pipedream.OnDemand)
	g.Enter(pipedream.Asker{Group: "checkout", Name: "d"}, pipedream.OnDemand)
	a := pipedream.DueRenewal // The lane of wantTurn, whose turn was taken back.
	waiting := pipedream.Load{Pause: time.Minute}
	waiting.Waiting[a], waiting.Waiting[pipedream.NearEnd], waiting.Waiting[pipedream.OnDemand] = 1, 1, 3
	want("in a pause", waiting)
	g.now = second.Add(10 * time.Second)
	waiting.Pause = 50 * time.Second
	want("later in it", waiting)
	g.Leave(shop("c"))
	g.after(time.Minute)
	g.Turns()
	if got := g.Load(); got.Pause != 0 || got.Waiting[pipedream.OnDemand] != 2 || got.Waiting[pipedream.NearEnd] != 0 {
		t.Errorf("after it, when the most urgent goes ahead, the load is %+v", got)
	}
	if got := fmt.Sprint(pipedream.NearEnd, pipedream.FirstToken, pipedream.DueRenewal, pipedream.OnDemand); got != "NearEnd FirstToken DueRenewal OnDemand" {
		t.Errorf("the lanes are called %s", got)
	}
}

func TestAfterAPauseOneGoesAheadAndTheOthersArePaced(t *testing.T) {
	t.Parallel()
	for _, burst := range []int{1, 2, 10, 100} {
		for _, trial := range []time.Duration{200 * time.Millisecond, 9 * time.Second, time.Hour} {
			t.Run(fmt.Sprintf("burst %d, and a trial of %s", burst, trial), func(t *testing.T) {
				t.Parallel()
				g := newGate(t, pipedream.GateOptions{PerSecond: 5, Burst: burst})
				g.limited("a", second.Add(time.Minute))
				g.after(time.Minute)
				probe := g.start("b", nil)
				g.wantNoTurn("a", "c", "d")
				g.after(time.Minute+trial).wantNoTurn("a", "c", "d")
				g.wantNil(probe.end(nil))
				g.wantPass("a")
				g.wantNoTurn("c", "d")
				g.after(time.Minute + trial + 200*time.Millisecond).wantPass("c")
				g.wantNoTurn("d")
				g.after(time.Minute + trial + 400*time.Millisecond).wantPass("d")
			})
		}
	}
}

func TestHowAProbeEnds(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		outcome error
		want    string
	}{
		"a token": {outcome: nil, want: "over"},
		// Whatever was asked has been answered, and not with "too many".
		"refused credentials":  {outcome: errRefused, want: "over"},
		"a refused scope":      {outcome: errScope, want: "over"},
		"a refused request":    {outcome: &pipedream.Error{Kind: pipedream.RequestRejected, StatusCode: 404}, want: "over"},
		"an unreadable answer": {outcome: &pipedream.Error{Kind: pipedream.Malformed, StatusCode: 200}, want: "over"},
		"no answer":            {outcome: errUnavailable, want: "another probe"},
		"a request not made":   {outcome: errors.New("a bug"), want: "another probe"},
		"too many again":       {outcome: errTooMany, want: "a pause"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGate(t, pipedream.GateOptions{})
			g.limited("a", time.Time{})
			g.after(time.Minute)
			_ = g.try("probe", client("probe"), test.outcome)
			g.after(2 * time.Minute)
			got := "nothing"
			switch place := g.Enter(shop("b"), pipedream.DueRenewal); {
			case !place.PausedUntil.IsZero():
				got = "a pause"
				if left := place.PausedUntil.Sub(g.now).Round(time.Second); left != time.Minute {
					t.Errorf("the second pause lasts until a minute and %s after its beginning, want 2m", left)
				}
			case place.IsTurn && g.hasTurn(shop("c")):
				got = "over"
			case place.IsTurn:
				got = "another probe"
				g.wantNil(g.send("b", nil, false, nil))
				g.wantPass("c")
			}
			if got != test.want {
				t.Errorf("then there is %s, want %s", got, test.want)
			}
		})
	}
}

func TestAProbeThatIsNotSentInTimeIsThatOfTheNext(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{})
	g.limited("a", second.Add(time.Minute))
	g.after(time.Minute).wantTurn("lost")
	g.wantNoTurn("b", "c")
	g.after(70*time.Second).wantNoTurn("b", "c")
	g.after(71 * time.Second).wantNoTurn("c")
	g.wantPass("b")
	g.wantPass("c")
	// Or at once, when it is given up.
	g.after(80*time.Second).limited("a", second.Add(2*time.Minute))
	g.after(2 * time.Minute).wantTurn("lost")
	g.wantNoTurn("b")
	g.Leave(shop("lost"))
	g.wantPass("b")
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
			g := newGate(t, pipedream.GateOptions{})
			if got := g.limited("a", second.Add(test.retryAfter)).Sub(second); got != test.want {
				t.Errorf("the pause takes %s, want %s", got, test.want)
			}
			recalled := newGate(t, pipedream.GateOptions{})
			recalled.Pause(second.Add(test.retryAfter))
			for _, g := range []*gate{g, recalled} {
				if got := g.Enter(shop("a"), pipedream.NearEnd).PausedUntil.Sub(second); got != test.want {
					t.Errorf("the pause is shown to take %s, want %s", got, test.want)
				}
				g.now = second.Add(test.want - 1)
				g.wantNoTurn("a")
				g.now = second.Add(test.want)
				g.wantTurn("a")
			}
		})
	}
}

// pauses returns how long some pauses are that come one after the other, each
// after an answer that did not say how long to wait.
func (g *gate) pauses(count int) []time.Duration {
	g.t.Helper()
	var pauses []time.Duration
	for range count {
		end := g.limited("a", time.Time{})
		pauses = append(pauses, end.Sub(g.now))
		g.now = end
	}
	return pauses
}

func TestAPauseOfUnknownLengthDoubles(t *testing.T) {
	t.Parallel()
	const minute = time.Minute
	g := newGate(t, pipedream.GateOptions{})
	want := []time.Duration{minute, 2 * minute, 4 * minute, 8 * minute}
	for len(want) < 100 {
		want = append(want, 15*minute)
	}
	if diff := cmp.Diff(want, g.pauses(len(want))); diff != "" {
		t.Errorf("pauses (-want +got):\n%s", diff)
	}
	// No answer is none of another kind.
	g.wantKind(g.try("a", nil, errUnavailable), pipedream.Unavailable)
	if diff := cmp.Diff(want[4:5], g.pauses(1)); diff != "" {
		t.Errorf("the pause after no answer (-want +got):\n%s", diff)
	}
	// Another kind of answer ends the series.
	g.wantPass("a")
	if diff := cmp.Diff(want[:3], g.pauses(3)); diff != "" {
		t.Errorf("pauses after another answer (-want +got):\n%s", diff)
	}
}

// When the first "too many" comes, others are on their way, and are answered the
// same: that tells nothing new, and is no reason to wait for a quarter of an hour.
func TestAnswersToRequestsThatWereOnTheirWayDoNotDoubleThePause(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{})
	var flights []*flight
	for i := range 10 {
		flights = append(flights, g.start(fmt.Sprint("orders-", i), nil))
	}
	want := second.Add(time.Minute + time.Millisecond)
	g.now = second.Add(time.Millisecond)
	for i, f := range flights[:9] {
		g.now = g.now.Add(time.Duration(i) * time.Millisecond)
		if at := g.wantKind(f.end(errTooMany), pipedream.RateLimited).RetryAt; !at.Equal(want) {
			t.Errorf("the pause ends after %s, want %s", at.Sub(second), want.Sub(second))
		}
	}
	g.now = want.Add(-1)
	g.wantNoTurn("a")
	// One is answered when the pause is over, and the trial is on.
	g.now = want.Add(time.Second)
	g.wantTurn("a")
	g.wantKind(flights[9].end(errTooMany), pipedream.RateLimited)
	g.wantNoTurn("b")
	if at := g.wantKind(g.send("a", nil, false, errTooMany), pipedream.RateLimited).RetryAt; at.Sub(g.now) != 2*time.Minute {
		t.Errorf("the next pause takes %s, want 2m", at.Sub(g.now))
	}
}

func TestAnswersToRequestsThatWereOnTheirWayDoNotEndThePauseNorTheTrial(t *testing.T) {
	t.Parallel()
	for name, outcome := range map[string]error{"a token": nil, "refused": errRefused, "no answer": errUnavailable} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGate(t, pipedream.GateOptions{})
			first, second, third := g.start("a", client("a")), g.start("b", client("b")), g.start("c", client("c"))
			g.limited("limited", time.Time{})
			g.after(time.Second)
			_ = first.end(outcome)
			g.wantNoTurn("d")
			g.after(time.Minute - time.Millisecond).wantNoTurn("d")
			g.after(time.Minute).wantTurn("d")
			_ = second.end(outcome)
			g.wantNoTurn("e")
			probe := g.start("d", nil)
			_ = third.end(outcome)
			g.wantNoTurn("e")
			if at := g.wantKind(probe.end(errTooMany), pipedream.RateLimited).RetryAt; at.Sub(g.now) != 2*time.Minute {
				t.Errorf("the next pause takes %s, want 2m", at.Sub(g.now))
			}
		})
	}
}

func TestALaterAnswerCanProlongAPauseAndNotShortenIt(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{})
	shorter, longer, last := g.start("a", nil), g.start("b", nil), g.start("c", nil)
	g.limited("d", second.Add(5*time.Minute))
	g.after(time.Second)
	retryAt := func(after time.Duration) error {
		return &pipedream.Error{Kind: pipedream.RateLimited, StatusCode: 429, RetryAt: second.Add(after)}
	}
	if at := g.wantKind(shorter.end(retryAt(time.Minute)), pipedream.RateLimited).RetryAt; at.Sub(second) != 5*time.Minute {
		t.Errorf("after a shorter one the pause ends after %s, want 5m", at.Sub(second))
	}
	if at := g.wantKind(longer.end(retryAt(7*time.Minute)), pipedream.RateLimited).RetryAt; at.Sub(second) != 7*time.Minute {
		t.Errorf("after a longer one the pause ends after %s, want 7m", at.Sub(second))
	}
	g.after(5*time.Minute).wantNoTurn("e", "f")
	// And when it is over, the API may still say that it is not.
	g.after(7 * time.Minute).wantTurn("e")
	g.wantKind(last.end(retryAt(9*time.Minute)), pipedream.RateLimited)
	g.wantNoTurn("e", "f")
	g.after(9 * time.Minute).wantTurn("e")
	g.wantNoTurn("f")
}

// A probe that was on its way when another pause began says nothing of that one.
func TestAPauseThatBeginsDuringATrialHasATrialOfItsOwn(t *testing.T) {
	t.Parallel()
	g := newGate(t, pipedream.GateOptions{})
	g.limited("a", second.Add(time.Minute))
	g.after(time.Minute)
	probe := g.start("b", nil)
	g.Pause(g.now.Add(time.Minute))
	g.wantNil(probe.end(nil))
	g.wantNoTurn("c")
	g.after(2 * time.Minute).wantTurn("c")
	g.wantNoTurn("d")
	g.wantPass("c")
	g.wantPass("d")
}

// Of a thousand who ask together, and are told in the middle that they are too many,
// nobody asks in the pause, and all get what they have asked for, once.
func TestAThousandSurviveAPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const askers, latency = 1000, 300 * time.Millisecond
		g := pipedream.NewGate(withDefaults(pipedream.GateOptions{}))
		var limitedAt, limited time.Duration
		var api *remote
		count := 0
		api = newRemote(latency, func(pipedream.Asker, string) error {
			count++
			at := time.Since(api.begun)
			if count == 400 {
				limitedAt = at
			}
			if limitedAt > 0 && at < limitedAt+time.Minute-latency {
				limited++
				return &pipedream.Error{Kind: pipedream.RateLimited, StatusCode: 429, RetryAt: time.Now().Add(time.Minute - latency/2)}
			}
			return nil
		})
		s := hire(t, g, 8, nil)
		s.serve = func(asker pipedream.Asker) {
			if place := g.Enter(asker, pipedream.FirstToken); !place.IsTurn {
				return
			}
			time.Sleep(3 * time.Millisecond)
			switch err := g.SendAs(asker, *client("orders"), false, api.request(asker, "orders")); {
			case err == nil:
			case errors.Is(err, pipedream.ErrNotYet):
				s.add(asker)
			default:
				s.after(time.Until(wantError(t, err).RetryAt), asker)
			}
		}
		for i := range askers {
			s.add(shop(fmt.Sprint("orders-", i)))
		}
		time.Sleep(askers*time.Second/5 + 70*time.Second)
		s.stopAll(t)
		accepted := map[pipedream.Asker]int{}
		for _, request := range api.requests {
			if request.err == nil {
				accepted[request.asker]++
			}
		}
		if len(accepted) != askers || len(api.requests) != askers+int(limited) || limited > 3 {
			t.Errorf("%d requests were sent, %d were limited, and %d were accepted, want all %d",
				len(api.requests), limited, len(accepted), askers)
		}
		toldAt, over := limitedAt+latency/2, limitedAt+time.Minute
		if got := api.count(toldAt, over, every); got != 0 {
			t.Errorf("%d requests were sent in the pause, want none", got)
		}
		if got := api.count(over, over+latency-time.Millisecond, every); got != 1 {
			t.Errorf("%d requests were sent as a probe, want one", got)
		}
		if got := api.count(over, over+latency+time.Second, every); got < 5 || got > 8 {
			t.Errorf("%d requests were sent within a second after the trial, want about 6", got)
		}
		if got := api.count(over+10*time.Second, over+20*time.Second, every); got < 49 || got > 51 {
			t.Errorf("%d requests were sent within ten seconds, want 50", got)
		}
	})
}
