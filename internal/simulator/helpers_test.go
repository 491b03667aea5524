// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

const (
	clientID = "orders"
	goodKey  = "hunter2-of-orders"
)

// A world is a simulator behind real HTTP, with one client and a clock that stands still.
type world struct {
	*simulator.Simulator
	url   string
	clock *fakeClock
	// client is the world's own: the connections of the default one are closed whenever
	// another test ends.
	client *http.Client
}

func newWorld(t *testing.T) *world {
	t.Helper()
	clock := &fakeClock{now: time.Date(2026, 3, 1, 12, 0, 0, 700_000_000, time.UTC)}
	api := simulator.New(simulator.Options{
		Now:     clock.Now,
		Clients: []simulator.Client{{ID: clientID, Secret: goodKey}},
	})
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	client := server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &world{Simulator: api, url: server.URL, clock: clock, client: client}
}

type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) Step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// A reply is a response that was read to its end.
type reply struct {
	status int
	header http.Header
	body   string
}

// try makes a call and returns what came back, or why nothing whole did.
func (w *world) try(t *testing.T, method, path, body string, headers map[string]string) (reply, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := w.client.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = response.Body.Close() }()
	read, err := io.ReadAll(response.Body)
	return reply{status: response.StatusCode, header: response.Header, body: string(read)}, err
}

func (w *world) call(t *testing.T, method, path, body string, headers map[string]string) reply {
	t.Helper()
	got, err := w.try(t, method, path, body, headers)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return got
}

func (w *world) exchange(t *testing.T, id, secret, scope string) reply {
	t.Helper()
	body := jsonOf(t, map[string]string{
		"grant_type": "client_credentials", "client_id": id, "client_secret": secret, "scope": scope,
	})
	return w.call(t, http.MethodPost, "/v1/oauth/token", body, map[string]string{"Content-Type": "application/json"})
}

// token returns a new one of the world's client.
func (w *world) token(t *testing.T, scope string) string {
	t.Helper()
	return tokenIn(t, w.exchange(t, clientID, goodKey, scope))
}

// use returns what the Connect API answers to a token.
func (w *world) use(t *testing.T, path, token string) reply {
	t.Helper()
	return w.call(t, http.MethodGet, path, "", map[string]string{
		"Authorization": "Bearer " + token, "X-Pd-Environment": "production",
	})
}

// alive tells whether a token that may see accounts is accepted.
func (w *world) alive(t *testing.T, token string) bool {
	t.Helper()
	got := w.use(t, "/v1/connect/proj_abc/accounts", token)
	if got.status != http.StatusOK && got.status != http.StatusUnauthorized {
		t.Fatalf("status = %d, want 200 or 401: %s", got.status, got.body)
	}
	return got.status == http.StatusOK
}

func (r reply) wantStatus(t *testing.T, want int) {
	t.Helper()
	if r.status != want {
		t.Fatalf("status = %d, want %d: %s", r.status, want, r.body)
	}
}

func (r reply) wantHeader(t *testing.T, name, want string) {
	t.Helper()
	if got := r.header.Get(name); got != want {
		t.Errorf("%s = %q, want %q", name, got, want)
	}
}

func (r reply) object(t *testing.T) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal([]byte(r.body), &out); err != nil {
		t.Fatalf("%q: %v", r.body, err)
	}
	return out
}

func tokenIn(t *testing.T, r reply) string {
	t.Helper()
	r.wantStatus(t, http.StatusOK)
	token, ok := r.object(t)["access_token"].(string)
	if !ok {
		t.Fatal("no access_token in the answer")
	}
	return token
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// with returns a copy of the headers with one more.
func with(headers map[string]string, name, value string) map[string]string {
	out := maps.Clone(headers)
	out[name] = value
	return out
}
