// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

const (
	// clientID and firstSecret are the credentials in config/samples. Only the simulator accepts them.
	clientID    = "replace-me-with-the-client-id"
	firstSecret = "replace-me-with-the-client-secret"
	// apiKey and workspaceID are in config/samples, too.
	apiKey      = "replace-me-with-the-api-key"
	workspaceID = "o_abc123"
	// secondSecret is the client secret after the rotation.
	secondSecret = "the-client-secret-after-its-rotation"
	// accountClientID and accountClientSecret are the credentials in helpdesk.yaml.
	accountClientID     = "helpdesk"
	accountClientSecret = "the-client-secret-of-helpdesk"

	// userID is the user who has the API key.
	userID    = "u_demo"
	projectID = "proj_abc123"
	// accountID is the account of helpdesk.yaml, connected to the app appSlug. sampleAccountID is the account of the
	// samples.
	accountID       = "apn_helpdesk"
	appSlug         = "zendesk"
	sampleAccountID = "apn_WYhMlrz"
	// refreshEvery is how often Pipedream refreshes the credentials of accountID, and credentialLifetime how long
	// they live.
	refreshEvery       = 25 * time.Second
	credentialLifetime = time.Minute
)

// connectAccounts connects the accounts at Pipedream, as end users do. The one of the samples is also an account of a user of
// Pipedream, who has an API key.
func (e *environment) connectAccounts(ctx context.Context) error {
	user := map[string]any{"api_key": apiKey, "workspaces": []string{workspaceID}}
	if err := e.pipedream.Control(ctx, http.MethodPut, "users/"+userID, user, nil); err != nil {
		return fmt.Errorf("register a user of Pipedream: %w", err)
	}
	for id, account := range map[string]map[string]any{
		sampleAccountID: {"project_id": projectID, "external_user_id": "acme-prod", "app": "slack", "user_id": userID, "workspace_id": workspaceID},
		accountID: {
			"project_id": projectID, "external_user_id": "team-support", "app": appSlug,
			"life": credentialLifetime.String(), "refresh": "background:" + refreshEvery.String(),
		},
	} {
		if err := e.pipedream.Control(ctx, http.MethodPut, "accounts/"+id, account, nil); err != nil {
			return fmt.Errorf("connect account %s: %w", id, err)
		}
	}
	return nil
}

// listAccounts calls Pipedream's API as a consumer does, and returns the HTTP status, or 0 without an answer.
func (e *environment) listAccounts(ctx context.Context, token string) int {
	return e.callWith(ctx, token, "/v1/connect/"+projectID+"/accounts?limit=1")
}

// callApp calls the app that the account of helpdesk is connected to, as a consumer does, and returns the HTTP status,
// or 0 without an answer.
func (e *environment) callApp(ctx context.Context, accessToken string) int {
	return e.callWith(ctx, accessToken, "/_app/"+appSlug+"/me")
}

func (e *environment) callWith(ctx context.Context, accessToken, path string) (status int) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.pipedream.Address+path, nil)
	if err != nil {
		return 0
	}
	request.Header.Set("Authorization", "Bearer "+accessToken)
	request.Header.Set("X-Pd-Environment", "production")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// accountCounters returns what the simulator has counted about accounts and apps.
func (e *environment) accountCounters(ctx context.Context) (simulator.AccountCounters, error) {
	var counters simulator.AccountCounters
	err := e.pipedream.Control(ctx, http.MethodGet, "accounts", struct{}{}, &counters)
	return counters, err
}

// exchanges returns how many token requests of the samples' client Pipedream accepted and refused.
func (e *environment) exchanges(ctx context.Context) (simulator.Count, error) {
	var counters struct {
		Exchanges map[string]simulator.Count `json:"exchanges"`
	}
	err := e.pipedream.Control(ctx, http.MethodGet, "counters", struct{}{}, &counters)
	return counters.Exchanges[clientID], err
}
