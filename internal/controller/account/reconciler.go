// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package account keeps the credentials of a connected account in the Secret of each
// PipedreamAccount.
//
// One reconcile is a loop: a snapshot of the world, which nobody writes; a pure decision by
// package refresh; an action, which returns an outcome; and the state, which remembers the outcome.
// The status is a projection of the last snapshot and the state. The record from which decisions are
// made is on the written Secret itself, so that a restart asks Pipedream for nothing. Credentials are
// in memory only from the answer of Pipedream to the write of the Secret.
//
// The files are in layers. A file calls only files of its own layer and of the layers below it:
//
//	reconciler.go setup.go                 the loop, and the watches that start it
//	report.go                              writing the status, events and log lines
//	status.go conditions.go                what the status says
//	actions.go fetch.go read.go write.go   the actions: each returns an outcome
//	apply.go applyverdict.go restore.go    remembering outcomes, and restoring the state
//	demand.go                              how many looks the accounts of each project ask for
//	facts.go standing.go metrics.go        what is known from the snapshot and the state
//	state.go verdict.go                    what is remembered between two reconciles
//	templates.go                           the data of the Secret
//	snapshot.go                            what one reconcile knows of the world
//	outcome.go                             what an action has found out or done
//	record.go                              the record on the Secret, and what it is compared with
package account

import (
	"context"
	"errors"
	"time"

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
	"github.com/pipedream-operator/pipedream-operator/internal/refresh"
)

// maxSteps bounds the decisions of one reconcile. The longest way is to read the Secret, to read the
// client credentials, to fetch, to be refused because of the access token, to read the client
// credentials, and to fetch again.
const maxSteps = 10

// Reconciler keeps the credentials of an account in the Secret of each PipedreamAccount. All fields
// are required.
type Reconciler struct {
	// Cache is where PipedreamAccounts and the metadata of Secrets are observed. It may lag behind.
	Cache client.Reader
	// Client reads Secrets live, and writes.
	Client client.Client
	// Events records changes of conditions.
	Events events.EventRecorder
	// Clock tells the time.
	Clock clock.PassiveClock
	// Pipedream fetches accounts.
	Pipedream PipedreamAPI
	// Requests paces the requests for accounts, and Bearers lends the access tokens for them.
	Requests Requests
	Bearers  Bearers
	// Metrics counts the requests to Pipedream, and their results.
	Metrics *Metrics

	states controller.States[*state]
}

