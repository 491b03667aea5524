// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package simulator has an http.Handler that imitates the part of Pipedream's API for access tokens and for
// connected accounts.
//
// The simulator issues signed tokens for registered OAuth clients, and checks them on a few endpoints of the
// Connect API. On a few endpoints of the REST API, it checks the API keys of users. It also imitates the apps that accounts are connected to, below /_app/. Tests can make it fail
// with the methods of [Simulator] and its parts, or over HTTP below /_sim/. If Pipedream's documentation does
// not describe an answer, the simulator follows RFC 6749 and RFC 7009, unless [Simulator.SetBehavior] or
// [Accounts.SetAnswers] chooses another answer.
//
// The types oauth, connect and rest answer the calls of the imitated API. Each lists its calls in a method
// "endpoints". The types clients and tokens hold the state that they share. Accounts holds the accounts: accountAPI
// answers the calls of the Connect API for them, and rest the calls with the API keys of Users. The type calls serves
// all calls of the API, with the latency, the faults and the counters. The type control serves /_sim/. To add a part of
// the API, add its state and its endpoints in New, and its control calls in newControl.
//
// Each type with state has its own lock. A method that holds its lock calls no method of another type with a
// lock.
//
// The simulator never writes secrets or tokens to a log, and the control calls never return them.
package simulator

import (
	"cmp"
	"net/http"
	"time"
)

const (
	// DefaultTokenLifetime is the lifetime of a token if Options sets none.
	DefaultTokenLifetime = time.Hour
	// DefaultIssuer is the "iss" claim of a token if Options sets none.
	DefaultIssuer = "https://api.pipedream.com"
)

// Client is an OAuth client that may exchange its credentials for tokens.
type Client struct {
	ID     string
	Secret string
	// Scopes are the scopes that the client may have. An empty list means all scopes.
	Scopes []string
}

// Options configure a Simulator.
type Options struct {
	// Now returns the current time, by which the simulator issues tokens and lets them expire. Required. Now
	// must be safe for concurrent use.
	Now func() time.Time
	// TokenLifetime is the lifetime of tokens, in whole seconds, at least one. 0 means DefaultTokenLifetime.
	// SetTokenLifetime changes it.
	TokenLifetime time.Duration
	// Latency is the wait in real time before each answer, except for answers of /_sim/ and of the public
	// keys.
	Latency time.Duration
	// Clients are registered at the start. The list may be empty: SetClient registers more clients.
	Clients []Client
	// ScopeAnswer says which scopes are granted, and how the answer names them. Empty means ScopeAbsent.
	ScopeAnswer ScopeAnswer
	// Issuer is the "iss" claim of tokens. Empty means DefaultIssuer.
	Issuer string
}

// Simulator is a Pipedream API in memory. Use New to make one. It is safe for concurrent use.
//
// Its memory is bounded however long it runs: it forgets expired tokens, and the log in Counters keeps only
// the latest MaxLog exchanges.
type Simulator struct {
	// TLS is off at the start. Serve uses TLS if TLS.Enable was called before.
	TLS TLS
	// Connections are the connections of the calls, if the Simulator is served by Serve or on a listener from
	// Connections.Listener.
	Connections Connections
	// Accounts are the connected accounts. There are none at the start.
	Accounts *Accounts
	// Users are the users of Pipedream with their API keys. There are none at the start.
	Users *Users

	mux       *http.ServeMux
	now       func() time.Time
	clients   *clients
	tokens    *tokens
	oauth     *oauth
	behaviors *behaviors
	faults    *faults
	counters  *counters
}

// New returns a Simulator with its own signing key: no other Simulator accepts its tokens. It panics if
// Options.Now is missing, or if SetTokenLifetime, SetClient, SetClientScopes or SetScopeAnswer would refuse
// the values in Options.
func New(o Options) *Simulator {
	if o.Now == nil {
		panic("simulator: Options.Now is required")
	}
	s := &Simulator{mux: http.NewServeMux(), now: o.Now, behaviors: &behaviors{}, faults: &faults{}, counters: newCounters(o.Now)}
	s.clients = newClients(s.counters)
	s.Accounts, s.Users = newAccounts(o.Now), newUsers(o.Now)
	var err error
	s.tokens, err = newTokens(o.Now, cmp.Or(o.Issuer, DefaultIssuer), cmp.Or(o.TokenLifetime, DefaultTokenLifetime), s.behaviors)
	must(err)
	s.oauth, err = newOAuth(s.clients, s.tokens, s.behaviors, cmp.Or(o.ScopeAnswer, ScopeAbsent))
	must(err)
	for _, c := range o.Clients {
		must(s.SetClient(c.ID, c.Secret))
		must(s.SetClientScopes(c.ID, c.Scopes))
	}
	api := &calls{latency: o.Latency, faults: s.faults, counters: s.counters}
	api.serve(s.mux, s.oauth.endpoints())
	accounts := &accountAPI{accounts: s.Accounts}
	api.serve(s.mux, (&connect{tokens: s.tokens, behaviors: s.behaviors, accounts: accounts}).endpoints())
	api.serve(s.mux, (&rest{tokens: s.tokens, behaviors: s.behaviors, accounts: s.Accounts, users: s.Users}).endpoints())
	s.mux.HandleFunc("GET /_app/{slug}/me", accounts.me)
	s.mux.HandleFunc("GET /.well-known/jwks.json", s.tokens.keys)
	newControl(s).serve(s.mux)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		notFound().send(w, r, Fault{})
	})
	return s
}

