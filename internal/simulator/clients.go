// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// digest is the hash of a secret. The simulator keeps it in place of the secret.
type digest [sha256.Size]byte

// clients are the registered OAuth clients. Use newClients to make them. They are safe for concurrent use.
type clients struct {
	counters *counters

	mu      sync.Mutex
	secrets map[string]digest
	// allowed are the scopes that a client may have. A client without an entry may have all scopes.
	allowed map[string][]string
}

func newClients(c *counters) *clients {
	return &clients{counters: c, secrets: map[string]digest{}, allowed: map[string][]string{}}
}

// set registers a client, as Simulator.SetClient describes.
func (c *clients) set(id, secret string) error {
	if id == "" {
		return errors.New("the client's id must not be empty")
	}
	if secret == "" {
		return errors.New("the client's secret must not be empty")
	}
	c.counters.addClient(id) // before the client can be used, so that no exchange of it counts as UnknownClient
	c.mu.Lock()
	defer c.mu.Unlock()
	c.secrets[id] = sha256.Sum256([]byte(secret))
	return nil
}

// setScopes limits the scopes of a client, as Simulator.SetClientScopes describes.
func (c *clients) setScopes(id string, scopes []string) error {
	for _, scope := range scopes {
		if !slices.Contains(knownScopes, scope) {
			return fmt.Errorf("the scope %q is not known; there are %s", scope, strings.Join(knownScopes, ", "))
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.secrets[id]; !known {
		return fmt.Errorf("there is no client %q: register it with PUT /_sim/clients/{id}", id)
	}
	c.allowed[id] = slices.Clone(scopes)
	return nil
}

// remove makes a client unknown and reports whether it was known.
func (c *clients) remove(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, known := c.secrets[id]
	delete(c.secrets, id)
	delete(c.allowed, id)
	return known
}

// has reports whether these are the credentials of a registered client.
func (c *clients) has(id, secret string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	want, known := c.secrets[id]
	return known && want == sha256.Sum256([]byte(secret))
}

// scopesOf returns the scopes that a client may have. An empty list means all scopes.
func (c *clients) scopesOf(id string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.allowed[id]
}
