// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"bufio"
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
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// serveTCP answers each connection by a function, until the test ends. It returns
// the address.
func serveTCP(t *testing.T, answer func(*net.TCPConn)) string {
	t.Helper()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.AcceptTCP()
			if err != nil {
				return
			}
			answer(connection)
			_ = connection.Close()
		}
	}()
	return listener.Addr().String()
}

// afterRequest reads a request, and sends something that may be an answer.
func afterRequest(answer string) func(*net.TCPConn) {
	return func(connection *net.TCPConn) {
		if request, err := http.ReadRequest(bufio.NewReader(connection)); err == nil {
			_, _ = io.Copy(io.Discard, request.Body)
		}
		_, _ = io.WriteString(connection, answer)
	}
}

func TestWithoutAnAnswerTheErrorSaysWhatHappened(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		answer func(*net.TCPConn)
		want   string
	}{
		"the connection is closed at once": {
			answer: func(*net.TCPConn) {},
			want:   "",
		},
		"the connection is closed after the request": {
			answer: afterRequest(""),
			want:   "the connection was closed before the answer was complete",
		},
		"the connection is closed in the headers": {
			answer: afterRequest("HTTP/1.1 200 OK\r\nX-Canary: c4n4ry"),
			want:   "the connection was closed before the answer was complete",
		},
		"the body is shorter than it is said to be": {
			answer: afterRequest("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + goodAnswer),
			want:   "the connection was closed before the answer was complete",
		},
		"the body ends in a chunk": {
			answer: afterRequest("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n" + goodAnswer),
			want:   "the connection was closed before the answer was complete",
		},
		"the connection is reset": {
			answer: func(connection *net.TCPConn) {
				afterRequest("")(connection)
				_ = connection.SetLinger(0)
			},
			want: "connection reset",
		},
		"the answer is not HTTP": {
			answer: afterRequest("SSH-2.0-c4n4ry\r\n\r\n"),
			want:   "no valid HTTP answer",
		},
		"the answer has a header that is none": {
			answer: afterRequest("HTTP/1.1 200 OK\r\nc4n4ry\r\n\r\n"),
			want:   "no valid HTTP answer",
		},
		"the answer has a length that is none": {
			answer: afterRequest("HTTP/1.1 200 OK\r\nContent-Length: c4n4ry\r\n\r\n"),
			want:   "no valid HTTP answer",
		},
		"the answer has a status that is none": {
			answer: afterRequest("HTTP/1.1 c4n4ry OK\r\n\r\n"),
			want:   "no valid HTTP answer",
		},
		"the body is not compressed as it is said to be": {
			answer: afterRequest("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 13\r\n\r\nc4n4ry c4n4ry"),
			want:   "no valid HTTP answer",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := issue(t, newClient(t, "http://"+serveTCP(t, test.answer)))
			got := wantError(t, err)
			if test.want == "" { // closed or reset, by which comes first
				test.want = got.Detail
			}
			want := pipedream.Error{Kind: pipedream.Unavailable, Detail: test.want}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if err.Error() != test.want {
				t.Errorf("its text is %q, want %q", err, test.want)
			}
		})
	}
}

