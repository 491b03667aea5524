// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pipedream requests access tokens from Pipedream's API, checks whether the API accepts a
// token, revokes tokens, and fetches the credentials of connected accounts. It implements HTTP and
// OAuth 2.0 only, and does not depend on Kubernetes.
package pipedream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// requestTimeout is the time limit of a request, including its answer.
	requestTimeout = 10 * time.Second
	// maxAnswerBytes is how much of an answer the Client reads at most, unless it asks for
	// accounts. An answer whose token has 64 scopes takes less than 8 KiB.
	maxAnswerBytes = 64 << 10
	// maxAccountBytes is how much of an answer with accounts the Client reads at most.
	maxAccountBytes = 256 << 10
)

// Options configure a Client.
type Options struct {
	// Address is the address of the API, such as https://api.pipedream.com,
	// without a path.
	Address string
	// AllowInsecure permits an Address with http. Client secrets and tokens are then sent
	// unencrypted.
	AllowInsecure bool
	// RootCAs returns the CA certificates to trust instead of the system's. The Client calls it
	// before each request. It must be safe for concurrent use. Optional.
	RootCAs func() *x509.CertPool
	// UserAgent is the User-Agent header of each request. Optional.
	UserAgent string
	// Now returns the current time. Required.
	Now func() time.Time
	// Observe is called with a description of each answer, before the request returns. It must
	// be safe for concurrent use if the Client is used concurrently. Optional.
	Observe func(Observation)
}

// Client sends requests to Pipedream's API. It is safe for concurrent use. It does not follow
// redirects, uses the proxy that the environment variables name, and limits each request to ten
// seconds.
//
// The Client opens a connection for each request, and closes it afterwards. So a request never
// uses an old connection that the network has dropped, and each request uses the current DNS
// answer and the current RootCAs.
type Client struct {
	address   string
	userAgent string
	rootCAs   func() *x509.CertPool
	// transport is cloned for each request. It is not an http.Client, because an http.Client
	// follows redirects, and a redirect could send a client secret to another host.
	transport *http.Transport
	now       func() time.Time
	observe   func(Observation)
}

// NewClient returns a Client, or an error that says how to correct the Address.
func NewClient(options Options) (*Client, error) {
	address, err := parseAddress(options.Address, options.AllowInsecure)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	transport.OnProxyConnectResponse = proxyRejection
	transport.DisableKeepAlives = true
	return &Client{
		address:   address,
		userAgent: options.UserAgent,
		rootCAs:   options.RootCAs,
		transport: transport,
		now:       options.Now,
		observe:   options.Observe,
	}, nil
}

// transportFor returns a transport for one request. The transport stops connecting when ctx
// ends. The caller must call end after the request, also after a failed one: end closes the
// connection. Otherwise net/http could complete a connection after the request has ended, and
// would keep such an HTTP/2 connection open for the next request on the same transport.
func (c *Client) transportFor(ctx context.Context) (transport *http.Transport, end func()) {
	transport = c.transport.Clone()
	if c.rootCAs != nil {
		transport.TLSClientConfig.RootCAs = c.rootCAs()
	}
	lives, end := context.WithCancel(context.WithoutCancel(ctx))
	dial := transport.DialContext
	transport.DialContext = func(_ context.Context, network, address string) (net.Conn, error) {
		// With ctx, the dialer divides the time of the request among all addresses of the host,
		// so an address that does not respond leaves time for the others.
		connection, err := dial(ctx, network, address)
		if err == nil {
			context.AfterFunc(lives, func() { _ = connection.Close() })
		}
		return connection, err
	}
	return transport, end
}

// Address returns the address of the API, in its canonical form.
func (c *Client) Address() string { return c.address }

