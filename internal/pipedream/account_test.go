// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

var (
	byID   = pipedream.AccountQuery{ProjectID: "proj_abc123", Environment: "production", AccountID: "apn_1"}
	byUser = pipedream.AccountQuery{ProjectID: "proj_abc123", Environment: "development", ExternalUserID: "acme prod", App: "slack"}
	byKey  = pipedream.AccountQuery{AccountID: "apn_1"}
)

// lastTime is the last second that a record and a status can hold.
var lastTime = time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC)

// account returns an account with changed fields, in JSON. A field that is "-" is left out.
func account(change ...string) string {
	fields := map[string]string{
		"id": `"apn_1"`, "name": `"c4n4ry"`, "external_id": `"acme prod"`, "healthy": "true", "dead": "false",
		"app":         `{"id":"oa_1","name_slug":"slack","name":"Slack","auth_type":"oauth"}`,
		"credentials": `{"oauth_access_token":"c4n4ry-token","oauth_refresh_token":"c4n4ry-refresh","oauth_client_id":"client"}`,
		"expires_at":  `"2026-03-01T13:00:00.000Z"`, "next_refresh_at": `"2026-03-01T12:13:30.000Z"`, "error": `"c4n4ry"`,
	}
	for pair := range slices.Chunk(change, 2) {
		if fields[pair[0]] = pair[1]; pair[1] == "-" {
			delete(fields, pair[0])
		}
	}
	parts := make([]string, 0, len(fields))
	for name, value := range fields {
		parts = append(parts, fmt.Sprintf("%q:%s", name, value))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// plain is an Account with its secrets shown.
type plain struct {
	ID, App, User, Health string
	Credentials           map[string]string
	Fetch, Expires, Next  time.Time
}

func reveal(a pipedream.Account) plain {
	p := plain{
		ID: a.ID, App: a.App, User: a.ExternalUserID.Reveal(), Health: string(a.Health),
		Fetch: a.FetchTime, Expires: a.ExpirationTime, Next: a.NextRefreshTime,
	}
	for name, value := range a.Credentials {
		if p.Credentials == nil {
			p.Credentials = map[string]string{}
		}
		p.Credentials[name] = value.Reveal()
	}
	return p
}

// good is what account() holds.
func good() plain {
	return plain{
		ID: "apn_1", App: "slack", User: "acme prod", Health: "Healthy",
		Credentials: map[string]string{"oauth_access_token": "c4n4ry-token", "oauth_client_id": "client"},
		Fetch:       second,
		Expires:     second.Add(time.Hour), Next: second.Add(13*time.Minute + 30*time.Second),
	}
}

// fetch asks for an account, and checks that an error is one that may be shown.
func fetch(t *testing.T, client *pipedream.Client, query pipedream.AccountQuery) (pipedream.Account, error) {
	t.Helper()
	got, err := client.Account(t.Context(), pipedream.NewSensitive(token), query)
	if err != nil {
		checkIsSafe(t, err)
		if diff := cmp.Diff(plain{}, reveal(got)); diff != "" {
			t.Errorf("there is an error, and an account:\n%s", diff)
		}
	}
	return got, err
}

// sameTime is a header with the Date of the answer that fits to the clock.
var sameTime = http.Header{"Date": {second.Format(http.TimeFormat)}}

func TestTheRequestForAnAccount(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		query           pipedream.AccountQuery
		wantURI         string
		wantEnvironment string
	}{
		"by ID": {byID, "/v1/connect/proj_abc123/accounts/apn_1?include_credentials=true", "production"},
		"by user and app": {
			byUser, "/v1/connect/proj_abc123/accounts?app=slack&external_user_id=acme+prod&include_credentials=true", "development",
		},
		"by a user with signs in its name": {
			pipedream.AccountQuery{ProjectID: "p", Environment: "production", ExternalUserID: "a&b=c/d#e%?+ü", App: "slack"},
			"/v1/connect/p/accounts?app=slack&external_user_id=a%26b%3Dc%2Fd%23e%25%3F%2B%C3%BC&include_credentials=true", "production",
		},
		"by an API key":                        {byKey, "/v1/accounts/apn_1?include_credentials=true", ""},
		"by an API key in a workspace":         {pipedream.AccountQuery{AccountID: "a", WorkspaceID: "o_1"}, "/v1/accounts/a?include_credentials=true&org_id=o_1", ""},
		"no workspace in a project of Connect": {pipedream.AccountQuery{ProjectID: "p", AccountID: "a", WorkspaceID: "o_1"}, "/v1/connect/p/accounts/a?include_credentials=true", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodGet || r.RequestURI != test.wantURI {
					t.Errorf("it asks %s %s, want GET %s", r.Method, r.RequestURI, test.wantURI)
				}
				if got := r.Header.Get("X-Pd-Environment"); got != test.wantEnvironment {
					t.Errorf("the environment is %q, want %q", got, test.wantEnvironment)
				}
				if got := r.Header.Get("Authorization"); got != "Bearer "+token {
					t.Errorf("it asks with %q", got)
				}
				if got := r.Header.Get("Cache-Control"); got != "no-cache" {
					t.Errorf("it lets caches answer: Cache-Control %q", got)
				}
				w.WriteHeader(http.StatusTeapot)
			})
			if _, err := fetch(t, newClient(t, server.URL), test.query); err == nil {
				t.Error("there is no error")
			}
			if got := server.requests.Load(); got != 1 {
				t.Errorf("%d requests, want 1", got)
			}
		})
	}
}

