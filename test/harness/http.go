// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// FreeAddress returns an unused address of this machine, such as 127.0.0.1:40123. Another process may start to use it
// before the caller does.
func FreeAddress(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}

// MustFreeAddress is like FreeAddress, and ends the test on an error.
func MustFreeAddress(tb testing.TB) string {
	tb.Helper()
	address, err := FreeAddress(tb.Context())
	Must(tb, err)
	return address
}

// Get gets a URL over a new connection. It sends a bearer token unless token is "". It accepts any certificate,
// because the certificate of the manager's metrics is self-signed.
func Get(ctx context.Context, url, token string) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // The certificate is self-signed.
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	return response.StatusCode, string(content), err
}

// Answers returns "" if a URL answers with the wanted HTTP status. Otherwise it describes the difference, as a
// function for Wait must.
func Answers(ctx context.Context, url, token string, want int) (problem string) {
	status, _, err := Get(ctx, url, token)
	switch {
	case err != nil:
		return err.Error()
	case status != want:
		return fmt.Sprintf("%s answers %d, want %d", url, status, want)
	}
	return ""
}

// MustServe serves a handler, such as a simulator, over HTTP until the test ends. It returns the URL.
func MustServe(tb testing.TB, handler http.Handler) (url string) {
	tb.Helper()
	server := httptest.NewServer(handler)
	tb.Cleanup(server.Close)
	return server.URL
}
