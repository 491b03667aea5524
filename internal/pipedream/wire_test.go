// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// wire is a Pipedream that speaks TLS with HTTP/2, and a client that trusts in its
// present CA.
type wire struct {
	*simulator.Simulator
	address string
	client  *pipedream.Client
	// trusted are the certificates that the client trusts in.
	trusted atomic.Pointer[x509.CertPool]
}

func newWire(t *testing.T) *wire {
	t.Helper()
	w := &wire{Simulator: simulator.New(simulator.Options{
		Now: time.Now, Clients: []simulator.Client{{ID: clientID, Secret: secret}},
	})}
	if err := w.TLS.Enable([]string{"127.0.0.1", "api.pipedream.invalid"}, ""); err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the simulator ended with %v", err)
		}
	})
	w.address = listener.Addr().String()
	w.client = newClient(t, "https://"+w.address, func(o *pipedream.Options) {
		o.Now, o.RootCAs = time.Now, w.trusted.Load
	})
	w.trust()
	return w
}

// trust makes the client trust in the present CA.
func (w *wire) trust() {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.TLS.CA())
	w.trusted.Store(roots)
}

// issue asks for a token, and gives up after a while that is shorter than the client's own.
func (w *wire) issue(t *testing.T) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	_, err := w.client.Issue(ctx, credentials, nil)
	if err != nil {
		checkIsSafe(t, err)
	}
	return err
}

func (w *wire) mustIssue(t *testing.T) pipedream.Token {
	t.Helper()
	issued, err := issue(t, w.client)
	if err != nil {
		t.Fatalf("no token is issued: %v", err)
	}
	return issued
}

// wantHTTP2 checks that all calls came by HTTP/2.
func (w *wire) wantHTTP2(t *testing.T) {
	t.Helper()
	if got := w.Counters().Protocols; got["HTTP/2.0"] == 0 || len(got) != 1 {
		t.Errorf("the calls came by %v, want HTTP/2.0 only", got)
	}
}

// wantNoAnswer checks that a request was given up.
func wantNoAnswer(t *testing.T, err error) {
	t.Helper()
	want := pipedream.Error{Kind: pipedream.Unavailable, Detail: "no complete answer in time"}
	if diff := cmp.Diff(want, wantError(t, err)); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

// until waits until something is so.
func until(t *testing.T, what string, isSo func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !isSo(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after a minute still not: %s", what)
		}
	}
}

func TestEachRequestHasAConnectionOfItsOwn(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	issued := w.mustIssue(t)
	for range 3 {
		if verdict, err := w.client.Verify(t.Context(), issued.AccessToken, trial); verdict != pipedream.Accepted {
			t.Errorf("the verdict is %s (%v), want %s", verdict, err, pipedream.Accepted)
		}
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if err := w.issue(t); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	w.wantHTTP2(t)
	if got := w.Counters().Connections.Accepted; got != 24 {
		t.Errorf("24 requests came on %d connections", got)
	}
}

func TestAForgottenConnectionCostsNoRequest(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	issued := w.mustIssue(t)
	w.Connections.Forget()
	if err := w.issue(t); err != nil {
		t.Errorf("after the connection was forgotten, no token is issued: %v", err)
	}
	w.Connections.Forget()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if verdict, err := w.client.Verify(ctx, issued.AccessToken, trial); verdict != pipedream.Accepted {
		t.Errorf("after the connection was forgotten, the verdict is %s: %v", verdict, err)
	}
	w.wantHTTP2(t)
}

// What is lost is the request whose connection is forgotten meanwhile, and no other one.
func TestAConnectionThatIsForgottenDuringARequest(t *testing.T) {
	t.Parallel()
	tests := map[string]simulator.Fault{
		"before the answer":           {Endpoint: simulator.EndpointToken, Delay: time.Hour, Calls: 1},
		"in the middle of the answer": {Endpoint: simulator.EndpointToken, BodyDelay: time.Hour, Calls: 1},
	}
	for name, fault := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t)
			if err := w.AddFault(fault); err != nil {
				t.Fatal(err)
			}
			failed := make(chan error, 1)
			go func() { failed <- w.issue(t) }()
			until(t, "the request has arrived", func() bool {
				calls := w.Counters().Calls[simulator.EndpointToken]
				return calls.Total == 1 && (fault.Delay > 0 || calls.Accepted == 1)
			})
			w.Connections.Forget()
			wantNoAnswer(t, <-failed)
			if err := w.issue(t); err != nil {
				t.Errorf("no token is issued by the next request: %v", err)
			}
			w.wantHTTP2(t)
		})
	}
}

