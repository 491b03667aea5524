// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"time"
)

// RetryAt and ParseToken are what reads an answer.
var RetryAt = retryAt

func ParseToken(body []byte, asked time.Time) (Token, error) {
	return parseToken(answer{status: http.StatusOK, body: body}, asked)
}

// DialWith makes the client connect by another way than the network.
func (c *Client) DialWith(dial func(ctx context.Context, network, address string) (net.Conn, error)) {
	c.transport.DialContext = dial
}

// UseProxy makes the client use a proxy, also for addresses on this machine.
func (c *Client) UseProxy(proxy *url.URL) { c.transport.Proxy = http.ProxyURL(proxy) }
