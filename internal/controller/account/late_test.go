// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"strings"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
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
