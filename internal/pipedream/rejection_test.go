// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// oauthError is an error answer as RFC 6749 has it.
func oauthError(code string) string {
	return `{"error":"` + code + `","error_description":"c4n4ry","error_uri":"https://c4n4ry.example"}`
}

func TestRejections(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		status int
		body   string
		kind   pipedream.Kind
		code   string
	}{
		"401 with a code":              {status: 401, body: oauthError("invalid_client"), kind: pipedream.CredentialsRejected, code: "invalid_client"},
		"401 with another code":        {status: 401, body: oauthError("invalid_scope"), kind: pipedream.CredentialsRejected, code: "invalid_scope"},
		"401 with an error in words":   {status: 401, body: `{"error":"Unauthorized c4n4ry"}`, kind: pipedream.CredentialsRejected},
		"401 with a page":              {status: 401, body: "<h1>c4n4ry</h1>", kind: pipedream.CredentialsRejected},
		"401 without body":             {status: 401, kind: pipedream.CredentialsRejected},
		"400 invalid_client":           {status: 400, body: oauthError("invalid_client"), kind: pipedream.CredentialsRejected, code: "invalid_client"},
		"400 unauthorized_client":      {status: 400, body: oauthError("unauthorized_client"), kind: pipedream.CredentialsRejected, code: "unauthorized_client"},
		"403 invalid_client":           {status: 403, body: oauthError("invalid_client"), kind: pipedream.CredentialsRejected, code: "invalid_client"},
		"403 unauthorized_client":      {status: 403, body: oauthError("unauthorized_client"), kind: pipedream.CredentialsRejected, code: "unauthorized_client"},
		"400 invalid_scope":            {status: 400, body: oauthError("invalid_scope"), kind: pipedream.ScopeRejected, code: "invalid_scope"},
		"403 invalid_scope":            {status: 403, body: oauthError("invalid_scope"), kind: pipedream.RequestRejected, code: "invalid_scope"},
		"400 invalid_request":          {status: 400, body: oauthError("invalid_request"), kind: pipedream.RequestRejected, code: "invalid_request"},
		"400 invalid_grant":            {status: 400, body: oauthError("invalid_grant"), kind: pipedream.RequestRejected, code: "invalid_grant"},
		"400 unsupported_grant_type":   {status: 400, body: oauthError("unsupported_grant_type"), kind: pipedream.RequestRejected, code: "unsupported_grant_type"},
		"400 with an unknown code":     {status: 400, body: oauthError("c4n4ry"), kind: pipedream.RequestRejected},
		"400 with a code and a space":  {status: 400, body: oauthError("invalid_scope "), kind: pipedream.RequestRejected},
		"400 with the secret as code":  {status: 400, body: oauthError(secret), kind: pipedream.RequestRejected},
		"400 with a code of no text":   {status: 400, body: `{"error":{"code":"invalid_scope"}}`, kind: pipedream.RequestRejected},
		"400 with a list":              {status: 400, body: `["invalid_scope"]`, kind: pipedream.RequestRejected},
		"400 with half of an object":   {status: 400, body: `{"error":"invalid_scope"`, kind: pipedream.RequestRejected},
		"400 without body":             {status: 400, kind: pipedream.RequestRejected},
		"400 with megabytes":           {status: 400, body: `{"error":"invalid_scope","x":"` + strings.Repeat("x", 1<<20) + `"}`, kind: pipedream.RequestRejected},
		"402":                          {status: 402, kind: pipedream.RequestRejected},
		"403 without code":             {status: 403, body: `{"error":"Forbidden c4n4ry"}`, kind: pipedream.RequestRejected},
		"404":                          {status: 404, body: `{"error":"record not found"}`, kind: pipedream.RequestRejected},
		"404 invalid_client":           {status: 404, body: oauthError("invalid_client"), kind: pipedream.RequestRejected, code: "invalid_client"},
		"405":                          {status: 405, kind: pipedream.RequestRejected},
		"407":                          {status: 407, body: "c4n4ry", kind: pipedream.RequestRejected},
		"408":                          {status: 408, kind: pipedream.Unavailable},
		"409":                          {status: 409, kind: pipedream.RequestRejected},
		"413":                          {status: 413, kind: pipedream.RequestRejected},
		"415":                          {status: 415, kind: pipedream.RequestRejected},
		"418":                          {status: 418, kind: pipedream.RequestRejected},
		"422":                          {status: 422, kind: pipedream.RequestRejected},
		"425":                          {status: 425, kind: pipedream.Unavailable},
		"429 of the application":       {status: 429, body: `{"error":"Throttled"}`, kind: pipedream.RateLimited},
		"429 of the load balancer":     {status: 429, kind: pipedream.RateLimited},
		"451":                          {status: 451, kind: pipedream.RequestRejected},
		"500":                          {status: 500, body: "c4n4ry at line 42", kind: pipedream.Unavailable},
		"500 invalid_client":           {status: 500, body: oauthError("invalid_client"), kind: pipedream.Unavailable, code: "invalid_client"},
		"502":                          {status: 502, body: "<html>c4n4ry</html>", kind: pipedream.Unavailable},
		"503":                          {status: 503, kind: pipedream.Unavailable},
		"504":                          {status: 504, kind: pipedream.Unavailable},
		"520, which has no name":       {status: 520, kind: pipedream.Unavailable},
		"599":                          {status: 599, kind: pipedream.Unavailable},
		"300":                          {status: 300, kind: pipedream.RequestRejected},
		"302 to nowhere":               {status: 302, kind: pipedream.RequestRejected},
		"304":                          {status: 304, kind: pipedream.RequestRejected},
		"307 to nowhere":               {status: 307, kind: pipedream.RequestRejected},
		"a status that is not defined": {status: 499, kind: pipedream.RequestRejected},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, answerWith(test.status, nil, test.body))
			_, err := issue(t, newClient(t, server.URL), "connect:accounts:read")
			want := pipedream.Error{Kind: test.kind, StatusCode: test.status, Code: test.code}
			if diff := cmp.Diff(want, wantError(t, err)); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			text := strings.TrimSpace("HTTP status " + strconv.Itoa(test.status) + " " + http.StatusText(test.status))
			if test.code != "" {
				text += ", error code " + test.code
			}
			if err.Error() != text {
				t.Errorf("its text is %q, want %q", err, text)
			}
			if got := server.requests.Load(); got != 1 {
				t.Errorf("it took %d requests, want 1: whoever asks decides when it is tried again", got)
			}
		})
	}
}

