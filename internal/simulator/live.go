// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"maps"
	"time"
)

// sweepFloor is how many tokens may pile up before expired ones are looked for.
const sweepFloor = 1024

// A grant is what is remembered of an issued token: enough to revoke it, not enough to use it.
type grant struct {
	clientID string
	// known is from when on the API proper accepts the token.
	known, expires time.Time
}

// liveTokens are the grants of the tokens that are neither revoked nor long expired, by the tokens' jti.
// A token without a grant is refused.
type liveTokens struct {
	byID    map[string]grant
	sweepAt int
}

// add remembers a grant. Now and then it forgets the expired ones, so that there are never more grants than
// twice those of unexpired tokens, or sweepFloor.
func (l *liveTokens) add(id string, g grant, now time.Time) {
	if len(l.byID) >= max(l.sweepAt, sweepFloor) {
		maps.DeleteFunc(l.byID, func(_ string, g grant) bool { return !now.Before(g.expires) })
		l.sweepAt = 2 * len(l.byID)
	}
	l.byID[id] = g
}

// issue makes a token for a client.
func (s *Simulator) issue(clientID string, scopes []string) tokenResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	c := newClaims(s.issuer, now, s.lifetime, scopes)
	s.live.add(c.ID, grant{clientID: clientID, known: now.Add(s.knownAfter), expires: time.Unix(c.Expires, 0)}, now)
	return tokenResponse{
		AccessToken: c.sign(s.key),
		TokenType:   "Bearer",
		ExpiresIn:   c.Expires - c.Issued,
		CreatedAt:   c.Issued,
	}
}

// lookup returns what is known of a token that was issued, has not expired and was not revoked.
func (s *Simulator) lookup(token string) (claims, grant, bool) {
	c, ok := parse(token, s.publicKey())
	if !ok {
		return claims{}, grant{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.live.byID[c.ID]
	if !ok || !s.now().Before(g.expires) {
		return claims{}, grant{}, false
	}
	return c, g, true
}

// RevokeToken ends one token and reports whether it was valid until now.
func (s *Simulator) RevokeToken(token string) bool {
	c, _, ok := s.lookup(token)
	if !ok {
		return false
	}
	return s.revokeWhere(func(id string, _ grant) bool { return id == c.ID }) == 1
}

// RevokeClient ends the tokens issued for a client so far, registered still or not, and returns how many were good
// until now.
func (s *Simulator) RevokeClient(id string) int {
	return s.revokeWhere(func(_ string, g grant) bool { return g.clientID == id })
}

// RevokeAll ends all tokens issued so far and returns how many were valid until now.
func (s *Simulator) RevokeAll() int {
	return s.revokeWhere(func(string, grant) bool { return true })
}

func (s *Simulator) revokeWhere(match func(id string, g grant) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, good := s.now(), 0
	maps.DeleteFunc(s.live.byID, func(id string, g grant) bool {
		if !match(id, g) {
			return false
		}
		if now.Before(g.expires) {
			good++
		}
		return true
	})
	return good
}
