// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"sync"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// The fields of an account's credentials. The simulator makes the first two. The others stay the same until the account
// is connected again.
const (
	oauthTokenKey    = "oauth_access_token" //nolint:gosec // The name of a field.
	apiKeyKey        = "api_key"
	webhookSecretKey = "webhook_secret"
	clientIDKey      = "oauth_client_id"
	uidKey           = "oauth_uid"
	// refreshTokenKey is a field that the operator must never write.
	refreshTokenKey = "oauth_refresh_token" //nolint:gosec // The name of a field.
)

// connections are the accounts that users have connected at Pipedream.
type connections struct {
	pipedream *pipedream
	leaks     *leaks

	mu sync.Mutex
	// numbers are how often each account was connected again with another ID.
	numbers [accountCount]int
}

func (c *connections) idOf(account int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return connectedID(account, c.numbers[account])
}

// connect connects an account. Its user then has new credentials.
func (c *connections) connect(ctx context.Context, account int) error {
	way := refreshingOf(account)
	connected := map[string]any{
		"app": appSlug, "auth_type": way.authType, "refresh": way.refresh, "next_refresh": way.next,
		"life": way.life.String(), "rotating": isRotating(account), "fields": c.newFields(account),
	}
	if key := keyOf(account); key != none {
		connected["user_id"] = keyHolderID(key)
	} else {
		connected["project_id"], connected["external_user_id"] = projectID(projectOf(account)), userOf(account)
	}
	return c.pipedream.Control(ctx, http.MethodPut, "accounts/"+c.idOf(account), connected, nil)
}

// newFields returns the fields of an account that the simulator does not make, and adds them to the secrets that leaks
// searches for.
func (c *connections) newFields(account int) map[string]string {
	fields := map[string]string{
		webhookSecretKey: "chaos-webhook-" + rand.Text(), refreshTokenKey: "chaos-refresh-" + rand.Text(),
		clientIDKey: "chaos-app-client-" + rand.Text(), uidKey: "chaos-uid-" + rand.Text(),
	}
	if refreshingOf(account).authType == simulator.AuthKeys {
		delete(fields, clientIDKey)
		delete(fields, uidKey)
	}
	for field, value := range fields {
		c.leaks.learn(accountFields, "the "+field+" of "+accountNameOf(account).String(), value)
	}
	return fields
}

// disconnect deletes an account at Pipedream. The next connect makes an account with another ID where the spec allows that.
func (c *connections) disconnect(ctx context.Context, account int) error {
	err := c.pipedream.Control(ctx, http.MethodDelete, "accounts/"+c.idOf(account), struct{}{}, nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.numbers[account]++
	return err
}

// kill makes an account dead: Pipedream can't refresh it any longer.
func (c *connections) kill(ctx context.Context, account int) error {
	return c.pipedream.Control(ctx, http.MethodPatch, "accounts/"+c.idOf(account), map[string]bool{"dead": true}, nil)
}

// reconnect makes a dead account live again, with new credentials.
func (c *connections) reconnect(ctx context.Context, account int) error {
	path := "accounts/" + c.idOf(account)
	if err := c.pipedream.Control(ctx, http.MethodPatch, path, map[string]bool{"dead": false}, nil); err != nil {
		return err
	}
	return c.pipedream.Control(ctx, http.MethodPost, path+"/refresh", struct{}{}, nil)
}

// useApp calls the app of an account as a consumer does.
func (p *pipedream) useApp(ctx context.Context, credentials string) answer {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Address+"/_app/"+appSlug+"/me", nil)
	if err != nil {
		return unknown
	}
	request.Header.Set("Authorization", "Bearer "+credentials)
	response, err := p.Client.Do(request)
	if err != nil {
		return unknown
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
		return accepted
	case http.StatusUnauthorized:
		return refused
	}
	return unknown
}

// revokeReader revokes the operator's own tokens of an OAuth client.
func (p *pipedream) revokeReader(ctx context.Context, reader int) error {
	return p.Control(ctx, http.MethodPost, "revoke", map[string]string{"client_id": readerID(reader)}, nil)
}

// reshape changes in which shape the simulator answers for accounts.
func (p *pipedream) reshape(ctx context.Context, answers map[string]string) error {
	return p.Control(ctx, http.MethodPut, "account-answers", answers, nil)
}

// userCounters returns how many calls with API keys the simulator has counted.
func (p *pipedream) userCounters(ctx context.Context) (simulator.UserCounters, error) {
	var counters simulator.UserCounters
	err := p.Control(ctx, http.MethodGet, "users", struct{}{}, &counters)
	return counters, err
}

// accountCounters returns what the simulator has counted of each account.
func (p *pipedream) accountCounters(ctx context.Context) (simulator.AccountCounters, error) {
	var counters simulator.AccountCounters
	err := p.Control(ctx, http.MethodGet, "accounts", struct{}{}, &counters)
	return counters, err
}
