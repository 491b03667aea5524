// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net/http"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

const (
	// clientID and firstSecret are the credentials in config/samples. Only the simulator accepts them.
	clientID    = "replace-me-with-the-client-id"
	firstSecret = "replace-me-with-the-client-secret"
	// secondSecret is the client secret after the rotation.
	secondSecret = "the-client-secret-after-its-rotation"
)

// listAccounts calls Pipedream's API as a consumer does, and returns the HTTP status, or 0 without an answer.
func (e *environment) listAccounts(ctx context.Context, token string) int {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.pipedream.Address+"/v1/connect/proj_abc123/accounts?limit=1", nil)
	if err != nil {
		return 0
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("X-Pd-Environment", "production")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// exchanges returns how many token requests Pipedream accepted and refused.
func (e *environment) exchanges(ctx context.Context) (simulator.Count, error) {
	var counters struct {
		Exchanges map[string]simulator.Count `json:"exchanges"`
	}
	err := e.pipedream.Control(ctx, http.MethodGet, "counters", struct{}{}, &counters)
	return counters.Exchanges[clientID], err
}
