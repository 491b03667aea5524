// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
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

// TestCacheShowsDeletions checks that the cache keeps when an object was deleted, and what holds it.
func TestCacheShowsDeletions(t *testing.T) {
	t.Parallel()
	deleted := new(metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)))
	finalizers := []string{"example.com/kept", "foregroundDeletion"}
	metadata := metav1.ObjectMeta{Namespace: "shop", Name: "orders", DeletionTimestamp: deleted, Finalizers: finalizers}
	ours := *metadata.DeepCopy()
	ours.Annotations = map[string]string{v1alpha1.OwnerAnnotation: "orders"}
	for name, test := range map[string]struct {
		strip  func(any) (any, error)
		object metav1.Object
	}{
		"a Secret of ours": {stripSecret, &metav1.PartialObjectMetadata{ObjectMeta: ours}},
		"a foreign Secret": {stripSecret, &metav1.PartialObjectMetadata{ObjectMeta: *metadata.DeepCopy()}},
		"a PipedreamToken": {stripObject, &v1alpha1.PipedreamToken{ObjectMeta: *metadata.DeepCopy()}},
	} {
		if _, err := test.strip(test.object); err != nil {
			t.Fatal(err)
		}
		if got := test.object; !got.GetDeletionTimestamp().Equal(deleted) || !slices.Equal(got.GetFinalizers(), finalizers) {
			t.Errorf("%s: the cache keeps %v and %v", name, got.GetDeletionTimestamp(), got.GetFinalizers())
		}
	}

	// Whoever may write a foreign Secret must not fill the operator's memory with finalizers.
	metadata.Finalizers = slices.Repeat([]string{"example.com/" + strings.Repeat("x", 10000)}, 1000)
	foreign := &metav1.PartialObjectMetadata{ObjectMeta: metadata}
	if _, err := stripSecret(foreign); err != nil {
		t.Fatal(err)
	}
	if got := len(strings.Join(foreign.Finalizers, "")); got == 0 || got > 10*253 {
		t.Errorf("of 10 MB of finalizers the cache keeps %d bytes", got)
	}
	live := metav1.ObjectMeta{Finalizers: finalizers}
	foreign = &metav1.PartialObjectMetadata{ObjectMeta: live}
	if _, err := stripSecret(foreign); err != nil || len(foreign.Finalizers) > 0 {
		t.Errorf("of a foreign Secret that is not being deleted the cache keeps %v, %v", foreign.Finalizers, err)
	}
}

// TestOfAPipedreamTokenTheCacheKeepsTheRequestToRenew and nothing else that has no bound.
func TestOfAPipedreamTokenTheCacheKeepsTheRequestToRenew(t *testing.T) {
	t.Parallel()
	junk := strings.Repeat("x", 200<<10)
	for name, request := range map[string]string{"a time": "2026-01-02T03:04:05Z", "a long text": junk} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token := &v1alpha1.PipedreamToken{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: "shop", Name: "orders", UID: "1", ResourceVersion: "2", Generation: 3,
					CreationTimestamp: metav1.Unix(1, 0), DeletionTimestamp: new(metav1.Unix(2, 0)),
					Labels:          map[string]string{"a": "b"},
					Annotations:     map[string]string{v1alpha1.RenewRequestAnnotation: request, "example.com/junk": junk},
					ManagedFields:   []metav1.ManagedFieldsEntry{{Manager: junk}},
					OwnerReferences: []metav1.OwnerReference{{Name: junk}},
					Finalizers:      append(slices.Repeat([]string{"example.com/hold"}, 1000), junk),
				},
				Spec:   v1alpha1.PipedreamTokenSpec{ProjectID: "proj_abc123"},
				Status: v1alpha1.PipedreamTokenStatus{ObservedGeneration: 3},
			}
			stripped, err := stripObject(token.DeepCopy())
			if err != nil {
				t.Fatal(err)
			}
			kept := stripped.(*v1alpha1.PipedreamToken)
			if size := len(fmt.Sprint(*kept)); size > 4<<10 {
				t.Errorf("the cache keeps %d bytes of it", size)
			}
			if got := kept.Annotations[v1alpha1.RenewRequestAnnotation]; len(kept.Annotations) != 1 || got == "" || len(request) < 100 && got != request {
				t.Errorf("the cache keeps the annotations %v", kept.Annotations)
			}
			want := token.DeepCopy()
			want.Labels, want.Annotations, want.ManagedFields, want.OwnerReferences = nil, kept.Annotations, nil, nil
			want.Finalizers = slices.Repeat([]string{"example.com/hold"}, 8)
			if !equality.Semantic.DeepEqual(kept, want) {
				t.Errorf("the cache keeps\n%+v\nwant\n%+v", kept, want)
			}
		})
	}
}
