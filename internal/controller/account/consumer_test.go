// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// consumption is what a consumer has met: how many seconds the app has refused its access token, for each access
// token from its first use to the first use of the next one.
type consumption struct {
	token   string
	refused []int
}

// use makes the call of one second.
func (c *consumption) use(w *world) {
	w.Helper()
	token := string(w.target().Data["oauth_access_token"])
	if token != c.token {
		c.token, c.refused = token, append(c.refused, 0)
	}
	if !w.accepts(token) {
		c.refused[len(c.refused)-1]++
	}
}

// consume has a consumer read the Secret and call the app in each second, until the Secret has held as many access
// tokens as given. The operator reconciles whenever it has asked for it, and in a second of both after the consumer.
func (w *world) consume(tokens int) []int {
	w.Helper()
	consumer := &consumption{}
	began, wake := w.clock.Now(), w.clock.Now()
	for second := began; ; second = second.Add(time.Second) {
		for wake.Before(second) {
			w.clock.SetTime(wake)
			wake = wake.Add(w.reconcile().RequeueAfter)
		}
		w.clock.SetTime(second)
		consumer.use(w)
		if len(consumer.refused) == tokens {
			return consumer.refused[:tokens-1] // The use of the last one has only begun.
		}
		if second.Sub(began) > time.Hour {
			w.Fatalf("in an hour the Secret has held only %d access tokens", len(consumer.refused))
		}
	}
}

// TestAConsumerUsesTheSecretEachSecond has a consumer use the Secret each second through three refreshes, in each way
// of Pipedream to refresh. The credentials live ten minutes.
func TestAConsumerUsesTheSecretEachSecond(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		refresh string
		// refused is how many seconds the app may refuse each access token.
		refused int
	}{
		"in the background, often":            {"background:2m15s", 0},
		"in the background, close to the end": {"background:9m30s", 0},
		"before they expire":                  {"lead:1m", 0},
		"when expired ones are asked for":     {"lazy", 2},
		"whenever they are asked for":         {"force", 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const refreshes, short = 3, "apn_short"
			w := newWorld(t)
			w.connect(short, test.refresh, func(a *simulator.Account) { a.Life = 10 * time.Minute })
			w.fetched(func(account *v1alpha1.PipedreamAccount) { account.Spec.AccountID = short })

			refused := w.consume(1 + refreshes)

			total := 0
			for i, seconds := range refused {
				total += seconds
				if seconds > test.refused {
					t.Errorf("the app has refused access token %d for %d seconds, want at most %d", i+1, seconds, test.refused)
				}
			}
			counters := w.pipedream.Accounts.Counters()
			if app := counters.Apps["slack"]; app.Refused != total || app.Accepted < 1000 {
				t.Errorf("the app has counted %+v, the consumer %d refused calls", app, total)
			}
			if got := counters.Accounts[short].Refreshes; got < refreshes {
				t.Errorf("Pipedream has refreshed the account %d times, want at least %d", got, refreshes)
			}
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
			w.wantNoSecretSeen()
			t.Logf("%d fetches, seconds refused: %v", w.fetches(), refused)
		})
	}
}
