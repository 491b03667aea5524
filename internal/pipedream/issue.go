// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const minLifetime = 30 * time.Second

// MaxLifetime is the longest life of a token. Issue counts a longer life in an answer as this one.
const MaxLifetime = 30 * 24 * time.Hour

// TokenType is the type of all tokens, as it is written in an Authorization header.
const TokenType = "Bearer"

// Token is an access token and its properties.
type Token struct {
	AccessToken Sensitive
	// Type is TokenType.
	Type string
	// GrantedScope lists the scopes that the answer names as granted, separated by spaces as in
	// RFC 6749. It is empty when the answer names no scopes.
	GrantedScope string
	// IssueTime is the time just before the token request, in whole seconds.
	IssueTime time.Time
	// ExpirationTime is IssueTime plus the lifetime in the answer, at most MaxLifetime.
	ExpirationTime time.Time
}

// Issue exchanges credentials for a token with the given scopes. Without scopes, Pipedream
// grants its default scopes. The error is an *Error.
//
// If Pipedream can't have issued the credentials, Issue does not send them, and the Kind of the
// error is CredentialsInvalid. If the answer names the granted scopes, and they do not cover all
// given scopes, Issue discards the token, and the Kind of the error is ScopeNotGranted.
func (c *Client) Issue(ctx context.Context, credentials Credentials, scopes []string) (Token, error) {
	if err := credentials.check(); err != nil {
		return Token{}, &Error{Kind: CredentialsInvalid, Detail: err.Error()}
	}
	fields := map[string]string{
		"grant_type":    "client_credentials",
		"client_id":     credentials.ClientID,
		"client_secret": credentials.ClientSecret.Reveal(),
	}
	if len(scopes) > 0 {
		fields["scope"] = strings.Join(scopes, " ")
	}
	body, err := json.Marshal(fields)
	if err != nil {
		return Token{}, &Error{Kind: RequestRejected, Detail: "the request could not be made"}
	}
	asked := c.now().UTC().Truncate(time.Second)
	header := http.Header{"Content-Type": {"application/json"}}
	got, err := c.do(ctx, http.MethodPost, "/v1/oauth/token", header, bytes.NewReader(body))
	if err != nil {
		return Token{}, err
	}
	if !got.isSuccess() {
		return Token{}, rejection(got, oauthErrorCode(got.body), c.now())
	}
	token, err := parseToken(got, asked)
	if err != nil {
		return Token{}, &Error{Kind: Malformed, StatusCode: got.status, Detail: err.Error()}
	}
	token.forgetEcho(credentials)
	if missing := token.notGranted(scopes); len(missing) > 0 {
		return Token{}, &Error{Kind: ScopeNotGranted, StatusCode: got.status, Detail: "not granted: " + ShowScopes(missing)}
	}
	return token, nil
}

// notGranted returns the requested scopes that the answer does not grant. An answer that names
// no scopes grants all requested scopes.
func (t Token) notGranted(asked []string) []string {
	if t.GrantedScope == "" {
		return nil
	}
	return NotCovered(strings.Fields(t.GrantedScope), asked)
}

// forgetEcho clears GrantedScope if it contains the client secret or the access token. The
// operator writes GrantedScope to the metadata of a Secret and to messages.
func (t *Token) forgetEcho(credentials Credentials) {
	for _, secret := range []Sensitive{credentials.ClientSecret, t.AccessToken} {
		if !secret.IsEmpty() && strings.Contains(t.GrantedScope, secret.Reveal()) {
			t.GrantedScope = ""
		}
	}
}

