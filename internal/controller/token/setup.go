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
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

// +kubebuilder:rbac:groups=pipedream-operator.io,resources=pipedreamtokens,verbs=list;watch
// +kubebuilder:rbac:groups=pipedream-operator.io,resources=pipedreamtokens/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;update
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create

// SetupWithManager registers the reconciler and its watches. The dispatcher wakes the
// PipedreamTokens whose turn has come at the reconciler's limiters, which it has made.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager, dispatcher *controller.Dispatcher, maxConcurrentReconciles int) error {
	turns, err := dispatcher.Source(kind)
	if err != nil {
		return err
	}
	err = mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.PipedreamToken{}, controller.SecretNames, func(object client.Object) []string {
		token := object.(*v1alpha1.PipedreamToken)
		return slices.Compact([]string{token.TargetName(), token.Spec.ClientSecretRef.Name})
	})
	if err != nil {
		return fmt.Errorf("index PipedreamTokens by their Secrets: %w", err)
	}
	tokensOf := controller.MapSecret(r.Cache, func() client.ObjectList { return &v1alpha1.PipedreamTokenList{} })
	err = ctrl.NewControllerManagedBy(mgr).
		Named("pipedreamtoken").
		For(&v1alpha1.PipedreamToken{}, builder.WithPredicates(controller.AsksForSomethingNew())).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(tokensOf), builder.OnlyMetadata).
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
	var goodUntil time.Time
	if st, ok := r.states.LastOf(name); ok {
		goodUntil = st.goodUntil
	}
	return retry.LongestTransient(goodUntil, r.Clock.Now())
}

// nextPriority returns the priority of the reconcile that comes next by itself. Without it, that
// would be the priority of this reconcile.
func nextPriority(s snapshot) int {
	if s.record() != nil {
		return controller.UrgentPriority
	}
	return controller.UsualPriority
}
