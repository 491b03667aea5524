// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/pipedream-operator/pipedream-operator/internal/controller/namespaces"
)

const (
	// reconciliationTimeout is longer than any reconcile takes.
	reconciliationTimeout = time.Minute
	// MinRetry and maxRetry are the shortest and the longest wait after an error that a reconciler returns.
	// The reconciler itself decides when a failed attempt is made again. These waits are for errors after
	// which it can't even report what it knows.
	MinRetry = time.Second
	maxRetry = 15 * time.Second
)

// Options returns the options of the controller of each kind. After an error of the reconciler, an
// object is reconciled again after a second, doubling to 15 seconds, and at most after what longestWait
// returns for it.
func Options(maxConcurrentReconciles int, longestWait func(types.NamespacedName) time.Duration) controller.Options {
	return controller.Options{
		MaxConcurrentReconciles: maxConcurrentReconciles,
		ReconciliationTimeout:   reconciliationTimeout,
		RateLimiter: boundedRateLimiter{
			TypedRateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](MinRetry, maxRetry),
			longestWait:      longestWait,
		},
		EnableWarmup: new(true),
	}
}

// boundedRateLimiter bounds the waits of another rate limiter.
type boundedRateLimiter struct {
	workqueue.TypedRateLimiter[reconcile.Request]
	longestWait func(types.NamespacedName) time.Duration
}

// When implements workqueue.TypedRateLimiter.
func (l boundedRateLimiter) When(request reconcile.Request) time.Duration {
	return min(l.TypedRateLimiter.When(request), l.longestWait(request.NamespacedName))
}

// Reconciler is the reconciler of a kind.
type Reconciler interface {
	reconcile.Reconciler
	// Forget deletes the state that the reconciler keeps of an object.
	Forget(types.NamespacedName)
}

// Adapt returns the reconciler of a kind for a manager with the cache known. If the cache watches some
// namespaces only, the reconciler returns no error for an object whose namespace is not watched.
func Adapt(r Reconciler, known cache.Cache) reconcile.Reconciler {
	watched, ok := known.(*namespaces.Cache)
	if !ok {
		return r
	}
	return reconcile.Func(func(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
		result, err := r.Reconcile(ctx, request)
		if IsNotWatched(err) {
			// When the namespace is watched again, the cache sends an event for the object.
			r.Forget(request.NamespacedName)
			return ctrl.Result{}, nil
		}
		if apierrors.IsForbidden(err) {
			watched.Suspect(request.Namespace)
		}
		return result, err
	})
}

// IsNotWatched reports whether an error says that a namespace is not watched.
func IsNotWatched(err error) bool {
	_, ok := errors.AsType[*namespaces.NotWatchedError](err)
	return ok
}
