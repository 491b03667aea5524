// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pipedream asks Pipedream's API for access tokens, and whether it
// accepts them. It knows HTTP and OAuth 2.0, and nothing of Kubernetes.
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
	// requestTimeout bounds a request from its first byte to the last of its answer.
	requestTimeout = 10 * time.Second
	// maxAnswerBytes bounds what is read of an answer. A token with 64 scopes takes
	// less than 8 KiB.
	maxAnswerBytes = 64 << 10
)

// Options configure a Client.
type Options struct {
	// Address is the address of the API, such as https://api.pipedream.com,
	// without a path.
	Address string
	// AllowInsecure permits an Address with http, over which client secrets and
	// tokens travel in clear.
	AllowInsecure bool
	// RootCAs returns the certificates to trust instead of the system's. It is called
	// before each request, and must be safe for concurrent use. Optional.
	RootCAs func() *x509.CertPool
	// UserAgent is sent with each request. Optional.
	UserAgent string
	// Now tells the time. Required.
	Now func() time.Time
}

// Client speaks to Pipedream's API. It is safe for concurrent use. It follows no
// redirect, honours the proxy environment, and gives each request ten seconds.
//
// Each request has a connection of its own, which is closed after it. So no request is
// sent on a connection that the network has forgotten, and each one follows the present
// DNS answer and trusts in the present RootCAs.
type Client struct {
	address   string
	userAgent string
	rootCAs   func() *x509.CertPool
	// transport is what the transport of each request is a clone of. It is no
	// http.Client: a client secret must not follow a redirect to another host.
	transport *http.Transport
	now       func() time.Time
}

// NewClient returns a Client, or an error that says what the Address must be.
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
	}, nil
}

// transportFor returns a transport for one request, which ends with ctx. Its connection
// is closed when the function end is called, whatever became of the request: net/http
// goes on to connect after a request has ended, and keeps a connection of HTTP/2 that is
// complete only then for the next request on the same transport.
func (c *Client) transportFor(ctx context.Context) (transport *http.Transport, end func()) {
	transport = c.transport.Clone()
	if c.rootCAs != nil {
		transport.TLSClientConfig.RootCAs = c.rootCAs()
	}
	lives, end := context.WithCancel(context.WithoutCancel(ctx))
	dial := transport.DialContext
	transport.DialContext = func(_ context.Context, network, address string) (net.Conn, error) {
		// All addresses of a host share the time of the request, so that a dead one leaves
		// time for the others.
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

// canonicalHost is in lower case, and without a port that goes without saying.
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

// answer is as much of an HTTP answer as is ever looked at.
type answer struct {
	status int
	header http.Header
	body   []byte
	// oversized is set when the body was longer than maxAnswerBytes.
	oversized bool
}

func (a answer) isSuccess() bool { return a.status >= 200 && a.status < 300 }

// do sends one request. Its error is an *Error.
func (c *Client) do(ctx context.Context, method, path string, header http.Header, body io.Reader) (answer, error) {
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
		// Its body is the connection itself, which knows no time limit.
		return answer{status: response.StatusCode, header: response.Header}, nil
	}
	content, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes+1))
	got := answer{
		status:    response.StatusCode,
		header:    response.Header,
		body:      content[:min(len(content), maxAnswerBytes)],
		oversized: len(content) > maxAnswerBytes,
	}
	// The status of an answer that is not a success counts, however it ends.
	if err != nil && got.isSuccess() {
		return answer{}, c.unanswered(err)
	}
	return got, nil
}
