// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package ownedsecret

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

var secretKind = corev1.SchemeGroupVersion.WithKind("Secret")

// Seen is what a process knows of a Secret beside its cache, which may lag behind.
type Seen struct {
	// Version is the resourceVersion that the process has last written or read live; empty when
	// it has done neither, or when there was no Secret.
	Version string
	// IsUncertain is set after a write of which the process does not know whether it was done.
	IsUncertain bool
}

// Observe returns the metadata of a Secret; nil if there is none. It reads through the cache,
// and live if the cache is older than what the process has seen, or if a write is uncertain.
// isLive reports which of the two it was. If the live read fails, secret is the cached one. The
// error is a *RequestError.
func Observe(ctx context.Context, cache, live client.Reader, name types.NamespacedName, seen Seen) (secret *metav1.PartialObjectMetadata, isLive bool, err error) {
	cached, err := Metadata(ctx, cache, name)
	if err != nil {
		return nil, false, err
	}
	if !seen.IsUncertain && !IsOlder(Version(cached), seen.Version) {
		return cached, false, nil
	}
	if secret, err = Metadata(ctx, live, name); err != nil {
		return cached, true, err
	}
	return secret, true, nil
}

// Metadata returns the metadata of a Secret; nil if there is none. The error is a *RequestError.
func Metadata(ctx context.Context, reader client.Reader, name types.NamespacedName) (*metav1.PartialObjectMetadata, error) {
	metadata := &metav1.PartialObjectMetadata{}
	metadata.SetGroupVersionKind(secretKind)
	if err := reader.Get(ctx, name, metadata); err != nil {
		return nil, Failed("read the metadata of the Secret `"+name.Name+"`", client.IgnoreNotFound(err))
	}
	return metadata, nil
}

// Read reads a whole Secret; nil if there is none. The error is a *RequestError.
func Read(ctx context.Context, live client.Reader, name types.NamespacedName) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	if err := live.Get(ctx, name, secret); err != nil {
		return nil, Failed("read the Secret `"+name.Name+"`", client.IgnoreNotFound(err))
	}
	return secret, nil
}

// IsOlder reports whether the resourceVersion of a cached object is older than a version that is
// known to exist. The empty one of an absent object is. It is false if no version is known.
func IsOlder(cached, known string) bool {
	if known == "" {
		return false
	}
	if cached == "" {
		return true
	}
	order, err := resourceversion.CompareResourceVersion(cached, known)
	return err != nil || order < 0
}

// Version returns the resourceVersion of a Secret; empty if there is none.
func Version(secret *metav1.PartialObjectMetadata) string {
	if secret == nil {
		return ""
	}
	return secret.ResourceVersion
}

// Editor returns the field manager that has last changed a Secret, and preferably the Secret's
// data; empty if only the operator is known to have.
func Editor(secret *corev1.Secret) string {
	var last metav1.ManagedFieldsEntry
	isLater := func(entry metav1.ManagedFieldsEntry) bool {
		if ownsData(entry) != ownsData(last) {
			return ownsData(entry)
		}
		return last.Time == nil || last.Time.Before(entry.Time)
	}
	for _, entry := range secret.ManagedFields {
		if entry.Manager != FieldOwner && isLater(entry) {
			last = entry
		}
	}
	return last.Manager
}

func ownsData(entry metav1.ManagedFieldsEntry) bool {
	return entry.FieldsV1 != nil && strings.Contains(entry.FieldsV1.GetRawString(), `"f:data"`)
}
