// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package simulator imitates the part of Pipedream's API that has to do with access tokens, as an http.Handler.
//
// It issues signed tokens for registered OAuth clients, checks them on a few endpoints of the Connect API, and can be
// told to fail: by [Simulator] and its parts, or over HTTP below /_sim/. Where Pipedream's documentation is silent
// about an answer, it gives the one that RFC 6749 and RFC 7009 prescribe.
//
// The types oauth and connect answer the calls of the imitated API. Each lists its calls in a method "endpoints". The types
// clients and tokens hold the state that oauth and connect share. The type calls serves all calls of the API, with the
// latency, the faults and the counters. The type control serves /_sim/. To add a part of the API, add its state and its
// endpoints in New, and its control calls in newControl.
//
// Each type that has state has a lock of its own. No method calls another of these types while it holds its lock.
//
// Secrets and tokens are never written to a log and never answered by the control calls.
package simulator

import (
	"cmp"
	"net/http"
	"time"
)

const (
	// DefaultTokenLifetime is how long a token lives when Options does not say.
	DefaultTokenLifetime = time.Hour
	// DefaultIssuer is the "iss" claim of a token when Options does not say.
	DefaultIssuer = "https://api.pipedream.com"
)

// Client is an OAuth client that may exchange its credentials for tokens.
type Client struct {
	ID     string
	Secret string
	// Scopes are the only ones that it may have. None is all.
	Scopes []string
}

// Options are what a Simulator starts with.
type Options struct {
	// Now tells the time by which tokens are issued and expire. Required; safe for concurrent use.
	Now func() time.Time
	// TokenLifetime is that of tokens issued from the start: whole seconds, at least one. 0 is DefaultTokenLifetime.
	TokenLifetime time.Duration
	// Latency passes, in real time, before each answer but those of /_sim/ and of the public keys.
	Latency time.Duration
	// Clients are registered from the start. None is allowed: see SetClient.
	Clients []Client
	// ScopeAnswer says which scopes are granted, and how the answer names them. Empty is ScopeAbsent.
	ScopeAnswer ScopeAnswer
	// Issuer is the "iss" claim of tokens. Empty is DefaultIssuer.
	Issuer string
}

// Simulator is a Pipedream API in memory. It is made by New and safe for concurrent use.
//
// It stays bounded however long it runs: expired tokens are forgotten, and the log in Counters keeps the latest.
type Simulator struct {
	// TLS is off at the start. Serve speaks TLS once it was enabled.
	TLS TLS
	// Connections are the connections that calls come by, if the Simulator is served by Serve or on
	// Connections.Listener.
	Connections Connections

	mux      *http.ServeMux
	clients  *clients
	tokens   *tokens
	oauth    *oauth
	faults   *faults
	counters *counters
}

// New returns a Simulator with a signing key of its own: no other Simulator accepts its tokens.
// It panics when Options.Now is missing, or when SetTokenLifetime, SetClient, SetClientScopes or SetScopeAnswer would
// refuse what Options say.
func New(o Options) *Simulator {
	if o.Now == nil {
		panic("simulator: Options.Now is required")
	}
	s := &Simulator{mux: http.NewServeMux(), faults: &faults{}, counters: newCounters(o.Now)}
	s.clients = newClients(s.counters)
	var err error
	s.tokens, err = newTokens(o.Now, cmp.Or(o.Issuer, DefaultIssuer), cmp.Or(o.TokenLifetime, DefaultTokenLifetime))
	must(err)
	s.oauth, err = newOAuth(s.clients, s.tokens, cmp.Or(o.ScopeAnswer, ScopeAbsent))
	must(err)
	for _, c := range o.Clients {
		must(s.SetClient(c.ID, c.Secret))
		must(s.SetClientScopes(c.ID, c.Scopes))
	}
	api := &calls{latency: o.Latency, faults: s.faults, counters: s.counters}
	api.serve(s.mux, s.oauth.endpoints())
	api.serve(s.mux, (&connect{tokens: s.tokens}).endpoints())
	s.mux.HandleFunc("GET /.well-known/jwks.json", s.tokens.keys)
	newControl(s).serve(s.mux)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		notFound().send(w, r, Fault{})
	})
	return s
}

// ServeHTTP answers as Pipedream would, or as a fault says, or a control call below /_sim/.
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mux.ServeHTTP(w, r)
}

// SetClient registers a client, or replaces the secret of one: the old secret is refused from then on, and tokens
// issued for it stay good. It fails when the ID or the secret is empty.
func (s *Simulator) SetClient(id, secret string) error { return s.clients.set(id, secret) }

// SetClientScopes lets a client have these scopes only, from the next exchange on; with none it may have all. Of the
// scopes that are asked for, an exchange then grants those that the client may have, and is refused when it may have
// none of them. It fails when there is no such client, or when a scope is not one that Pipedream is known to grant.
func (s *Simulator) SetClientScopes(id string, scopes []string) error {
	return s.clients.setScopes(id, scopes)
}

// DeleteClient makes a client unknown and reports whether it was known. Tokens issued for it stay good: RevokeClient
// ends them, before or after.
func (s *Simulator) DeleteClient(id string) bool { return s.clients.remove(id) }

// SetTokenLifetime changes the lifetime of the tokens issued from now on: whole seconds, at least one.
func (s *Simulator) SetTokenLifetime(d time.Duration) error { return s.tokens.setLifetime(d) }

// SetTokenKnownAfter changes how long after its issue a token is accepted, for the tokens issued from now on. Until then
// each call with the token is answered 401. 0, the default, means at once. It must not be negative.
func (s *Simulator) SetTokenKnownAfter(d time.Duration) error { return s.tokens.setKnownAfter(d) }

// SetScopeAnswer changes how exchanges are answered from now on. It fails when there is no such way.
func (s *Simulator) SetScopeAnswer(way ScopeAnswer) error { return s.oauth.setScopeAnswer(way) }

// RevokeToken ends one token and reports whether it was good until now.
func (s *Simulator) RevokeToken(token string) bool { return s.tokens.revoke(token) }

// RevokeClient ends the tokens issued for a client so far, registered still or not, and returns how many were good
// until now.
func (s *Simulator) RevokeClient(id string) int { return s.tokens.revokeClient(id) }

// RevokeAll ends all tokens issued so far and returns how many were good until now.
func (s *Simulator) RevokeAll() int { return s.tokens.revokeAll() }

// AddFault scripts a fault. Of several that match a call the one added first happens.
// It fails when the fault contradicts itself or would do nothing, and says what to change.
func (s *Simulator) AddFault(f Fault) error { return s.faults.add(f) }

// ClearFaults ends all faults, save for the calls that they are happening to.
func (s *Simulator) ClearFaults() { s.faults.clear() }

// Counters returns a copy of what was counted so far.
func (s *Simulator) Counters() Counters {
	counted := s.counters.counted()
	counted.Connections = s.Connections.counted()
	return counted
}

func must(err error) {
	if err != nil {
		panic("simulator: " + err.Error())
	}
}
