// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// +kubebuilder:rbac:groups=pipedream-operator.io,resources=pipedreamtokens,verbs=list;watch
// +kubebuilder:rbac:groups=pipedream-operator.io,resources=pipedreamtokens/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;update
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create

// FieldOwner is the field manager of all that the operator writes.
const FieldOwner = "pipedream-operator"

// secretNames is the index over the names of the two Secrets of a PipedreamToken.
const secretNames = "secretNames"

const (
	// reconciliationTimeout is above what a visit can take.
	reconciliationTimeout = time.Minute
	// minRetry and maxRetry pace what the API server fails at.
	minRetry = time.Second
	maxRetry = 15 * time.Second
)

// CacheOptions returns what the manager's cache must and must not hold: of
// Secrets only metadata, and of foreign ones only what tells one version from
// another.
func CacheOptions() cache.Options {
	return cache.Options{
		ReaderFailOnMissingInformer: true,
		DefaultTransform:            stripMetadata,
		ByObject:                    map[client.Object]cache.ByObject{&corev1.Secret{}: {Transform: stripSecret}},
	}
}

// ClientOptions returns how the manager's client must read: Secrets live.
func ClientOptions() client.Options {
	return client.Options{
		FieldOwner: FieldOwner,
		Cache:      &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}},
	}
}

// stripMetadata drops what nothing looks at. The last-applied annotation of a
// Secret holds its data in clear.
func stripMetadata(object any) (any, error) {
	if metadata, ok := object.(metav1.Object); ok {
		metadata.SetManagedFields(nil)
		annotations := metadata.GetAnnotations()
		delete(annotations, corev1.LastAppliedConfigAnnotation)
		metadata.SetAnnotations(annotations)
	}
	return object, nil
}

func stripSecret(object any) (any, error) {
	secret, ok := object.(*metav1.PartialObjectMetadata)
	if !ok {
		return nil, fmt.Errorf("a Secret must be cached as metadata only, not as %T", object)
	}
	if _, ours := secret.Annotations[v1alpha1.OwnerAnnotation]; ours {
		return stripMetadata(secret)
	}
	secret.ObjectMeta = metav1.ObjectMeta{
		Namespace:       secret.Namespace,
		Name:            secret.Name,
		UID:             secret.UID,
		ResourceVersion: secret.ResourceVersion,
	}
	return secret, nil
}

// SetupWithManager registers the reconciler and its watches. The dispatcher wakes the
// PipedreamTokens whose turn has come at the reconciler's limiters, which it has made.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager, dispatcher *Dispatcher, maxConcurrentReconciles int) error {
	turns, err := dispatcher.Source(tokenKind.Kind)
	if err != nil {
		return err
	}
	err = mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.PipedreamToken{}, secretNames, func(object client.Object) []string {
		token := object.(*v1alpha1.PipedreamToken)
		return slices.Compact([]string{token.TargetName(), token.Spec.ClientSecretRef.Name})
	})
	if err != nil {
		return fmt.Errorf("index PipedreamTokens by their Secrets: %w", err)
	}
	err = ctrl.NewControllerManagedBy(mgr).
		Named("pipedreamtoken").
		For(&v1alpha1.PipedreamToken{}, builder.WithPredicates(asksForSomethingNew())).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.tokensOf), builder.OnlyMetadata).
		WatchesRawSource(turns).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: maxConcurrentReconciles,
			ReconciliationTimeout:   reconciliationTimeout,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](minRetry, maxRetry),
			EnableWarmup:            new(true),
		}).
		Complete(r.reconcilerFor(mgr.GetCache()))
	if err != nil {
		return fmt.Errorf("set up the controller: %w", err)
	}
	return nil
}

// asksForSomethingNew lets an update pass if the spec of the PipedreamToken has changed,
// or if the request to renew has a new value.
func asksForSomethingNew() predicate.Predicate {
	return predicate.Or(
		predicate.GenerationChangedPredicate{},
		predicate.Funcs{UpdateFunc: func(update event.UpdateEvent) bool {
			request := update.ObjectNew.GetAnnotations()[v1alpha1.RenewRequestAnnotation]
			return request != "" && request != update.ObjectOld.GetAnnotations()[v1alpha1.RenewRequestAnnotation]
		}},
	)
}

// tokensOf returns the PipedreamTokens that a Secret is the target or the
// credentials of.
func (r *Reconciler) tokensOf(ctx context.Context, secret client.Object) []reconcile.Request {
	tokens := &v1alpha1.PipedreamTokenList{}
	err := r.Cache.List(ctx, tokens, client.InNamespace(secret.GetNamespace()), client.MatchingFields{secretNames: secret.GetName()},
		client.UnsafeDisableDeepCopy)
	if _, isUnknown := errors.AsType[*NotWatchedError](err); isUnknown {
		return nil // Its PipedreamTokens are as if deleted, too.
	}
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "could not list the PipedreamTokens of a Secret")
		return nil
	}
	requests := make([]reconcile.Request, 0, len(tokens.Items))
	for i := range tokens.Items {
		name := types.NamespacedName{Namespace: tokens.Items[i].Namespace, Name: tokens.Items[i].Name}
		requests = append(requests, reconcile.Request{NamespacedName: name})
	}
	return requests
}
