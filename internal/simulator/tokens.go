// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"cmp"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"
)

// sweepFloor is the number of grants below which the simulator does not look for expired grants.
const sweepFloor = 1024

// grant is the record of an issued token. It is enough to revoke the token, and not enough to use it.
type grant struct {
	clientID string
	// scopes are the scopes of the token, separated by spaces.
	scopes string
	issued time.Time
	// The Connect API accepts the token from known until expires. A revocation with a delay brings expires
	// forward.
	known, expires time.Time
	// isRevoked is true for a token that was revoked and is still accepted until expires.
	isRevoked bool
}

// liveTokens are the grants by the jti of their tokens. They have the grants of all tokens that are valid,
// and of some expired tokens. The simulator refuses a token without a grant.
type liveTokens struct {
	byID    map[string]grant
	sweepAt int
}

// add adds a grant. From time to time it removes the expired grants. So there are never more grants than
// twice the number of unexpired tokens, or sweepFloor if that is more.
func (l *liveTokens) add(id string, g grant, now time.Time) {
	if len(l.byID) >= max(l.sweepAt, sweepFloor) {
		maps.DeleteFunc(l.byID, func(_ string, g grant) bool { return !now.Before(g.expires) })
		l.sweepAt = 2 * len(l.byID)
	}
	l.byID[id] = g
}

// isLike reports whether two tokens were issued to the same client with the same scopes.
func (g grant) isLike(other grant) bool {
	return g.clientID == other.clientID && g.scopes == other.scopes
}

// like returns a token that is valid, was not revoked, and is like g.
func (l *liveTokens) like(g grant, now time.Time) (id string, found grant, ok bool) {
	for id, one := range l.byID {
		if one.isLike(g) && !one.isRevoked && now.Before(one.expires) {
			return id, one, true
		}
	}
	return "", grant{}, false
}

// tokens issues, checks and revokes access tokens. Use newTokens to make one. It is safe for concurrent use.
type tokens struct {
	now       func() time.Time
	issuer    string
	key       ed25519.PrivateKey
	behaviors *behaviors

	mu       sync.Mutex
	lifetime time.Duration
	// lifetimes are the lifetimes of the tokens of some clients, by the ID of the client.
	lifetimes  map[string]time.Duration
	knownAfter time.Duration
	live       liveTokens
}

// newTokens returns tokens with its own signing key. It returns an error if setLifetime refuses the lifetime.
func newTokens(now func() time.Time, issuer string, lifetime time.Duration, b *behaviors) (*tokens, error) {
	t := &tokens{
		now: now, issuer: issuer, key: newKey(), behaviors: b,
		lifetimes: map[string]time.Duration{}, live: liveTokens{byID: map[string]grant{}},
	}
	return t, t.setLifetime("", lifetime)
}

// setLifetime changes the lifetime of the tokens issued from now on, as Simulator.SetTokenLifetime describes. With
// the ID of a client it concerns the tokens of that client only.
func (t *tokens) setLifetime(clientID string, d time.Duration) error {
	if d < time.Second || d%time.Second != 0 {
		return fmt.Errorf("the token lifetime must be whole seconds and at least 1s, not %s", d)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if clientID != "" {
		t.lifetimes[clientID] = d
		return nil
	}
	t.lifetime = d
	return nil
}

// setKnownAfter sets how long a new token is refused, as Simulator.SetTokenKnownAfter describes.
func (t *tokens) setKnownAfter(d time.Duration) error {
	if d < 0 {
		return fmt.Errorf("the time after which a token is known must not be negative, and is %s", d)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.knownAfter = d
	return nil
}

// issue issues a token to a client.
func (t *tokens) issue(clientID string, scopes []string) tokenResponse {
	second := t.behaviors.of(BehaviorSecondToken)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	g := grant{clientID: clientID, scopes: strings.Join(scopes, " "), issued: now, known: now.Add(t.knownAfter)}
	c := newClaims(t.issuer, now, cmp.Or(t.lifetimes[clientID], t.lifetime), scopes)
	switch second {
	case valueEndsFirst:
		maps.DeleteFunc(t.live.byID, func(_ string, other grant) bool { return other.isLike(g) })
	case valueEndsAll:
		maps.DeleteFunc(t.live.byID, func(_ string, other grant) bool { return other.clientID == clientID })
	case valueSame:
		if id, first, ok := t.live.like(g, now); ok {
			c = newClaims(t.issuer, first.issued, first.expires.Sub(first.issued.Truncate(time.Second)), scopes)
			c.ID, g = id, first
		}
	}
	g.expires = time.Unix(c.Expires, 0)
	t.live.add(c.ID, g, now)
	return tokenResponse{
		AccessToken: c.sign(t.key),
		TokenType:   "Bearer",
		ExpiresIn:   c.Expires - now.Unix(),
		CreatedAt:   c.Issued,
	}
}

// lookup returns the claims and the grant of a token, and false unless the token was issued here, has not
// expired and was not revoked.
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

// accept returns the claims and the grant of a token, and false if the Connect API does not accept the token
// now.
func (t *tokens) accept(token string) (claims, grant, bool) {
	c, g, ok := t.lookup(token)
	return c, g, ok && !t.now().Before(g.known)
}

// revokeAfter revokes a token. The Connect API accepts the token for some time yet.
func (t *tokens) revokeAfter(token string, delay time.Duration) {
	if delay <= 0 {
		t.revoke(token)
		return
	}
	c, _, ok := t.lookup(token)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if g, ok := t.live.byID[c.ID]; ok && !g.isRevoked {
		ends := t.now().Add(delay)
		if ends.Before(g.expires) {
			g.expires = ends
		}
		g.isRevoked = true
		t.live.byID[c.ID] = g
	}
}

// revoke revokes a token, and reports whether it was valid until now.
func (t *tokens) revoke(token string) bool {
	c, _, ok := t.lookup(token)
	if !ok {
		return false
	}
	return t.revokeWhere(func(id string, _ grant) bool { return id == c.ID }) == 1
}

// revokeClient revokes all tokens issued for a client so far, and returns how many were valid until now. The
// client may have been deleted before.
func (t *tokens) revokeClient(id string) int {
	return t.revokeWhere(func(_ string, g grant) bool { return g.clientID == id })
}

// revokeAll revokes all tokens issued so far, and returns how many were valid until now.
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
