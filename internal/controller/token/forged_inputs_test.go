// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// A record with the issue time of the status and another expiry is Edited, whatever its inputs are.
func TestForgedExpiryWithForgedInputsIsNotBelieved(t *testing.T) {
	noKey := withData(templates{"header": "Bearer {{ .AccessToken }}"})
	for name, test := range map[string]struct {
		change  func(*v1alpha1.PipedreamToken)
		restart bool
		noCreds bool
	}{
		"no key holds the token":          {change: noKey},
		"no key holds the token, restart": {change: noKey, restart: true},
		"the credentials are absent":      {change: func(*v1alpha1.PipedreamToken) {}, noCreds: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.issued(test.change)
			w.pass(time.Minute)
			if test.noCreds {
				must(t, w.admin.Delete(t.Context(), w.secret("credentials")))
			}
			times := w.withTimes(0, 29*day)
			w.forge(func(s *corev1.Secret) {
				times(s)
				s.Annotations[v1alpha1.InputsAnnotation] = "forged"
			})
			if test.restart {
				w.restart()
			}
			w.reconcile()
			w.pass(20 * time.Second)
			w.reconcile()
			w.pass(2 * time.Hour)
			w.reconcile()
			w.reconcile()
			ready := w.condition(v1alpha1.ConditionReady)
			if ready.Status == metav1.ConditionTrue && w.token().Status.ExpirationTime.Sub(w.clock.Now()) > 2*time.Hour {
				t.Errorf("two hours later, with a token of an hour: Ready=%s: %s", ready.Status, ready.Message)
			}
		})
	}
}
