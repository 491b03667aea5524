// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream

import (
	"context"
	"net/http"
	"time"
)

// Reach sends a request without credentials to the API, and returns the HTTP status of the
// answer and its time by the clock of the API, or zero if the answer does not tell. The request tells
// caches not to answer it. The error is an *Error.
func (c *Client) Reach(ctx context.Context) (status int, date time.Time, err error) {
	got, err := c.do(ctx, http.MethodGet, "/.well-known/jwks.json", http.Header{"Cache-Control": {"no-cache"}}, nil)
	if err != nil {
		return 0, time.Time{}, err
	}
	return got.status, got.sentAt(), nil
}
