// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// entrance is a server in front of Pipedream, which can be spoilt and closed.
type entrance struct {
	world *world
	// host and port stay the same when it is closed and opened again.
	host   string
	server *httptest.Server
	// answer, if set, answers in Pipedream's place.
	answer atomic.Pointer[http.HandlerFunc]
	// certificate is what it shows of itself; with none it speaks HTTP.
	certificate atomic.Pointer[tls.Certificate]
}

// open opens the entrance, at the host and port that it had before.
func (e *entrance) open() {
	e.world.Helper()
	e.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if answer := e.answer.Load(); answer != nil {
			(*answer)(w, r)
			return
		}
		e.world.pipedream.ServeHTTP(w, r)
	}))
	must(e.world.T, e.server.Listener.Close())
	e.server.Listener = e.listen()
	e.host = e.server.Listener.Addr().String()
	e.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	// Each request comes on a connection of its own, and meets what is there then.
	e.server.Config.SetKeepAlivesEnabled(false)
	if e.certificate.Load() == nil {
		e.server.Start()
		return
	}
	e.server.TLS = &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*e.certificate.Load()}}, nil
		},
	}
	e.server.StartTLS()
}

// listen waits while somebody else has the port.
func (e *entrance) listen() net.Listener {
	e.world.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		listener, err := (&net.ListenConfig{}).Listen(e.world.Context(), "tcp", e.host)
		if err == nil {
			return listener
		}
		if time.Now().After(deadline) {
			e.world.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// newWorldBehind returns a world whose Pipedream is reached through an entrance. It
// speaks HTTPS if there is a certificate to show.
func newWorldBehind(t *testing.T, certificate *tls.Certificate, trusted ...*tls.Certificate) (*world, *entrance) {
	t.Helper()
	w := newWorld(t)
	e := &entrance{world: w, host: "127.0.0.1:0"}
	e.certificate.Store(certificate)
	e.open()
	t.Cleanup(func() { e.server.Close() })
	roots := x509.NewCertPool()
	for _, each := range trusted {
		roots.AddCert(each.Leaf)
	}
	options := pipedream.Options{
		Address: e.server.URL, AllowInsecure: certificate == nil, Now: w.clock.Now,
		RootCAs: func() *x509.CertPool { return roots },
	}
	var err error
	w.api, err = pipedream.NewClient(options)
	must(t, err)
	w.restart()
	return w, e
}

func (e *entrance) close(*world) { e.server.Close() }

func (e *entrance) reopen(*world) { e.open() }

func (e *entrance) answerWith(answer http.HandlerFunc) func(*world) {
	return func(*world) { e.answer.Store(&answer) }
}

// mend lets requests through to Pipedream again.
func (e *entrance) mend(*world) { e.answer.Store(nil) }

// show makes the entrance show a certificate.
func (e *entrance) show(certificate *tls.Certificate) func(*world) {
	return func(*world) { e.certificate.Store(certificate) }
}

// reset ends a connection the hard way.
func reset(w http.ResponseWriter, _ *http.Request) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	_ = connection.(*net.TCPConn).SetLinger(0)
	_ = connection.Close()
}

// newCertificate returns a certificate that is its own CA, for 127.0.0.1 and now
// unless that is changed.
func newCertificate(t *testing.T, changes ...func(*x509.Certificate)) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	for _, change := range changes {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	leaf, err := x509.ParseCertificate(der)
	must(t, err)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// outOfReach is a trouble on the way to Pipedream.
func outOfReach(detail string) trouble {
	return trouble{
		reason:   v1alpha1.ReasonEndpointUnavailable,
		happened: "Pipedream's API is unreachable or returned a server error (" + detail + ")",
	}
}

func TestConnectionThatIsRefused(t *testing.T) {
	t.Parallel()
	w, e := newWorldBehind(t, nil)
	tr := outOfReach("connection refused")
	tr.begin, tr.end = e.close, e.reopen
	tr.strike(w)
}

func TestConnectionThatIsReset(t *testing.T) {
	t.Parallel()
	w, e := newWorldBehind(t, nil)
	tr := outOfReach("connection reset")
	tr.begin, tr.end = e.answerWith(reset), e.mend
	tr.strike(w)
}

func TestCertificateThatIsNotAccepted(t *testing.T) {
	t.Parallel()
	good := newCertificate(t)
	expired := newCertificate(t, func(c *x509.Certificate) { c.NotAfter = c.NotBefore.Add(time.Minute) })
	ofAnother := newCertificate(t, func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"another.example"} })
	tests := map[string]struct {
		certificate *tls.Certificate
		detail      string
	}{
		"from a CA that nobody knows": {newCertificate(t), "the API's certificate is signed by an unknown authority: its CA is not in the file that --api-ca-file names"},
		"that has expired":            {expired, "the API's certificate has expired or is not yet valid"},
		"of another host":             {ofAnother, "the API's certificate is for another host name"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, e := newWorldBehind(t, good, good, expired, ofAnother)
			tr := outOfReach(test.detail)
			tr.begin, tr.end = e.show(test.certificate), e.show(good)
			tr.strike(w)
		})
	}
}

