// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// PipedreamAPI is the part of Pipedream's API that the reconciler needs. *pipedream.Client implements
// it.
type PipedreamAPI interface {
	// Address returns the address of the API. Tokens of another address are outdated.
	Address() string
	// Issue exchanges credentials for a token. Its error is a *pipedream.Error.
	Issue(context.Context, pipedream.Credentials, []string) (pipedream.Token, error)
	// Verify tries a token. The error explains an inconclusive verdict.
	Verify(context.Context, pipedream.Sensitive, pipedream.Trial) (pipedream.Verdict, error)
}

// actions do what was decided. They read the snapshot and the state, change neither, and return
// what came of it.
type actions struct {
	cache                        client.Reader
	client                       client.Client
	clock                        clock.PassiveClock
	pipedream                    PipedreamAPI
	tokenRequests, verifications *throttle.Limiter
	metrics                      *Metrics
}

// act does what was decided, and returns what came of it. The error is the one of a request to the
// Kubernetes API server that has failed; the outcome then says so, too.
func (a actions) act(ctx context.Context, s snapshot, st state, decision renewal.Decision) (outcome, error) {
	switch decision.Action {
	case renewal.Keep:
		return kept{}, nil
	case renewal.Blocked:
		return a.block(ctx, s, st, decision.Why)
	case renewal.Read:
		return a.check(ctx, s, st)
	case renewal.Verify:
		return a.verify(ctx, s, st)
	case renewal.Issue:
		return a.issue(ctx, s, st, decision.Why)
	case renewal.Write:
		return a.writePending(ctx, s, st, decision.Why)
	case renewal.Rewrite:
		return a.rewrite(ctx, s, st)
	case renewal.Wait, renewal.Rest:
	}
	return noAction{}, nil
}

// failedRead returns the outcome of a read that has failed. When the process is told to stop, a read
// that was interrupted says nothing about the API server.
func failedRead(ctx context.Context, step clusterStep, err error, now time.Time) (outcome, error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return noAction{}, err
	}
	return clusterFailed{step: step, detail: err.Error(), at: now}, err
}

// lookAgain reports whether the PipedreamToken was deleted or suspended since it was observed, as far as
// the cache shows. Of a deleted one, a token that is asked for now, or written, would be in a Secret that
// nobody owns.
func lookAgain(ctx context.Context, cache client.Reader, s snapshot) (isGone, isSuspended bool) {
	now := &v1alpha1.PipedreamToken{}
	if err := cache.Get(ctx, client.ObjectKeyFromObject(s.token), now); err != nil {
		return apierrors.IsNotFound(err), false
	}
	return now.UID != s.token.UID || ownedsecret.IsTerminating(now), now.Spec.Suspend
}
