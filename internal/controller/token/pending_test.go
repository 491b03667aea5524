// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// A good token that could not be written is written when the Secret can be written again, and not
// kept back because it is due itself: the Secret holds an expired one, and Pipedream does not answer.
func TestPendingTokenThatIsDueIsStillWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issued()
	w.passUntil(w.token().Status.RenewalTime)
	w.failWrites("PUT secrets")
	_, _ = w.tryReconcile()
	w.wantExchanges(2) // The second token is pending. It lives for an hour.
	w.breakPipedream()
	pending := w.clock.Now()
	for w.clock.Now().Sub(pending) < 42*time.Minute {
		_, _ = w.tryReconcile()
		w.pass(10 * time.Second)
	}
	w.wire.cut(nil) // The Secret can be written again. The pending token is good for 18 minutes.
	for range 20 {
		_, _ = w.tryReconcile()
		w.pass(10 * time.Second)
	}
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
}
