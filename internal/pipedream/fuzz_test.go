// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

func isVisible(r rune) bool { return r > ' ' && r < 0x7f }

func FuzzParseToken(f *testing.F) {
	for _, seed := range []string{
		goodAnswer,
		answer(`"expires_in":30,"scope":["a","b"]`),
		answer(`"expires_in":9223372036854775808,"token_type":"bearer","scope":" a \t b "`),
		answer(`"expires_in":-1`),
		answer(`"expires_in":3.6e3`),
		`{"access_token":"a b","expires_in":3600}`,
		`{"access_token":"\u0000","expires_in":3600}`,
		"{\"access_token\":\"\xff\",\"expires_in\":3600}",
		`{"ACCESS_TOKEN":"t","Expires_In":60}`,
		`{"error":"invalid_client"}`,
		`null`, `[]`, `"`, ``,
	} {
		f.Add([]byte(seed))
	}
	errors := []string{
		"the answer is not a JSON object",
		"the answer has no usable access_token",
		"the answer's token_type is not Bearer",
		"the answer's expires_in is not an integer",
		"the answer's expires_in is less than 30 seconds",
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := pipedream.ParseToken(body, second)
		if err != nil {
			if !slices.Contains(errors, err.Error()) {
				t.Errorf("the error may quote the answer: %q", err)
			}
			if !got.AccessToken.IsEmpty() {
				t.Errorf("there is an error, and a token: %v", err)
			}
			return
		}
		accessToken := got.AccessToken.Reveal()
		if accessToken == "" || strings.ContainsFunc(accessToken, func(r rune) bool { return !isVisible(r) }) {
			t.Errorf("the token is %q", accessToken)
		}
		if life := got.ExpirationTime.Sub(got.IssueTime); life < 30*time.Second || life > 30*24*time.Hour {
			t.Errorf("the token lives %s", life)
		}
		if !got.IssueTime.Equal(second) || got.Type != "Bearer" {
			t.Errorf("the token is a %q of %s", got.Type, got.IssueTime)
		}
		scopes := strings.Split(got.GrantedScope, " ")
		if got.GrantedScope != "" && slices.ContainsFunc(scopes, func(scope string) bool { return !pipedream.IsScope(scope) }) {
			t.Errorf("the scope is %q", got.GrantedScope)
		}
	})
}

