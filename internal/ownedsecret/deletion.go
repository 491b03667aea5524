// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package ownedsecret

import (
	"fmt"
	"regexp"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mostNamed bounds how many finalizers a message names.
const mostNamed = 3

// shortFinalizer is a finalizer that a message can show: others may set any finalizer.
var shortFinalizer = regexp.MustCompile(`^[A-Za-z0-9._/-]{1,100}$`)

// IsTerminating reports whether an object is being deleted. It stays until its last finalizer is
// removed, and nobody can take the deletion back.
func IsTerminating(object metav1.Object) bool { return !object.GetDeletionTimestamp().IsZero() }

// DescribeDeletion says of an object that is being deleted which finalizers hold it. The kind is
// the object's, for the object's TypeMeta may be empty. What it says is bounded, and safe to show.
func DescribeDeletion(kind string, object metav1.Object) string {
	var named []string
	finalizers := object.GetFinalizers()
	for _, finalizer := range finalizers {
		if len(named) < mostNamed && shortFinalizer.MatchString(finalizer) {
			named = append(named, "`"+finalizer+"`")
		}
	}
	noun := "finalizer"
	if len(finalizers) > 1 {
		noun = "finalizers"
	}
	deleted := kind + " `" + object.GetName() + "` is being deleted"
	switch more := len(finalizers) - len(named); {
	case len(finalizers) == 0:
		return deleted
	case len(named) == 0:
		return deleted + fmt.Sprintf(", and is held by %d %s", more, noun)
	case more > 0:
		return deleted + fmt.Sprintf(", and is held by its %s %s and %d more", noun, strings.Join(named, ", "), more)
	}
	return deleted + ", and is held by its " + noun + " " + strings.Join(named, ", ")
}
