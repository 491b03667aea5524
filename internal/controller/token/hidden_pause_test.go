// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// What hides RateLimited in the status must not make a restart forget the pause that Pipedream asks for.
func TestWhatHidesRateLimitedKeepsThePause(t *testing.T) {
	for name, hide := range map[string]struct{ begin, end func(*world) }{
		"a Secret that is being deleted": {
			begin: func(w *world) { hold(w, w.target()) },
			end:   func(w *world) { release(w, w.target()) },
		},
		"a failed read of the cluster": {
			begin: func(w *world) {
				w.label()
				w.wire.answerWith(func(r *http.Request) (*http.Response, error) {
					if reads("orders-pipedream")(r) {
						return says(503, metav1.StatusReasonServiceUnavailable)()
					}
					return nil, nil
				})
			},
			end: func(w *world) { w.wire.answerWith(nil) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.issued()
			w.passUntil(w.token().Status.RenewalTime)
			answers(simulator.Fault{Status: 429, Headers: map[string]string{"Retry-After": "600"}})(w)
			w.reconcile()
			w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonRateLimited)
			hide.begin(w)
			_, _ = w.tryReconcile()
			w.pass(15 * time.Second)
			_, _ = w.tryReconcile()
			w.restart()
			_, _ = w.tryReconcile()
			hide.end(w)
			w.pass(15 * time.Second)
			w.reconcile()
			w.wantExchanges(2)
		})
	}
}