func TestQueriesThatAreNotSent(t *testing.T) {
	t.Parallel()
	tests := map[string]pipedream.AccountQuery{
		"nothing":                      {ProjectID: "p"},
		"a user without an app":        {ProjectID: "p", ExternalUserID: "u"},
		"an app without a user":        {ProjectID: "p", App: "slack"},
		"a user without a project":     {ExternalUserID: "u", App: "slack"},
		"another path":                 {ProjectID: "p", AccountID: ".."},
		"a path below":                 {ProjectID: "p", AccountID: "a/b"},
		"another query":                {ProjectID: "p", AccountID: "a?b"},
		"a long ID":                    {ProjectID: "p", AccountID: strings.Repeat("a", 65)},
		"an ID with a space":           {ProjectID: "p", AccountID: "a b"},
		"an ID with another character": {ProjectID: "p", AccountID: "ä"},
	}
	for name, query := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, answerWith(http.StatusOK, nil, account()))
			_, err := fetch(t, newClient(t, server.URL), query)
			if got := wantError(t, err); got.Kind != pipedream.RequestRejected {
				t.Errorf("the error is %v", err)
			}
			if server.requests.Load() != 0 {
				t.Error("a request was sent")
			}
		})
	}
}

// wrap returns an account in each shape that Pipedream has answered in.
func wrap(account string) map[string]string {
	return map[string]string{
		"bare":             account,
		"in data":          `{"data":` + account + `}`,
		"in a list":        `[` + account + `]`,
		"in a list of old": `{"data":{"accounts":[` + account + `]}}`,
		"in a listing":     ` {"data": [` + account + `], "page_info":{"total_count":1,"count":1,"start_cursor":"a","end_cursor":"b"}}`,
	}
}

func TestAnAccountInAllShapes(t *testing.T) {
	t.Parallel()
	for name, query := range map[string]pipedream.AccountQuery{"by ID": byID, "by user and app": byUser, "by an API key": byKey} {
		for shape, body := range wrap(account()) {
			t.Run(name+" "+shape, func(t *testing.T) {
				t.Parallel()
				server := serve(t, answerWith(http.StatusOK, sameTime, body))
				got, err := fetch(t, newClient(t, server.URL), query)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(good(), reveal(got)); diff != "" {
					t.Errorf("account (-want +got):\n%s", diff)
				}
				if server.requests.Load() != 1 {
					t.Errorf("%d requests, want 1", server.requests.Load())
				}
			})
		}
	}
}

