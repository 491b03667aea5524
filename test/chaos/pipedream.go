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

// callTimeout bounds a call of the simulator.
const callTimeout = 5 * time.Second

// answer is what Pipedream says to a consumer.
type answer int

const (
	unknown answer = iota // it can't be told from a fault
	accepted
	refused
)

// pipedream is the simulator, as its users and its master see it.
type pipedream struct{ simulator.Remote }

func newPipedream(address string) *pipedream {
	return &pipedream{simulator.Remote{Address: address, Client: &http.Client{
		Timeout: callTimeout,
		Transport: &http.Transport{
			MaxIdleConnsPerHost: consumers,
			ForceAttemptHTTP2:   true,
			// A forgotten connection is no news to those who look on.
			HTTP2: &http.HTTP2Config{SendPingTimeout: callTimeout, PingTimeout: 2 * callTimeout},
			// Nor is a CA: it is the managers who must trust in the right one.
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // Our own simulator, on this machine.
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

func (p *pipedream) revoke(ctx context.Context, token string) error {
	return p.Control(ctx, http.MethodPost, "revoke", map[string]string{"token": token}, nil)
}

// fail adds a fault; heal ends all of them, also when ctx has ended.
func (p *pipedream) fail(ctx context.Context, fault map[string]any) error {
	return p.Control(ctx, http.MethodPost, "faults", fault, nil)
}

func (p *pipedream) heal(ctx context.Context) error {
	return p.Control(context.WithoutCancel(ctx), http.MethodDelete, "faults", struct{}{}, nil)
}

// forgetConnections has the simulator forget all connections but the one of the call, and
// returns how many these are.
func (p *pipedream) forgetConnections(ctx context.Context) (int, error) {
	var answer struct {
		Forgotten int `json:"forgotten"`
	}
	err := p.Control(ctx, http.MethodPost, "forget-connections", struct{}{}, &answer)
	return answer.Forgotten, err
}

// rotateCA has the simulator rotate its CA, and returns the new one.
func (p *pipedream) rotateCA(ctx context.Context) ([]byte, error) {
	var answer struct {
		CA string `json:"ca"`
	}
	err := p.Control(ctx, http.MethodPost, "rotate-ca", struct{}{}, &answer)
	return []byte(answer.CA), err
}

// counters returns what the simulator counted.
func (p *pipedream) counters(ctx context.Context) (simulator.Counters, error) {
	var counters simulator.Counters
	err := p.Control(ctx, http.MethodGet, "counters", struct{}{}, &counters)
	if err == nil && counters.Exchanges == nil {
		err = errors.New("the simulator counts nothing")
	}
	return counters, err
}
