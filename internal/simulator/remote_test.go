// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

func TestRemoteIsControlled(t *testing.T) {
	t.Parallel()
	api := simulator.New(simulator.Options{Now: time.Now, Clients: []simulator.Client{{ID: "id", Secret: "secret"}}})
	server := httptest.NewServer(api)
	defer server.Close()
	remote := simulator.Remote{Address: server.URL, Client: server.Client()}

	if err := remote.Control(t.Context(), http.MethodPut, "clients/other", map[string]string{"secret": "s"}, nil); err != nil {
		t.Fatal(err)
	}
	var counters simulator.Counters
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
