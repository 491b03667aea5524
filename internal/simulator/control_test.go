// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

func (w *world) control(t *testing.T, method, path, body string) reply {
	t.Helper()
	return w.call(t, method, "/_sim/"+path, body, nil)
}

func TestControlOfClients(t *testing.T) {
	t.Parallel()
	for _, method := range []string{http.MethodPut, http.MethodPost} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.control(t, method, "clients/a%2Fb", `{"secret":"one"}`).wantStatus(t, http.StatusNoContent)
			w.exchange(t, "a/b", "one", "").wantStatus(t, http.StatusOK)
			w.control(t, method, "clients/a%2Fb", `{"secret":"two"}`).wantStatus(t, http.StatusNoContent)
			w.exchange(t, "a/b", "one", "").wantStatus(t, http.StatusUnauthorized)
			w.exchange(t, "a/b", "two", "").wantStatus(t, http.StatusOK)
		})
	}
}

func TestControlDeletesAClient(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		query     string
		wantAlive bool
	}{
		"and leaves its tokens":               {wantAlive: true},
		"and leaves its tokens when told to":  {query: "?revoke_tokens=false", wantAlive: true},
		"and revokes its tokens when told to": {query: "?revoke_tokens=true"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			token := w.token(t, "")
			w.control(t, http.MethodDelete, "clients/"+clientID+test.query, "").wantStatus(t, http.StatusNoContent)
			w.exchange(t, clientID, goodKey, "").wantStatus(t, http.StatusUnauthorized)
			if alive := w.alive(t, token); alive != test.wantAlive {
				t.Errorf("alive = %t, want %t", alive, test.wantAlive)
			}
		})
	}
}

func TestControlRevokes(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		body      func(token string) map[string]any
		want      string
		wantAlive bool
	}{
		"all tokens": {
			body: func(string) map[string]any { return map[string]any{"all": true} }, want: `{"revoked":2}`,
		},
		"those of a client": {
			body: func(string) map[string]any { return map[string]any{"client_id": clientID} }, want: `{"revoked":2}`,
		},
		"none of another client": {
			body: func(string) map[string]any { return map[string]any{"client_id": "other"} },
			want: `{"revoked":0}`, wantAlive: true,
		},
		"a given one": {
			body: func(token string) map[string]any { return map[string]any{"token": token} }, want: `{"revoked":1}`,
		},
		"not what is no token": {
			body: func(string) map[string]any { return map[string]any{"token": "nonsense"} },
			want: `{"revoked":0}`, wantAlive: true,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			token := w.token(t, "")
			w.token(t, "")
			got := w.control(t, http.MethodPost, "revoke", jsonOf(t, test.body(token)))
			got.wantStatus(t, http.StatusOK)
			if got.body != test.want {
				t.Errorf("body = %s, want %s", got.body, test.want)
			}
			if alive := w.alive(t, token); alive != test.wantAlive {
				t.Errorf("alive = %t, want %t", alive, test.wantAlive)
			}
		})
	}
}

func TestControlOfFaultsAndLifetime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	fault := `{"endpoint":"token","client_id":"orders","status":429,"headers":{"Retry-After":"7"},"body":"slow down",` +
		`"delay":"1ms","body_delay":"1ms","calls":1}`
	w.control(t, http.MethodPost, "faults", fault).wantStatus(t, http.StatusNoContent)
	got := w.exchange(t, clientID, goodKey, "")
	if got.status != http.StatusTooManyRequests || got.body != "slow down" || got.header.Get("Retry-After") != "7" {
		t.Errorf("answer = %+v", got)
	}
	w.control(t, http.MethodPost, "faults", `{"endpoint":"any","drop":"before-answer"}`).wantStatus(t, http.StatusNoContent)
	w.control(t, http.MethodDelete, "faults", "").wantStatus(t, http.StatusNoContent)
	w.control(t, http.MethodPut, "token-lifetime", `{"token_lifetime":"1m30s"}`).wantStatus(t, http.StatusNoContent)
	w.control(t, http.MethodPut, "token-lifetime", `{"token_lifetime":"5m","client_id":"other"}`).wantStatus(t, http.StatusNoContent)
	if got := w.exchange(t, clientID, goodKey, "").object(t)["expires_in"]; got != 90.0 {
		t.Errorf("expires_in = %v, want 90", got)
	}
	w.control(t, http.MethodPut, "token-lifetime", `{"token_lifetime":"5m","client_id":"`+clientID+`"}`).wantStatus(t, http.StatusNoContent)
	if got := w.exchange(t, clientID, goodKey, "").object(t)["expires_in"]; got != 300.0 {
		t.Errorf("with a lifetime for this client expires_in = %v, want 300", got)
	}
}