// A No is a No, even if the reasons for it are cut off.
func TestTheStatusOfATruncatedRejectionCounts(t *testing.T) {
	t.Parallel()
	address := serveTCP(t, afterRequest("HTTP/1.1 401 Unauthorized\r\nContent-Length: 1000\r\n\r\n"+`{"error":"c4n4ry`))
	_, err := issue(t, newClient(t, "http://"+address))
	want := pipedream.Error{Kind: pipedream.CredentialsRejected, StatusCode: http.StatusUnauthorized}
	if diff := cmp.Diff(want, wantError(t, err)); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

func TestAConnectionThatIsRefused(t *testing.T) {
	t.Parallel()
	server := serve(t, answerWith(http.StatusOK, nil, ""))
	server.Close()
	_, err := issue(t, newClient(t, server.URL))
	want := pipedream.Error{Kind: pipedream.Unavailable, Detail: "connection refused"}
	if diff := cmp.Diff(want, wantError(t, err)); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

// withoutDNS makes a client resolve names where no name server answers.
func withoutDNS(client *pipedream.Client) {
	client.DialWith((&net.Dialer{Resolver: &net.Resolver{
		PreferGo: true,
		Dial:     func(context.Context, string, string) (net.Conn, error) { return nil, syscall.ECONNREFUSED },
	}}).DialContext)
}

func TestANameThatCanNotBeResolved(t *testing.T) {
	t.Parallel()
	client := newClient(t, "https://api.pipedream.invalid")
	withoutDNS(client)
	_, err := issue(t, client)
	want := pipedream.Error{Kind: pipedream.Unavailable, Detail: `the name "api.pipedream.invalid" could not be resolved`}
	if diff := cmp.Diff(want, wantError(t, err)); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

func TestARequestThatIsInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		cancel()
		<-r.Context().Done()
	})
	_, err := newClient(t, server.URL).Issue(ctx, credentials, nil)
	want := pipedream.Error{Kind: pipedream.Unavailable, Detail: "the request was interrupted"}
	if diff := cmp.Diff(want, wantError(t, err)); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

// serveTLS serves HTTPS until the test ends, and trusts in nobody's log.
func serveTLS(t *testing.T, configure func(*httptest.Server)) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(answerWith(http.StatusOK, nil, goodAnswer))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS10} //nolint:gosec // It is the client that must refuse.
	configure(server)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func trusting(server *httptest.Server) func(*pipedream.Options) {
	return func(o *pipedream.Options) {
		roots := x509.NewCertPool()
		roots.AddCert(server.Certificate())
		o.RootCAs = func() *x509.CertPool { return roots }
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	nothing := func(*httptest.Server) {}
	byName := func(address string) string { return strings.Replace(address, "127.0.0.1", "localhost", 1) }
	asIs := func(address string) string { return address }
	tests := map[string]struct {
		server   func(*httptest.Server)
		distrust bool
		trusted  func() *x509.CertPool // with distrust; without it, the system's are
		address  func(string) string
		want     string
	}{
		"a CA that is trusted": {server: nothing, address: asIs},
		"a CA that the system does not trust": {
			server: nothing, distrust: true, address: asIs,
			want: "the API's certificate is signed by an unknown authority; name its CA with the operator's flag --api-ca-file",
		},
		"a CA that is not in the given file": {
			server: nothing, distrust: true, trusted: x509.NewCertPool, address: asIs,
			want: "the API's certificate is signed by an unknown authority: its CA is not in the file that --api-ca-file names",
		},
		"another host's name": {server: nothing, address: byName, want: "the API's certificate is for another host name"},
		"a certificate that has expired": {
			server: func(s *httptest.Server) {
				s.TLS.Certificates = []tls.Certificate{certificate(t, now.AddDate(-1, 0, 0), now.AddDate(-1, 0, 1))}
			},
			address: asIs,
			want:    "the API's certificate has expired or is not yet valid",
		},
		"a certificate that is not yet valid": {
			server: func(s *httptest.Server) {
				s.TLS.Certificates = []tls.Certificate{certificate(t, now.AddDate(100, 0, 0), now.AddDate(101, 0, 0))}
			},
			address: asIs,
			want:    "the API's certificate has expired or is not yet valid",
		},
		"TLS 1.1": {
			server:  func(s *httptest.Server) { s.TLS.MaxVersion = tls.VersionTLS11 },
			address: asIs,
			want:    "the TLS handshake was refused",
		},
		"TLS 1.2": {
			server:  func(s *httptest.Server) { s.TLS.MaxVersion = tls.VersionTLS12 },
			address: asIs,
		},
		"a server that wants to know who asks, by TLS 1.2": {
			server: func(s *httptest.Server) {
				s.TLS.ClientAuth, s.TLS.MaxVersion = tls.RequireAndVerifyClientCert, tls.VersionTLS12
			},
			address: asIs,
			want:    "the TLS handshake was refused",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := serveTLS(t, test.server)
			configure := trusting(server)
			if test.distrust {
				configure = func(o *pipedream.Options) { o.RootCAs = test.trusted }
			}
			client := newClient(t, test.address(server.URL), configure, func(o *pipedream.Options) { o.AllowInsecure = false })
			_, err := issue(t, client)
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			want := pipedream.Error{Kind: pipedream.Unavailable, Detail: test.want}
			if diff := cmp.Diff(want, wantError(t, err)); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func certificate(t *testing.T, notBefore, notAfter time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    notBefore, NotAfter: notAfter,
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestAServerThatDoesNotSpeakTLS(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"but HTTP":           "HTTP/1.1 400 Bad Request\r\n\r\n",
		"but something else": "SSH-2.0-OpenSSH_c4n4ry\r\n",
	}
	for name, greeting := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := serveTCP(t, func(connection *net.TCPConn) {
				_, _ = connection.Read(make([]byte, 4096))
				_, _ = io.WriteString(connection, greeting)
				_, _ = io.Copy(io.Discard, connection)
			})
			_, err := issue(t, newClient(t, "https://"+address))
			want := pipedream.Error{Kind: pipedream.Unavailable, Detail: "the API's address does not speak TLS"}
			if diff := cmp.Diff(want, wantError(t, err)); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

// A proxy stands between the operator and the API, and says No in its own name.
func TestAProxyThatRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		status int
		kind   pipedream.Kind
	}{
		"for it does not know us":      {status: http.StatusProxyAuthRequired, kind: pipedream.RequestRejected},
		"for it forbids the API":       {status: http.StatusForbidden, kind: pipedream.RequestRejected},
		"for it can't reach the API":   {status: http.StatusBadGateway, kind: pipedream.Unavailable},
		"for the API is too slow":      {status: http.StatusGatewayTimeout, kind: pipedream.Unavailable},
		"with what the API would mean": {status: http.StatusUnauthorized, kind: pipedream.RequestRejected},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var method, authority string
			proxy := serve(t, func(w http.ResponseWriter, r *http.Request) {
				method, authority = r.Method, r.Host
				answerWith(test.status, nil, canary)(w, r)
			})
			address, err := url.Parse(proxy.URL)
			if err != nil {
				t.Fatal(err)
			}
			address.User = url.UserPassword(canary, canary)
			client := newClient(t, "https://api.pipedream.invalid")
			client.UseProxy(address)

			_, err = issue(t, client)
			got := wantError(t, err)
			if method != http.MethodConnect || authority != "api.pipedream.invalid:443" {
				t.Errorf("the proxy was asked to %s %s", method, authority)
			}
			if got.Kind != test.kind || got.StatusCode != test.status {
				t.Errorf("the error is %s with status %d (%q), want %s with %d", got.Kind, got.StatusCode, got.Detail, test.kind, test.status)
			}
		})
	}
}

func TestAProxyThatIsNotThere(t *testing.T) {
	t.Parallel()
	client := newClient(t, "https://api.pipedream.com")
	withoutDNS(client)
	client.UseProxy(&url.URL{Scheme: "http", Host: "proxy.invalid:3128", User: url.UserPassword(canary, canary)})
	_, err := issue(t, client)
	want := pipedream.Error{Kind: pipedream.Unavailable, Detail: `the name "proxy.invalid" could not be resolved`}
	if diff := cmp.Diff(want, wantError(t, err)); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}
