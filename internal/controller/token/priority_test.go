// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"testing"

	"github.com/pipedream-operator/pipedream-operator/internal/controller"
)

func TestHeldTokensAreLookedAtBeforeNewObjects(t *testing.T) {
	w := newWorld(t)
	w.create()
	if got := *w.reconcile().Priority; got != controller.UsualPriority {
		t.Errorf("without a token the priority of the next visit is %d, want %d", got, controller.UsualPriority)
	}
	w.createCredentials()
	if got := *w.reconcile().Priority; got != controller.UrgentPriority {
		t.Errorf("with a token the priority of the next visit is %d, want %d", got, controller.UrgentPriority)
	}
}
