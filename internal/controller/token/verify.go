// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"errors"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// verify tries the current token on Pipedream's API. What follows from the verdict is for the
// next decision.
func (a actions) verify(ctx context.Context, s snapshot, st state) (outcome, error) {
	ticket := a.verifications.Reserve(s.requester(), throttle.ReserveOptions{Lane: throttle.DueRenewal})
	if !ticket.IsReady {
		return verificationQueued{ticket}, nil
	}
	target, err := readTarget(ctx, a.client, s)
	if err != nil {
		return failedRead(ctx, readTargetStep, err, a.clock.Now())
	}
	if read := s.after(targetRead{target}); target == nil || checkOf(read, st) == renewal.Unchecked {
		return targetRead{target}, nil
	}
	found := verdict{target: target}
	found.err = a.verifications.Do(s.requester(), throttle.DoOptions{}, func() (err error) {
		token := pipedream.NewSensitive(string(target.Data[target.Annotations[v1alpha1.TokenKeyAnnotation]]))
		found.is, err = a.pipedream.Verify(ctx, token, trialOf(s.token))
		return err
	})
	switch {
	case ctx.Err() != nil:
		return noAction{}, ctx.Err()
	case errors.Is(found.err, throttle.ErrNotReady):
		ticket.IsReady = false
		return verificationQueued{ticket}, nil
	}
	return found, nil
}
