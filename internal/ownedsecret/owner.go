// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ownedsecret reads and writes the one Secret of an owner. BelongsTo says whether a Secret
// is the owner's: the caller asks it before each write. An owner is an object of any kind of the operator; the package knows no kind.
//
// A written Secret carries annotations that say who owns it, what it was written for, and a
// digest over both its data and the annotations, so that the operator sees edits by others.
package ownedsecret

import (
	"regexp"
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

// shortName is a name that a message can show: others may write any text into an annotation.
var shortName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,253}$`)

// DescribeOwner says whose a Secret is that does not belong to an owner, as far as the metadata of the
// Secret tell. What it says is bounded, and safe to show.
func DescribeOwner(secret *metav1.PartialObjectMetadata, asker Owner) string {
	name := "Secret `" + secret.Name + "`"
	kind, of, isOwned := strings.Cut(secret.Annotations[v1alpha1.OwnerAnnotation], "/")
	if !isOwned {
		kind, of = v1alpha1.KindPipedreamToken, kind
	}
	if controller := metav1.GetControllerOfNoCopy(secret); controller != nil {
		kind, of = controller.Kind, controller.Name
	}
	switch {
	case of == "":
		return name + " is not the operator's"
	case !shortName.MatchString(kind) || !shortName.MatchString(of):
		return name + " belongs to another object"
	case kind == asker.OwnerKind().Kind && of == asker.GetName():
		return name + " has lost its annotation `" + v1alpha1.OwnerAnnotation + "`"
	}
	return name + " belongs to " + kind + " `" + of + "`"
}
