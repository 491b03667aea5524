// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// TestTheHealthOfAnotherAccountIsNotSaid has the spec ask for another account, about which Pipedream has not answered
// yet. Nothing is known of its health, whatever Pipedream has said about the account before.
func TestTheHealthOfAnotherAccountIsNotSaid(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		before func(*simulator.Account)
		health string
	}{
		"the account before is dead":      {func(a *simulator.Account) { a.Dead = new(true) }, v1alpha1.ReasonAccountDead},
		"the account before is healthy":   {func(a *simulator.Account) { a.Healthy = new(true) }, v1alpha1.ReasonAccountHealthy},
		"the account before is unhealthy": {func(a *simulator.Account) { a.Healthy = new(false) }, v1alpha1.ReasonAccountUnhealthy},
	} {
		for when, isRestarted := range map[string]bool{"": false, ", and the operator is restarted": true} {
			t.Run(name+when, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.fetched(eachTenMinutes)
				w.changeAccount(test.before)
				w.look()
				w.wantHealth(test.health)
				for len(w.events.Events) > 0 {
					<-w.events.Events
				}
				must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAny, Status: http.StatusServiceUnavailable}))
				ask := func(id string) {
					change(w, w.account(), func(account *v1alpha1.PipedreamAccount) { account.Spec.AccountID = id })
					w.pass(time.Minute)
					if isRestarted {
						w.restart()
					}
					w.live(5 * time.Minute)
				}

				ask("apn_other")

				w.wantReasons(v1alpha1.ReasonEndpointUnavailable, v1alpha1.ReasonAccountOutdated)
				w.wantHealth(v1alpha1.ReasonHealthUnknown)
				for len(w.events.Events) > 0 {
					if event := <-w.events.Events; strings.Contains(event, "healthy") {
						t.Errorf("there is the event %q", event)
					}
				}

				// A restart forgets what Pipedream has said about the first account, unless the account is dead.
				ask(accountID)
				if isRestarted && test.health != v1alpha1.ReasonAccountDead {
					w.wantHealth(v1alpha1.ReasonHealthUnknown)
				} else {
					w.wantHealth(test.health)
				}
			})
		}
	}
}

// wantHealth checks condition Healthy by its reason, and that it is about the spec as it is now.
func (w *world) wantHealth(reason string) {
	w.Helper()
	w.wantCondition(v1alpha1.ConditionHealthy, metav1.ConditionStatus(placeOf(v1alpha1.ConditionHealthy, reason)), reason)
}
