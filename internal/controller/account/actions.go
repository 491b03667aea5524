// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/bearer"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/refresh"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// PipedreamAPI is the part of Pipedream's API that the reconciler needs. *pipedream.Client implements
// it.
type PipedreamAPI interface {
	// Address returns the address of the API. Credentials from another address are outdated.
	Address() string
	// Account fetches an account with its credentials, with an access token or an API key. Its error is a
	// *pipedream.Error.
	Account(context.Context, pipedream.Sensitive, pipedream.AccountQuery) (pipedream.Account, error)
}

// Requests paces the requests for accounts, each project and each API key by itself. *throttle.Projects implements it.
type Requests interface {
	// KeyName returns the name of an API key that is sent with a workspace, or with none. It stands in place of a
	// project in the other methods.
	KeyName(key pipedream.Sensitive, workspace string) string
	// Reserve returns the ticket of a requester at the limiter of a project. The requester gives up
	// its tickets at other projects.
	Reserve(project string, requester throttle.Requester, options throttle.ReserveOptions) throttle.Ticket
	// Do sends a request if the ticket of the requester is ready, as throttle.Limiter does.
	Do(project string, requester throttle.Requester, options throttle.DoOptions, request func() error) error
	// Charge counts a request about a project that was sent in the turn of another one.
	Charge(project string)
	// Cancel gives up the ticket of a requester, if it has one.
	Cancel(requester throttle.Requester)
	// Pause lets no request of a project be sent until the given time.
	Pause(project string, until time.Time)
	// OutageEnded returns when the limiter of a project has last found that Pipedream answers again; zero
	// if it has found no outage.
	OutageEnded(project string) time.Time
}

// Bearers lends access tokens of the operator's own. *bearer.Store implements it.
type Bearers interface {
	Acquire(context.Context, bearer.Need) (bearer.Bearer, error)
	// Send says that a request is sent with a token now. Its error says that the request must not be sent.
	Send(lent bearer.Bearer) error
	Report(lent bearer.Bearer, wasKnown bool, err error) bearer.Advice
	// Release says that a requester needs no token now, and Cancel that it will not call Acquire again.
	Release(throttle.Requester)
	Cancel(throttle.Requester)
	// Pause lets no request for a token be sent until the given time.
	Pause(until time.Time)
	// IsReplacing reports whether a requester has to call Acquire to replace a token in the background.
	IsReplacing(throttle.Requester) bool
}

// actions do what was decided. They read the snapshot and the state, change neither, and return
// what came of it.
type actions struct {
	cache     client.Reader
	client    client.Client
	clock     clock.PassiveClock
	pipedream PipedreamAPI
	requests  Requests
	bearers   Bearers
	metrics   *Metrics
}

// act does what was decided, and returns what came of it. The error is the one of a request to the
// Kubernetes API server that has failed; the outcome then says so, too.
func (a actions) act(ctx context.Context, s snapshot, st state, decision refresh.Decision) (outcome, error) {
	if decision.Action == refresh.Keep || decision.Action == refresh.Wait {
		a.replaceBearer(ctx, s, st)
	}
	switch decision.Action {
	case refresh.Keep:
		return kept{}, nil
	case refresh.Blocked:
		return a.block(ctx, s, st, decision.Why)
	case refresh.Read:
		return a.check(ctx, s)
	case refresh.Fetch:
		return a.fetch(ctx, s, st, decision.Why)
	case refresh.Wait, refresh.Rest:
	}
	return noAction{}, nil
}

// failedRead returns the outcome of a read that has failed. When the process is told to stop, a read
// that was interrupted says nothing about the API server.
func (a actions) failedRead(ctx context.Context, err error) (outcome, error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return noAction{}, err
	}
	return clusterFailed{detail: err.Error(), at: a.clock.Now()}, err
}

// lookAgain returns the outcome if the PipedreamAccount was deleted or suspended since it was observed, as far
// as the cache shows; else nil. Of a deleted one, credentials that are asked for now, or written, would be in
// a Secret that nobody owns.
func (a actions) lookAgain(ctx context.Context, s snapshot) outcome {
	now := &v1alpha1.PipedreamAccount{}
	err := a.cache.Get(ctx, client.ObjectKeyFromObject(s.account), now)
	switch {
	case apierrors.IsNotFound(err):
		return abandoned{}
	case err != nil:
		return nil
	case now.UID != s.account.UID, ownedsecret.IsTerminating(now):
		return abandoned{}
	case now.Spec.Suspend:
		return noAction{}
	}
	return nil
}
