// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controller has what the controllers of all kinds share with the manager: what its cache
// holds and how its client reads, who is woken when a turn has come at a limiter, and how their queues
// wait.
package controller

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/namespaces"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
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
		FieldOwner: ownedsecret.FieldOwner,
		Cache:      &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}},
	}
}

// NewCache returns the function that makes the manager's cache. Without names of namespaces
// it is the usual cache of the whole cluster, else a *namespaces.Cache of these namespaces.
func NewCache(names []string) cache.NewCacheFunc {
	if len(names) == 0 {
		return cache.New
	}
	return func(config *rest.Config, options cache.Options) (cache.Cache, error) {
		return namespaces.New(config, options, namespaces.Options{Names: names, Kinds: WatchedKinds(), Log: ctrl.Log.WithName("namespaces")})
	}
}

// WatchedKinds returns an object of each kind that is watched in each namespace of
// --namespaces: of Secrets only metadata.
func WatchedKinds() []client.Object {
	secret := &metav1.PartialObjectMetadata{}
	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return []client.Object{&v1alpha1.PipedreamToken{}, secret}
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

// longestKept is the length of the longest name that the cache keeps of an object that controls a
// Secret of somebody else.
const longestKept = 253

// stripSecret keeps of a foreign Secret only what tells one version from another, and who controls it.
func stripSecret(object any) (any, error) {
	secret, ok := object.(*metav1.PartialObjectMetadata)
	if !ok {
		return nil, fmt.Errorf("a Secret must be cached as metadata only, not as %T", object)
	}
	if _, ours := secret.Annotations[v1alpha1.OwnerAnnotation]; ours {
		return stripMetadata(secret)
	}
	kept := metav1.ObjectMeta{
		Namespace:       secret.Namespace,
		Name:            secret.Name,
		UID:             secret.UID,
		ResourceVersion: secret.ResourceVersion,
	}
	// A message names the owner of a Secret whose name a PipedreamToken asks for.
	owner := metav1.GetControllerOfNoCopy(secret)
	if owner != nil && len(owner.Kind) <= longestKept && len(owner.Name) <= longestKept {
		kept.OwnerReferences = []metav1.OwnerReference{{Kind: owner.Kind, Name: owner.Name, Controller: owner.Controller}}
	}
	secret.ObjectMeta = kept
	return secret, nil
}