// parseToken reads a successful answer. Its errors do not quote the answer.
func parseToken(got answer, asked time.Time) (Token, error) {
	if got.oversized {
		return Token{}, errors.New("the answer is longer than 64 KiB")
	}
	var fields struct {
		AccessToken json.RawMessage `json:"access_token"`
		TokenType   json.RawMessage `json:"token_type"`
		ExpiresIn   json.RawMessage `json:"expires_in"`
		Scope       json.RawMessage `json:"scope"`
	}
	if err := json.Unmarshal(got.body, &fields); err != nil {
		return Token{}, errors.New("the answer is not a JSON object")
	}
	accessToken, ok := asString(fields.AccessToken)
	if !ok || !isVisibleASCII(accessToken) {
		return Token{}, errors.New("the answer has no usable access_token")
	}
	if tokenType, ok := asString(fields.TokenType); fields.TokenType != nil && (!ok || !strings.EqualFold(tokenType, TokenType)) {
		return Token{}, errors.New("the answer's token_type is not Bearer")
	}
	lifetime, err := parseLifetime(fields.ExpiresIn)
	if err != nil {
		return Token{}, err
	}
	return Token{
		AccessToken:    NewSensitive(accessToken),
		Type:           TokenType,
		GrantedScope:   parseScope(fields.Scope),
		IssueTime:      asked,
		ExpirationTime: asked.Add(lifetime),
	}, nil
}

func parseLifetime(raw json.RawMessage) (time.Duration, error) {
	seconds, err := strconv.ParseInt(string(raw), 10, 64)
	if errors.Is(err, strconv.ErrRange) && seconds > 0 {
		err = nil
	}
	switch {
	case err != nil:
		return 0, errors.New("the answer's expires_in is not an integer")
	case seconds < int64(minLifetime/time.Second):
		return 0, errors.New("the answer's expires_in is less than 30 seconds")
	case seconds > int64(MaxLifetime/time.Second):
		return MaxLifetime, nil
	}
	return time.Duration(seconds) * time.Second, nil
}

// parseScope returns the granted scopes, separated by spaces. It accepts a string or a list of
// strings. It returns an empty string if it can't read the scopes, as if the answer named no
// scopes.
func parseScope(raw json.RawMessage) string {
	scope, ok := asString(raw)
	if !ok {
		var list []string
		if json.Unmarshal(raw, &list) != nil {
			return ""
		}
		scope = strings.Join(list, " ")
	}
	fields := strings.Fields(scope)
	for _, field := range fields {
		if !IsScope(field) {
			return ""
		}
	}
	return strings.Join(fields, " ")
}

func asString(raw json.RawMessage) (string, bool) {
	var value *string
	if json.Unmarshal(raw, &value) != nil || value == nil {
		return "", false
	}
	return *value, true
}

func isVisibleASCII(text string) bool {
	return text != "" && strings.IndexFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// oauthErrorCode returns the error code of an answer if RFC 6749, section 5.2, defines it.
// Otherwise it returns an empty string, because any other text could repeat a part of the
// request.
func oauthErrorCode(body []byte) string {
	var fields struct {
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(body, &fields) != nil {
		return ""
	}
	code, _ := asString(fields.Error)
	switch code {
	case "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope":
		return code
	}
	return ""
}

// retryAt returns the time in Retry-After or, without a usable one, in X-RateLimit-Reset
// (seconds since 1970). It returns zero when neither header names a time in the future.
func retryAt(header http.Header, now time.Time) time.Time {
	if after := retryAfter(header, now); !after.IsZero() {
		return after
	}
	reset, err := strconv.ParseUint(strings.TrimSpace(header.Get("X-RateLimit-Reset")), 10, 33)
	if at := time.Unix(int64(reset), 0); err == nil && at.After(now) {
		return at
	}
	return time.Time{}
}

// retryAfter returns the time in Retry-After, which is a number of seconds or a date. It
// returns zero when the header is absent or unreadable, or names a time in the past.
func retryAfter(header http.Header, now time.Time) time.Time {
	const forEver = 1 << 31
	value := strings.TrimSpace(header.Get("Retry-After"))
	at, err := http.ParseTime(value)
	if seconds, notSeconds := strconv.ParseUint(value, 10, 64); notSeconds == nil || errors.Is(notSeconds, strconv.ErrRange) {
		at, err = now.Add(time.Duration(min(seconds, forEver))*time.Second), nil
	}
	if err == nil && at.After(now) {
		return at
	}
	return time.Time{}
}
