// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
)

// Revoke asks the API to revoke a token that these credentials were exchanged for. The error is
// an *Error. If Pipedream can't have issued the credentials, Revoke does not send them, and the
// Kind of the error is CredentialsInvalid.
//
// Little is known about this request. One page of Pipedream's documentation describes it, with
// the answer to a success; the API's description in OpenAPI and the SDKs do not have it.
// Nothing says which status an error has, whether a second revocation of the same token is an
// error, and how soon the API refuses the token. RFC 7009 says that an unknown token is a
// success, and lets a server take some time. So no error means only that the API has answered
// with a success: to know whether the token is refused, try it.
//
// The operator revokes no token. Only `kubectl pipedream probe` calls Revoke.
func (c *Client) Revoke(ctx context.Context, credentials Credentials, token Sensitive) error {
	if err := credentials.check(); err != nil {
		return &Error{Kind: CredentialsInvalid, Detail: err.Error()}
	}
	body, err := json.Marshal(map[string]string{
		"client_id":     credentials.ClientID,
		"client_secret": credentials.ClientSecret.Reveal(),
		"token":         token.Reveal(),
	})
	if err != nil {
		return &Error{Kind: RequestRejected, Detail: "the request could not be made"}
	}
	header := http.Header{"Content-Type": {"application/json"}}
	got, err := c.do(ctx, http.MethodPost, "/v1/oauth/revoke", header, bytes.NewReader(body))
	switch {
	case err != nil:
		return err
	case !got.isSuccess():
		return rejection(got, oauthErrorCode(got.body), c.now())
	}
	return nil
}
