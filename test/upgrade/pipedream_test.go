//go:build upgrade

// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package upgrade_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// usualLifetime is the life of a token. It is so long that no token is due before the test ends.
const usualLifetime = time.Hour

// behaviour is how Pipedream treats the token requests of one OAuth client. The zero value is the usual way.
type behaviour struct {
	lifetime time.Duration
	delay    time.Duration
	// edit changes the JSON object of a successful answer.
	edit func(answer map[string]any)
}

// exchange is a token request that has arrived.
type exchange struct {
	client string
	at     time.Time
	// status is the HTTP status of the answer. It is 0 until the answer is sent.
	status int
}

// verification is a request that the operator has made with a token.
type verification struct {
	client string // that the token was issued to
	at     time.Time
}

// pipedream is the simulator. It also remembers which OAuth client made which request and when. Each PipedreamToken of
// the test has an OAuth client of its own, so the client says which PipedreamToken a request was made for.
type pipedream struct {
	*simulator.Simulator
	url string

	issuing sync.Mutex // held while a token with a lifetime of its own is issued

	mu            sync.Mutex
	behaviours    map[string]behaviour
	owners        map[string]string // from the token to the OAuth client
	exchanges     []*exchange
	verifications []verification
}

func newPipedream(t *testing.T) *pipedream {
	t.Helper()
	p := &pipedream{
		Simulator:  simulator.New(simulator.Options{Now: time.Now, TokenLifetime: usualLifetime}),
		behaviours: map[string]behaviour{}, owners: map[string]string{},
	}
	p.url = harness.MustServe(t, p)
	return p
}

// ServeHTTP answers the operator.
func (p *pipedream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/v1/oauth/token":
		p.exchange(w, r)
		return
	case strings.HasPrefix(r.URL.Path, "/v1/connect/"):
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		p.mu.Lock()
		p.verifications = append(p.verifications, verification{client: p.owners[token], at: time.Now()})
		p.mu.Unlock()
	}
	p.Simulator.ServeHTTP(w, r)
}

func (p *pipedream) exchange(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var request struct {
		ClientID string `json:"client_id"`
	}
	_ = json.Unmarshal(body, &request) // The simulator refuses what is no JSON.
	made := &exchange{client: request.ClientID, at: time.Now()}
	p.mu.Lock()
	p.exchanges = append(p.exchanges, made)
	how := p.behaviours[request.ClientID]
	p.mu.Unlock()
	time.Sleep(how.delay)
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer := p.answer(r, how.lifetime)
	content := answer.Body.Bytes()
	var fields map[string]any
	if answer.Code == http.StatusOK && json.Unmarshal(content, &fields) == nil {
		if how.edit != nil {
			how.edit(fields)
			content, _ = json.Marshal(fields)
		}
		token, _ := fields["access_token"].(string)
		p.mu.Lock()
		p.owners[token] = request.ClientID
		p.mu.Unlock()
	}
	p.mu.Lock()
	made.status = answer.Code
	p.mu.Unlock()
	for name, values := range answer.Header() {
		if name != "Content-Length" {
			w.Header()[name] = values
		}
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(content)
}

// answer has the simulator answer a token request. The simulator has one lifetime for all tokens.
func (p *pipedream) answer(r *http.Request, lifetime time.Duration) *httptest.ResponseRecorder {
	p.issuing.Lock()
	defer p.issuing.Unlock()
	if lifetime != 0 {
		_ = p.SetTokenLifetime(lifetime)
		defer func() { _ = p.SetTokenLifetime(usualLifetime) }()
	}
	answer := httptest.NewRecorder()
	p.Simulator.ServeHTTP(answer, r)
	return answer
}

// behave changes how Pipedream treats the token requests of an OAuth client.
func (p *pipedream) behave(client string, how behaviour) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.behaviours[client] = how
}

// exchangesOf returns the token requests of an OAuth client since a time. Without a client it returns those of all.
func (p *pipedream) exchangesOf(client string, since time.Time) []exchange {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []exchange
	for _, e := range p.exchanges {
		if (client == "" || e.client == client) && !e.at.Before(since) {
			found = append(found, *e)
		}
	}
	return found
}

// verificationsOf returns when the operator has tried tokens of an OAuth client.
func (p *pipedream) verificationsOf(client string) []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []time.Time
	for _, v := range p.verifications {
		if v.client == client {
			found = append(found, v.at)
		}
	}
	return found
}

// useApp uses the credentials of an account at its app, and returns the status of the answer.
func (p *pipedream) useApp(ctx context.Context, credentials string) int {
	request := httptest.NewRequestWithContext(ctx, http.MethodGet, "/_app/slack/me", http.NoBody)
	request.Header.Set("Authorization", "Bearer "+credentials)
	answer := httptest.NewRecorder()
	p.Simulator.ServeHTTP(answer, request)
	return answer.Code
}

// accepts tells whether a token works now: whether Pipedream knows it, and it has neither expired nor been revoked. A
// token that has no scope for the request is answered 403 and works; a token that does not work is answered 401.
func (p *pipedream) accepts(token string) bool {
	//nolint:noctx // The simulator answers within this call.
	request := httptest.NewRequest(http.MethodGet, "/v1/connect/projects", http.NoBody)
	request.Header.Set("Authorization", "Bearer "+token)
	answer := httptest.NewRecorder()
	p.Simulator.ServeHTTP(answer, request)
	return answer.Code != http.StatusUnauthorized
}
