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

// exchanges returns how often a token was asked for with a client.
func (p *pipedream) exchanges(ctx context.Context, id string) (simulator.Count, error) {
	var counters struct {
		Exchanges map[string]simulator.Count `json:"exchanges"`
	}
	err := p.Control(ctx, http.MethodGet, "counters", struct{}{}, &counters)
	return counters.Exchanges[id], err
}
