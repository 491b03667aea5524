// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/namespaces"
)

func TestAsksForSomethingNew(t *testing.T) {
	t.Parallel()
	deleted := metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	request := map[string]string{v1alpha1.RenewRequestAnnotation: "a"}
	for name, test := range map[string]struct {
		before, now metav1.ObjectMeta
		want        bool
	}{
		"nothing changes":                   {metav1.ObjectMeta{}, metav1.ObjectMeta{}, false},
		"a new spec":                        {metav1.ObjectMeta{Generation: 1}, metav1.ObjectMeta{Generation: 2}, true},
		"a request to renew":                {metav1.ObjectMeta{}, metav1.ObjectMeta{Annotations: request}, true},
		"the request is removed":            {metav1.ObjectMeta{Annotations: request}, metav1.ObjectMeta{}, false},
		"another annotation":                {metav1.ObjectMeta{}, metav1.ObjectMeta{Annotations: map[string]string{"team": "a"}}, false},
		"a finalizer goes before deletion":  {metav1.ObjectMeta{DeletionTimestamp: &deleted, Finalizers: []string{"a", "b"}}, metav1.ObjectMeta{DeletionTimestamp: &deleted, Finalizers: []string{"a"}}, true},
		"a finalizer of a live object goes": {metav1.ObjectMeta{Finalizers: []string{"a"}}, metav1.ObjectMeta{}, false},
	} {
		update := event.UpdateEvent{
			ObjectOld: &v1alpha1.PipedreamToken{ObjectMeta: test.before},
			ObjectNew: &v1alpha1.PipedreamToken{ObjectMeta: test.now},
		}
		if got := AsksForSomethingNew().Update(update); got != test.want {
			t.Errorf("%s: the update passes: %v, want %v", name, got, test.want)
		}
	}
}

// lister lists two PipedreamTokens, or fails.
type lister struct {
	client.Reader
	err error
}

func (l lister) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	list.(*v1alpha1.PipedreamTokenList).Items = []v1alpha1.PipedreamToken{
		{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "orders"}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "returns"}},
	}
	return l.err
}

func TestMapSecret(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err  error
		want []reconcile.Request
	}{
		"two objects":                      {nil, []reconcile.Request{requestNamed("orders"), requestNamed("returns")}},
		"the namespace is not watched":     {&namespaces.NotWatchedError{}, nil},
		"the cache has not started at all": {errors.New("the cache is not started"), nil},
	} {
		find := MapSecret(lister{err: test.err}, func() client.ObjectList { return &v1alpha1.PipedreamTokenList{} })
		if got := find(t.Context(), &metav1.PartialObjectMetadata{}); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}