// ServeHTTP answers a call as Pipedream does, or as a fault says. It also answers the control calls below
// /_sim/. The Date of an answer is by the clock in Options, and by BehaviorDateSkew.
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	skew := s.behaviors.durationOf(BehaviorDateSkew)
	if skew != 0 || w.Header().Get("Date") == "" { // A server in front may have another clock.
		w.Header().Set("Date", s.now().Add(skew).UTC().Format(http.TimeFormat))
	}
	s.mux.ServeHTTP(w, r)
}

// SetClient registers a client, or replaces the secret of a registered client. From then on the simulator
// refuses the old secret. Tokens issued for the old secret stay valid. SetClient returns an error if the ID
// or the secret is empty.
func (s *Simulator) SetClient(id, secret string) error { return s.clients.set(id, secret) }

// SetClientScopes limits the scopes of a client, from the next exchange on. An empty list removes the limit.
// An exchange then grants the requested scopes that the client may have. The simulator refuses the exchange
// if the client may have none of them. SetClientScopes returns an error if the client is unknown, or if
// Pipedream is not known to grant a scope.
func (s *Simulator) SetClientScopes(id string, scopes []string) error {
	return s.clients.setScopes(id, scopes)
}

// DeleteClient deletes a client, and reports whether it was registered. The client's tokens stay valid.
// RevokeClient revokes them, before or after DeleteClient.
func (s *Simulator) DeleteClient(id string) bool { return s.clients.remove(id) }

// SetTokenLifetime changes the lifetime of the tokens issued from now on. It must be whole seconds, at least
// one.
func (s *Simulator) SetTokenLifetime(d time.Duration) error { return s.tokens.setLifetime("", d) }

// SetTokenKnownAfter sets how long the Connect API refuses a new token after its issue, for the tokens issued
// from now on. Until that time has passed, each call with the token is answered 401. 0, the default, means
// that the token is accepted at once. The time must not be negative.
func (s *Simulator) SetTokenKnownAfter(d time.Duration) error { return s.tokens.setKnownAfter(d) }

// SetScopeAnswer changes the ScopeAnswer for exchanges from now on. It returns an error if way is unknown.
func (s *Simulator) SetScopeAnswer(way ScopeAnswer) error { return s.oauth.setScopeAnswer(way) }

// SetBehavior changes how the simulator answers where Pipedream's documentation says nothing, from now on. The
// keys of changes are names of behaviors. The other behaviors stay as they are. If a name or a value is
// unknown, SetBehavior returns an error and changes nothing.
func (s *Simulator) SetBehavior(changes map[string]string) error { return s.behaviors.set(changes) }

// RevokeToken revokes a token, and reports whether it was valid until now.
func (s *Simulator) RevokeToken(token string) bool { return s.tokens.revoke(token) }

// RevokeClient revokes all tokens issued for a client so far, and returns how many were valid until now. The
// client may have been deleted before.
func (s *Simulator) RevokeClient(id string) int { return s.tokens.revokeClient(id) }

// RevokeAll revokes all tokens issued so far, and returns how many were valid until now.
func (s *Simulator) RevokeAll() int { return s.tokens.revokeAll() }

// AddFault adds a fault. If several faults match a call, the fault that was added first applies.
// AddFault returns an error that says what to change if the fault contradicts itself or would have no effect.
func (s *Simulator) AddFault(f Fault) error { return s.faults.add(f) }

// ClearFaults ends all faults. Calls that already have a fault keep it.
func (s *Simulator) ClearFaults() { s.faults.clear() }

// Counters returns a copy of the current counts.
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
