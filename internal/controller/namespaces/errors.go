// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package namespaces

import (
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
)

// ErrNotListed is the cause of a NotWatchedError about a namespace that is not in --namespaces.
var ErrNotListed = errors.New("it is not in --namespaces")

// NotWatchedError says that the Cache can't read objects of a namespace, because the namespace is not
// watched. It never means that an object does not exist.
type NotWatchedError struct {
	// Namespace is the namespace of the read.
	Namespace string
	// Cause is the reason why the namespace is not watched; nil while the reason is unknown.
	Cause error
}

func (e *NotWatchedError) Error() string {
	if e.Cause == nil {
		return fmt.Sprintf("the namespace %s is not watched yet", e.Namespace)
	}
	return fmt.Sprintf("the namespace %s is not watched: %v", e.Namespace, e.Cause)
}

// Unwrap returns the cause.
func (e *NotWatchedError) Unwrap() error { return e.Cause }

// isRefusal reports whether an error is about the namespace or the operator's permissions in it, and not
// about the API server as a whole.
func isRefusal(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsNotFound(err) || meta.IsNoMatchError(err)
}
