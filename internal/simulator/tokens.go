// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"maps"
	"sync"
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

// tokens issues, checks and revokes access tokens. Use newTokens to make one. It is safe for concurrent use.
type tokens struct {
	now    func() time.Time
	issuer string
	key    ed25519.PrivateKey

	mu         sync.Mutex
	lifetime   time.Duration
	knownAfter time.Duration
	live       liveTokens
}

// newTokens returns tokens with a signing key of their own. It fails when setLifetime refuses the lifetime.
func newTokens(now func() time.Time, issuer string, lifetime time.Duration) (*tokens, error) {
	t := &tokens{now: now, issuer: issuer, key: newKey(), live: liveTokens{byID: map[string]grant{}}}
	return t, t.setLifetime(lifetime)
}

// setLifetime changes the lifetime of the tokens issued from now on, as Simulator.SetTokenLifetime says.
func (t *tokens) setLifetime(d time.Duration) error {
	if d < time.Second || d%time.Second != 0 {
		return fmt.Errorf("the token lifetime must be whole seconds and at least 1s, not %s", d)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lifetime = d
	return nil
}

// setKnownAfter changes how long after its issue a token is accepted, as Simulator.SetTokenKnownAfter says.
func (t *tokens) setKnownAfter(d time.Duration) error {
	if d < 0 {
		return fmt.Errorf("the time after which a token is known must not be negative, and is %s", d)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.knownAfter = d
	return nil
}

// issue makes a token for a client.
func (t *tokens) issue(clientID string, scopes []string) tokenResponse {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	c := newClaims(t.issuer, now, t.lifetime, scopes)
	t.live.add(c.ID, grant{clientID: clientID, known: now.Add(t.knownAfter), expires: time.Unix(c.Expires, 0)}, now)
	return tokenResponse{
		AccessToken: c.sign(t.key),
		TokenType:   "Bearer",
		ExpiresIn:   c.Expires - c.Issued,
		CreatedAt:   c.Issued,
	}
}

// lookup returns what is known of a token that was issued, has not expired and was not revoked.
func (t *tokens) lookup(token string) (claims, grant, bool) {
	c, ok := parse(token, t.publicKey())
	if !ok {
		return claims{}, grant{}, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	g, ok := t.live.byID[c.ID]
	if !ok || !t.now().Before(g.expires) {
		return claims{}, grant{}, false
	}
	return c, g, true
}

// accept returns what is known of a token, when the API proper accepts it now.
func (t *tokens) accept(token string) (claims, grant, bool) {
	c, g, ok := t.lookup(token)
	return c, g, ok && !t.now().Before(g.known)
}

// revoke ends one token and reports whether it was good until now.
func (t *tokens) revoke(token string) bool {
	c, _, ok := t.lookup(token)
	if !ok {
		return false
	}
	return t.revokeWhere(func(id string, _ grant) bool { return id == c.ID }) == 1
}

// revokeClient ends the tokens issued for a client so far, registered still or not, and returns how many were good
// until now.
func (t *tokens) revokeClient(id string) int {
	return t.revokeWhere(func(_ string, g grant) bool { return g.clientID == id })
}

// revokeAll ends all tokens issued so far and returns how many were good until now.
func (t *tokens) revokeAll() int {
	return t.revokeWhere(func(string, grant) bool { return true })
}

func (t *tokens) revokeWhere(match func(id string, g grant) bool) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, good := t.now(), 0
	maps.DeleteFunc(t.live.byID, func(id string, g grant) bool {
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

func newKey() ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	_, _ = rand.Read(seed) // never fails
	return ed25519.NewKeyFromSeed(seed)
}
