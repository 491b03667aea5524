// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"testing"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// suspendingAPI suspends the PipedreamToken while its request is on its way.
type suspendingAPI struct {
	PipedreamAPI
	w *world
}

func (a suspendingAPI) Issue(ctx context.Context, credentials pipedream.Credentials, scopes []string) (pipedream.Token, error) {
	token, err := a.PipedreamAPI.Issue(ctx, credentials, scopes)
	change(a.w, a.w.token(), func(p *v1alpha1.PipedreamToken) { p.Spec.Suspend = true })
	return token, err
}

// While a PipedreamToken is suspended, its Secret is not written: also with the token of a request
// that was on its way. The token is kept, and is written when the suspension ends.
func TestTokenOfARequestInFlightIsKeptWhileSuspended(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issued()
	w.passUntil(w.token().Status.RenewalTime)
	before := w.target().ResourceVersion
	w.reconciler.Pipedream = suspendingAPI{w.api, w}
	_, _ = w.tryReconcile()
	if got := w.target().ResourceVersion; got != before {
		t.Error("the Secret was written while spec.suspend was true")
	}
	w.reconcile()
	w.suspend(false)
	w.wantExchanges(2)
}
