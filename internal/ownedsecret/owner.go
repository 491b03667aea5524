// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ownedsecret reads and writes the one Secret of an owner. BelongsTo says whether a Secret
// is the owner's: the caller asks it before each write. An owner is an object of any kind of the operator; the package knows no kind.
//
// A written Secret carries annotations that say who owns it, what it was written for, and a
// digest over both its data and the annotations, so that the operator sees edits by others.
package ownedsecret

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// FieldOwner is the field manager of everything that the operator writes.
const FieldOwner = "pipedream-operator"

// Owner is the object that a Secret is written for.
type Owner interface {
	GetNamespace() string
	GetName() string
	GetUID() types.UID
	// OwnerKind returns the object's kind, also when the object's TypeMeta is empty.
	OwnerKind() schema.GroupVersionKind
	// TargetName returns the name of the Secret. The Secret is in the owner's namespace.
	TargetName() string
}

// Key returns the namespace and the name of the owner's Secret.
func Key(owner Owner) types.NamespacedName {
	return types.NamespacedName{Namespace: owner.GetNamespace(), Name: owner.TargetName()}
}

// BelongsTo reports whether the operator may write a Secret for an owner: the annotation of the
// Secret names the owner, and no other object controls the Secret. An owner that was deleted and
// created again under the same name inherits the Secret. A Secret of an owner of another kind
// with the same name is foreign.
func BelongsTo(secret metav1.Object, owner Owner) bool {
	kind := owner.OwnerKind()
	if secret.GetAnnotations()[v1alpha1.OwnerAnnotation] != v1alpha1.OwnerValue(kind.Kind, owner.GetName()) {
		return false
	}
	controller := metav1.GetControllerOfNoCopy(secret)
	if controller == nil {
		return true
	}
	group, err := schema.ParseGroupVersion(controller.APIVersion)
	return err == nil && group.Group == kind.Group && controller.Kind == kind.Kind && controller.Name == owner.GetName()
}

// IsOfPredecessor reports whether a Secret belongs to an owner by name, and is controlled by an
// object with another UID: the owner was deleted and created again, and the garbage collector is
// about to delete the Secret with everything that is written to it now.
func IsOfPredecessor(secret metav1.Object, owner Owner) bool {
	controller := metav1.GetControllerOfNoCopy(secret)
	return controller != nil && controller.UID != owner.GetUID() && BelongsTo(secret, owner)
}

// ownerReferences returns the owner references of a Secret, with the owner as the only
// controller.
func ownerReferences(existing []metav1.OwnerReference, owner Owner) []metav1.OwnerReference {
	others := slices.DeleteFunc(slices.Clone(existing), func(reference metav1.OwnerReference) bool {
		return reference.Controller != nil && *reference.Controller
	})
	kind := owner.OwnerKind()
	return append(others, metav1.OwnerReference{
		APIVersion: kind.GroupVersion().String(),
		Kind:       kind.Kind,
		Name:       owner.GetName(),
		UID:        owner.GetUID(),
		Controller: new(true),
		// With true, admission asks for a permission to update the owner's finalizers.
		BlockOwnerDeletion: new(false),
	})
}

func isControlledBy(secret metav1.Object, owner Owner) bool {
	controller := metav1.GetControllerOfNoCopy(secret)
	return controller != nil && controller.UID == owner.GetUID()
}

// DescribeOwner says whose a Secret is, as far as its metadata tell. Without a controller and
// without the annotation of the operator, nobody is known to own it.
func DescribeOwner(secret *metav1.PartialObjectMetadata) string {
	name := "Secret `" + secret.Name + "`"
	if controller := metav1.GetControllerOfNoCopy(secret); controller != nil {
		return name + " belongs to " + controller.Kind + " `" + controller.Name + "`"
	}
	owner := secret.Annotations[v1alpha1.OwnerAnnotation]
	if owner == "" {
		return name + " is not the operator's"
	}
	kind, of, ok := strings.Cut(owner, "/")
	if !ok {
		kind, of = "PipedreamToken", owner
	}
	return name + " belongs to " + kind + " `" + of + "`"
}
