// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is what users say to the operator, and what it answers:
// the kind PipedreamToken, its conditions and their reasons.
//
// The schema writes no default into a spec. What a field means when it is
// absent is said at the field, and resolved by the operator, so that a
// delivering tool such as Argo CD finds in the cluster just what it put there.
//
// +kubebuilder:object:generate=true
// +kubebuilder:ac:generate=true
// +kubebuilder:ac:output:package=applyconfiguration
// +groupName=pipedream-operator.io
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	// SchemeGroupVersion is the group and version of the kinds in this package.
	SchemeGroupVersion = schema.GroupVersion{Group: "pipedream-operator.io", Version: "v1alpha1"}

	schemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

	// AddToScheme adds the kinds in this package to a scheme.
	AddToScheme = schemeBuilder.AddToScheme
)

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(SchemeGroupVersion, &PipedreamToken{}, &PipedreamTokenList{}, &PipedreamAccount{}, &PipedreamAccountList{})
	metav1.AddToGroupVersion(scheme, SchemeGroupVersion)
	return nil
}
