// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

// +kubebuilder:rbac:groups=pipedream-operator.io,resources=pipedreamtokens,verbs=list;watch
// +kubebuilder:rbac:groups=pipedream-operator.io,resources=pipedreamtokens/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;update
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create

// secretNames is the index over the names of the two Secrets of a PipedreamToken.
const secretNames = "secretNames"

// SetupWithManager registers the reconciler and its watches. The dispatcher wakes the
// PipedreamTokens whose turn has come at the reconciler's limiters, which it has made.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager, dispatcher *controller.Dispatcher, maxConcurrentReconciles int) error {
	turns, err := dispatcher.Source(kind)
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
		WithOptions(controller.Options(maxConcurrentReconciles, r.longestWait)).
		Complete(controller.Adapt(r, mgr.GetCache()))
	if err != nil {
		return fmt.Errorf("set up the controller: %w", err)
	}
	return nil
}

// longestWait returns the longest wait before a PipedreamToken is reconciled again after an error.
func (r *Reconciler) longestWait(name types.NamespacedName) time.Duration {
	return retry.LongestTransient(r.states.goodUntil(name), r.Clock.Now())
}

// asksForSomethingNew lets an update pass if the spec of the PipedreamToken has changed,
// if the request to renew has a new value, or if the PipedreamToken is being deleted and its
// finalizers have changed. (That a deletion begins counts as a change of the spec.)
func asksForSomethingNew() predicate.Predicate {
	return predicate.Or(
		predicate.GenerationChangedPredicate{},
		predicate.Funcs{UpdateFunc: func(update event.UpdateEvent) bool {
			request := update.ObjectNew.GetAnnotations()[v1alpha1.RenewRequestAnnotation]
			return request != "" && request != update.ObjectOld.GetAnnotations()[v1alpha1.RenewRequestAnnotation]
		}},
		predicate.Funcs{UpdateFunc: func(update event.UpdateEvent) bool {
			return ownedsecret.IsTerminating(update.ObjectNew) &&
				!slices.Equal(update.ObjectNew.GetFinalizers(), update.ObjectOld.GetFinalizers())
		}},
	)
}

// tokensOf returns the PipedreamTokens that a Secret is the target or the
// credentials of.
func (r *Reconciler) tokensOf(ctx context.Context, secret client.Object) []reconcile.Request {
	tokens := &v1alpha1.PipedreamTokenList{}
	err := r.Cache.List(ctx, tokens, client.InNamespace(secret.GetNamespace()), client.MatchingFields{secretNames: secret.GetName()},
		client.UnsafeDisableDeepCopy)
	if controller.IsNotWatched(err) {
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

// nextPriority returns the priority of the reconcile that comes next by itself. Without it, that
// would be the priority of this reconcile.
func nextPriority(s snapshot) int {
	if s.record() != nil {
		return controller.UrgentPriority
	}
	return controller.UsualPriority
}
