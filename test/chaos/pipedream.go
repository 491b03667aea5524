// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// callTimeout bounds a call to the simulator.
const callTimeout = 5 * time.Second

// answer is Pipedream's answer to a consumer.
type answer int

const (
	unknown answer = iota // a fault may be the reason
	accepted
	refused
)

// pipedream calls the simulator, as a consumer and through its control API.
type pipedream struct{ simulator.Remote }

func newPipedream(address string) *pipedream {
	return &pipedream{simulator.Remote{Address: address, Client: &http.Client{
		Timeout: callTimeout,
		Transport: &http.Transport{
			MaxIdleConnsPerHost: consumers,
			ForceAttemptHTTP2:   true,
			// Close a forgotten connection late: only the managers must notice it soon.
			HTTP2: &http.HTTP2Config{SendPingTimeout: callTimeout, PingTimeout: 2 * callTimeout},
			// Accept every CA: only the managers must verify it.
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // The simulator runs on this machine.
		},
	}}}
}

// listAccounts calls the API as a consumer does.
func (p *pipedream) listAccounts(ctx context.Context, token string) answer {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Address+"/v1/connect/proj_chaos/accounts", nil)
	if err != nil {
		return unknown
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("X-Pd-Environment", "production")
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

func (p *pipedream) setSecret(ctx context.Context, client int, secret string) error {
	return p.Control(ctx, http.MethodPut, "clients/"+clientID(client), map[string]string{"secret": secret}, nil)
}

// revokeKey revokes the API key of a user, who gets a new one.
func (p *pipedream) revokeKey(ctx context.Context, key int, value string) error {
	return p.Control(ctx, http.MethodPost, "users/"+keyHolderID(key)+"/revoke-key", map[string]string{"api_key": value}, nil)
}

func (p *pipedream) revoke(ctx context.Context, token string) error {
	return p.Control(ctx, http.MethodPost, "revoke", map[string]string{"token": token}, nil)
}

// fail adds a fault. heal removes the faults with a name, even after ctx has ended.
func (p *pipedream) fail(ctx context.Context, fault map[string]any) error {
	return p.Control(ctx, http.MethodPost, "faults", fault, nil)
}

func (p *pipedream) heal(ctx context.Context, name string) error {
	return p.Control(context.WithoutCancel(ctx), http.MethodDelete, "faults?name="+name, struct{}{}, nil)
}

// forgetConnections makes the simulator forget all connections except the one of this call. It returns the number
// of forgotten connections.
func (p *pipedream) forgetConnections(ctx context.Context) (int, error) {
	var answer struct {
		Forgotten int `json:"forgotten"`
	}
	err := p.Control(ctx, http.MethodPost, "forget-connections", struct{}{}, &answer)
	return answer.Forgotten, err
}

// rotateCA makes the simulator rotate its CA, and returns the new one.
func (p *pipedream) rotateCA(ctx context.Context) ([]byte, error) {
	var answer struct {
		CA string `json:"ca"`
	}
	err := p.Control(ctx, http.MethodPost, "rotate-ca", struct{}{}, &answer)
	return []byte(answer.CA), err
}

// counters returns the simulator's counters. It fails when the simulator has counted no exchange.
func (p *pipedream) counters(ctx context.Context) (simulator.Counters, error) {
	var counters simulator.Counters
	err := p.Control(ctx, http.MethodGet, "counters", struct{}{}, &counters)
	if err == nil && counters.Exchanges == nil {
		err = errors.New("the simulator counted no exchange")
	}
	return counters, err
}
