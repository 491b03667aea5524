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
	// reconciliationTimeout is above the time that a reconcile can take.
	reconciliationTimeout = time.Minute
	// MinRetry and maxRetry are the shortest and the longest wait after an error of the API server.
	MinRetry = time.Second
	maxRetry = 15 * time.Second
)

// Options returns how the controller of each kind works.
func Options(maxConcurrentReconciles int) controller.Options {
	return controller.Options{
		MaxConcurrentReconciles: maxConcurrentReconciles,
		ReconciliationTimeout:   reconciliationTimeout,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](MinRetry, maxRetry),
		EnableWarmup:            new(true),
	}
}

// Reconciler is the reconciler of a kind.
type Reconciler interface {
	reconcile.Reconciler
	// Forget drops everything that is known of an object.
	Forget(types.NamespacedName)
}

// Adapt returns the reconciler of a kind for a manager with a cache. If the cache watches some
// namespaces only, it is no error of an object that its namespace is not watched.
func Adapt(r Reconciler, known cache.Cache) reconcile.Reconciler {
	watched, ok := known.(*namespaces.Cache)
	if !ok {
		return r
	}
	return reconcile.Func(func(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
		result, err := r.Reconcile(ctx, request)
		if IsNotWatched(err) {
			// When the namespace is watched again, the object comes back with it.
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