func parseAddress(address string, allowInsecure bool) (string, error) {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Scheme == "" || parsed.Hostname() == "" || !isPort(parsed.Port()) {
		return "", errors.New("must be an address such as https://api.pipedream.com")
	}
	canonical := url.URL{Scheme: parsed.Scheme, Host: canonicalHost(parsed)}
	given := url.URL{Path: strings.TrimSuffix(parsed.Path, "/"), RawQuery: parsed.RawQuery, Fragment: parsed.Fragment}
	switch {
	case parsed.User != nil:
		return "", errors.New("must not hold a user name or password")
	case given != url.URL{}:
		return "", errors.New("must be without path, query and fragment, such as https://api.pipedream.com: the operator adds /v1/… itself")
	case parsed.Scheme == "http" && !allowInsecure:
		return "", errors.New("must begin with https:// (client secrets and tokens would travel in clear; for a simulator on the same machine, add --allow-insecure-api-url)")
	case parsed.Scheme != "https" && parsed.Scheme != "http":
		return "", fmt.Errorf("must begin with https://, not %s://", parsed.Scheme)
	}
	return canonical.String(), nil
}

func isPort(port string) bool {
	_, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil
}

// canonicalHost returns the host and port in lower case, without the default port of the
// scheme.
func canonicalHost(address *url.URL) string {
	host := strings.TrimSuffix(strings.ToLower(address.Host), ":")
	switch address.Scheme {
	case "https":
		return strings.TrimSuffix(host, ":443")
	case "http":
		return strings.TrimSuffix(host, ":80")
	}
	return host
}

// answer is the part of an HTTP answer that the Client uses.
type answer struct {
	status   int
	protocol string
	header   http.Header
	body     []byte
	// oversized is true when the body is longer than the Client reads.
	oversized bool
}

func (a answer) isSuccess() bool { return a.status >= 200 && a.status < 300 }

// sentAt returns the time of the answer by the clock of the API, in whole seconds, or zero if the answer
// does not tell. A cache on the way answers with the Date of an earlier answer, and says in Age how many
// seconds ago that was.
func (a answer) sentAt() time.Time {
	date, err := http.ParseTime(a.header.Get("Date"))
	if err != nil {
		return time.Time{}
	}
	ages := a.header.Values("Age")
	if len(ages) == 0 {
		return date
	}
	const mostBits = 31 // By RFC 9111, an age beyond that is of no use.
	seconds, err := strconv.ParseUint(strings.TrimSpace(ages[0]), 10, mostBits)
	if err != nil || len(ages) > 1 {
		return time.Time{}
	}
	return date.Add(time.Duration(seconds) * time.Second)
}

// do sends one request, and reads at most maxAnswerBytes of the answer. Its error is an *Error.
func (c *Client) do(ctx context.Context, method, path string, header http.Header, body io.Reader) (answer, error) {
	return c.exchange(ctx, method, path, header, body, maxAnswerBytes)
}

// exchange sends one request, and reads at most a number of bytes of the answer. Its error is an
// *Error.
func (c *Client) exchange(ctx context.Context, method, path string, header http.Header, body io.Reader, most int) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, c.address+path, body)
	if err != nil {
		return answer{}, &Error{Kind: RequestRejected, Detail: "the request could not be made"}
	}
	request.Header = header
	request.Header.Set("Accept", "application/json")
	if c.userAgent != "" {
		request.Header.Set("User-Agent", c.userAgent)
	}
	transport, end := c.transportFor(ctx)
	defer end()
	response, err := transport.RoundTrip(request)
	if err != nil {
		return answer{}, c.unanswered(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode == http.StatusSwitchingProtocols {
		// The body of this answer is the connection itself, and reading it has no time limit.
		return answer{status: response.StatusCode, protocol: response.Proto, header: response.Header}, nil
	}
	content, err := io.ReadAll(io.LimitReader(response.Body, int64(most)+1))
	got := answer{
		status:    response.StatusCode,
		protocol:  response.Proto,
		header:    response.Header,
		body:      content[:min(len(content), most)],
		oversized: len(content) > most,
	}
	// A status that is not a success is used even if the body could not be read completely.
	if err != nil && got.isSuccess() {
		return answer{}, c.unanswered(err)
	}
	if c.observe != nil {
		c.observe(got.observe())
	}
	return got, nil
}
