// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// Remote is a simulator that runs in another process.
type Remote struct {
	// Address is the address on which the simulator listens, such as http://127.0.0.1:8099.
	Address string
	// Client sends the calls.
	Client *http.Client
}

// Control sends a control call to the simulator, such as PUT "token-lifetime". It decodes the answer into
// result unless result is nil.
func (r Remote) Control(ctx context.Context, method, path string, body, result any) error {
	content, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, method, r.Address+"/_sim/"+path, bytes.NewReader(content))
	if err != nil {
		return fmt.Errorf("make a request: %w", err)
	}
	response, err := r.Client.Do(request)
	if err != nil {
		return fmt.Errorf("call the simulator: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("the simulator answers %s to %s %s", response.Status, method, path)
	}
	if result == nil {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(result); err != nil {
		return fmt.Errorf("read the simulator's answer: %w", err)
	}
	return nil
}
