// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

const (
	clientID = "client-of-orders"
	secret   = "s3cr3t-of-orders"
	token    = "eyJ0eXAi.t0k3n-of-orders.c2ln"
	// canary is in whatever a server says beyond status and headers.
	canary = "c4n4ry"
)

// now is what the clock says. Tokens are dated by its whole seconds.
var (
	now    = time.Date(2026, 3, 1, 12, 0, 0, 700_000_000, time.UTC)
	second = now.Truncate(time.Second)
)

func clock() time.Time { return now }

var credentials = pipedream.Credentials{ClientID: clientID, ClientSecret: pipedream.NewSensitive(secret)}

// newClient returns a client of the API at an address.
func newClient(t *testing.T, address string, configure ...func(*pipedream.Options)) *pipedream.Client {
	t.Helper()
	options := pipedream.Options{Address: address, AllowInsecure: true, UserAgent: "pipedream-operator/test", Now: clock}
	for _, set := range configure {
		set(&options)
	}
	client, err := pipedream.NewClient(options)
	if err != nil {
		t.Fatalf("NewClient: %v", err)
	}
	return client
}

// api is an HTTP server that counts its requests.
type api struct {
	*httptest.Server
	requests atomic.Int64
}

// serve serves HTTP until the test ends.
func serve(t *testing.T, handler http.HandlerFunc) *api {
	t.Helper()
	served := &api{}
	served.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.requests.Add(1)
		handler(w, r)
	}))
	t.Cleanup(served.Close)
	return served
}

// answerWith answers each request with the same.
func answerWith(status int, header http.Header, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		maps.Copy(w.Header(), header)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// issue asks for a token, and checks that an error is one that may be shown.
func issue(t *testing.T, client *pipedream.Client, scopes ...string) (pipedream.Token, error) {
	t.Helper()
	issued, err := client.Issue(t.Context(), credentials, scopes)
	if err != nil {
		checkIsSafe(t, err)
	}
	return issued, err
}

// wantError returns err as the *pipedream.Error that it must be.
func wantError(t *testing.T, err error) pipedream.Error {
	t.Helper()
	cause, ok := errors.AsType[*pipedream.Error](err)
	if !ok {
		t.Fatalf("the error is %v, a %T; want a *pipedream.Error", err, err)
	}
	return *cause
}

// checkIsSafe checks that an error shows no credential, no token, and nothing of a
// body, in whatever way it is printed.
func checkIsSafe(t *testing.T, err error) {
	t.Helper()
	shown := fmt.Sprintf("%v\n%+v\n%#v\n%q", err, err, err, err)
	if asJSON, jsonErr := json.Marshal(err); jsonErr == nil {
		shown += "\n" + string(asJSON)
	}
	shown = strings.ToLower(shown)
	for _, hidden := range []string{clientID, secret, token, canary} {
		for _, written := range []string{hidden, hex.EncodeToString([]byte(hidden)), base64.StdEncoding.EncodeToString([]byte(hidden))} {
			if strings.Contains(shown, strings.ToLower(written)) {
				t.Errorf("the error shows %q: %s", hidden, shown)
			}
		}
	}
	if err.Error() == "" {
		t.Error("the error says nothing")
	}
}
