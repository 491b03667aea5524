// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package ownedsecret

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Write creates the owner's Secret, or replaces existing, the Secret that the caller has observed. It
// fails if there is a Secret where the caller has observed none, or another version than observed:
// so a Secret that somebody else has created meanwhile is never overwritten. On success, secret is as
// it was written. The error is a *RequestError.
func Write(ctx context.Context, c client.Client, owner Owner, existing *metav1.PartialObjectMetadata, secret *corev1.Secret) error {
	return Failed("write the Secret `"+secret.Name+"`", createOrUpdate(ctx, c, owner, existing, secret))
}

func createOrUpdate(ctx context.Context, c client.Client, owner Owner, existing *metav1.PartialObjectMetadata, secret *corev1.Secret) error {
	if existing == nil {
		return c.Create(ctx, secret)
	}
	err := c.Update(ctx, secret)
	if apierrors.IsForbidden(err) && !isControlledBy(existing, owner) {
		// Some clusters let only somebody who may delete an object change its owner references.
		// There, a Secret without a controller stays without.
		secret.OwnerReferences = existing.OwnerReferences
		return c.Update(ctx, secret)
	}
	return err
}

// DryRunCreate finds out whether the API server would create a Secret. The error is the one that
// Write would return; an admission webhook that can't take part in a dry run is one, too.
func DryRunCreate(ctx context.Context, c client.Client, secret *corev1.Secret) error {
	return Failed("write the Secret `"+secret.Name+"` as a dry run", c.Create(ctx, secret, client.DryRunAll))
}

// IsOvertaken reports whether a write failed because another writer was faster.
func IsOvertaken(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
}

// IsOutage reports whether a Secret was refused for a cause that may go away by itself: an admission
// webhook can't be asked. Other refusals need a person.
func IsOutage(err error) bool { return apierrors.IsInternalError(err) }

// IsNamespaceTerminating reports whether a write failed because the namespace is being deleted.
func IsNamespaceTerminating(err error) bool {
	return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}

// mostFields bounds how many fields Refusal names.
const mostFields = 5

var fieldPath = regexp.MustCompile(`^[A-Za-z0-9_.\[\]/-]{1,128}$`)

// Refusal reports whether the API server refuses a Secret as it is, and describes the refusal:
// with the HTTP status, the reason and the fields that the API server complains about. It is safe
// to show, because the API server's own text, which may quote the Secret, is left out.
func Refusal(err error) (description string, ok bool) {
	_, isRead := errors.AsType[*readError](err)
	status, isStatus := errors.AsType[*apierrors.StatusError](err)
	if isRead || !isStatus {
		return "", false
	}
	switch status.ErrStatus.Code {
	case http.StatusForbidden, http.StatusUnprocessableEntity, http.StatusBadRequest, http.StatusRequestEntityTooLarge:
	case http.StatusInternalServerError:
		if status.ErrStatus.Reason != metav1.StatusReasonInternalError { // InternalError: an admission webhook that can't be asked.
			return "", false
		}
	default:
		return "", false
	}
	description = describeStatus(status.ErrStatus)
	if fields := refusedFields(status.ErrStatus.Details); len(fields) > 0 {
		description += ", about " + strings.Join(fields, ", ")
	}
	return description, true
}

func refusedFields(details *metav1.StatusDetails) []string {
	if details == nil {
		return nil
	}
	var fields []string
	for _, cause := range details.Causes {
		if len(fields) < mostFields && fieldPath.MatchString(cause.Field) && !slices.Contains(fields, cause.Field) {
			fields = append(fields, cause.Field)
		}
	}
	return fields
}
