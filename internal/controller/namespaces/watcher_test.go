// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package namespaces

import (
	"testing"
	"time"

	toolscache "k8s.io/client-go/tools/cache"
)

// TestSecondRefusal refuses the requests of two informers, and looks which refusals end the watch of
// the namespace.
func TestSecondRefusal(t *testing.T) {
	t.Parallel()
	tokens, secrets := &toolscache.Reflector{}, &toolscache.Reflector{}
	seen := newRefusals()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, step := range []struct {
		what      string
		reflector *toolscache.Reflector
		after     time.Duration
		want      bool
	}{
		{"the first refusal of PipedreamTokens", tokens, 0, false},
		{"the first refusal of Secrets", secrets, time.Second, false},
		{"a refusal of PipedreamTokens just within the window", tokens, refusalWindow - time.Second, true},
		{"a refusal of Secrets after the window", secrets, refusalWindow + time.Second, false},
		{"one more refusal of Secrets", secrets, refusalWindow + 2*time.Second, true},
	} {
		if got := seen.isSecond(step.reflector, start.Add(step.after)); got != step.want {
			t.Errorf("%s counts as the second one: %v, want %v", step.what, got, step.want)
		}
	}
}
