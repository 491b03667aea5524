// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"maps"
	"net/http"
	"strings"
	"sync"
)

// Wire is the way of a client to an API server: it counts the requests that pass, and a test may have
// requests fail, or answer them itself. The zero value lets everything pass.
type Wire struct {
	mu       sync.Mutex
	requests map[string]int
	respond  Responder
}

// Responder may answer a request in place of the API server. The call is a method, a space and a
// resource, such as "PUT secrets" or "PATCH pipedreamtokens/status". forward sends the request to the API
// server and returns its answer, which a Responder may also drop.
type Responder func(call string, request *http.Request, forward func() (*http.Response, error)) (*http.Response, error)

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

// Wrap returns a transport that goes through the Wire, for rest.Config.Wrap.
func (w *Wire) Wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		call := request.Method + " " + resourceOf(request.URL.Path)
		w.mu.Lock()
		if call != "GET discovery" {
			if w.requests == nil {
				w.requests = map[string]int{}
			}
			w.requests[call]++
		}
		respond := w.respond
		w.mu.Unlock()
		forward := func() (*http.Response, error) { return next.RoundTrip(request) }
		if respond == nil {
			return forward()
		}
		return respond(call, request, forward)
	})
}

// Respond has the requests answered by a Responder; nil lets all of them pass again.
func (w *Wire) Respond(respond Responder) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.respond = respond
}

// Requests returns how many requests have passed since the last Reset, by their calls. Requests that only
// ask which kinds there are do not count.
func (w *Wire) Requests() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.requests)
}

// Reset begins to count anew.
func (w *Wire) Reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests = map[string]int{}
}

// resourceOf returns the resource and subresource of a path of the API server.
func resourceOf(path string) string {
	_, rest, ok := strings.Cut(path, "/namespaces/")
	if !ok {
		return "discovery"
	}
	parts := strings.Split(rest, "/")
	if len(parts) == 4 {
		return parts[1] + "/" + parts[3]
	}
	return parts[min(1, len(parts)-1)]
}
