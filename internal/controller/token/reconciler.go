// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package token keeps a token in the Secret of each PipedreamToken.
//
// One reconcile is a loop: a snapshot of the world, which nobody writes; a pure decision by
// package renewal; an action, which returns an outcome; and the state, which remembers the outcome.
// The status is a projection of the last snapshot and the state. The record from which decisions
// are made is on the written Secret itself, so that a restart asks Pipedream for nothing.
//
// The files are in layers. A file calls only files of its own layer and of the layers below it:
//
//	reconciler.go setup.go                             the loop, and the watches that start it
//	report.go                                          writing the status, events and log lines
//	status.go conditions.go                            what the status says
//	actions.go issue.go read.go write.go verify.go     the actions: each returns an outcome
//	apply.go applyattempt.go applywrite.go blocker.go  remembering outcomes
//	restore.go                                         restoring the state
//	facts.go standing.go metrics.go                    what is known from the snapshot and the state
//	state.go verification.go operators.go              what is remembered between two reconciles
//	failure.go messages.go templates.go                how tokens fail, and its words; the data of the Secret
//	snapshot.go deletion.go                            what one reconcile knows of the world
//	outcome.go                                         what an action has found out or done
//	current.go demand.go                               the current token and its record; the demand for tokens
package token

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// maxSteps bounds the decisions of one reconcile. The longest way is to read, to verify, to find
// that the pending token is outdated, to read the credentials, to issue, to be sent back by the
// limiter, to issue, to write, and to verify the new token.
const maxSteps = 12

// Reconciler keeps a token in the Secret of each PipedreamToken. All fields but Operator are required.
type Reconciler struct {
	// Cache is where PipedreamTokens and the metadata of Secrets are observed. It may lag behind.
	Cache client.Reader
	// Client reads Secrets live, and writes.
	Client client.Client
	// Events records changes of conditions.
	Events events.EventRecorder
	// Clock tells the time.
	Clock clock.PassiveClock
	// Pipedream issues and verifies tokens.
	Pipedream PipedreamAPI
	// TokenRequests and Verifications pace the requests to Pipedream.
	TokenRequests, Verifications *throttle.Limiter
	// Operator is the name that is recorded on the Secrets: the namespace and the name of the Lease of
	// leader election, with a slash in between. It is empty without leader election.
	Operator string
	// Metrics counts the requests to Pipedream, and their results.
	Metrics *Metrics

	states controller.States[*state]
}

// Reconcile reconciles one PipedreamToken.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	token := &v1alpha1.PipedreamToken{}
	if err := r.Cache.Get(ctx, request.NamespacedName, token); err != nil {
		if apierrors.IsNotFound(err) {
			r.Forget(request.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	s, st, err := r.observe(ctx, token)
	if st == nil {
		return ctrl.Result{}, err
	}
	var decision renewal.Decision
	if err == nil {
		s, decision, err = r.work(ctx, s, st)
	}
	r.cancelUnused(s)
	// What is known is reported also when the API server has failed at something.
	sleep, reportErr := reporter{client: r.Client, clock: r.Clock, events: r.Events}.report(ctx, s, st, decision)
	if err := errors.Join(err, reportErr); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: sleep, Priority: new(nextPriority(s))}, nil
}

// observe returns a snapshot of the world and the state of the object. It reads through the cache
// where the cache is recent enough. If that fails, it returns no state, or a state that remembers
// the failure.
func (r *Reconciler) observe(ctx context.Context, token *v1alpha1.PipedreamToken) (snapshot, *state, error) {
	name := client.ObjectKeyFromObject(token)
	st, _ := r.states.Of(name, token.UID)
	s := snapshot{
		operator:    r.Operator,
		token:       token,
		desired:     desiredBy(token, r.Pipedream.Address()),
		now:         r.Clock.Now(),
		outageEnded: r.TokenRequests.OutageEnded(),
	}
	var seen ownedsecret.Seen
	if st != nil {
		seen, s.firstSeen = st.cache.target, st.firstSeen
		seen.IsUncertain = seen.IsUncertain && !st.attempt.waitsForCluster(s.now)
	} else {
		s.firstSeen = s.now
	}
	target, isLive, failed := ownedsecret.Observe(ctx, r.Cache, r.Client, ownedsecret.Key(token), seen)
	if failed != nil && (!isLive || ownedsecret.IsOlder(ownedsecret.Version(target), seen.Version)) {
		return snapshot{}, nil, failed // What the cache shows is known to be outdated: a status from it would not be true.
	}
	s.target = target
	reference := types.NamespacedName{Namespace: token.Namespace, Name: token.Spec.ClientSecretRef.Name}
	var err error
	if s.credentialsSecret, err = ownedsecret.Metadata(ctx, r.Cache, reference); err != nil {
		return snapshot{}, nil, err
	}
	if st == nil {
		st = r.restore(name, s)
	}
	made := st.check.rendering
	if made.generation != token.Generation {
		made = renderMadeUp(token, s.desired.Scopes)
	}
	st.apply(s, observed{isLive && failed == nil, made})
	if failed != nil {
		done, _ := failedRead(ctx, readTargetStep, failed, r.Clock.Now())
		st.apply(s, done)
	}
	return s, st, failed
}

// restore makes the state of an object that this process sees for the first time. If Pipedream
// wanted all requests to wait, the limiter is told.
func (r *Reconciler) restore(name types.NamespacedName, s snapshot) *state {
	st := restore(s)
	r.states.Put(name, s.token.UID, st)
	if failed := st.attempt.failure; failed != nil && failed.Row.Reason == v1alpha1.ReasonRateLimited && failed.NotBefore.After(s.now) {
		r.TokenRequests.Pause(failed.NotBefore)
	}
	return st
}

// work decides and acts until there is nothing more to do now. It returns the last snapshot and
// the last decision. The errors are the API server's; how an attempt failed is in the state.
func (r *Reconciler) work(ctx context.Context, s snapshot, st *state) (snapshot, renewal.Decision, error) {
	var decision renewal.Decision
	for range maxSteps {
		decision = renewal.Decide(s.desired, factsOf(s, *st), s.now)
		st.apply(s, decided{decision.Action})
		log.FromContext(ctx).V(1).Info("decided", "action", decision.Action, "why", decision.Why, "until", decision.Until)
		done, err := r.actions().act(ctx, s, *st, decision)
		st.apply(s, done)
		r.Metrics.count(decision, done)
		s = s.after(done)
		if err != nil || done.isFinal() {
			return s, decision, err
		}
	}
	return s, decision, nil
}

// actions returns the actions of the reconciler.
func (r *Reconciler) actions() actions {
	return actions{
		cache: r.Cache, client: r.Client, clock: r.Clock, pipedream: r.Pipedream,
		tokenRequests: r.TokenRequests, verifications: r.Verifications, metrics: r.Metrics,
	}
}

// cancelUnused gives up the places at the limiters that this reconcile does not wait at.
func (r *Reconciler) cancelUnused(s snapshot) {
	if !isWaiting(s.ticket) {
		r.TokenRequests.Cancel(s.requester())
	}
	if !isWaiting(s.verificationTicket) {
		r.Verifications.Cancel(s.requester())
	}
}

// Forget drops everything that is known of an object: it is gone, or it is not watched any
// longer.
func (r *Reconciler) Forget(name types.NamespacedName) {
	r.states.Forget(name)
	r.TokenRequests.Cancel(requesterOf(name))
	r.Verifications.Cancel(requesterOf(name))
}
