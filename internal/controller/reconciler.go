// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controller keeps asking: for each PipedreamToken it observes the world,
// lets package renewal decide, does that one thing, and reports.
//
// Secrets are watched as metadata only. Their data is read when there is
// something to do with it, and kept in no cache. The record from which decisions
// are made is on the written Secret itself, so that a restart asks Pipedream for
// nothing.
package controller

import (
	"context"
	"errors"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

const (
	// maxSteps bounds the decisions of one visit. The longest way is to read, to
	// verify, to find that the unstored token is outdated, to issue, to be sent back by
	// the limiter, to issue, and to verify the new token.
	maxSteps = 8
	// issueTimeout and reportTimeout are what an exchange with the write after it,
	// and a report, may take. They go on when the process is told to stop: an issued
	// token is not wasted.
	issueTimeout  = 20 * time.Second
	reportTimeout = 5 * time.Second
)

// TokenAPI is the part of Pipedream's API that the reconciler needs.
// *pipedream.Client implements it.
type TokenAPI interface {
	// Address returns the address of the API. Tokens of another one are outdated.
	Address() string
	// Issue exchanges credentials for a token. Its error is a *pipedream.Error.
	Issue(context.Context, pipedream.Credentials, []string) (pipedream.Token, error)
	// Verify tries a token. The error explains an inconclusive verdict.
	Verify(context.Context, pipedream.Sensitive, pipedream.Trial) (pipedream.Verdict, error)
}

// Reconciler keeps a token in the Secret of each PipedreamToken. All fields are
// required.
type Reconciler struct {
	// Cache is where PipedreamTokens and the metadata of Secrets are observed. It
	// may lag behind.
	Cache client.Reader
	// Client reads Secrets live, and writes.
	Client client.Client
	// Events records changes of state.
	Events events.EventRecorder
	// Clock tells the time.
	Clock clock.PassiveClock
	// Pipedream issues and verifies tokens.
	Pipedream TokenAPI
	// TokenRequests and Verifications pace what is asked of Pipedream.
	TokenRequests, Verifications *throttle.Limiter
	// Metrics counts what is asked of Pipedream, and what becomes of it.
	Metrics *Metrics

	memories memories
}

// Reconcile visits one PipedreamToken.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	token := &v1alpha1.PipedreamToken{}
	if err := r.Cache.Get(ctx, request.NamespacedName, token); err != nil {
		if apierrors.IsNotFound(err) {
			r.forget(request.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !token.DeletionTimestamp.IsZero() {
		// The owner reference on the Secret cleans up.
		r.forget(request.NamespacedName)
		return ctrl.Result{}, nil
	}
	o, err := r.observe(ctx, token)
	if err != nil {
		return ctrl.Result{}, err
	}
	for range maxSteps {
		var again bool
		o.decision = renewal.Decide(o.wanted, o.observed(), o.now)
		if again, err = r.act(ctx, o); err != nil || !again {
			break
		}
	}
	r.leave(o)
	// What is known is reported also when the API server has failed at something.
	sleep, reportErr := r.report(ctx, o)
	if err := errors.Join(err, reportErr); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: sleep, Priority: new(o.nextPriority())}, nil
}

// leave gives up the tickets at the limiters that this visit does not wait for.
func (r *Reconciler) leave(o *observation) {
	if !isWaiting(o.ticket) {
		r.TokenRequests.Cancel(o.requester())
	}
	if !isWaiting(o.verificationTicket) {
		r.Verifications.Cancel(o.requester())
	}
}

func (r *Reconciler) forget(name types.NamespacedName) {
	r.memories.forget(name)
	r.TokenRequests.Cancel(requesterOf(name))
	r.Verifications.Cancel(requesterOf(name))
}

// nextPriority returns the priority of the visit that comes next by itself. Without it,
// that would be the one of this visit.
func (o *observation) nextPriority() int {
	if o.record() != nil {
		return urgentPriority
	}
	return usualPriority
}

// act does what was decided. It returns true when that calls for another
// decision. Its errors are those of the API server; how an attempt failed is in
// the memory.
func (r *Reconciler) act(ctx context.Context, o *observation) (again bool, err error) {
	if !slices.Contains([]renewal.Action{renewal.Blocked, renewal.Read, renewal.Verify, renewal.Rewrite}, o.decision.Action) {
		o.memory.obstacle = nil
	}
	switch o.decision.Action {
	case renewal.Keep:
		o.memory.failure, o.memory.rewriteFailure, o.memory.unstored = nil, nil, nil
		o.ticket = throttle.Ticket{} // The held token is good: none is waited for any longer.
	case renewal.Blocked:
		return r.block(ctx, o)
	case renewal.Read:
		return true, r.check(ctx, o)
	case renewal.Verify:
		return r.verifyHeld(ctx, o)
	case renewal.Issue:
		return r.issue(ctx, o)
	case renewal.Store:
		return r.storeUnstored(ctx, o)
	case renewal.Rewrite:
		return r.rewrite(ctx, o)
	case renewal.Wait:
	}
	return false, nil
}

// block remembers what makes an attempt impossible. It reads the credentials when only
// the status of an earlier process says that they can't be used, and its message does not
// fit any more. When they can be used after all, another decision is due.
func (r *Reconciler) block(ctx context.Context, o *observation) (again bool, err error) {
	isUnread := o.decision.Why == renewal.NoCredentials && o.credentials != nil && o.memory.incomplete.what == ""
	if isUnread && !o.memory.obstacle.isTold(renewal.HeldToken(o.wanted, o.observed(), o.now) == renewal.StateValid) {
		if credentials, err := r.readCredentials(ctx, o); err != nil || credentials != nil {
			return err == nil, err
		}
	}
	o.meet(o.decision.Why)
	return false, nil
}