func TestWhenTheAPIWantsToBeAskedAgain(t *testing.T) {
	t.Parallel()
	reset := strconv.FormatInt(second.Add(90*time.Second).Unix(), 10)
	date := second.Add(2 * time.Minute).Format(http.TimeFormat)
	tests := map[string]struct {
		status     int
		retryAfter string
		reset      string
		kind       pipedream.Kind
		want       time.Time
	}{
		"429 with seconds":                                  {status: 429, retryAfter: "120", kind: pipedream.RateLimited, want: now.Add(2 * time.Minute)},
		"429 with 0 seconds":                                {status: 429, retryAfter: "0", kind: pipedream.RateLimited},
		"429 with more seconds than anybody can wait":       {status: 429, retryAfter: "99999999999999999999", kind: pipedream.RateLimited, want: now.Add((1 << 31) * time.Second)},
		"429 with a date":                                   {status: 429, retryAfter: date, kind: pipedream.RateLimited, want: second.Add(2 * time.Minute)},
		"429 with a date in the style of RFC 850":           {status: 429, retryAfter: "Sunday, 01-Mar-26 12:02:00 GMT", kind: pipedream.RateLimited, want: second.Add(2 * time.Minute)},
		"429 with spaces around":                            {status: 429, retryAfter: "  120 ", kind: pipedream.RateLimited, want: now.Add(2 * time.Minute)},
		"429 with a reset":                                  {status: 429, reset: reset, kind: pipedream.RateLimited, want: second.Add(90 * time.Second)},
		"429 with both: Retry-After counts":                 {status: 429, retryAfter: "120", reset: reset, kind: pipedream.RateLimited, want: now.Add(2 * time.Minute)},
		"429 with junk and a reset":                         {status: 429, retryAfter: "soon c4n4ry", reset: reset, kind: pipedream.RateLimited, want: second.Add(90 * time.Second)},
		"429 with a reset that is past, or counts from now": {status: 429, reset: "60", kind: pipedream.RateLimited},
		"429 with a date that is past":                      {status: 429, retryAfter: second.Add(-time.Hour).Format(http.TimeFormat), kind: pipedream.RateLimited},
		"429 with junk":                                     {status: 429, retryAfter: "soon c4n4ry", kind: pipedream.RateLimited},
		"429 with negative seconds":                         {status: 429, retryAfter: "-120", kind: pipedream.RateLimited},
		"429 with a fraction":                               {status: 429, retryAfter: "1.5", kind: pipedream.RateLimited},
		"429 with junk in the reset":                        {status: 429, reset: "c4n4ry", kind: pipedream.RateLimited},
		"429 with milliseconds in the reset":                {status: 429, reset: reset + "000", kind: pipedream.RateLimited},
		"429 without either":                                {status: 429, kind: pipedream.RateLimited},
		"503 with seconds":                                  {status: 503, retryAfter: "30", kind: pipedream.RateLimited, want: now.Add(30 * time.Second)},
		"503 with a date":                                   {status: 503, retryAfter: date, kind: pipedream.RateLimited, want: second.Add(2 * time.Minute)},
		"503 with junk":                                     {status: 503, retryAfter: "c4n4ry", kind: pipedream.Unavailable},
		"503 with a reset, which answers often have":        {status: 503, reset: reset, kind: pipedream.Unavailable},
		"500 with seconds":                                  {status: 500, retryAfter: "30", kind: pipedream.Unavailable},
		"401 with seconds":                                  {status: 401, retryAfter: "30", kind: pipedream.CredentialsRejected},
		"404 with seconds":                                  {status: 404, retryAfter: "30", kind: pipedream.RequestRejected},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			header := http.Header{}
			if test.retryAfter != "" {
				header.Set("Retry-After", test.retryAfter)
			}
			if test.reset != "" {
				header.Set("X-RateLimit-Reset", test.reset)
			}
			server := serve(t, answerWith(test.status, header, ""))
			_, err := issue(t, newClient(t, server.URL))
			want := pipedream.Error{Kind: test.kind, StatusCode: test.status, RetryAt: test.want}
			if diff := cmp.Diff(want, wantError(t, err)); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

// A server that sends back what it got, in all places, must not put it into a log.
func TestNoErrorShowsWhatAServerSendsBack(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 201, 302, 400, 401, 403, 404, 407, 429, 500, 503} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			t.Parallel()
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				echo := secret + " " + token + " " + canary
				for _, name := range []string{"Location", "Retry-After", "X-RateLimit-Reset", "Www-Authenticate", "Content-Type", "Server"} {
					w.Header().Set(name, echo)
				}
				w.WriteHeader(status)
				_, _ = w.Write(body)
			})
			if _, err := issue(t, newClient(t, server.URL)); err == nil {
				t.Error("it was taken for a token")
			}
		})
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			t.Parallel()
			other := serve(t, answerWith(http.StatusOK, nil, goodAnswer))
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, other.URL+"/v1/oauth/token?"+canary, status)
			})
			client := newClient(t, server.URL)

			_, err := issue(t, client)
			want := pipedream.Error{Kind: pipedream.RequestRejected, StatusCode: status}
			if diff := cmp.Diff(want, wantError(t, err)); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if _, err = client.Verify(t.Context(), pipedream.NewSensitive(token), trial); wantError(t, err).StatusCode != status {
				t.Errorf("Verify: %v", err)
			}
			if got := other.requests.Load(); got != 0 {
				t.Errorf("the other server has seen %d requests", got)
			}
			if got := server.requests.Load(); got != 2 {
				t.Errorf("the server has seen %d requests, want one of each", got)
			}
		})
	}
}

func TestARedirectToNoAddressIsOneToo(t *testing.T) {
	t.Parallel()
	server := serve(t, answerWith(http.StatusFound, http.Header{"Location": {"http://[" + canary}}, ""))
	_, err := issue(t, newClient(t, server.URL))
	want := pipedream.Error{Kind: pipedream.RequestRejected, StatusCode: http.StatusFound}
	if diff := cmp.Diff(want, wantError(t, err)); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}
