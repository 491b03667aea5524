// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedreamtest_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream/pipedreamtest"
)

func TestRemoteIsControlled(t *testing.T) {
	t.Parallel()
	simulator := pipedreamtest.New(pipedreamtest.Options{Now: time.Now, Clients: []pipedreamtest.Client{{ID: "id", Secret: "secret"}}})
	server := httptest.NewServer(simulator)
	defer server.Close()
	remote := pipedreamtest.Remote{Address: server.URL, Client: server.Client()}

	if err := remote.Control(t.Context(), http.MethodPut, "clients/other", map[string]string{"secret": "s"}, nil); err != nil {
		t.Fatal(err)
	}
	var counters pipedreamtest.Counters
	if err := remote.Control(t.Context(), http.MethodGet, "counters", struct{}{}, &counters); err != nil {
		t.Fatal(err)
	}
	if _, ok := counters.Exchanges["other"]; !ok {
		t.Errorf("the new client is not counted: %v", counters.Exchanges)
	}
	err := remote.Control(t.Context(), http.MethodPut, "token-lifetime", map[string]string{"token_lifetime": "never"}, nil)
	if err == nil || !strings.Contains(err.Error(), "400 Bad Request to PUT token-lifetime") {
		t.Errorf("a bad call ends with %v", err)
	}
}
