// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

func TestAFaultReplacesTheAnswer(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fault           simulator.Fault
		wantContentType string
	}{
		"with an error that says when to come back": {
			fault: simulator.Fault{
				Status: http.StatusTooManyRequests, Body: `{"error":"Throttled"}`,
				Headers: map[string]string{"Retry-After": "7"},
			},
			wantContentType: "application/json; charset=utf-8",
		},
		"with an empty one, as of a load balancer": {
			fault: simulator.Fault{Status: http.StatusTooManyRequests, Headers: map[string]string{"Server": "awselb/2.0"}},
		},
		"with a success that is a web page": {
			fault: simulator.Fault{
				Status: http.StatusOK, Body: "<html>sign in</html>", Headers: map[string]string{"Content-Type": "text/html"},
			},
			wantContentType: "text/html",
		},
		"with a success of wrong types": {
			fault: simulator.Fault{
				Status: http.StatusOK, Body: `{"access_token":"x","expires_in":"soon"}`, BodyDelay: time.Nanosecond,
			},
			wantContentType: "application/json; charset=utf-8",
		},
		"with a redirect": {
			fault: simulator.Fault{
				Status: http.StatusTemporaryRedirect, Headers: map[string]string{"Location": "https://elsewhere.example"},
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			test.fault.Endpoint = simulator.EndpointToken
			w.add(t, test.fault)
			got := w.exchange(t, clientID, goodKey, "")
			got.wantStatus(t, test.fault.Status)
			if got.body != test.fault.Body {
				t.Errorf("body = %q, want %q", got.body, test.fault.Body)
			}
			for name, want := range test.fault.Headers {
				got.wantHeader(t, name, want)
			}
			got.wantHeader(t, "Content-Type", test.wantContentType)
			want := simulator.Count{Total: 1, Faulted: 1}
			if diff := cmp.Diff(want, w.Counters().Exchanges[clientID]); diff != "" {
				t.Errorf("count (-want +got):\n%s", diff)
			}
		})
	}
}

func (w *world) add(t *testing.T, f simulator.Fault) {
	t.Helper()
	if err := w.AddFault(f); err != nil {
		t.Fatal(err)
	}
}

func TestAFaultHappens(t *testing.T) {
	t.Parallel()
	const down, ok, refused = http.StatusServiceUnavailable, http.StatusOK, http.StatusUnauthorized
	fault := func(e simulator.Endpoint, id string, status, calls int) simulator.Fault {
		return simulator.Fault{Endpoint: e, ClientID: id, Status: status, Calls: calls}
	}
	tests := map[string]struct {
		faults []simulator.Fault
		want   []int // the answers to exchange, exchange, exchange, probe
	}{
		"to the next calls, as many as it says": {
			faults: []simulator.Fault{fault("token", "", down, 2)}, want: []int{down, down, ok, ok},
		},
		"until it is cleared": {
			faults: []simulator.Fault{fault("token", "", down, 0)}, want: []int{down, down, down, ok},
		},
		"after the one added before it": {
			faults: []simulator.Fault{fault("token", "", down, 1), fault("token", "", refused, 1)},
			want:   []int{down, refused, ok, ok},
		},
		"wherever the calls go": {
			faults: []simulator.Fault{fault("any", "", down, 0)}, want: []int{down, down, down, down},
		},
		"at its own endpoint only": {
			faults: []simulator.Fault{fault("accounts", "", down, 0)}, want: []int{ok, ok, ok, down},
		},
		"to the client that it names": {
			faults: []simulator.Fault{fault("any", clientID, down, 0)}, want: []int{down, down, down, down},
		},
		"to no other client": {
			faults: []simulator.Fault{fault("any", "other", down, 0)}, want: []int{ok, ok, ok, ok},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			token := w.token(t, "")
			for _, f := range test.faults {
				w.add(t, f)
			}
			var got []int
			for range 3 {
				got = append(got, w.exchange(t, clientID, goodKey, "").status)
			}
			got = append(got, w.use(t, accounts, token).status)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("answers (-want +got):\n%s", diff)
			}
			w.ClearFaults()
			w.exchange(t, clientID, goodKey, "").wantStatus(t, ok)
		})
	}
}

