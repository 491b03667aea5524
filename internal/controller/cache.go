// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controller has the parts that the controllers of all kinds share: the options of the manager's
// cache and client, the Dispatcher that starts reconciles when a rate limiter allows their requests, and the
// options of the controllers.
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

// CacheOptions returns the options of the manager's cache. The cache holds only metadata of Secrets. Of
// foreign Secrets it holds only the fields that identify the object and its version, and the Secret's
// controller. Of all metadata it holds only what the operator uses, and that is bounded: who may write
// an object must not fill the operator's memory.
func CacheOptions() cache.Options {
	return cache.Options{
		ReaderFailOnMissingInformer: true,
		DefaultTransform:            stripObject,
		NewInformer:                 newInformer,
		ByObject:                    map[client.Object]cache.ByObject{&corev1.Secret{}: {Transform: stripSecret}},
	}
}

// ClientOptions returns the options of the manager's client. The client reads Secrets from the API server,
// and not from the cache.
func ClientOptions() client.Options {
	return client.Options{
		FieldOwner: ownedsecret.FieldOwner,
		Cache:      &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}},
	}
}

// NewCache returns the function that makes the manager's cache. Without names of namespaces, the function
// makes the usual cache of the whole cluster. With names, it makes a *namespaces.Cache of these namespaces.
func NewCache(names []string) cache.NewCacheFunc {
	if len(names) == 0 {
		return cache.New
	}
	return func(config *rest.Config, options cache.Options) (cache.Cache, error) {
		return namespaces.New(config, options, namespaces.Options{Names: names, Kinds: WatchedKinds(), Log: ctrl.Log.WithName("namespaces")})
	}
}

// WatchedKinds returns an object of each kind that is watched in each namespace of --namespaces. Of Secrets,
// only metadata is watched.
func WatchedKinds() []client.Object {
	secret := &metav1.PartialObjectMetadata{}
	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return []client.Object{&v1alpha1.PipedreamToken{}, &v1alpha1.PipedreamAccount{}, secret}
}

// stripObject keeps of an object's metadata what identifies the object and its version, the times, and
// the request to renew. It removes labels and all other annotations, and bounds the finalizers. The
// operator never writes such an object from the cache.
func stripObject(object any) (any, error) {
	accessor, ok := object.(metav1.ObjectMetaAccessor)
	if !ok {
		return object, nil
	}
	metadata := accessor.GetObjectMeta()
	annotations := map[string]string(nil)
	if request, isRequested := metadata.GetAnnotations()[v1alpha1.RenewRequestAnnotation]; isRequested {
		annotations = map[string]string{v1alpha1.RenewRequestAnnotation: ownedsecret.BoundRequest(request)}
	}
	metadata.SetAnnotations(annotations)
	metadata.SetLabels(nil)
	metadata.SetManagedFields(nil)
	metadata.SetOwnerReferences(nil)
	metadata.SetFinalizers(ownedsecret.BoundFinalizers(metadata.GetFinalizers()))
	return object, nil
}

// longestKept is the maximum length of the kind and of the name of a foreign Secret's controller that the
// cache keeps.
const longestKept = 253

// stripSecret keeps of a foreign Secret only the fields that identify the object and its version, and the
// controller. Of a Secret with an owner it also keeps the record, and what others have set if that is little.
func stripSecret(object any) (any, error) {
	secret, ok := object.(*metav1.PartialObjectMetadata)
	if !ok {
		return nil, fmt.Errorf("a Secret must be cached as metadata only, not as %T", object)
	}
	if _, ours := secret.Annotations[v1alpha1.OwnerAnnotation]; ours {
		secret.ObjectMeta = ownedsecret.Bounded(&secret.ObjectMeta)
		return secret, nil
	}
	kept := metav1.ObjectMeta{
		Namespace:         secret.Namespace,
		Name:              secret.Name,
		UID:               secret.UID,
		ResourceVersion:   secret.ResourceVersion,
		DeletionTimestamp: secret.DeletionTimestamp,
	}
	// A message says whether the Secret is being deleted, and which finalizers hold it.
	if ownedsecret.IsTerminating(secret) {
		kept.Finalizers = ownedsecret.BoundFinalizers(secret.Finalizers)
	}
	// If an object of ours wants to write a Secret that has another owner, a message names that owner.
	owner := metav1.GetControllerOfNoCopy(secret)
	if owner != nil && len(owner.Kind) <= longestKept && len(owner.Name) <= longestKept {
		kept.OwnerReferences = []metav1.OwnerReference{{Kind: owner.Kind, Name: owner.Name, Controller: owner.Controller}}
	}
	secret.ObjectMeta = kept
	return secret, nil
}