func TestAConnectionThatIsForgottenDuringAVerification(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	issued := w.mustIssue(t)
	if err := w.AddFault(simulator.Fault{Endpoint: simulator.EndpointAny, Delay: time.Hour, Calls: 1}); err != nil {
		t.Fatal(err)
	}
	verify := func() (pipedream.Verdict, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		return w.client.Verify(ctx, issued.AccessToken, trial)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := verify()
		failed <- err
	}()
	until(t, "the request has arrived", func() bool { return w.Counters().Faults == 1 })
	w.Connections.Forget()
	wantNoAnswer(t, <-failed)
	if verdict, err := verify(); verdict != pipedream.Accepted {
		t.Errorf("the next verdict is %s: %v", verdict, err)
	}
	w.wantHTTP2(t)
}

// tunnels are those of a proxy, which can be forgotten.
type tunnels struct {
	*simulator.Simulator
	asked atomic.Int64
}

// newProxy serves a proxy that connects all who ask to an address, and returns its URL.
func newProxy(t *testing.T, to string) (*tunnels, *url.URL) {
	t.Helper()
	proxy := &tunnels{Simulator: simulator.New(simulator.Options{Now: time.Now})}
	inner, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := proxy.Connections.Listener(inner)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go proxy.connect(t.Context(), client, to)
		}
	}()
	return proxy, &url.URL{Scheme: "http", Host: inner.Addr().String()}
}

func (p *tunnels) connect(ctx context.Context, client net.Conn, to string) {
	defer func() { _ = client.Close() }()
	reader := bufio.NewReader(client)
	request, err := http.ReadRequest(reader)
	if err != nil || request.Method != http.MethodConnect {
		return
	}
	p.asked.Add(1)
	server, err := new(net.Dialer).DialContext(ctx, "tcp", to)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	_, _ = io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
	go func() {
		_, _ = io.Copy(server, reader)
		_ = server.Close()
	}()
	_, _ = io.Copy(client, server)
}

func TestAProxyThatForgetsItsTunnels(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	proxy, address := newProxy(t, w.address)
	w.client = newClient(t, "https://api.pipedream.invalid", func(o *pipedream.Options) { o.Now, o.RootCAs = time.Now, w.trusted.Load })
	w.client.UseProxy(address)
	for range 3 {
		if err := w.issue(t); err != nil {
			t.Errorf("no token is issued through the proxy: %v", err)
		}
		proxy.Connections.Forget()
	}
	w.wantHTTP2(t)
	if got := proxy.asked.Load(); got != 3 {
		t.Errorf("the proxy was asked to connect %d times, want once for each request", got)
	}
	until(t, "no connection is left at the proxy", func() bool { return proxy.Counters().Connections.Open == 0 })
}

// serveFirst serves the API, but its first connection is for another to answer.
func serveFirst(t *testing.T, w *wire, first func(net.Conn)) {
	t.Helper()
	var seen atomic.Bool
	dialer := &net.Dialer{}
	w.client.DialWith(func(ctx context.Context, network, address string) (net.Conn, error) {
		if seen.Swap(true) {
			return dialer.DialContext(ctx, network, address)
		}
		return dialer.DialContext(ctx, network, serveTCP(t, func(connection *net.TCPConn) { first(connection) }))
	})
}

func TestAServerThatNeverCompletesTLS(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	ended := make(chan struct{})
	serveFirst(t, w, func(connection net.Conn) {
		_, _ = io.Copy(io.Discard, connection)
		close(ended)
	})
	begin := time.Now()
	wantNoAnswer(t, w.issue(t))
	<-ended
	if took := time.Since(begin); took > 6*time.Second {
		t.Errorf("the connection was closed after %s, want that it ends with the request, after 3s", took)
	}
	w.mustIssue(t)
	w.wantHTTP2(t)
}

