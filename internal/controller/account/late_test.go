// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"strings"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// TestLateRefreshesCostThreeStatusesEach has Pipedream refresh an account only when expired credentials are asked for.
func TestLateRefreshesCostThreeStatusesEach(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect(accountID, "lazy")
	w.fetched()
	w.live(70 * time.Minute) // The first late refresh is not expected.
	for len(w.events.Events) > 0 {
		<-w.events.Events
	}
	w.wire.Reset()
	w.live(10 * time.Hour)
	if got := w.wire.Requests()["PATCH pipedreamaccounts/status"]; got > 30 {
		t.Errorf("in ten lives there were %d statuses", got)
	}
	for len(w.events.Events) > 0 {
		if event := <-w.events.Events; strings.Contains(event, v1alpha1.ReasonCredentialsExpired) {
			t.Errorf("there is the event %s", event)
		}
	}
}

// TestARequestCutsAVerdictShort has the end user reconnect a dead account, and somebody ask for a look.
func TestARequestCutsAVerdictShort(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fetched(eachTenMinutes)
	w.changeAccount(func(a *simulator.Account) { a.Dead = new(true) })
	w.live(50 * time.Minute)
	w.wantReasons(v1alpha1.ReasonAccountDead, v1alpha1.ReasonAccountDead)
	w.pass(11 * time.Second)
	w.changeAccount(func(a *simulator.Account) { a.Dead = new(false) })
	change(w, w.account(), func(account *v1alpha1.PipedreamAccount) {
		account.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "now"}
	})
	w.live(15 * time.Second)
	w.reconcile()
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
}

// neverTurn are limiters at which the turn does not come. All who wait began to wait at the first Reserve.
type neverTurn struct {
	Requests
	since time.Time
}

func (n neverTurn) Reserve(string, throttle.Requester, throttle.ReserveOptions) throttle.Ticket {
	return throttle.Ticket{Since: n.since}
}

// TestALookThatWaitsForHoursIsToldOf has the owner ask for a look at least every ten minutes at credentials that are good
// for long, or that do not expire. The look waits for its turn for three hours. The account may be dead for all that anybody
// knows. The status says so after an hour, and is written no more often than that.
func TestALookThatWaitsForHoursIsToldOf(t *testing.T) {
	t.Parallel()
	for name, connect := range map[string]func(*world){
		"the credentials do not expire": func(w *world) { w.answer(`"healthy":true,"credentials":{"api_key":"a-key-of-the-app"}`) },
		"the credentials live for a day": func(w *world) {
			w.changeAccount(func(a *simulator.Account) { a.Life = 24 * time.Hour })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			connect(w)
			w.fetched(eachTenMinutes)
			w.pass(10 * time.Minute)
			requests := w.reconciler.Requests
			w.reconciler.Requests = neverTurn{requests, w.clock.Now()}
			w.changeAccount(func(a *simulator.Account) { a.Dead = new(true) })

			wantStatuses := func(want int) {
				t.Helper()
				if got := w.wire.Requests()["PATCH pipedreamaccounts/status"]; got != want {
					t.Errorf("%d statuses were written, want %d", got, want)
				}
			}
			w.live(time.Hour)
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
			wantStatuses(0)
			w.live(2 * time.Hour)

			w.wantFetches(1)
			w.wantReasons(v1alpha1.ReasonQueued, v1alpha1.ReasonCredentialsValid)
			wantStatuses(1)

			w.reconciler.Requests = requests
			w.pipedream.ClearFaults()
			w.live(time.Second)
			w.wantReasons(v1alpha1.ReasonAccountDead, v1alpha1.ReasonAccountDead)
		})
	}
}
