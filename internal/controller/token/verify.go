// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"errors"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

// verify tries the current token on Pipedream's API. What follows from the verdict is for the
// next decision.
func (r *Reconciler) verify(ctx context.Context, s snapshot, st state) (outcome, error) {
	ticket := r.Verifications.Enter(s.asker(), pipedream.DueRenewal)
	if !ticket.IsTurn {
		return verificationQueued{ticket}, nil
	}
	target, err := r.readTarget(ctx, s)
	if err != nil {
		return noAction{}, err
	}
	if read := s.after(targetRead{target}); target == nil || checkOf(read, st) == renewal.Unchecked {
		return targetRead{target}, nil
	}
	found := verdict{target: target}
	found.err = r.Verifications.Send(s.asker(), func() (err error) {
		token := pipedream.NewSensitive(string(target.Data[target.Annotations[v1alpha1.TokenKeyAnnotation]]))
		found.is, err = r.Pipedream.Verify(ctx, token, s.trial())
		return err
	})
	switch {
	case ctx.Err() != nil:
		return noAction{}, ctx.Err()
	case errors.Is(found.err, pipedream.ErrNotYet):
		ticket.IsTurn = false
		return verificationQueued{ticket}, nil
	}
	return found, nil
}