func TestADroppedConnection(t *testing.T) {
	t.Parallel()
	const page = "a page that is never seen whole"
	tests := map[string]struct {
		fault    simulator.Fault
		wantBody string
		want     simulator.Count
	}{
		"before the answer leaves nothing": {
			fault: simulator.Fault{Drop: simulator.DropBeforeAnswer},
			want:  simulator.Count{Total: 1, Faulted: 1},
		},
		"within a replaced answer leaves half of it": {
			fault:    simulator.Fault{Drop: simulator.DropMidBody, Status: http.StatusOK, Body: page},
			wantBody: page[:len(page)/2],
			want:     simulator.Count{Total: 1, Faulted: 1},
		},
		"within the usual answer loses a token that was issued": {
			fault:    simulator.Fault{Drop: simulator.DropMidBody},
			wantBody: `{"access_token":"ey`,
			want:     simulator.Count{Total: 1, Accepted: 1},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			test.fault.Endpoint = simulator.EndpointToken
			w.add(t, test.fault)
			body := `{"grant_type":"client_credentials","client_id":"orders","client_secret":"` + goodKey + `"}`
			got, err := w.try(t, http.MethodPost, "/v1/oauth/token", body,
				map[string]string{"Content-Type": "application/json"})
			if err == nil {
				t.Fatalf("a whole answer came: %s", got.body)
			}
			if !strings.HasPrefix(got.body, test.wantBody) || got.body != "" && test.wantBody == "" {
				t.Errorf("body = %q, want it to start with %q", got.body, test.wantBody)
			}
			if diff := cmp.Diff(test.want, w.Counters().Exchanges[clientID]); diff != "" {
				t.Errorf("count (-want +got):\n%s", diff)
			}
			if live := w.RevokeAll(); live != test.want.Accepted {
				t.Errorf("%d tokens were issued, want %d", live, test.want.Accepted)
			}
		})
	}
}

func TestASlowBodyShowsItsHeadersAndItsFirstHalf(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.add(t, simulator.Fault{
		Endpoint: simulator.EndpointProjects, Status: http.StatusOK, Body: "12345678", BodyDelay: time.Hour,
	})
	ctx, hangUp := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+projects, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := w.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	half := make([]byte, 4)
	if _, err := io.ReadFull(response.Body, half); err != nil || string(half) != "1234" {
		t.Fatalf("first half = %q: %v", half, err)
	}
	hangUp() // else the server would not stop within the hour
}

func TestDelaysLastAsLongAsTheySay(t *testing.T) {
	t.Parallel()
	const latency, delay, bodyDelay = time.Second, 3 * time.Second, 5 * time.Second
	const all = latency + delay + bodyDelay
	tests := map[string]struct {
		patience  time.Duration
		wantWhole bool
	}{
		"a patient caller is answered":            {patience: all + time.Millisecond, wantWhole: true},
		"one who leaves before the end is not":    {patience: all - time.Millisecond},
		"one who leaves before the answer is not": {patience: latency + delay - time.Millisecond},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				clock := &fakeClock{}
				api := simulator.New(simulator.Options{Now: clock.Now, Latency: latency})
				fault := simulator.Fault{
					Endpoint: "projects", Status: http.StatusOK, Body: "whole", Delay: delay, BodyDelay: bodyDelay,
				}
				if err := api.AddFault(fault); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), test.patience)
				defer cancel()
				recorder := httptest.NewRecorder()
				aborted := serve(api, recorder, httptest.NewRequestWithContext(ctx, http.MethodGet, projects, http.NoBody))
				if whole := recorder.Body.String() == "whole"; whole != test.wantWhole || aborted == test.wantWhole {
					t.Errorf("body = %q, aborted = %t", recorder.Body, aborted)
				}
			})
		})
	}
}

// serve reports whether the handler aborted the connection.
func serve(h http.Handler, w http.ResponseWriter, r *http.Request) (aborted bool) {
	defer func() {
		err, _ := recover().(error)
		aborted = errors.Is(err, http.ErrAbortHandler)
	}()
	h.ServeHTTP(w, r)
	return false
}

func TestAFaultThatMakesNoSenseIsRefused(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fault simulator.Fault
		want  string
	}{
		"without an endpoint":      {simulator.Fault{Status: 500}, `endpoint must be one of ["token"`},
		"at an unknown endpoint":   {simulator.Fault{Endpoint: "x", Status: 500}, `not "x"`},
		"with an unknown drop":     {simulator.Fault{Endpoint: "any", Drop: "x"}, `drop must be one of ["before-answer"`},
		"with a status too low":    {simulator.Fault{Endpoint: "any", Status: 100}, "status must be from 200 to 599"},
		"with a status too high":   {simulator.Fault{Endpoint: "any", Status: 600}, "status must be from 200 to 599"},
		"with a negative delay":    {simulator.Fault{Endpoint: "any", Delay: -1}, "must not be negative"},
		"with a negative slowness": {simulator.Fault{Endpoint: "any", BodyDelay: -1}, "must not be negative"},
		"for a negative number of calls": {
			simulator.Fault{Endpoint: "any", Status: 500, Calls: -1}, "calls must not be negative",
		},
		"with a body for the usual answer": {simulator.Fault{Endpoint: "any", Body: "x"}, "body needs a status"},
		"with a body where none can be": {
			simulator.Fault{Endpoint: "any", Status: 204, Body: "x"}, "status 204 has no body",
		},
		"with nothing to cut": {
			simulator.Fault{Endpoint: "any", Status: 500, Drop: simulator.DropMidBody}, "no body to slow or cut",
		},
		"with nothing to do": {simulator.Fault{Endpoint: "any"}, "does nothing"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			err := w.AddFault(test.fault)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error = %v, want %q in it", err, test.want)
			}
			w.exchange(t, clientID, goodKey, "").wantStatus(t, http.StatusOK)
		})
	}
}
