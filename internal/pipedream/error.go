// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// Kind tells the caller how a request failed.
type Kind string

// The kinds of failure.
const (
	// CredentialsInvalid: Pipedream can't have issued the client ID, the client secret or the API key
	// of a user, so it was not sent.
	CredentialsInvalid Kind = "CredentialsInvalid"
	// CredentialsRejected: the API refused the client ID and client secret, or the API key of a user.
	CredentialsRejected Kind = "CredentialsRejected"
	// ScopeRejected: the API refused a requested scope, and issued no token.
	ScopeRejected Kind = "ScopeRejected"
	// ScopeNotGranted: the API issued a token without a requested scope.
	ScopeNotGranted Kind = "ScopeNotGranted"
	// RequestRejected: the request was refused, and a retry would not help.
	RequestRejected Kind = "RequestRejected"
	// RateLimited: the API asks for fewer requests (status 429, or 503 with Retry-After).
	RateLimited Kind = "RateLimited"
	// Unavailable: Pipedream's API is unreachable or returned a server error.
	Unavailable Kind = "Unavailable"
	// Malformed: the API reported success, but its answer can't be used.
	Malformed Kind = "Malformed"
)

// Error is the only type of error that requests to the API return. Its text is safe to show: it
// contains no credentials, and nothing from an answer except its status and an error code of
// RFC 6749.
type Error struct {
	Kind Kind
	// StatusCode is the HTTP status, or 0 when there was no answer.
	StatusCode int
	// Code is the OAuth error code in the answer if RFC 6749 defines it, otherwise empty.
	Code string
	// Detail adds information that StatusCode and Code do not give.
	Detail string
	// RetryAt is the time after which the API asks for a retry, or zero if the API named none.
	RetryAt time.Time
}

// Error implements error.
func (e *Error) Error() string {
	var parts []string
	if e.StatusCode != 0 {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("HTTP status %d %s", e.StatusCode, http.StatusText(e.StatusCode))))
	}
	if e.Code != "" {
		parts = append(parts, "error code "+e.Code)
	}
	if e.Detail != "" {
		parts = append(parts, e.Detail)
	}
	return strings.Join(parts, ", ")
}

// WithRetryAt returns a copy of the error with another RetryAt.
func (e *Error) WithRetryAt(at time.Time) *Error {
	changed := *e
	changed.RetryAt = at
	return &changed
}

// rejection returns the Error for an answer that is not a success.
func rejection(got answer, code string, now time.Time) *Error {
	status := got.status
	e := &Error{Kind: RequestRejected, StatusCode: status, Code: code}
	switch {
	case status == http.StatusTooManyRequests,
		status == http.StatusServiceUnavailable && !retryAfter(got.header, now).IsZero():
		e.Kind, e.RetryAt = RateLimited, retryAt(got.header, now)
	case status == http.StatusUnauthorized, isClientError(status, code):
		e.Kind = CredentialsRejected
	case status == http.StatusBadRequest && code == "invalid_scope":
		e.Kind = ScopeRejected
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status >= http.StatusInternalServerError:
		e.Kind = Unavailable
	}
	return e
}

func isClientError(status int, code string) bool {
	return (status == http.StatusBadRequest || status == http.StatusForbidden) &&
		(code == "invalid_client" || code == "unauthorized_client")
}

// proxyRejection returns an error when a proxy does not connect to the API. If a proxy refuses
// credentials, these are the proxy's credentials, so the error is never CredentialsRejected.
func proxyRejection(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	e := &Error{Kind: RequestRejected, StatusCode: answer.StatusCode, Detail: "from the proxy"}
	if answer.StatusCode >= http.StatusInternalServerError || answer.StatusCode == http.StatusTooManyRequests {
		e.Kind = Unavailable
	}
	return e
}

// unanswered returns the Error for a request without a complete answer. The Error does not wrap
// the cause, because the text of a net/http error can quote any data that the peer sent.
func (c *Client) unanswered(cause error) *Error {
	if rejected, ok := errors.AsType[*Error](cause); ok {
		return rejected
	}
	return &Error{Kind: Unavailable, Detail: describe(cause, c.rootCAs != nil)}
}

// describe returns the Detail of an Error for the cause. hasRootCAs is true if Options.RootCAs replaces the
// system's certificates.
func describe(cause error, hasRootCAs bool) string {
	if described := describeTLS(cause, hasRootCAs); described != "" {
		return described
	}
	if dns, ok := errors.AsType[*net.DNSError](cause); ok {
		return fmt.Sprintf("the name %q could not be resolved", dns.Name)
	}
	switch {
	case isTimeout(cause):
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
	return "no valid HTTP answer"
}

func describeTLS(cause error, hasRootCAs bool) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](cause); ok {
		if hasRootCAs {
			return "the API's certificate is signed by an unknown authority: its CA is not in the file that --api-ca-file names"
		}
		return "the API's certificate is signed by an unknown authority; name its CA with the operator's flag --api-ca-file"
	}
	if _, ok := errors.AsType[x509.HostnameError](cause); ok {
		return "the API's certificate is for another host name"
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](cause); ok {
		if invalid.Reason == x509.Expired {
			return "the API's certificate has expired or is not yet valid"
		}
		return "the API's certificate is invalid"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](cause); ok {
		return "the API's address does not speak TLS"
	}
	// Go exports no error type for the other TLS failures.
	if text := cause.Error(); strings.HasPrefix(text, "tls: ") || strings.HasPrefix(text, "remote error: tls: ") {
		return "the TLS handshake was refused"
	}
	return ""
}

func isTimeout(cause error) bool {
	timeout, ok := errors.AsType[net.Error](cause)
	return ok && timeout.Timeout() || errors.Is(cause, context.DeadlineExceeded)
}
