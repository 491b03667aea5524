// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package install_test

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// wantAdmittedWhereRestricted creates the Deployment's pod in a namespace that enforces the Pod Security Standard
// restricted. It also checks that the API server refuses pods with one weaker setting each.
func wantAdmittedWhereRestricted(t *testing.T, deployment *unstructured.Unstructured) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "restricted-", Labels: map[string]string{
		"pod-security.kubernetes.io/enforce":         "restricted",
		"pod-security.kubernetes.io/enforce-version": "latest",
	}}}
	harness.Must(t, admin.Create(t.Context(), namespace))
	template := templateOf(t, deployment)
	create := func(change func(*corev1.PodSpec)) error {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, GenerateName: "manager-", Labels: template.Labels, Annotations: template.Annotations},
			Spec:       *template.Spec.DeepCopy(),
		}
		change(&pod.Spec)
		return admin.Create(t.Context(), pod)
	}
	if err := create(func(*corev1.PodSpec) {}); err != nil {
		t.Errorf("the API server refused the pod: %v", err)
	}
	for want, change := range map[string]func(*corev1.PodSpec){
		"runAsNonRoot": func(spec *corev1.PodSpec) {
			spec.SecurityContext.RunAsNonRoot = nil
			spec.Containers[0].SecurityContext.RunAsNonRoot = nil
		},
		"seccompProfile": func(spec *corev1.PodSpec) {
			spec.SecurityContext.SeccompProfile = nil
			spec.Containers[0].SecurityContext.SeccompProfile = nil
		},
		"allowPrivilegeEscalation": func(spec *corev1.PodSpec) { spec.Containers[0].SecurityContext.AllowPrivilegeEscalation = nil },
		"unrestricted capabilities": func(spec *corev1.PodSpec) {
			spec.Containers[0].SecurityContext.Capabilities = nil
		},
	} {
		if err := create(change); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("creating a pod with a weaker setting (%s) returned %v, want Forbidden", want, err)
		}
	}
	// The standard does not require a read-only file system.
	if readOnly := template.Spec.Containers[0].SecurityContext.ReadOnlyRootFilesystem; readOnly == nil || !*readOnly {
		t.Error("the container may write to its root file system")
	}
}

// templateOf returns the pod template of a Deployment.
func templateOf(t *testing.T, object *unstructured.Unstructured) *corev1.PodTemplateSpec {
	t.Helper()
	deployment := &appsv1.Deployment{}
	harness.Must(t, runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, deployment, true))
	return &deployment.Spec.Template
}

// containerOf returns the only container of a Deployment.
func containerOf(t *testing.T, object *unstructured.Unstructured) *corev1.Container {
	t.Helper()
	containers := templateOf(t, object).Spec.Containers
	if len(containers) != 1 {
		t.Fatalf("the pod has %d containers, want 1", len(containers))
	}
	return &containers[0]
}
