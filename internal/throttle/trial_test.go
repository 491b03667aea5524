// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

func TestAfterAPauseOneGoesAheadAndTheOthersArePaced(t *testing.T) {
	t.Parallel()
	for _, burst := range []int{1, 2, 10, 100} {
		for _, trial := range []time.Duration{200 * time.Millisecond, 9 * time.Second, time.Hour} {
			t.Run(fmt.Sprintf("burst %d, and a trial of %s", burst, trial), func(t *testing.T) {
				t.Parallel()
				l := newLimiter(t, throttle.Options{PerSecond: 5, Burst: burst})
				l.limited("a", second.Add(time.Minute))
				l.after(time.Minute)
				probe := l.start("b", nil)
				l.wantNoTurn("a", "c", "d")
				l.after(time.Minute+trial).wantNoTurn("a", "c", "d")
				l.wantNil(probe.end(nil))
				l.wantPass("a")
				l.wantNoTurn("c", "d")
				l.after(time.Minute + trial + 200*time.Millisecond).wantPass("c")
				l.wantNoTurn("d")
				l.after(time.Minute + trial + 400*time.Millisecond).wantPass("d")
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
		// Any answer ends the trial, except "too many requests".
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
			l := newLimiter(t, throttle.Options{})
			l.limited("a", time.Time{})
			l.after(time.Minute)
			_ = l.try("probe", client("probe"), test.outcome)
			l.after(2 * time.Minute)
			got := "nothing"
			switch ticket := l.reserve(shop("b"), throttle.DueRenewal); {
			case !ticket.PausedUntil.IsZero():
				got = "a pause"
				if left := ticket.PausedUntil.Sub(l.now).Round(time.Second); left != time.Minute {
					t.Errorf("the second pause lasts until a minute and %s after its beginning, want 2m", left)
				}
			case ticket.IsReady && l.hasTurn(shop("c")):
				got = "over"
			case ticket.IsReady:
				got = "another probe"
				l.wantNil(l.send("b", nil, false, nil))
				l.wantPass("c")
			}
			if got != test.want {
				t.Errorf("then there is %s, want %s", got, test.want)
			}
		})
	}
}

func TestAProbeThatIsNotSentInTimeIsLeftToTheNext(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{})
	l.limited("a", second.Add(time.Minute))
	l.after(time.Minute).wantTurn("lost")
	l.wantNoTurn("b", "c")
	l.after(70*time.Second).wantNoTurn("b", "c")
	l.after(71 * time.Second).wantNoTurn("c")
	l.wantPass("b")
	l.wantPass("c")
	// The next probe is sent at once when the ticket of the first one is given up.
	l.after(80*time.Second).limited("a", second.Add(2*time.Minute))
	l.after(2 * time.Minute).wantTurn("lost")
	l.wantNoTurn("b")
	l.Cancel(shop("lost"))
	l.wantPass("b")
}

// A probe that was on its way when another pause began says nothing about that pause.
func TestAPauseThatBeginsDuringATrialHasATrialOfItsOwn(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{})
	l.limited("a", second.Add(time.Minute))
	l.after(time.Minute)
	probe := l.start("b", nil)
	l.Pause(l.now.Add(time.Minute))
	l.wantNil(probe.end(nil))
	l.wantNoTurn("c")
	l.after(2 * time.Minute).wantTurn("c")
	l.wantNoTurn("d")
	l.wantPass("c")
	l.wantPass("d")
}

// A thousand requesters come together, and in the middle the API answers that there are
// too many requests. No request is sent in the pause, and each requester gets its answer,
// once.
func TestAThousandSurviveAPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const requesters, latency = 1000, 300 * time.Millisecond
		l := newLimiter(t, throttle.Options{Now: time.Now})
		var limitedAt, limited time.Duration
		var api *remote
		count := 0
		api = newRemote(latency, func(throttle.Requester, string) error {
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
		s := hire(t, l, 8, nil)
		s.serve = func(requester throttle.Requester) {
			if ticket := l.reserve(requester, throttle.FirstToken); !ticket.IsReady {
				return
			}
			time.Sleep(3 * time.Millisecond)
			switch err := l.doAs(requester, *client("orders"), false, api.request(requester, "orders")); {
			case err == nil:
			case errors.Is(err, throttle.ErrNotReady):
				s.add(requester)
			default:
				s.after(time.Until(l.wantKind(err, pipedream.RateLimited).RetryAt), requester)
			}
		}
		for i := range requesters {
			s.add(shop(fmt.Sprint("orders-", i)))
		}
		time.Sleep(requesters*time.Second/5 + 70*time.Second)
		s.stopAll(t)
		accepted := map[throttle.Requester]int{}
		for _, request := range api.requests {
			if request.err == nil {
				accepted[request.requester]++
			}
		}
		if len(accepted) != requesters || len(api.requests) != requesters+int(limited) || limited > 3 {
			t.Errorf("%d requests were sent, %d were limited, and %d were accepted, want all %d",
				len(api.requests), limited, len(accepted), requesters)
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
