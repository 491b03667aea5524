// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net/http"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// pipedream is the running simulator.
type pipedream struct {
	*process
	simulator.Remote
}

// setClient makes an OAuth client known, or changes its secret.
func (p *pipedream) setClient(ctx context.Context, id, secret string) error {
	return p.Control(ctx, http.MethodPut, "clients/"+id, map[string]string{"secret": secret}, nil)
}

// setLife sets the life of the tokens issued from now on.
func (p *pipedream) setLife(ctx context.Context, life time.Duration) error {
	return p.Control(ctx, http.MethodPut, "token-lifetime", map[string]string{"token_lifetime": life.String()}, nil)
}

// calls are the calls that the simulator has counted.
type calls struct {
	// exchanges counts the exchanges with some OAuth clients, and fetches counts all requests for one account.
	exchanges, fetches simulator.Count
}

// calls returns the calls until now, with the exchanges of some OAuth clients.
func (p *pipedream) calls(ctx context.Context, clients []string) (calls, error) {
	var counters simulator.Counters
	err := p.Control(ctx, http.MethodGet, "counters", struct{}{}, &counters)
	counted := calls{fetches: counters.Calls[simulator.EndpointAccount]}
	for _, id := range clients {
		counted.exchanges.Total += counters.Exchanges[id].Total
		counted.exchanges.Refused += counters.Exchanges[id].Refused
	}
	return counted, err
}

// connect connects an account, or replaces it.
func (p *pipedream) connect(ctx context.Context, id string, account map[string]any) error {
	return p.Control(ctx, http.MethodPut, "accounts/"+id, account, nil)
}

// fetches returns how often the credentials of each account were fetched.
func (p *pipedream) fetches(ctx context.Context) (map[string]simulator.AccountCount, error) {
	var counters simulator.AccountCounters
	err := p.Control(ctx, http.MethodGet, "accounts", struct{}{}, &counters)
	return counters.Accounts, err
}
