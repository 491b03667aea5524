// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
)

// SecretNames is the index over the names of the Secrets that an object writes or refers to.
const SecretNames = "secretNames"

// AsksForSomethingNew lets an update pass if the spec of the object has changed, if the request to
// renew has a new value, or if the object is being deleted and its finalizers have changed. (That a
// deletion begins counts as a change of the spec.)
func AsksForSomethingNew() predicate.Predicate {
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

// MapSecret returns a function that returns the objects of one kind that write a Secret or refer to
// it. The kind must have the index SecretNames. newList returns an empty list of the kind. For a
// namespace that is not watched the function returns nothing; it logs any other error of the cache.
func MapSecret(cache client.Reader, newList func() client.ObjectList) handler.MapFunc {
	return func(ctx context.Context, secret client.Object) []reconcile.Request {
		list := newList()
		err := cache.List(ctx, list, client.InNamespace(secret.GetNamespace()), client.MatchingFields{SecretNames: secret.GetName()},
			client.UnsafeDisableDeepCopy)
		if IsNotWatched(err) {
			return nil // The objects of its namespace are as if deleted, too.
		}
		var requests []reconcile.Request
		if err == nil {
			requests, err = requestsFor(list)
		}
		if err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "could not list the objects that use a Secret")
		}
		return requests
	}
}

// requestsFor returns a request to reconcile each object of a list.
func requestsFor(list client.ObjectList) ([]reconcile.Request, error) {
	var requests []reconcile.Request
	err := meta.EachListItem(list, func(item runtime.Object) error {
		object, err := meta.Accessor(item)
		if err != nil {
			return fmt.Errorf("read an item of a list: %w", err)
		}
		requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: object.GetNamespace(), Name: object.GetName()}})
		return nil
	})
	return requests, err
}
