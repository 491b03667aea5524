// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package gitops has what the tests of all kinds share that look at live objects as Argo CD, Flux and kubectl do. It
// also records live objects, which test/argocd judges with Argo CD's own code.
package gitops

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// Namespace is a namespace with the same name in each run. What is recorded in it depends on its name.
type Namespace struct {
	// Name is the name of the namespace.
	Name string
	// Admin is the cluster's administrator, and Kubectl runs kubectl as the administrator.
	Admin   client.Client
	Kubectl harness.Kubectl
	// Update records objects again instead of comparing them with what was recorded.
	Update bool
}

// Prepare creates the namespace, and removes all objects of the operator and all Secrets from it, now and at the end
// of the test.
func (n Namespace) Prepare(t *testing.T) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: n.Name}}
	harness.Must(t, client.IgnoreAlreadyExists(n.Admin.Create(t.Context(), namespace)))
	ctx := context.WithoutCancel(t.Context())
	empty := func() {
		for _, object := range []client.Object{&v1alpha1.PipedreamToken{}, &v1alpha1.PipedreamAccount{}, &corev1.Secret{}} {
			harness.Must(t, n.Admin.DeleteAllOf(ctx, object, client.InNamespace(n.Name)))
		}
	}
	empty()
	t.Cleanup(empty)
}

// AsRead returns an object of the operator as anybody reads it.
func (n Namespace) AsRead(t *testing.T, kind, name string) *unstructured.Unstructured {
	t.Helper()
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(v1alpha1.SchemeGroupVersion.WithKind(kind))
	harness.Must(t, n.Admin.Get(t.Context(), client.ObjectKey{Namespace: n.Name, Name: name}, object))
	return object
}

// Run runs kubectl in the namespace, and returns its exit code and what it prints.
func (n Namespace) Run(t *testing.T, stdin string, arguments ...string) (code int, printed string) {
	t.Helper()
	kubectl := n.Kubectl
	kubectl.Stdin = stdin
	called, err := kubectl.Command(append(arguments, "--namespace="+n.Name)...).Start(t.Context())
	harness.Must(t, err)
	return called.ExitCode(), called.Log.String()
}

// WantRecorded checks that a live object equals the object in a file of this repository, or records it there. It
// replaces the values that differ in each run.
func (n Namespace) WantRecorded(t *testing.T, object *unstructured.Unstructured, path string) {
	t.Helper()
	path = filepath.Join(harness.Root(), path)
	content, err := yaml.Marshal(sameInEachRun(t, object).Object)
	harness.Must(t, err)
	if n.Update {
		harness.Must(t, os.MkdirAll(filepath.Dir(path), 0o755)) //nolint:gosec // They are for all to read.
		harness.Must(t, os.WriteFile(path, content, 0o644))     //nolint:gosec // They are for all to read.
	}
	recorded, err := os.ReadFile(path) //nolint:gosec // A test chooses the path.
	harness.Must(t, err)
	if !bytes.Equal(recorded, content) {
		t.Errorf("%s is not what the operator writes now; record it again with -update (-recorded +live):\n%s",
			path, cmp.Diff(string(recorded), string(content)))
	}
}

// sameInEachRun returns a copy of an object without the values that differ in each run.
func sameInEachRun(t *testing.T, object *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	object = object.DeepCopy()
	object.SetUID("0d9f5b0e-3b0c-4a59-9c3c-3f1d0a4f8a11")
	object.SetResourceVersion("1000")
	object.SetCreationTimestamp(metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)))
	fields := object.GetManagedFields()
	for i := range fields {
		fields[i].Time = nil
	}
	// The API server lists managers by the second of their last change, and which of two changes share a second is
	// different each time.
	change := func(entry metav1.ManagedFieldsEntry) string {
		return strings.Join([]string{entry.Manager, string(entry.Operation), entry.Subresource}, " ")
	}
	slices.SortStableFunc(fields, func(a, b metav1.ManagedFieldsEntry) int { return strings.Compare(change(a), change(b)) })
	object.SetManagedFields(fields)
	for _, field := range [][]string{{"secret", "resourceVersion"}, {"clientSecretResourceVersion"}, {"referencedSecretResourceVersion"}} {
		field = append([]string{"status"}, field...)
		if _, found, _ := unstructured.NestedString(object.Object, field...); found {
			harness.Must(t, unstructured.SetNestedField(object.Object, "1001", field...))
		}
	}
	return object
}
