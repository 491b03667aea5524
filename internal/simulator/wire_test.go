// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// newTLSWorld returns a world whose simulator speaks TLS with HTTP/2, and writes its CA to a file.
func newTLSWorld(t *testing.T) (w *world, caFile string) {
	t.Helper()
	w = newWorld(t)
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := w.TLS.Enable([]string{"localhost", "127.0.0.1"}, caFile); err != nil {
		t.Fatal(err)
	}
	w.url = "https://" + serveUntilTheEnd(t, w.Simulator)
	w.client = trusting(t, w.TLS.CA())
	return w, caFile
}

// serveUntilTheEnd serves the simulator until the test ends, and returns the address.
func serveUntilTheEnd(t *testing.T, api *simulator.Simulator) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- api.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("the simulator ended with %v", err)
		}
	})
	return listener.Addr().String()
}

// trusting returns a client that keeps connections, and trusts in a CA.
func trusting(t *testing.T, ca []byte) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		t.Fatalf("%q is no certificate", ca)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestItSpeaksTLSWithHTTP2(t *testing.T) {
	t.Parallel()
	w, caFile := newTLSWorld(t)
	w.token(t, "*")
	if got := w.Counters(); got.Protocols["HTTP/2.0"] != 1 || len(got.Protocols) != 1 || got.Connections.Accepted != 1 {
		t.Errorf("it counts the calls %v and the connections %+v, want one call by HTTP/2.0 on one connection", got.Protocols, got.Connections)
	}
	written, err := os.ReadFile(caFile)
	if err != nil || string(written) != string(w.TLS.CA()) {
		t.Errorf("the CA's file holds %q (%v), want %q", written, err, w.TLS.CA())
	}
}

func TestTheCAIsRotated(t *testing.T) {
	t.Parallel()
	w, caFile := newTLSWorld(t)
	old := w.client
	w.token(t, "*")
	answer := w.call(t, http.MethodPost, "/_sim/rotate-ca", "", nil)
	var rotated struct{ CA string }
	if err := json.Unmarshal([]byte(answer.body), &rotated); err != nil || rotated.CA != string(w.TLS.CA()) {
		t.Errorf("it answers %d %q, want the new CA", answer.status, answer.body)
	}
	if written, _ := os.ReadFile(caFile); string(written) != rotated.CA {
		t.Errorf("the CA's file holds %q, want the new CA", written)
	}
	w.token(t, "*") // On the connection that is there.

	old.CloseIdleConnections()
	_, err := w.try(t, http.MethodGet, "/_sim/ca", "", nil)
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); !ok {
		t.Errorf("who trusts in the old CA gets %v, want that the authority is unknown", err)
	}
	w.client = trusting(t, []byte(rotated.CA))
	w.token(t, "*")
}

func TestWithoutTLSThereIsNoCA(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, call := range []string{"POST /_sim/rotate-ca", "GET /_sim/ca"} {
		method, path, _ := strings.Cut(call, " ")
		if got := w.call(t, method, path, "", nil); got.status != http.StatusBadRequest || !strings.Contains(got.body, "--tls") {
			t.Errorf("%s answers %d %s, want 400 and what to do", call, got.status, got.body)
		}
	}
	if w.TLS.Config() != nil || w.TLS.CA() != nil {
		t.Error("there is a certificate")
	}
	for _, hosts := range [][]string{nil, {""}} {
		if err := w.TLS.Enable(hosts, ""); err == nil {
			t.Errorf("a certificate for %q is made", hosts)
		}
	}
	if err := w.TLS.Enable([]string{"localhost"}, filepath.Join(t.TempDir(), "missing", "ca.pem")); err == nil {
		t.Error("a CA's file in a folder that is not there is written")
	}
}

// get makes a call that is given up after a while.
func get(t *testing.T, client *http.Client, url string, patience time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

const silence = 300 * time.Millisecond

func TestForgottenConnectionsSayNothing(t *testing.T) {
	t.Parallel()
	w, _ := newTLSWorld(t)
	idle, mine := trusting(t, w.TLS.CA()), w.client
	keys := w.url + "/.well-known/jwks.json"
	for _, client := range []*http.Client{idle, mine} {
		if err := get(t, client, keys, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	answer := w.call(t, http.MethodPost, "/_sim/forget-connections", "", nil)
	if answer.body != `{"forgotten":1}` {
		t.Errorf("it answers %d %s, want that one connection is forgotten: not the one of the call", answer.status, answer.body)
	}
	for range 2 {
		if err := get(t, idle, keys, silence); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a call on a forgotten connection ends with %v, want no answer and no end of the connection", err)
		}
	}
	if err := get(t, mine, keys, time.Minute); err != nil {
		t.Errorf("a call on the connection that is left ends with %v", err)
	}
	if err := get(t, trusting(t, w.TLS.CA()), keys, time.Minute); err != nil {
		t.Errorf("a call on a new connection ends with %v", err)
	}
	if got, want := w.Counters().Connections, (simulator.ConnectionCount{Accepted: 3, Open: 2, Forgotten: 1}); got != want {
		t.Errorf("it counts %+v, want %+v", got, want)
	}
	if got := w.Connections.Forget(); got != 2 {
		t.Errorf("%d connections are forgotten, want all that are left, 2", got)
	}
}

func TestAConnectionIsForgottenInTheMiddleOfAnAnswer(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"HTTP/2.0", "HTTP/1.1"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			w, _ := newTLSWorld(t)
			transport := w.client.Transport.(*http.Transport)
			transport.ForceAttemptHTTP2 = protocol == "HTTP/2.0"
			// The rest of the answer is written within the time that the client waits. Otherwise the client would
			// wait in vain on any connection.
			if err := w.AddFault(simulator.Fault{Endpoint: simulator.EndpointToken, BodyDelay: 2 * time.Second}); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
			defer cancel()
			request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+"/v1/oauth/token", strings.NewReader(jsonOf(t, map[string]string{
				"grant_type": "client_credentials", "client_id": clientID, "client_secret": goodKey,
			})))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", "application/json")
			response, err := w.client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			w.Connections.Forget()
			defer func() { _ = response.Body.Close() }()
			body := make([]byte, response.ContentLength)
			read := 0
			for err == nil {
				var n int
				n, err = response.Body.Read(body[read:])
				read += n
			}
			if response.Proto != protocol || !errors.Is(err, context.DeadlineExceeded) || read == len(body) {
				t.Errorf("by %s, %d bytes of %d come, and then %v; want a part, and silence", response.Proto, read, len(body), err)
			}
		})
	}
}

// When the HTTP server has closed a forgotten connection, its client must not be told.
func TestAForgottenConnectionIsNotClosed(t *testing.T) {
	t.Parallel()
	api := simulator.New(simulator.Options{Now: time.Now})
	inner, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := api.Connections.Listener(inner)
	client, err := new(net.Dialer).DialContext(t.Context(), "tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	reads := make(chan error, 1)
	go func() {
		_, err := server.Read(make([]byte, 1))
		reads <- err
	}()
	api.Connections.Forget()
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := <-reads; err == nil {
		t.Error("the server has read what is to be dropped")
	}
	if n, err := server.Write([]byte("lost")); n != 4 || err != nil {
		t.Errorf("Write = %d, %v, want that the server does not notice", n, err)
	}
	_ = client.SetReadDeadline(time.Now().Add(silence))
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the client reads: %v, want silence", err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	_ = client.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := client.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the listener has ended the client reads: %v, want the end", err)
	}
}
