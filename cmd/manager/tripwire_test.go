// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// moment says when, in the course of a request, the one who makes it is killed.
type moment string

const (
	// before: the request is not carried out.
	before moment = "before it is carried out"
	// unanswered: it is carried out, and nobody hears of it.
	unanswered moment = "before it is answered"
	// answered: the whole answer is on its way.
	answered moment = "after it is answered"
)

// tripwire is on the way from a manager to its servers. It counts the requests,
// and kills the manager at the one that a test has chosen.
type tripwire struct {
	mu       sync.Mutex
	requests map[string]int
	// call is the request to kill at, as in "PUT secrets/orders"; kill is nil when
	// there is none. It returns when the manager is dead.
	call   string
	moment moment
	kill   func()
	// wait returns when a request may go on; nil lets all go on at once.
	wait func(*http.Request)
}

// holdEvents has each request about an event wait until released is closed.
func (w *tripwire) holdEvents(released <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wait = func(request *http.Request) {
		if !strings.Contains(request.URL.Path, "/events") {
			return
		}
		select {
		case <-released:
		case <-request.Context().Done():
		}
	}
}

// await returns when a request may go on.
func (w *tripwire) await(request *http.Request) {
	w.mu.Lock()
	wait := w.wait
	w.mu.Unlock()
	if wait != nil {
		wait(request)
	}
}

func (w *tripwire) arm(call string, at moment, kill func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.call, w.moment, w.kill = call, at, kill
}

// disarm tells whether the manager was not killed.
func (w *tripwire) disarm() (wasArmed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	wasArmed = w.kill != nil
	w.kill = nil
	return wasArmed
}

// reset begins to count anew.
func (w *tripwire) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests = map[string]int{}
}

// counted returns the requests that were counted.
func (w *tripwire) counted() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.requests)
}

// pass counts a request, and returns how to kill if it is the chosen one. That
// happens once.
func (w *tripwire) pass(call string) (at moment, kill func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.requests == nil {
		w.requests = map[string]int{}
	}
	w.requests[call]++
	if w.kill == nil || call != w.call {
		return "", nil
	}
	kill, w.kill = w.kill, nil
	return w.moment, kill
}

// guard returns next behind the tripwire. A request is known by its method and by
// what name returns.
func (w *tripwire) guard(next http.Handler, name func(*http.Request) string) http.Handler {
	return http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		w.await(request)
		at, kill := w.pass(name(request))
		if kill == nil {
			next.ServeHTTP(response, request)
			return
		}
		switch at {
		case before:
		case unanswered:
			// It is carried out to its end, though the one who has asked dies.
			next.ServeHTTP(httptest.NewRecorder(), request.WithContext(context.WithoutCancel(request.Context())))
		case answered:
			next.ServeHTTP(response, request)
			_ = http.NewResponseController(response).Flush()
		}
		kill()
		panic(http.ErrAbortHandler)
	})
}

// toAPIServer returns the address of a way to the real API server, as its
// administrator.
func (w *tripwire) toAPIServer(t *testing.T, admin *rest.Config) string {
	t.Helper()
	transport, err := rest.TransportFor(admin)
	harness.Must(t, err)
	target, err := url.Parse(admin.Host)
	harness.Must(t, err)
	if target.Host == "" {
		target = &url.URL{Scheme: "https", Host: admin.Host}
	}
	proxy := &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1, // A watch tells at once.
		Rewrite:       func(request *httputil.ProxyRequest) { request.SetURL(target) },
		ModifyResponse: func(response *http.Response) error {
			response.Header.Add("Warning", `299 - "`+apiWarning+`"`)
			return nil
		},
		// A manager that is killed breaks its connections, and the server says nothing about it.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	server := httptest.NewServer(w.guard(proxy, callToAPIServer))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}

// apiWarning is a warning in each answer of the API server, as an admission webhook may add it. It may
// quote a Secret.
const apiWarning = "a warning that quotes the token"

// callToAPIServer names a request as in "PATCH pipedreamtokens/orders/status", and one that creates an event as in
// "POST events/orders", by the object of the event. Events are sent late: one about another object may come first.
func callToAPIServer(request *http.Request) string {
	method := request.Method
	if request.URL.Query().Has("dryRun") {
		method = "REHEARSE" // It writes nothing.
	}
	if request.URL.Query().Get("watch") == "true" {
		method = "WATCH"
	}
	_, path, ok := strings.Cut(request.URL.Path, "/namespaces/")
	if !ok {
		return method + " " + request.URL.Path
	}
	_, path, _ = strings.Cut(path, "/")
	if path == "events" && method == http.MethodPost {
		path += "/" + objectOfEvent(request)
	}
	return method + " " + path
}

// objectOfEvent returns the name of the object that the event in a request is about.
func objectOfEvent(request *http.Request) string {
	body, err := io.ReadAll(request.Body)
	request.Body = io.NopCloser(bytes.NewReader(body))
	event := &eventsv1.Event{}
	if err == nil {
		_, _, err = scheme.Codecs.UniversalDeserializer().Decode(body, nil, event)
	}
	if err != nil {
		return "" // No test waits for an event without an object, so the test that waits for this one fails.
	}
	return event.Regarding.Name
}

// callExchange is a token request.
const callExchange = "POST /v1/oauth/token"

// toPipedream returns the address of a way to Pipedream.
func (w *tripwire) toPipedream(t *testing.T, pipedream http.Handler) string {
	t.Helper()
	return harness.MustServe(t, w.guard(pipedream, func(request *http.Request) string {
		return request.Method + " " + request.URL.Path
	}))
}
