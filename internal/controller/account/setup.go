// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

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

// +kubebuilder:rbac:groups=pipedream-operator.io,resources=pipedreamaccounts,verbs=list;watch
// +kubebuilder:rbac:groups=pipedream-operator.io,resources=pipedreamaccounts/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;update
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create

// SetupWithManager registers the reconciler and its watches. The dispatcher wakes the
// PipedreamAccounts whose turn has come at the limiters and at the store of access tokens, which it has
// made.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager, dispatcher *controller.Dispatcher, maxConcurrentReconciles int) error {
	turns, err := dispatcher.Source(kind)
	if err != nil {
		return err
	}
	err = mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.PipedreamAccount{}, controller.SecretNames, func(object client.Object) []string {
		account := object.(*v1alpha1.PipedreamAccount)
		return slices.Compact([]string{account.TargetName(), account.CredentialsSecretName()})
	})
	if err != nil {
		return fmt.Errorf("index PipedreamAccounts by their Secrets: %w", err)
	}
	ofSecret := controller.MapSecret(r.Cache, func() client.ObjectList { return &v1alpha1.PipedreamAccountList{} })
	err = ctrl.NewControllerManagedBy(mgr).
		Named("pipedreamaccount").
		For(&v1alpha1.PipedreamAccount{}, builder.WithPredicates(controller.AsksForSomethingNew())).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(ofSecret), builder.OnlyMetadata).
		WatchesRawSource(turns).
		WithOptions(controller.Options(maxConcurrentReconciles, r.longestWait)).
		Complete(controller.Adapt(r, mgr.GetCache()))
	if err != nil {
		return fmt.Errorf("set up the controller: %w", err)
	}
	return nil
}

// longestWait returns the longest wait before a PipedreamAccount is reconciled again after an error.
func (r *Reconciler) longestWait(name types.NamespacedName) time.Duration {
	return retry.LongestTransient(r.goodUntil(name), r.Clock.Now())
}

// goodUntil returns when the credentials of an object expire; zero if they are worth nothing, or if nothing
// is known of the object. The worker that has last reconciled the object calls it.
func (r *Reconciler) goodUntil(name types.NamespacedName) time.Time {
	if st, ok := r.states.LastOf(name); ok {
		return st.goodUntil
	}
	return time.Time{}
}

// nextPriority returns the priority of the reconcile that comes next by itself. Without it, that would
// be the priority of this reconcile.
func nextPriority(s snapshot) int {
	if s.record() != nil {
		return controller.UrgentPriority
	}
	return controller.UsualPriority
}
