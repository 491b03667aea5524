// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// While the credentials can't be read, the current token is still verified: each read that fails sets
// a wait, and when the wait is over the credentials are read again before anything is verified.
func TestVerificationGoesOnWhileTheCredentialsCantBeRead(t *testing.T) {
	for name, code := range map[string]int32{"forbidden": 403, "unavailable": 503} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.issued(withVerification)
			w.passUntil(w.token().Status.RenewalTime)
			w.wire.answerWith(func(r *http.Request) (*http.Response, error) {
				if reads("credentials")(r) {
					return says(code, metav1.StatusReasonForbidden)()
				}
				return nil, nil
			})
			w.pipedream.RevokeAll()
			before := w.verifications()
			for end := w.clock.Now().Add(15 * time.Minute); w.clock.Now().Before(end); {
				result, err := w.tryReconcile()
				if err != nil || result.RequeueAfter <= 0 {
					result.RequeueAfter = time.Second
				}
				w.pass(result.RequeueAfter)
			}
			if got := w.verifications() - before; got == 0 {
				t.Error("in 15 minutes, the current token was not verified once, each minute is asked for")
			}
			if ready := w.condition(v1alpha1.ConditionReady); ready.Status == metav1.ConditionTrue {
				t.Errorf("the token was revoked 15 minutes ago: Ready=%s: %s", ready.Status, ready.Message)
			}
		})
	}
}