// Reconcile reconciles one PipedreamAccount.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	account := &v1alpha1.PipedreamAccount{}
	if err := r.Cache.Get(ctx, request.NamespacedName, account); err != nil {
		if apierrors.IsNotFound(err) {
			r.Forget(request.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	s, st, err := r.observe(ctx, account)
	if st == nil {
		return ctrl.Result{}, err
	}
	var decision refresh.Decision
	if err == nil {
		s, decision, err = r.work(ctx, s, st)
	}
	if !isWaiting(s.ticket) {
		r.Requests.Cancel(s.requester())
		r.releaseBearer(s, decision)
	}
	// What is known is reported also when the API server has failed at something.
	sleep, reportErr := reporter{client: r.Client, clock: r.Clock, events: r.Events}.report(ctx, s, st, decision)
	if err := errors.Join(err, reportErr); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: sleep, Priority: new(nextPriority(s))}, nil
}

// observe returns a snapshot of the world and the state of the object. It reads through the cache
// where the cache is recent enough. If that fails, it returns no state, or a state that remembers the
// failure.
func (r *Reconciler) observe(ctx context.Context, account *v1alpha1.PipedreamAccount) (snapshot, *state, error) {
	name := client.ObjectKeyFromObject(account)
	s := snapshot{
		account: account,
		desired: desiredBy(account, r.Pipedream.Address()),
		now:     r.Clock.Now(),
	}
	st, isKnown := r.states.Of(name, account.UID)
	var seen ownedsecret.Seen
	if s.firstSeen = s.now; isKnown {
		seen, s.firstSeen = st.cache.target, st.firstSeen
		seen.IsUncertain = seen.IsUncertain && !st.attempt.waitsForCluster(s.now)
	}
	target, isLive, failed := ownedsecret.Observe(ctx, r.Cache, r.Client, ownedsecret.Key(account), seen)
	if failed != nil && (!isLive || ownedsecret.IsOlder(ownedsecret.Version(target), seen.Version)) {
		return snapshot{}, nil, failed // What the cache shows is known to be outdated: a status from it would not be true.
	}
	s.target = target
	reference := types.NamespacedName{Namespace: account.Namespace, Name: account.CredentialsSecretName()}
	var err error
	if s.credentialsSecret, err = ownedsecret.Metadata(ctx, r.Cache, reference); err != nil {
		return snapshot{}, nil, err
	}
	if !isKnown {
		st = r.restore(name, s)
	}
	s.outageEnded = r.outageEnded(limiterOf(s, st.check.apiKey))
	templates := st.check.templates
	if templates.generation != account.Generation {
		templates = templateCheck{generation: account.Generation, err: checkTemplates(account)}
	}
	st.apply(s, observed{isLive && failed == nil, templates})
	if failed != nil {
		done, _ := r.actions().failedRead(ctx, failed)
		st.apply(s, done)
	}
	return s, st, failed
}

// outageEnded returns when a limiter has last found that Pipedream answers again; zero if it has found no outage, or if
// the limiter is not known.
func (r *Reconciler) outageEnded(limiter string) time.Time {
	if limiter == "" {
		return time.Time{}
	}
	return r.Requests.OutageEnded(limiter)
}

// restore makes the state of an object that this process sees for the first time. If Pipedream wanted all
// requests about the project to wait, or all requests for access tokens, their limiter is told. Of an API key, no limiter
// is known before the key is read: each of its PipedreamAccounts waits by itself.
func (r *Reconciler) restore(name types.NamespacedName, s snapshot) *state {
	st := restore(s)
	r.states.Put(name, s.account.UID, st)
	failed, limiter := st.attempt.failure, limiterOf(s, st.check.apiKey)
	if failed == nil || !failed.NotBefore.After(s.now) {
		return st
	}
	switch {
	case failed.Row.Reason == v1alpha1.ReasonRateLimited && limiter != "":
		r.Requests.Pause(limiter, failed.NotBefore)
	case failed.Row.Reason == v1alpha1.ReasonTokenRateLimited:
		r.Bearers.Pause(failed.NotBefore)
	}
	return st
}

// work decides and acts until there is nothing more to do now. It returns the last snapshot and the
// last decision. The errors are the API server's; how an attempt failed is in the state.
func (r *Reconciler) work(ctx context.Context, s snapshot, st *state) (snapshot, refresh.Decision, error) {
	var decision refresh.Decision
	for range maxSteps {
		decision = refresh.Decide(s.desired, factsOf(s, *st), s.now)
		st.apply(s, decided{decision.Action})
		log.FromContext(ctx).V(1).Info("decided", "action", decision.Action, "why", decision.Why, "until", decision.Until)
		done, err := r.actions().act(ctx, s, *st, decision)
		if answer, isAnswered := done.(answered); isAnswered {
			st.apply(s, answer) // What Pipedream says of the account is known, whatever becomes of the Secret.
			done = answer.stored
		}
		st.apply(s, done)
		r.Metrics.count(decision, done)
		s = s.after(done)
		if err != nil || done.isFinal() {
			return s, decision, err
		}
	}
	return s, decision, nil
}

// releaseBearer gives up the wait for an access token. A PipedreamAccount that may ask Pipedream with its OAuth client
// goes on to replace the access token in the background.
func (r *Reconciler) releaseBearer(s snapshot, decision refresh.Decision) {
	if decision.Action == refresh.Blocked || decision.Action == refresh.Rest || s.account.UsesAPIKey() {
		r.Bearers.Cancel(s.requester())
		return
	}
	r.Bearers.Release(s.requester())
}

// actions returns the actions of the reconciler.
func (r *Reconciler) actions() actions {
	return actions{cache: r.Cache, client: r.Client, clock: r.Clock, pipedream: r.Pipedream, requests: r.Requests, bearers: r.Bearers, metrics: r.Metrics}
}

// Forget drops everything that is known of an object: it is gone, or it is not watched any longer.
func (r *Reconciler) Forget(name types.NamespacedName) {
	r.states.Forget(name)
	r.Requests.Cancel(requesterOf(name))
	r.Bearers.Cancel(requesterOf(name))
}
