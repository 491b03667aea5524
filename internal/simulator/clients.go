// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"crypto/sha256"
	"errors"
)

// A digest stands for a secret, so that none is kept.
type digest [sha256.Size]byte

// SetClient registers a client, or replaces the secret of one: the old secret is refused from then on, and tokens
// issued for it stay good. It fails when the ID or the secret is empty.
func (s *Simulator) SetClient(id, secret string) error {
	if id == "" {
		return errors.New("the client's id must not be empty")
	}
	if secret == "" {
		return errors.New("the client's secret must not be empty")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[id] = sha256.Sum256([]byte(secret))
	s.counters.addClient(id)
	return nil
}

// DeleteClient makes a client unknown and reports whether it was known. Tokens issued for it stay good: RevokeClient
// ends them, before or after.
func (s *Simulator) DeleteClient(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.secrets[id]
	delete(s.secrets, id)
	delete(s.allowed, id)
	return known
}

// isClient tells whether these are the credentials of a registered client.
func (s *Simulator) isClient(id, secret string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	want, known := s.secrets[id]
	return known && want == sha256.Sum256([]byte(secret))
}
