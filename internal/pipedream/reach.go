// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream

import (
	"context"
	"net/http"
	"time"
)

// Reach finds out whether the API answers at all, and with which HTTP status. It sends
// no credentials, and wants no answer from a cache. The date is the one that the answer
// carries; zero when it has none. The error is an *Error.
func (c *Client) Reach(ctx context.Context) (status int, date time.Time, err error) {
	got, err := c.do(ctx, http.MethodGet, "/.well-known/jwks.json", http.Header{"Cache-Control": {"no-cache"}}, nil)
	if err != nil {
		return 0, time.Time{}, err
	}
	date, err = http.ParseTime(got.header.Get("Date"))
	if err != nil {
		return got.status, time.Time{}, nil //nolint:nilerr // An answer without a date is one nevertheless.
	}
	return got.status, date, nil
}
