// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bearer_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// TestAnUrgentAccountDoesNotWaitInTheLaneOfAnother has an account whose credentials are about to expire need the access
// token that a less urgent account has asked for before, while many first tokens of PipedreamTokens wait.
func TestAnUrgentAccountDoesNotWaitInTheLaneOfAnother(t *testing.T) {
	t.Parallel()
	for name, isBehind := range map[string]bool{"alone": false, "behind another": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.busy(600)
			patient, urgent := need("patient"), need("urgent")
			patient.Lane, urgent.Lane = throttle.OnDemand, throttle.NearEnd
			if isBehind {
				w.mustWait(patient)
			}
			w.mustWait(urgent)
			for began := w.now; w.now.Sub(began) < time.Minute; w.now = w.now.Add(100 * time.Millisecond) {
				turns, _ := w.turns.Next()
				for _, requester := range turns {
					switch requester {
					case patient.Requester:
						_, _ = w.acquire(patient, "acme")
					case urgent.Requester:
						_, _ = w.acquire(urgent, "acme")
					default:
						_ = w.limiter.Do(requester, throttle.DoOptions{}, func() error { return nil })
					}
				}
				if lent, err := w.acquire(urgent, "acme"); err == nil && lent.Token().Reveal() != "" {
					if waited := w.now.Sub(began); waited > 5*time.Second {
						t.Errorf("the urgent account has waited for %s", waited)
					}
					return
				}
			}
			t.Error("the urgent account still waits after a minute")
		})
	}
}

// busy makes the Limiter busy with first tokens of PipedreamTokens.
func (w *world) busy(waiting int) {
	w.t.Helper()
	for i := range waiting {
		token := throttle.Requester{Kind: "PipedreamToken", Group: "tokens", Name: fmt.Sprint(i)}
		if w.limiter.Reserve(token, throttle.ReserveOptions{Lane: throttle.FirstToken}).IsReady {
			if err := w.limiter.Do(token, throttle.DoOptions{}, func() error { return nil }); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

// TestTheLeaderIsWokenWhenAnUrgentAccountBringsItsTurn has the turn of a patient account come at once when an urgent one
// waits for the same access token. The Limiter tells the caller only.
func TestTheLeaderIsWokenWhenAnUrgentAccountBringsItsTurn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.busy(600)
	patient, urgent, last := need("patient"), need("urgent"), need("last")
	patient.Lane, urgent.Lane, last.Lane = throttle.OnDemand, throttle.DueRenewal, throttle.NearEnd
	w.mustWait(patient)
	w.mustWait(urgent)
	w.wantWoken()
	w.now = w.now.Add(time.Second)
	w.mustWait(last)
	w.wantWoken("patient")
	w.mustWait(urgent)
	w.must(patient, "acme", "acme-1")
	w.wantWoken("last", "urgent")
	w.wantIssued(1)
}
