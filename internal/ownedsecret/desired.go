// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package ownedsecret

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// Desired is what an owner asks its Secret to hold.
type Desired struct {
	Type corev1.SecretType
	Data map[string][]byte
	// Record has the values of the layout's annotations, except the annotations that name the
	// owner, the labels and the annotations: Build adds these three.
	Record map[string]string
	// Labels and Annotations are the ones that the spec asks for.
	Labels, Annotations map[string]string
}

// Build returns the Secret to write. Labels, annotations, finalizers and owner references that
// others have set on the existing Secret stay, unless the spec sets the same key: then the spec
// wins. Keys that were removed from the spec are removed from the Secret. existing is nil if
// there is no Secret.
func (l Layout) Build(owner Owner, existing *metav1.PartialObjectMetadata, desired Desired) *corev1.Secret {
	var old metav1.ObjectMeta
	if existing != nil {
		old = existing.ObjectMeta
	}
	annotations := merge(old.Annotations, old.Annotations[v1alpha1.AnnotationsAnnotation], desired.Annotations)
	maps.Copy(annotations, desired.Record)
	annotations[v1alpha1.OwnerAnnotation] = v1alpha1.OwnerValue(owner.OwnerKind().Kind, owner.GetName())
	annotations[v1alpha1.LabelsAnnotation] = listKeys(desired.Labels)
	annotations[v1alpha1.AnnotationsAnnotation] = listKeys(desired.Annotations)
	annotations[v1alpha1.ContentAnnotation] = l.Digest(annotations, desired.Data)
	// It holds a copy of the data in clear when somebody has applied the Secret.
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       owner.GetNamespace(),
			Name:            owner.TargetName(),
			UID:             old.UID,
			ResourceVersion: old.ResourceVersion,
			Labels:          merge(old.Labels, old.Annotations[v1alpha1.LabelsAnnotation], desired.Labels),
			Annotations:     annotations,
			Finalizers:      old.Finalizers,
			OwnerReferences: ownerReferences(old.OwnerReferences, owner),
		},
		Type: desired.Type,
		Data: desired.Data,
	}
}

// merge returns the existing labels or annotations with the desired ones, and without the ones
// that the spec asked for at the last write and does not ask for any longer.
func merge(existing map[string]string, lastKeys string, desired map[string]string) map[string]string {
	merged := maps.Clone(existing)
	if merged == nil {
		merged = map[string]string{}
	}
	for key := range strings.SplitSeq(lastKeys, ",") {
		delete(merged, key)
	}
	maps.Copy(merged, desired)
	return merged
}

// listKeys lists the keys of labels or annotations. Keys have no commas.
func listKeys(desired map[string]string) string {
	return strings.Join(slices.Sorted(maps.Keys(desired)), ",")
}

// IsApplied reports whether an existing Secret is as it would be written. Differences in the
// content digest, in kubectl's last-applied annotation and in the annotations that the caller
// names are no reason to write.
func IsApplied(desired, existing *corev1.Secret, owner Owner, ignoredAnnotations ...string) bool {
	ignored := slices.Concat(ignoredAnnotations, []string{v1alpha1.ContentAnnotation, corev1.LastAppliedConfigAnnotation})
	return desired.Type == existing.Type &&
		isControlledBy(existing, owner) &&
		maps.EqualFunc(desired.Data, existing.Data, bytes.Equal) &&
		maps.Equal(desired.Labels, existing.Labels) &&
		maps.Equal(without(desired.Annotations, ignored), without(existing.Annotations, ignored))
}

// IsUpToDate reports whether an existing Secret, which is as the operator wrote it, is as it would be
// written: with the same record and content digest, labels and annotations, and controlled by the
// owner. Kubectl's last-applied annotation is no reason to write.
func IsUpToDate(desired *corev1.Secret, existing *metav1.PartialObjectMetadata, owner Owner) bool {
	return isControlledBy(existing, owner) && maps.Equal(desired.Labels, existing.Labels) &&
		maps.Equal(desired.Annotations, without(existing.Annotations, []string{corev1.LastAppliedConfigAnnotation}))
}

func without(annotations map[string]string, ignored []string) map[string]string {
	rest := maps.Clone(annotations)
	for _, key := range ignored {
		delete(rest, key)
	}
	return rest
}
