// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// TestFetchedIsNotTrueBeforeTheSecretIsAsTheSpecSays changes the templates while the next look has to wait: for ten
// seconds after the last one, or for its turn. Ready is about the credentials, which are still good.
func TestFetchedIsNotTrueBeforeTheSecretIsAsTheSpecSays(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		wait    time.Duration
		prepare func(*world)
	}{
		"after the last look": {wait: 3 * time.Second, prepare: func(*world) {}},
		"for its turn": {wait: time.Minute, prepare: func(w *world) {
			w.reconciler.Requests = nobodysTurn{w.reconciler.Requests, w}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fetched()
			w.pass(test.wait)
			requests := w.reconciler.Requests
			test.prepare(w)
			change(w, w.account(), func(account *v1alpha1.PipedreamAccount) {
				account.Spec.Secret.Data = map[string]v1alpha1.ValueTemplate{"OTHER": "{{ .Credentials.oauth_access_token }}"}
			})

			w.reconcile()

			account := w.account()
			fetched := meta.FindStatusCondition(account.Status.Conditions, v1alpha1.ConditionFetched)
			isSaid := fetched.Status == metav1.ConditionTrue && fetched.ObservedGeneration == account.Generation
			if data := w.target().Data; isSaid && len(data["OTHER"]) == 0 {
				t.Errorf("Fetched is True for generation %d (%s), and the Secret has no key OTHER", fetched.ObservedGeneration, fetched.Message)
			}
			w.wantCondition(v1alpha1.ConditionFetched, metav1.ConditionUnknown, v1alpha1.ReasonQueued)
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonCredentialsValid)

			w.reconciler.Requests = requests
			w.live(20 * time.Second)
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
			if data := w.target().Data; len(data["OTHER"]) == 0 {
				t.Error("the Secret has no key OTHER")
			}
		})
	}
}

// nobodysTurn are limiters at which the turn does not come.
type nobodysTurn struct {
	Requests
	w *world
}

func (n nobodysTurn) Reserve(string, throttle.Requester, throttle.ReserveOptions) throttle.Ticket {
	return throttle.Ticket{Since: n.w.clock.Now()}
}
