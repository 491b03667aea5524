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

// ParseAccount reads an answer that came in the second in which it was asked for.
func ParseAccount(body []byte, query AccountQuery, now time.Time) (Account, error) {
	page, err := parseAccounts(answer{status: http.StatusOK, body: body}, now, now)
	if err != nil {
		return Account{}, err
	}
	if query.AccountID != "" {
		return query.pickByID(page)
	}
	var found matches
	found.add(query, page)
	return found.pick()
}

// DialWith makes the client connect by another way than the network.
func (c *Client) DialWith(dial func(ctx context.Context, network, address string) (net.Conn, error)) {
	c.transport.DialContext = dial
}

// UseProxy makes the client use a proxy, also for addresses on this machine.
func (c *Client) UseProxy(proxy *url.URL) { c.transport.Proxy = http.ProxyURL(proxy) }