// A server that goes away says so by GOAWAY, and which requests it has not looked at.
func TestGoAway(t *testing.T) {
	t.Parallel()
	const settings, goAway = "\x00\x00\x00\x04\x00\x00\x00\x00\x00", "\x00\x00\x08\x07\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00"
	w := newWire(t)
	serveFirst(t, w, func(connection net.Conn) {
		server := tls.Server(connection, w.TLS.Config())
		_, _ = io.ReadFull(server, make([]byte, len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")))
		_, _ = io.WriteString(server, settings+goAway)
		_, _ = io.Copy(io.Discard, server)
	})
	if err := w.issue(t); err != nil {
		want := pipedream.Error{Kind: pipedream.Unavailable, Detail: "the connection was closed before the answer was complete"}
		if diff := cmp.Diff(want, wantError(t, err)); diff != "" {
			t.Errorf("error (-want +got):\n%s", diff)
		}
	}
	w.mustIssue(t)
	w.wantHTTP2(t)
}

// A connection that is complete only after its request was given up is of no use to
// anybody: it may be dead when the next request is made.
func TestAConnectionThatComesTooLate(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	late := make(chan struct{})
	var dials atomic.Int64
	w.client.DialWith(func(_ context.Context, network, address string) (net.Conn, error) {
		if dials.Add(1) == 1 {
			<-late
		}
		return new(net.Dialer).DialContext(context.WithoutCancel(t.Context()), network, address)
	})
	wantNoAnswer(t, w.issue(t))
	close(late)
	until(t, "the late connection is made and closed", func() bool {
		count := w.Counters().Connections
		return count.Accepted == 1 && count.Open == 0
	})
	w.mustIssue(t)
	if got := dials.Load(); got != 2 {
		t.Errorf("there were %d connections, want one for each request", got)
	}
}

func TestTheCAIsTheOneOfTheMoment(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	w.mustIssue(t)
	if err := w.TLS.RotateCA(); err != nil {
		t.Fatal(err)
	}
	err := w.issue(t)
	want := pipedream.Error{
		Kind:   pipedream.Unavailable,
		Detail: "the API's certificate is signed by an unknown authority: its CA is not in the file that --api-ca-file names",
	}
	if diff := cmp.Diff(want, wantError(t, err)); diff != "" {
		t.Errorf("error with the old CA (-want +got):\n%s", diff)
	}
	w.trust()
	w.mustIssue(t)
	w.trusted.Store(x509.NewCertPool())
	if err := w.issue(t); err == nil {
		t.Error("a token is issued by a server that is no longer trusted")
	}
	w.wantHTTP2(t)
}

// Whatever becomes of requests, neither connections nor goroutines are left.
func TestNothingIsLeftOfARequest(t *testing.T) {
	w := newWire(t)
	w.mustIssue(t)
	until(t, "no connection is open", func() bool { return w.Counters().Connections.Open == 0 })
	before := runtime.NumGoroutine()
	for _, fault := range []simulator.Fault{
		{Endpoint: simulator.EndpointToken, Headers: map[string]string{"X-Usual": "yes"}},
		{Endpoint: simulator.EndpointToken, Status: http.StatusUnauthorized, Body: `{"error":"invalid_client"}`},
		{Endpoint: simulator.EndpointToken, Status: http.StatusOK, Body: strings.Repeat("x", 1<<20)},
		{Endpoint: simulator.EndpointToken, Status: http.StatusNoContent},
		{Endpoint: simulator.EndpointToken, Drop: simulator.DropBeforeAnswer},
		{Endpoint: simulator.EndpointToken, Drop: simulator.DropMidBody},
		{Endpoint: simulator.EndpointToken, Delay: time.Hour},
		{Endpoint: simulator.EndpointToken, BodyDelay: time.Hour},
	} {
		if err := w.AddFault(fault); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		for range 3 {
			_, _ = w.client.Issue(ctx, credentials, nil)
		}
		cancel()
		w.ClearFaults()
	}
	until(t, "no connection is open", func() bool { return w.Counters().Connections.Open == 0 })
	until(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before })
	w.wantHTTP2(t)
}

func TestARefusalIsStillReadByHTTP2(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	_, err := w.client.Issue(t.Context(), pipedream.Credentials{ClientID: clientID, ClientSecret: pipedream.NewSensitive("wrong")}, nil)
	failed, ok := errors.AsType[*pipedream.Error](err)
	if !ok || failed.Kind != pipedream.CredentialsRejected || failed.Code != "invalid_client" {
		t.Errorf("the error is %v, want the refusal", err)
	}
	w.wantHTTP2(t)
}

// BenchmarkIssueByTLS is what a token request costs, a connection of its own included.
func BenchmarkIssueByTLS(b *testing.B) {
	api := simulator.New(simulator.Options{Now: time.Now, Clients: []simulator.Client{{ID: clientID, Secret: secret}}})
	if err := api.TLS.Enable([]string{"127.0.0.1"}, ""); err != nil {
		b.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = api.Serve(b.Context(), listener) }()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(api.TLS.CA())
	client, err := pipedream.NewClient(pipedream.Options{
		Address: "https://" + listener.Addr().String(), Now: time.Now, RootCAs: func() *x509.CertPool { return roots },
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Issue(b.Context(), credentials, nil); err != nil {
			b.Fatal(err)
		}
	}
}
