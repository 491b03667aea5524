// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package ownedsecret

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RequestError is a request to the Kubernetes API server that has failed. Its text is safe to
// show, in a status too: it says what was being done and the HTTP status, and contains nothing
// of the API server's own text, which may quote the Secret. Unwrap returns the API server's
// error, so that its type can be asked for. Whoever shows that error shows the API server's text.
type RequestError struct {
	// Doing says what was being done, such as "read the Secret `orders`".
	Doing string
	cause error
}

// Failed returns a *RequestError with a cause, or nil if the cause is nil.
func Failed(doing string, cause error) error {
	if cause == nil {
		return nil
	}
	return &RequestError{Doing: doing, cause: cause}
}

// Error implements error.
func (e *RequestError) Error() string { return e.Doing + ": " + describe(e.cause) }

// Unwrap returns the error of the API server, or of the connection to it.
func (e *RequestError) Unwrap() error { return e.cause }

// describe describes how a request to the API server has failed, in words that are safe to show.
func describe(cause error) string {
	if status, ok := errors.AsType[*apierrors.StatusError](cause); ok {
		return describeStatus(status.ErrStatus)
	}
	timeout, isNet := errors.AsType[net.Error](cause)
	switch {
	case isNet && timeout.Timeout(), errors.Is(cause, context.DeadlineExceeded):
		return "no complete answer in time"
	case errors.Is(cause, context.Canceled):
		return "the request was interrupted"
	case errors.Is(cause, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(cause, syscall.ECONNRESET), errors.Is(cause, syscall.EPIPE):
		return "connection reset"
	case errors.Is(cause, syscall.ENETUNREACH), errors.Is(cause, syscall.EHOSTUNREACH):
		return "network unreachable"
	case errors.Is(cause, io.EOF), errors.Is(cause, io.ErrUnexpectedEOF):
		return "the connection was closed before the answer was complete"
	}
	return "no usable answer"
}

// knownReasons are the reasons that the API server gives by itself. An admission webhook may give
// any other text as the reason.
var knownReasons = []metav1.StatusReason{
	metav1.StatusReasonUnauthorized, metav1.StatusReasonForbidden, metav1.StatusReasonNotFound,
	metav1.StatusReasonAlreadyExists, metav1.StatusReasonConflict, metav1.StatusReasonGone,
	metav1.StatusReasonInvalid, metav1.StatusReasonServerTimeout, metav1.StatusReasonStoreReadError,
	metav1.StatusReasonTimeout, metav1.StatusReasonTooManyRequests, metav1.StatusReasonBadRequest,
	metav1.StatusReasonMethodNotAllowed, metav1.StatusReasonNotAcceptable,
	metav1.StatusReasonRequestEntityTooLarge, metav1.StatusReasonUnsupportedMediaType,
	metav1.StatusReasonInternalError, metav1.StatusReasonExpired, metav1.StatusReasonServiceUnavailable,
}

// describeStatus returns the code and the reason of a status. A reason that the API server does not
// give by itself is replaced by the name of the code.
func describeStatus(status metav1.Status) string {
	reason := string(status.Reason)
	if !slices.Contains(knownReasons, status.Reason) {
		reason = http.StatusText(int(status.Code))
	}
	return strings.TrimSpace(fmt.Sprintf("HTTP status %d %s", status.Code, reason))
}