func FuzzParseAccount(f *testing.F) {
	for _, body := range wrap(account()) {
		f.Add([]byte(body), false)
		f.Add([]byte(body), true)
	}
	for _, seed := range []string{
		account("dead", "true"), account("credentials", "null"), account("credentials", `{"a":[1,{"b":null}],"c":1e400}`),
		account("expires_at", `"9999-12-31T23:59:59.999999999+23:59"`), account("expires_at", `"0000-01-01T00:00:00+01:00"`),
		account("app", `{"name_slug":"SLACK"}`), account("app", `"slack"`), account("credentials", `{"a":"\ud83d\ude00","b":"\ud800","c":"\\ud800"}`), account("credentials", "{\"a\":[\"\xff\"]}"), account("external_id", "7"), `{"data":[{"id":"apn_1"},{"id":"apn_2"}],"page_info":{"end_cursor":"x","total_count":-1}}`,
		`{"ID":"apn_1","Credentials":{"A":"b"}}`, `{"id":{},"data":[]}`, `{"data":{"id":null,"accounts":null}}`, `[]`, `null`, `"`, ``,
	} {
		f.Add([]byte(seed), true)
	}
	errors := []string{
		"the answer is neither an account nor a list of accounts in JSON",
		"the answer has an account without a usable id",
		"HTTP status 200 OK, the answer is about another account",
		"HTTP status 200 OK, no account matches",
		"HTTP status 200 OK, Pipedream calls the account dead",
		"HTTP status 200 OK, the answer's external_id or app is not a readable name",
		"HTTP status 200 OK, the answer has no credentials",
		"HTTP status 200 OK, accounts of this app have no credentials",
		"HTTP status 200 OK, the answer's credentials are not a JSON object",
		"HTTP status 200 OK, the answer's credentials have more than 64 fields",
		"HTTP status 200 OK, the answer's credentials have a text that UTF-8 can't hold",
		"HTTP status 200 OK, the answer's expires_at is not a time",
	}
	f.Fuzz(func(t *testing.T, body []byte, isByID bool) {
		query := byUser
		if isByID {
			query = byID
		}
		got, err := pipedream.ParseAccount(body, query, now)
		if err != nil {
			if !slices.Contains(errors, err.Error()) {
				t.Errorf("the error may quote the answer: %q", err)
			}
			if len(got.Credentials) > 0 {
				t.Errorf("there is an error, and an account: %v", got)
			}
			return
		}
		if isByID && got.ID != query.AccountID || got.ID == "" || strings.ContainsFunc(got.ID+got.App, func(r rune) bool { return !isVisible(r) }) {
			t.Errorf("the account is %q of %q", got.ID, got.App)
		}
		if user := got.ExternalUserID.Reveal(); !isByID && user != "" && user != query.ExternalUserID {
			t.Errorf("the account is one of %q", user)
		}
		if len(got.Credentials) == 0 || len(got.Credentials) > 64 {
			t.Errorf("the account has %d fields", len(got.Credentials))
		}
		for name, value := range got.Credentials {
			if !utf8.ValidString(value.Reveal()) {
				t.Errorf("the field %q is %q, which is not UTF-8", name, value.Reveal())
			}
		}
		for _, name := range []string{"oauth_refresh_token", "oauth_client_secret"} {
			if _, ok := got.Credentials[name]; ok {
				t.Errorf("the account has its %s", name)
			}
		}
		for _, at := range []time.Time{got.ExpirationTime, got.NextRefreshTime} {
			read, err := time.Parse(time.RFC3339, at.Format(time.RFC3339))
			if at.Nanosecond() != 0 || err != nil || !read.Equal(at) {
				t.Errorf("a time of the account is %s, and read again it is %s, %v", at, read, err)
			}
		}
	})
}

func FuzzRetryAt(f *testing.F) {
	for _, seed := range [][2]string{
		{"120", ""},
		{"0", "1772366490"},
		{"-1", "0"},
		{"99999999999999999999", "99999999999999999999"},
		{"2147483647", "8589934591"},
		{"Sun, 01 Mar 2026 12:02:00 GMT", ""},
		{"Sunday, 01-Mar-26 12:02:00 GMT", "x"},
		{"Fri, 31 Dec 9999 23:59:59 GMT", ""},
		{"Mon, 01 Jan 0001 00:00:00 GMT", ""},
		{" 1 ", " 1 "},
		{"1.5", "1.5"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, retryAfter, reset string) {
		header := http.Header{"Retry-After": {retryAfter}, "X-Ratelimit-Reset": {reset}}
		at := pipedream.RetryAt(header, now)
		if !at.IsZero() && !at.After(now) {
			t.Errorf("Retry-After %q and X-RateLimit-Reset %q are taken as %s, which is not to come", retryAfter, reset, at)
		}
		if isDigits(retryAfter) && strings.Trim(retryAfter, "0") != "" && at.IsZero() {
			t.Errorf("Retry-After %q is not understood", retryAfter)
		}
		if !at.IsZero() && (at.Year() < 0 || at.Year() > 9999) {
			t.Errorf("it is to be asked again at %s", at)
		}
		// Whatever the headers say, the limiter makes a pause of a sensible length.
		limiter, _ := throttle.NewLimiter(throttle.Options{PerSecond: 1, Burst: 1, InFlight: 1, Now: func() time.Time { return now }})
		requester := throttle.Requester{Name: "a"}
		limiter.Reserve(requester, throttle.ReserveOptions{})
		err := limiter.Do(requester, throttle.DoOptions{}, func() error {
			return &pipedream.Error{Kind: pipedream.RateLimited, StatusCode: 429, RetryAt: at}
		})
		pause := wantError(t, err).RetryAt.Sub(now)
		if pause < time.Second || pause > 15*time.Minute {
			t.Errorf("the pause is %s", pause)
		}
		if at.IsZero() && pause != time.Minute {
			t.Errorf("nothing is said, and the pause is %s", pause)
		}
	})
}

func isDigits(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool { return r < '0' || r > '9' })
}