// The client secret must not follow a redirect, which 307 and 308 would have it do.
func TestRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	for status, text := range map[int]string{302: "302 Found", 307: "307 Temporary Redirect", 308: "308 Permanent Redirect"} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			var followed atomic.Int32
			elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Add(1) }))
			t.Cleanup(elsewhere.Close)
			w, e := newWorldBehind(t, nil)
			tr := trouble{
				begin: e.answerWith(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Location", elsewhere.URL+"/v1/oauth/token")
					w.WriteHeader(status)
				}),
				end:      e.mend,
				reason:   v1alpha1.ReasonRequestRejected,
				happened: "Pipedream refused the token request (HTTP status " + text + ")",
			}
			tr.strike(w)
			if got := followed.Load(); got != 0 {
				t.Errorf("the redirect was followed %d times", got)
			}
		})
	}
}

// It is not parallel, because it changes for a moment how every new client connects.
func TestNameThatCanNotBeResolved(t *testing.T) {
	const name = "api.pipedream.invalid"
	w, e := newWorldBehind(t, nil)
	var isKnown atomic.Bool
	dialer := &net.Dialer{Resolver: &net.Resolver{
		PreferGo: true,
		Dial:     func(context.Context, string, string) (net.Conn, error) { return nil, syscall.ECONNREFUSED },
	}}
	transport := http.DefaultTransport.(*http.Transport)
	usual := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if isKnown.Load() {
			address = e.host
		}
		return dialer.DialContext(ctx, network, address)
	}
	w.api = w.apiAt("http://" + name)
	transport.DialContext = usual
	w.restart()

	tr := outOfReach(`the name "` + name + `" could not be resolved`)
	tr.begin = func(*world) { isKnown.Store(false) }
	tr.end = func(*world) { isKnown.Store(true) }
	tr.strike(w)
}

// An answer that does not end in time costs one attempt, and ten seconds of real
// time: there is no way to have it sooner over real HTTP.
func TestAnswerThatDoesNotEndInTime(t *testing.T) {
	t.Parallel()
	tests := map[string]http.HandlerFunc{
		"for its headers are slow": func(http.ResponseWriter, *http.Request) {},
		"for its body is slow": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"access_token":"eyJ0`)
			_ = http.NewResponseController(w).Flush()
		},
	}
	for name, answer := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, e := newWorldBehind(t, nil)
			w.issued()
			w.passUntil(w.token().Status.RenewalTime)
			drain(w.events.Events)
			var waited atomic.Int64
			e.answerWith(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				begin := time.Now()
				answer(w, r)
				<-r.Context().Done()
				waited.Store(int64(time.Since(begin)))
			})(w)
			w.reconcile()
			e.server.Close() // It waits until the answer has ended.
			if got := time.Duration(waited.Load()); got < 9*time.Second || got > 15*time.Second {
				t.Errorf("the client waited for %s, want 10s", got)
			}
			e.open()
			w.wantFailure(outOfReach("no complete answer in time"), w.clock.Now(), true)
			e.mend(w)
			w.passToNextAttempt()
			w.wantRecovery()
			w.wantAccepted()
		})
	}
}
