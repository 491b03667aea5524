// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package simulator imitates the part of Pipedream's API that has to do with access tokens, as an http.Handler.
//
// It issues signed tokens for registered OAuth clients, checks them on a few endpoints of the Connect API, and can be
// told to fail: by the methods of [Simulator], or over HTTP below /_sim/. Where Pipedream's documentation is silent
// about an answer, it gives the one that RFC 6749 and RFC 7009 prescribe.
//
// Secrets and tokens are never written to a log and never answered by the control calls.
package simulator

import (
	"cmp"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// DefaultTokenLifetime is how long a token lives when Options does not say.
	DefaultTokenLifetime = time.Hour
	// DefaultIssuer is the "iss" claim of a token when Options does not say.
	DefaultIssuer = "https://api.pipedream.com"

	maxBody = 64 << 10
)

// Endpoint names a part of the imitated API, in faults and in counters.
type Endpoint string

// The endpoints that can fail on demand and are counted.
const (
	EndpointToken    Endpoint = "token"    // POST /v1/oauth/token
	EndpointRevoke   Endpoint = "revoke"   // POST /v1/oauth/revoke
	EndpointAccounts Endpoint = "accounts" // GET /v1/connect/{project_id}/accounts
	EndpointUsers    Endpoint = "users"    // GET /v1/connect/{project_id}/users
	EndpointProjects Endpoint = "projects" // GET /v1/connect/projects
	EndpointAny      Endpoint = "any"      // in a fault: each of them
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
	now     func() time.Time
	issuer  string
	latency time.Duration
	key     ed25519.PrivateKey
	mux     *http.ServeMux

	connections connections
	identity    identity

	mu         sync.Mutex
	lifetime   time.Duration
	knownAfter time.Duration
	secrets    map[string]digest
	// allowed are the scopes that a client may have, if not all.
	allowed     map[string][]string
	scopeAnswer ScopeAnswer
	live        liveTokens
	faults      []Fault
	counters    counters
}

// New returns a Simulator with a signing key of its own: no other Simulator accepts its tokens.
// It panics when Options.Now is missing, or when SetTokenLifetime, SetClient, SetClientScopes or SetScopeAnswer would
// refuse what Options say.
func New(o Options) *Simulator {
	if o.Now == nil {
		panic("simulator: Options.Now is required")
	}
	if o.TokenLifetime == 0 {
		o.TokenLifetime = DefaultTokenLifetime
	}
	if o.Issuer == "" {
		o.Issuer = DefaultIssuer
	}
	s := &Simulator{
		now:      o.Now,
		issuer:   o.Issuer,
		latency:  o.Latency,
		key:      newKey(),
		mux:      http.NewServeMux(),
		secrets:  map[string]digest{},
		allowed:  map[string][]string{},
		live:     liveTokens{byID: map[string]grant{}},
		counters: newCounters(),
	}
	must(s.SetTokenLifetime(o.TokenLifetime))
	must(s.SetScopeAnswer(cmp.Or(o.ScopeAnswer, ScopeAbsent)))
	for _, c := range o.Clients {
		must(s.SetClient(c.ID, c.Secret))
		must(s.SetClientScopes(c.ID, c.Scopes))
	}
	s.route()
	return s
}

// ServeHTTP answers as Pipedream would, or as a fault says, or a control call below /_sim/.
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mux.ServeHTTP(w, r)
}

func (s *Simulator) route() {
	s.handle("/v1/oauth/token", EndpointToken, http.MethodPost, s.exchange)
	s.handle("/v1/oauth/revoke", EndpointRevoke, http.MethodPost, s.revoke)
	s.handle("/v1/connect/{project_id}/accounts", EndpointAccounts, http.MethodGet, s.list("connect:accounts:read", inProject))
	s.handle("/v1/connect/{project_id}/users", EndpointUsers, http.MethodGet, s.list("connect:users:read", inProject))
	s.handle("/v1/connect/projects", EndpointProjects, http.MethodGet, s.list("connect:projects:read", anywhere))
	s.mux.HandleFunc("GET /.well-known/jwks.json", s.keys)
	s.routeControl()
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		notFound().send(w, r, Fault{})
	})
}

// A handler answers one call, whose body has been read already.
type handler func(r *http.Request, body []byte) answer

// handle serves a counted endpoint, on which faults work.
func (s *Simulator) handle(path string, e Endpoint, method string, next handler) {
	s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, maxBody)) // what is cut off is malformed, and refused as such
		s.countProtocol(r.Proto)
		c := s.arrive(e, s.clientOf(e, r, body))
		if wait(r.Context(), s.latency+c.fault.Delay) != nil {
			panic(http.ErrAbortHandler)
		}
		if c.fault.Drop == DropBeforeAnswer {
			s.settle(c, 0)
			panic(http.ErrAbortHandler)
		}
		var a answer
		switch {
		case c.fault.Status != 0:
			a = c.fault.answer()
		case r.Method != method:
			a = methodNotAllowed(method)
		default:
			a = next(r, body)
		}
		s.settle(c, a.status)
		a.send(w, r, c.fault)
	})
}

// clientOf tells which client a call is made for, without believing it. Empty when the call does not tell.
func (s *Simulator) clientOf(e Endpoint, r *http.Request, body []byte) string {
	if e != EndpointToken && e != EndpointRevoke {
		_, g, _ := s.authorize(r)
		return g.clientID
	}
	var in oauthRequest
	if json.Unmarshal(body, &in) != nil {
		return ""
	}
	return in.ClientID
}

func newKey() ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	_, _ = rand.Read(seed) // never fails
	return ed25519.NewKeyFromSeed(seed)
}

func must(err error) {
	if err != nil {
		panic("simulator: " + err.Error())
	}
}
