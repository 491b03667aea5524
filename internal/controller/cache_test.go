// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

func TestCacheKeepsNothingSecret(t *testing.T) {
	t.Parallel()
	metadata := metav1.ObjectMeta{
		Namespace: "shop", Name: "orders", UID: "1", ResourceVersion: "2",
		Labels: map[string]string{"a": "b"},
		Annotations: map[string]string{
			corev1.LastAppliedConfigAnnotation: `{"data":{"password":"in clear"}}`,
			"example.com/note":                 "long",
		},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
	}
	foreign, err := stripSecret(&metav1.PartialObjectMetadata{ObjectMeta: *metadata.DeepCopy()})
	if err != nil {
		t.Fatal(err)
	}
	want := metav1.ObjectMeta{Namespace: "shop", Name: "orders", UID: "1", ResourceVersion: "2"}
	if got := foreign.(*metav1.PartialObjectMetadata).ObjectMeta; got.String() != want.String() {
		t.Errorf("of a foreign Secret the cache keeps %v, want %v", got, want)
	}
	metadata.Annotations[v1alpha1.OwnerAnnotation] = "orders"
	own, err := stripSecret(&metav1.PartialObjectMetadata{ObjectMeta: *metadata.DeepCopy()})
	if err != nil {
		t.Fatal(err)
	}
	kept := own.(*metav1.PartialObjectMetadata)
	if _, copied := kept.Annotations[corev1.LastAppliedConfigAnnotation]; copied || kept.ManagedFields != nil || kept.Labels["a"] != "b" || kept.Annotations["example.com/note"] == "" {
		t.Errorf("of our Secret the cache keeps %+v", kept.ObjectMeta)
	}
	if _, err := stripSecret(&corev1.Secret{}); err == nil {
		t.Error("a whole Secret is let into the cache")
	}
}