func TestWhatAnAccountSays(t *testing.T) {
	t.Parallel()
	many := func(count int) string {
		fields := map[string]string{"oauth_refresh_token": "r"}
		for i := range count {
			fields[fmt.Sprintf("field_%d", i)] = "v"
		}
		body, _ := json.Marshal(fields)
		return string(body)
	}
	failed := func(kind pipedream.Kind, detail string) *pipedream.Error {
		return &pipedream.Error{Kind: kind, StatusCode: 200, Detail: detail}
	}
	tests := map[string]struct {
		query  pipedream.AccountQuery
		change []string
		want   func(*plain)
		err    *pipedream.Error
	}{
		"nothing about its health":    {change: []string{"healthy", "-", "dead", "-"}, want: func(p *plain) { p.Health = "Unknown" }},
		"null for its health":         {change: []string{"healthy", "null", "dead", "null"}, want: func(p *plain) { p.Health = "Unknown" }},
		"that it is unhealthy":        {change: []string{"healthy", "false"}, want: func(p *plain) { p.Health = "Unhealthy" }},
		"that it does not expire":     {change: []string{"expires_at", "null", "next_refresh_at", "null"}, want: func(p *plain) { p.Expires, p.Next = time.Time{}, time.Time{} }},
		"nothing about its expiry":    {change: []string{"expires_at", "-", "next_refresh_at", "-"}, want: func(p *plain) { p.Expires, p.Next = time.Time{}, time.Time{} }},
		"an expiry in the past":       {change: []string{"expires_at", `"2026-03-01T11:00:00Z"`}, want: func(p *plain) { p.Expires = second.Add(-time.Hour) }},
		"an expiry in another zone":   {change: []string{"expires_at", `"2026-03-01T14:00:00+01:00"`}, want: func(*plain) {}},
		"an expiry in the year 1":     {change: []string{"expires_at", `"0001-01-01T00:00:00Z"`}, want: func(p *plain) { p.Expires = time.Time{}.Add(time.Second) }},
		"an expiry in the year 9999":  {change: []string{"expires_at", `"9999-12-31T23:59:59Z"`}, want: func(p *plain) { p.Expires = lastTime }},
		"an expiry in the year 10000": {change: []string{"expires_at", `"9999-12-31T23:59:59-01:00"`}, want: func(p *plain) { p.Expires = lastTime }},
		"an expiry before the year 0": {change: []string{"expires_at", `"0000-01-01T00:00:00+01:00"`}, want: func(p *plain) { p.Expires = time.Time{}.Add(time.Second) }},
		"a refresh in the year 10000": {change: []string{"next_refresh_at", `"9999-12-31T23:59:59.9-23:59"`}, want: func(p *plain) { p.Next = lastTime }},
		"a refresh before the year 0": {change: []string{"next_refresh_at", `"0000-01-01T00:00:00+23:59"`}, want: func(p *plain) { p.Next = time.Time{}.Add(time.Second) }},
		"a refresh at no time":        {change: []string{"next_refresh_at", `"c4n4ry"`}, want: func(p *plain) { p.Next = time.Time{} }},
		"no slug of the app":          {change: []string{"app", `{"id":"app_1","name":"c4n4ry"}`}, want: func(p *plain) { p.App = "" }},
		"an unusable slug of the app": {change: []string{"app", `{"name_slug":"C4n4ry\n"}`}, want: func(p *plain) { p.App = "" }},
		"the slug of a bare app":      {query: pipedream.AccountQuery{ProjectID: "p", AccountID: "apn_1", App: "slack"}, want: func(*plain) {}},
		"the ID of the app":           {query: pipedream.AccountQuery{ProjectID: "p", AccountID: "apn_1", App: "oa_1"}, want: func(*plain) {}},
		"no app, and one is asked for": {
			query: pipedream.AccountQuery{ProjectID: "p", AccountID: "apn_1", App: "slack"}, change: []string{"app", "-"},
			want: func(p *plain) { p.App = "" },
		},
		"no user": {change: []string{"external_id", "-"}, want: func(p *plain) { p.User = "" }},
		"values of all types": {
			change: []string{"credentials", `{"text":"a\"\n","number":1.50,"yes":true,"list":[ 1, 2 ],"object":{ "a": null },"null":null,"empty":"","oauth_client_secret":"c4n4ry"}`},
			want: func(p *plain) {
				p.Credentials = map[string]string{"text": "a\"\n", "number": "1.50", "yes": "true", "list": "[1,2]", "object": `{"a":null}`, "empty": ""}
			},
		},
		"64 fields beside the refresh token": {change: []string{"credentials", many(64)}, want: func(p *plain) {
			p.Credentials = map[string]string{}
			for i := range 64 {
				p.Credentials[fmt.Sprintf("field_%d", i)] = "v"
			}
		}},

		"that it is dead":                        {change: []string{"dead", "true"}, err: failed(pipedream.AccountDead, "Pipedream calls the account dead")},
		"that it is dead, and no credentials":    {change: []string{"dead", "true", "credentials", "-"}, err: failed(pipedream.AccountDead, "Pipedream calls the account dead")},
		"that it is dead, and no time":           {change: []string{"dead", "true", "expires_at", "7"}, err: failed(pipedream.AccountDead, "Pipedream calls the account dead")},
		"no credentials":                         {change: []string{"credentials", "-"}, err: failed(pipedream.AccountNotExportable, "the answer has no credentials")},
		"null for credentials":                   {change: []string{"credentials", "null"}, err: failed(pipedream.AccountNotExportable, "the answer has no credentials")},
		"empty credentials":                      {change: []string{"credentials", "{}"}, err: failed(pipedream.AccountNotExportable, "the answer has no credentials")},
		"credentials that are all null":          {change: []string{"credentials", `{"api_key":null}`}, err: failed(pipedream.AccountNotExportable, "the answer has no credentials")},
		"nothing but a refresh token":            {change: []string{"credentials", `{"oauth_refresh_token":"c4n4ry"}`}, err: failed(pipedream.AccountNotExportable, "the answer has no credentials")},
		"that the app has no credentials":        {change: []string{"credentials", "null", "app", `{"auth_type":"none"}`}, err: failed(pipedream.AccountNotExportable, "accounts of this app have no credentials")},
		"another ID":                             {change: []string{"id", `"apn_2"`}, err: failed(pipedream.Malformed, "the answer is about another account")},
		"no ID":                                  {change: []string{"id", "null"}, err: failed(pipedream.Malformed, "the answer has an account without a usable id")},
		"an ID that is a number":                 {change: []string{"id", "7"}, err: failed(pipedream.Malformed, "the answer has an account without a usable id")},
		"an ID with a line break":                {change: []string{"id", `"c4n4ry\n"`}, err: failed(pipedream.Malformed, "the answer has an account without a usable id")},
		"an expiry that is a number":             {change: []string{"expires_at", "1772370000"}, err: failed(pipedream.Malformed, "the answer's expires_at is not a time")},
		"an expiry that is empty":                {change: []string{"expires_at", `""`}, err: failed(pipedream.Malformed, "the answer's expires_at is not a time")},
		"an expiry without a zone":               {change: []string{"expires_at", `"2026-03-01T13:00:00"`}, err: failed(pipedream.Malformed, "the answer's expires_at is not a time")},
		"an expiry that quotes":                  {change: []string{"expires_at", `"c4n4ry"`}, err: failed(pipedream.Malformed, "the answer's expires_at is not a time")},
		"credentials that are a text":            {change: []string{"credentials", `"c4n4ry"`}, err: failed(pipedream.Malformed, "the answer's credentials are not a JSON object")},
		"credentials that are a list":            {change: []string{"credentials", `["c4n4ry"]`}, err: failed(pipedream.Malformed, "the answer's credentials are not a JSON object")},
		"65 fields beside the refresh token":     {change: []string{"credentials", many(65)}, err: failed(pipedream.Malformed, "the answer's credentials have more than 64 fields")},
		"another app":                            {query: pipedream.AccountQuery{ProjectID: "p", AccountID: "apn_1", App: "github"}, err: failed(pipedream.AccountMismatch, "the account is of another app")},
		"another app, and that it is dead":       {query: pipedream.AccountQuery{ProjectID: "p", AccountID: "apn_1", App: "github"}, change: []string{"dead", "true"}, err: failed(pipedream.AccountMismatch, "the account is of another app")},
		"another app than the one of the filter": {query: pipedream.AccountQuery{ProjectID: "p", ExternalUserID: "acme prod", App: "github"}, err: failed(pipedream.AccountNotFound, "no account matches")},
		"another user than the one of the filter": {
			query: pipedream.AccountQuery{ProjectID: "p", ExternalUserID: "other", App: "slack"}, err: failed(pipedream.AccountNotFound, "no account matches"),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			query := test.query
			if query == (pipedream.AccountQuery{}) {
				query = byID
			}
			server := serve(t, answerWith(http.StatusOK, sameTime, account(test.change...)))
			got, err := fetch(t, newClient(t, server.URL), query)
			if test.err != nil {
				if diff := cmp.Diff(*test.err, wantError(t, err)); diff != "" {
					t.Errorf("error (-want +got):\n%s", diff)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := good()
			test.want(&want)
			if diff := cmp.Diff(want, reveal(got)); diff != "" {
				t.Errorf("account (-want +got):\n%s", diff)
			}
			if shown := fmt.Sprintf("%v %+v %#v", got, got, got); strings.Contains(shown, canary) || strings.Contains(shown, "acme") {
				t.Errorf("the account shows a secret when it is printed: %s", shown)
			}
		})
	}
}

func TestAnswersThatAreNoAccount(t *testing.T) {
	t.Parallel()
	const noAccount = "the answer is neither an account nor a list of accounts in JSON"
	later := second.Add(time.Minute)
	tests := map[string]struct {
		status int
		header http.Header
		body   string
		want   pipedream.Error
	}{
		"an empty list":             {status: 200, body: `{"data":[]}`, want: pipedream.Error{Kind: pipedream.AccountNotFound, Detail: "no account matches"}},
		"an empty list of old":      {status: 200, body: `{"data":{"accounts":[]}}`, want: pipedream.Error{Kind: pipedream.AccountNotFound, Detail: "no account matches"}},
		"a bare empty list":         {status: 200, body: `[]`, want: pipedream.Error{Kind: pipedream.AccountNotFound, Detail: "no account matches"}},
		"null":                      {status: 200, body: `{"data":null}`, want: pipedream.Error{Kind: pipedream.AccountNotFound, Detail: "no account matches"}},
		"a sign-in page":            {status: 200, body: "<html>c4n4ry</html>", want: pipedream.Error{Kind: pipedream.Malformed, Detail: noAccount}},
		"no body":                   {status: 204, want: pipedream.Error{Kind: pipedream.Malformed, Detail: noAccount}},
		"a text":                    {status: 200, body: `"c4n4ry"`, want: pipedream.Error{Kind: pipedream.Malformed, Detail: noAccount}},
		"an object without account": {status: 200, body: `{"error":"c4n4ry"}`, want: pipedream.Error{Kind: pipedream.Malformed, Detail: noAccount}},
		"data without account":      {status: 200, body: `{"data":{"c4n4ry":1}}`, want: pipedream.Error{Kind: pipedream.Malformed, Detail: noAccount}},
		"data that is a text":       {status: 200, body: `{"data":"c4n4ry"}`, want: pipedream.Error{Kind: pipedream.Malformed, Detail: noAccount}},
		"a cut list":                {status: 200, body: `[{"id":"apn_1"}`, want: pipedream.Error{Kind: pipedream.Malformed, Detail: noAccount}},
		"a list of texts":           {status: 200, body: `["c4n4ry"]`, want: pipedream.Error{Kind: pipedream.Malformed, Detail: noAccount}},
		"a list with null":          {status: 200, body: `[null]`, want: pipedream.Error{Kind: pipedream.Malformed, Detail: "the answer has an account without a usable id"}},
		"256 KiB and a byte": {
			status: 200, body: strings.Repeat(" ", 256<<10) + "x",
			want: pipedream.Error{Kind: pipedream.Malformed, Detail: "the answer is longer than 256 KiB"},
		},
		"401":                    {status: 401, body: oauthError("invalid_client"), want: pipedream.Error{Kind: pipedream.TokenRejected}},
		"403":                    {status: 403, body: oauthError("invalid_client"), want: pipedream.Error{Kind: pipedream.AccessDenied}},
		"404":                    {status: 404, body: `{"error":"c4n4ry"}`, want: pipedream.Error{Kind: pipedream.AccountNotFound}},
		"400":                    {status: 400, body: oauthError("invalid_client"), want: pipedream.Error{Kind: pipedream.RequestRejected}},
		"400 about a scope":      {status: 400, body: oauthError("invalid_scope"), want: pipedream.Error{Kind: pipedream.RequestRejected}},
		"302":                    {status: 302, header: http.Header{"Location": {"/c4n4ry"}}, want: pipedream.Error{Kind: pipedream.RequestRejected}},
		"408":                    {status: 408, want: pipedream.Error{Kind: pipedream.Unavailable}},
		"425":                    {status: 425, want: pipedream.Error{Kind: pipedream.Unavailable}},
		"500":                    {status: 500, body: "c4n4ry", want: pipedream.Error{Kind: pipedream.Unavailable}},
		"503 with a time":        {status: 503, header: http.Header{"Retry-After": {later.Format(http.TimeFormat)}}, want: pipedream.Error{Kind: pipedream.RateLimited, RetryAt: later}},
		"429":                    {status: 429, header: http.Header{"Retry-After": {later.Format(http.TimeFormat)}}, want: pipedream.Error{Kind: pipedream.RateLimited, RetryAt: later}},
		"429 by a load balancer": {status: 429, want: pipedream.Error{Kind: pipedream.RateLimited}},
	}
	for name, test := range tests {
		for _, query := range []pipedream.AccountQuery{byID, byUser, byKey} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				server := serve(t, answerWith(test.status, test.header, test.body))
				_, err := fetch(t, newClient(t, server.URL), query)
				want := test.want
				want.StatusCode = test.status
				if query == byKey && want.Kind == pipedream.TokenRejected {
					want.Kind = pipedream.CredentialsRejected // An API key can't be replaced by a fresh one.
				}
				if diff := cmp.Diff(want, wantError(t, err)); diff != "" {
					t.Errorf("error (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestAnAnswerOf256KiBIsRead(t *testing.T) {
	t.Parallel()
	body := account()
	server := serve(t, answerWith(http.StatusOK, sameTime, body+strings.Repeat(" ", 256<<10-len(body))))
	if _, err := fetch(t, newClient(t, server.URL), byID); err != nil {
		t.Error(err)
	}
}

// The times of an account are Pipedream's, and count from when it has answered.
func TestClocksThatDiffer(t *testing.T) {
	t.Parallel()
	const s, h = time.Second, time.Hour
	tenMinutesAgo := second.Add(-10 * time.Minute).Format(http.TimeFormat)
	tests := map[string]struct {
		ahead time.Duration // of the clock of the caller
		date  string        // of the answer, instead of the time of Pipedream
		life  time.Duration // of the credentials by the caller's clock
		age   []string      // of the answer, by the caches on the way
	}{
		"the same":                          {0, "", h, nil},
		"a second ahead":                    {s, "", h - s, nil},
		"two seconds ahead":                 {2 * s, "", h - 2*s, nil},
		"two seconds behind":                {-2 * s, "", h + 2*s, nil},
		"ten seconds ahead":                 {10 * s, "", h, nil},
		"ten seconds behind":                {-10 * s, "", h, nil},
		"an hour ahead":                     {h, "", h, nil},
		"two hours ahead":                   {2 * h, "", h, nil},
		"two hours behind":                  {-2 * h, "", h, nil},
		"two days ahead":                    {48 * h, "", -47 * h, nil},
		"two days behind":                   {-48 * h, "", 49 * h, nil},
		"an hour ahead, no Date":            {h, "-", 0, nil},
		"an hour ahead, no time":            {h, "c4n4ry", 0, nil},
		"a Date of 1970":                    {0, "Thu, 01 Jan 1970 00:00:00 GMT", h, nil},
		"a Date of the year 10000":          {0, "Fri, 31 Dec 9999 23:59:59 GMT", h, nil},
		"an answer without an age":          {10 * s, "", h, []string{"0"}},
		"from a cache":                      {0, tenMinutesAgo, h, []string{"600"}},
		"from a cache, an hour ahead":       {h, tenMinutesAgo, h, []string{" 600 "}},
		"from a cache, two hours behind":    {-2 * h, tenMinutesAgo, h, []string{"600"}},
		"from a cache, ten minutes ahead":   {10 * time.Minute, tenMinutesAgo, h, []string{"600"}},
		"from a cache without a usable age": {0, tenMinutesAgo, h, []string{"c4n4ry"}},
		"from a cache with a negative age":  {0, tenMinutesAgo, h, []string{"-600"}},
		"from a cache with two ages":        {0, tenMinutesAgo, h, []string{"600", "0"}},
		"from a cache of long ago":          {0, tenMinutesAgo, h, []string{"2147483647"}},
		"from a cache of all times":         {0, tenMinutesAgo, h, []string{"99999999999999999999"}},
		"an age, and no Date":               {h, "-", 0, []string{"600"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			header := http.Header{"Date": {test.date}, "Age": test.age}
			if test.date == "" {
				header.Set("Date", second.Format(http.TimeFormat))
			}
			server := serve(t, answerWith(http.StatusOK, header, account()))
			local := now.Add(test.ahead)
			client := newClient(t, server.URL, func(o *pipedream.Options) { o.Now = func() time.Time { return local } })
			got, err := fetch(t, client, byID)
			if err != nil {
				t.Fatal(err)
			}
			life := got.ExpirationTime.Sub(got.FetchTime)
			if difference := (life - test.life).Abs(); difference > s {
				t.Errorf("the credentials live %s, want %s", life, test.life)
			}
			next := got.NextRefreshTime.Sub(got.ExpirationTime)
			if want := -(46*time.Minute + 30*s); next != want {
				t.Errorf("the next refresh is %s after the expiry, want %s", next, want)
			}
		})
	}
}

// A clock that runs as Pipedream's does gives the same times for each answer, however slow that is.
func TestTheTimesOfAnAccountDoNotDepend(t *testing.T) {
	t.Parallel()
	for offset := time.Duration(0); offset < 8*time.Second; offset += 900 * time.Millisecond {
		asked := true
		server := serve(t, answerWith(http.StatusOK, http.Header{"Date": {second.Add(offset).Format(http.TimeFormat)}}, account()))
		client := newClient(t, server.URL, func(o *pipedream.Options) {
			o.Now = func() time.Time {
				if asked {
					asked = false
					return second
				}
				return second.Add(8 * time.Second) // The answer takes eight seconds.
			}
		})
		got, err := fetch(t, client, byID)
		if err != nil {
			t.Fatal(err)
		}
		if want := good().Expires; !got.ExpirationTime.Equal(want) {
			t.Errorf("answered after %s, the credentials expire at %s, want %s", offset, got.ExpirationTime, want)
		}
	}
}

// pagesOf serves a listing page by page. The cursor of a page is the number of the next one.
func pagesOf(t *testing.T, pages ...string) *api {
	t.Helper()
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		var number int
		if after := r.URL.Query().Get("after"); after != "" {
			if _, err := fmt.Sscan(after, &number); err != nil || r.URL.Query().Get("external_user_id") == "" {
				t.Errorf("it asks for %s", r.RequestURI)
			}
		}
		page := "[]"
		if number < len(pages) {
			page = pages[number]
		}
		_, _ = fmt.Fprintf(w, `{"data":%s,"page_info":{"end_cursor":"%d"}}`, page, number+1)
	})
}

// fetchPages fetches the account of a user, and returns how many requests after the first one it is told of.
func fetchPages(t *testing.T, client *pipedream.Client) (account pipedream.Account, further int64, err error) {
	t.Helper()
	ctx := pipedream.OnNextPage(t.Context(), func() { further++ })
	account, err = client.Account(ctx, pipedream.NewSensitive(token), byUser)
	return account, further, err
}

func TestAUsersAccount(t *testing.T) {
	t.Parallel()
	dead := func(id string) string { return account("id", `"`+id+`"`, "dead", "true") }
	other := func(id string) string { return account("id", `"`+id+`"`, "app", `{"name_slug":"github"}`) }
	stranger := func(id string) string { return account("id", `"`+id+`"`, "external_id", `"stranger"`) }
	second := account("id", `"apn_2"`)
	tests := map[string]struct {
		pages        []string
		want         string // ID
		wantErr      pipedream.Kind
		wantRequests int64
	}{
		"the only one":                         {[]string{"[" + account() + "]"}, "apn_1", "", 2},
		"none":                                 {nil, "", pipedream.AccountNotFound, 1},
		"beside a dead one":                    {[]string{"[" + dead("apn_0") + "," + account() + "]"}, "apn_1", "", 2},
		"beside one of another app":            {[]string{"[" + other("apn_0") + "," + account() + "]"}, "apn_1", "", 2},
		"beside one of another user":           {[]string{"[" + account() + "," + stranger("apn_2") + "]"}, "apn_1", "", 2},
		"beside a dead one on another page":    {[]string{"[" + account() + "]", "[" + dead("apn_2") + "]"}, "apn_1", "", 3},
		"on the second page":                   {[]string{"[" + dead("apn_0") + "]", "[" + account() + "]"}, "apn_1", "", 3},
		"on the third page of three":           {[]string{"[" + dead("apn_0") + "]", "[" + other("apn_2") + "]", "[" + account() + "]"}, "", pipedream.AccountAmbiguous, 3},
		"all are dead":                         {[]string{"[" + dead("apn_0") + "," + dead("apn_2") + "]"}, "", pipedream.AccountDead, 2},
		"two":                                  {[]string{"[" + account() + "," + second + "]"}, "", pipedream.AccountAmbiguous, 1},
		"two on two pages":                     {[]string{"[" + account() + "]", "[" + second + "]"}, "", pipedream.AccountAmbiguous, 2},
		"all of other apps":                    {[]string{"[" + other("apn_0") + "]"}, "", pipedream.AccountNotFound, 2},
		"the same on each page":                {[]string{"[" + account() + "]", "[" + account() + "]", "[" + account() + "]"}, "apn_1", "", 2},
		"twice on one page":                    {[]string{"[" + account() + "," + account() + "]"}, "apn_1", "", 2},
		"one without credentials":              {[]string{"[" + account("credentials", "-") + "]"}, "", pipedream.AccountNotExportable, 2},
		"a dead one and one without":           {[]string{"[" + dead("apn_0") + "," + account("credentials", "-") + "]"}, "", pipedream.AccountNotExportable, 2},
		"a page that is none":                  {[]string{"[" + account() + "]", `"c4n4ry"`}, "", pipedream.Malformed, 2},
		"a stranger with the same app, alone":  {[]string{"[" + stranger("apn_0") + "]"}, "", pipedream.AccountNotFound, 2},
		"one that does not say whose it is":    {[]string{"[" + account("external_id", "-") + "]"}, "apn_1", "", 2},
		"one that does not say which app's it": {[]string{"[" + account("app", "-") + "]"}, "apn_1", "", 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := pagesOf(t, test.pages...)
			got, further, err := fetchPages(t, newClient(t, server.URL))
			if test.wantErr != "" {
				if cause := wantError(t, err); cause.Kind != test.wantErr {
					t.Errorf("the error is %s: %v, want %s", cause.Kind, err, test.wantErr)
				}
			} else if err != nil || got.ID != test.want {
				t.Errorf("the account is %q, %v, want %q", got.ID, err, test.want)
			}
			if requests := server.requests.Load(); requests != test.wantRequests || further != requests-1 {
				t.Errorf("%d requests, of which %d are called further ones, want %d", requests, further, test.wantRequests)
			}
		})
	}
}

// The last page may have a cursor, too.
func TestNoPageIsAskedForBeyondTheTotal(t *testing.T) {
	t.Parallel()
	body := `{"data":[` + account() + `],"page_info":{"total_count":1,"count":1,"start_cursor":"a","end_cursor":"b"}}`
	server := serve(t, answerWith(http.StatusOK, nil, body))
	if _, err := fetch(t, newClient(t, server.URL), byUser); err != nil {
		t.Fatal(err)
	}
	if server.requests.Load() != 1 {
		t.Errorf("%d requests, want 1", server.requests.Load())
	}
}

func TestKindsAboutTheAccount(t *testing.T) {
	t.Parallel()
	for kind, want := range map[pipedream.Kind]bool{
		pipedream.AccountDead: true, pipedream.AccountNotFound: true, pipedream.AccountNotExportable: true,
		pipedream.AccountAmbiguous: true, pipedream.AccountMismatch: true,
		pipedream.AccessDenied: false, pipedream.TokenRejected: false, pipedream.Malformed: false, pipedream.Unavailable: false,
		pipedream.RateLimited: false, pipedream.RequestRejected: false, "": false,
	} {
		if got := kind.IsAboutAccount(); got != want {
			t.Errorf("%s is about the account: %t, want %t", kind, got, want)
		}
	}
}
