// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package namespaces

import (
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
)

// ErrNotListed is the cause of a NotWatchedError about a namespace that is not in the list.
var ErrNotListed = errors.New("it is not in --namespaces")

// NotWatchedError says that the cache can't answer a question about a namespace. It
// never means that an object does not exist.
type NotWatchedError struct {
	// Namespace is the namespace that was asked about.
	Namespace string
	// Cause is why the namespace is not watched; nil while nothing is known of it yet.
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

// isRefusal tells whether an error is about the namespace, or about the rights that the
// operator has in it, and not about the API server as a whole.
func isRefusal(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsNotFound(err) || meta.IsNoMatchError(err)
}