func TestControlEndsFaultsByTheirName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.control(t, http.MethodPost, "faults", `{"name":"first","endpoint":"token","status":500}`).wantStatus(t, http.StatusNoContent)
	w.control(t, http.MethodPost, "faults", `{"name":"second","endpoint":"token","status":503}`).wantStatus(t, http.StatusNoContent)
	w.control(t, http.MethodPost, "faults", `{"name":"first","endpoint":"any","status":500}`).wantStatus(t, http.StatusNoContent)
	w.control(t, http.MethodDelete, "faults?name=first", "").wantStatus(t, http.StatusNoContent)
	w.exchange(t, clientID, goodKey, "").wantStatus(t, http.StatusServiceUnavailable)
	w.control(t, http.MethodDelete, "faults?name=second", "").wantStatus(t, http.StatusNoContent)
	w.exchange(t, clientID, goodKey, "").wantStatus(t, http.StatusOK)
}

func TestControlOfTheTimeUntilTokensAreKnown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.token(t, "")
	w.control(t, http.MethodPut, "token-known-after", `{"token_known_after":"3s"}`).wantStatus(t, http.StatusNoContent)
	token, revoked := w.token(t, ""), w.token(t, "")
	if !w.alive(t, before) || w.alive(t, token) {
		t.Error("want the token from before accepted, and the new one refused")
	}
	if !w.RevokeToken(revoked) {
		t.Error("a token that is not known yet can't be revoked")
	}
	w.clock.Step(3*time.Second - 1)
	if w.alive(t, token) {
		t.Error("accepted before its time")
	}
	w.clock.Step(1)
	if !w.alive(t, token) || w.alive(t, revoked) {
		t.Error("want the token accepted after 3 s, and the revoked one refused")
	}
	w.control(t, http.MethodPut, "token-known-after", `{"token_known_after":"0s"}`).wantStatus(t, http.StatusNoContent)
	if !w.alive(t, w.token(t, "")) {
		t.Error("a new token is not known at once")
	}
}

func TestControlRefusesBadInput(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		method, path, body string
		wantStatus         int
		want               string
	}{
		"an empty secret": {
			method: http.MethodPut, path: "clients/x", body: `{"secret":""}`, want: "secret must not be empty",
		},
		"an unknown field": {
			method: http.MethodPut, path: "clients/x", body: `{"sekret":"s"}`,
			want: `send JSON like {"secret":"..."}: json: unknown field "sekret"`,
		},
		"no body":         {method: http.MethodPut, path: "clients/x", want: `send JSON like {"secret":"..."}`},
		"a second object": {method: http.MethodPut, path: "clients/x", body: `{"secret":"s"}{}`, want: "nothing after it"},
		"an unknown client to delete": {
			method: http.MethodDelete, path: "clients/x", want: `no client "x": register it`,
		},
		"an unknown parameter": {
			method: http.MethodDelete, path: "clients/orders?tokens=true", want: "the only parameter is revoke_tokens",
		},
		"a parameter of another type": {
			method: http.MethodDelete, path: "clients/orders?revoke_tokens=perhaps", want: "true or false",
		},
		"a revocation of nothing": {method: http.MethodPost, path: "revoke", body: `{}`, want: `send one of {"all":true}`},
		"a revocation of two things": {
			method: http.MethodPost, path: "revoke", body: `{"all":true,"client_id":"x"}`, want: `send only one of`,
		},
		"a revocation of text": {method: http.MethodPost, path: "revoke", body: `all`, want: "send JSON like"},
		"a fault with a number as delay": {
			method: http.MethodPost, path: "faults", body: `{"endpoint":"any","delay":5}`, want: "send JSON like",
		},
		"a fault with a delay without a unit": {
			method: http.MethodPost, path: "faults", body: `{"endpoint":"any","delay":"5"}`, want: "missing unit in duration",
		},
		"a fault that does nothing": {
			method: http.MethodPost, path: "faults", body: `{"endpoint":"any"}`, want: "does nothing",
		},
		"faults to end by what is no name": {
			method: http.MethodDelete, path: "faults?endpoint=token", want: "the only parameter is name",
		},
		"a lifetime of part of a second": {
			method: http.MethodPut, path: "token-lifetime", body: `{"token_lifetime":"1500ms"}`, want: "not 1.5s",
		},
		"no lifetime": {
			method: http.MethodPut, path: "token-lifetime", body: `{}`, want: "at least 1s, not 0s",
		},
		"a time until tokens are known that is negative": {
			method: http.MethodPut, path: "token-known-after", body: `{"token_known_after":"-1s"}`, want: "must not be negative, and is -1s",
		},
		"no time until tokens are known": {
			method: http.MethodPut, path: "token-known-after", body: `{}`, want: `send JSON like {"token_known_after":"3s"}`,
		},
		"an unknown call": {
			method: http.MethodGet, path: "counter", wantStatus: http.StatusNotFound,
			want: "there are: PUT /_sim/clients/{id}, ",
		},
		"a call with another method": {
			method: http.MethodPost, path: "counters", wantStatus: http.StatusNotFound, want: "GET /_sim/counters",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if test.wantStatus == 0 {
				test.wantStatus = http.StatusBadRequest
			}
			got := w.control(t, test.method, test.path, test.body)
			got.wantStatus(t, test.wantStatus)
			if message, _ := got.object(t)["error"].(string); !strings.Contains(message, test.want) {
				t.Errorf("error = %q, want %q in it", message, test.want)
			}
			w.exchange(t, clientID, goodKey, "").wantStatus(t, http.StatusOK)
		})
	}
}

func TestControlNeitherWaitsNorFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.add(t, simulator.Fault{Endpoint: simulator.EndpointAny, Delay: time.Hour})
	w.control(t, http.MethodGet, "counters", "").wantStatus(t, http.StatusOK)
	w.call(t, http.MethodGet, "/.well-known/jwks.json", "", nil).wantStatus(t, http.StatusOK)
}

func TestCountersTellWhatHappened(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	start := w.clock.Now()
	token := w.token(t, "connect:accounts:read")
	w.clock.Step(time.Second)
	w.exchange(t, clientID, "wrong-secret", "")
	w.exchange(t, "never-registered", "wrong-secret", "")
	w.call(t, http.MethodPost, "/v1/oauth/token", "nonsense", nil)
	w.add(t, simulator.Fault{Endpoint: simulator.EndpointToken, Status: http.StatusBadGateway, Calls: 1})
	w.exchange(t, clientID, goodKey, "")
	w.add(t, simulator.Fault{Endpoint: simulator.EndpointAccounts, Delay: time.Nanosecond, Calls: 1})
	w.use(t, accounts, token)
	w.use(t, projects, token)

	at := func(d time.Duration, id string) map[string]any {
		return map[string]any{"time": start.Add(d).Format(time.RFC3339Nano), "client_id": id}
	}
	count := func(total, accepted, refused, faulted float64) map[string]any {
		return map[string]any{"total": total, "accepted": accepted, "refused": refused, "faulted": faulted}
	}
	want := map[string]any{
		"exchanges": map[string]any{"orders": count(3, 1, 1, 1), "(unknown)": count(2, 0, 2, 0)},
		"calls": map[string]any{
			"token": count(5, 1, 3, 1), "revoke": count(0, 0, 0, 0), "accounts": count(1, 1, 0, 0),
			"users": count(0, 0, 0, 0), "projects": count(1, 0, 1, 0), "account": count(0, 0, 0, 0),
			"rest-accounts": count(0, 0, 0, 0), "rest-account": count(0, 0, 0, 0), "user": count(0, 0, 0, 0),
		},
		"faults":      2.0,
		"protocols":   map[string]any{"HTTP/1.1": 7.0},
		"connections": map[string]any{"accepted": 0.0, "open": 0.0, "forgotten": 0.0}, // httptest's own listener
		"log": []any{
			at(0, clientID), at(time.Second, clientID), at(time.Second, "(unknown)"), at(time.Second, "(unknown)"),
			at(time.Second, clientID),
		},
	}
	got := w.control(t, http.MethodGet, "counters", "")
	if diff := cmp.Diff(want, got.object(t)); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
	for _, hidden := range []string{goodKey, "wrong-secret", token} {
		if strings.Contains(got.body, hidden) {
			t.Errorf("the counters tell a credential: %s", got.body)
		}
	}
}

func TestEverythingAtOnceIsCountedOnce(t *testing.T) {
	t.Parallel()
	const callers = 20
	w := newWorld(t)
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			w.alive(t, w.token(t, ""))
			w.add(t, simulator.Fault{Endpoint: simulator.EndpointUsers, Status: http.StatusBadGateway, Calls: 1})
			w.control(t, http.MethodPost, "revoke", `{"client_id":"other"}`)
			w.control(t, http.MethodPut, "clients/"+clientID, `{"secret":"`+goodKey+`"}`)
			w.use(t, users, "")
			w.control(t, http.MethodGet, "counters", "")
		})
	}
	group.Wait()
	got := w.Counters()
	want := map[simulator.Endpoint]simulator.Count{
		"token": {Total: callers, Accepted: callers}, "accounts": {Total: callers, Accepted: callers},
		"users": {Total: callers, Faulted: callers}, "revoke": {}, "projects": {}, "account": {},
		"rest-accounts": {}, "rest-account": {}, "user": {},
	}
	if diff := cmp.Diff(want, got.Calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if got.Faults != callers || len(got.Log) != callers || w.RevokeAll() != callers {
		t.Errorf("%d faults, %d exchanges in the log, want %d of each and of live tokens", got.Faults, len(got.Log), callers)
	}
}
