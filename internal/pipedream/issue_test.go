// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

func TestTheTokenRequest(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		scopes []string
		want   map[string]any
	}{
		"without scopes": {
			want: map[string]any{"grant_type": "client_credentials", "client_id": clientID, "client_secret": secret},
		},
		"with a scope": {
			scopes: []string{"connect:accounts:read"},
			want: map[string]any{
				"grant_type": "client_credentials", "client_id": clientID, "client_secret": secret,
				"scope": "connect:accounts:read",
			},
		},
		"with scopes": {
			scopes: []string{"connect:tokens:create", "connect:accounts:read"},
			want: map[string]any{
				"grant_type": "client_credentials", "client_id": clientID, "client_secret": secret,
				"scope": "connect:tokens:create connect:accounts:read",
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got *http.Request
			var body []byte
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				got = r
				body, _ = io.ReadAll(r.Body)
				answerWith(http.StatusOK, nil, goodAnswer)(w, r)
			})
			if _, err := issue(t, newClient(t, server.URL), test.scopes...); err != nil {
				t.Fatal(err)
			}
			if got.Method != http.MethodPost || got.RequestURI != "/v1/oauth/token" {
				t.Errorf("it is %s %s, want POST /v1/oauth/token", got.Method, got.RequestURI)
			}
			wantHeader := map[string]string{
				"Accept": "application/json", "Content-Type": "application/json", "User-Agent": "pipedream-operator/test",
				"Authorization": "", "X-Pd-Environment": "",
			}
			for name, want := range wantHeader {
				if value := got.Header.Get(name); value != want {
					t.Errorf("header %s is %q, want %q", name, value, want)
				}
			}
			if got.ContentLength != int64(len(body)) {
				t.Errorf("its length is said to be %d, want %d", got.ContentLength, len(body))
			}
			var fields map[string]any
			if err := json.Unmarshal(body, &fields); err != nil {
				t.Fatalf("its body is no JSON object: %v", err)
			}
			if diff := cmp.Diff(test.want, fields); diff != "" {
				t.Errorf("its body (-want +got):\n%s", diff)
			}
		})
	}
}

func TestIssueAgainstTheSimulator(t *testing.T) {
	t.Parallel()
	api := simulator.New(simulator.Options{
		Now:     clock,
		Clients: []simulator.Client{{ID: clientID, Secret: secret}},
	})
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	client := newClient(t, server.URL)

	issued, err := issue(t, client, "connect:accounts:read")
	if err != nil {
		t.Fatal(err)
	}
	if verdict, err := client.Verify(t.Context(), issued.AccessToken, trial); verdict != pipedream.Accepted {
		t.Errorf("the token is %s: %v", verdict, err)
	}
	api.RevokeAll()
	if verdict, err := client.Verify(t.Context(), issued.AccessToken, trial); verdict != pipedream.Refused || err != nil {
		t.Errorf("the revoked token is %s: %v", verdict, err)
	}
	if _, err := issue(t, client, "no:such:scope"); wantError(t, err).Kind != pipedream.ScopeRejected {
		t.Errorf("an unknown scope: %v", err)
	}
	api.DeleteClient(clientID)
	if _, err := issue(t, client); wantError(t, err).Kind != pipedream.CredentialsRejected {
		t.Errorf("a deleted client: %v", err)
	}
}

// goodAnswer is an answer as it is documented.
const goodAnswer = `{"access_token":"` + token + `","token_type":"Bearer","expires_in":3600,"created_at":1645142400}`

func TestGoodAnswers(t *testing.T) {
	t.Parallel()
	const month = 30 * 24 * time.Hour
	tests := map[string]struct {
		status int
		body   string
		life   time.Duration
		scope  string
	}{
		"as it is documented":            {body: goodAnswer},
		"status 201":                     {status: http.StatusCreated, body: goodAnswer},
		"without created_at":             {body: answer(`"token_type":"Bearer","expires_in":3600`)},
		"with created_at in another age": {body: answer(`"token_type":"Bearer","expires_in":3600,"created_at":1`)},
		"with created_at that is junk":   {body: answer(`"token_type":"Bearer","expires_in":3600,"created_at":{"a":[]}`)},
		"with unknown fields":            {body: answer(`"token_type":"Bearer","expires_in":3600,"refresh_token":null,"org":{"id":"o_1"},"list":[1,2]`)},
		"with lower-case bearer":         {body: answer(`"token_type":"bearer","expires_in":3600`)},
		"with upper-case BEARER":         {body: answer(`"token_type":"BEARER","expires_in":3600`)},
		"without token_type":             {body: answer(`"expires_in":3600`)},
		"with white space":               {body: " \r\n\t" + answer(`"expires_in" : 3600 `) + "\n\n"},
		"with an escaped token":          {body: `{"access_token":"` + strings.ReplaceAll(token, "e", `\u0065`) + `","expires_in":3600}`},

		"a scope that was granted":         {body: answer(`"expires_in":3600,"scope":"connect:accounts:read"`), scope: "connect:accounts:read"},
		"scopes that were granted":         {body: answer(`"expires_in":3600,"scope":"a b c"`), scope: "a b c"},
		"scopes with odd spaces":           {body: answer(`"expires_in":3600,"scope":"  a\t b\n"`), scope: "a b"},
		"scopes in a list":                 {body: answer(`"expires_in":3600,"scope":["a","b","*"]`), scope: "a b *"},
		"an empty scope":                   {body: answer(`"expires_in":3600,"scope":""`)},
		"an empty list of scopes":          {body: answer(`"expires_in":3600,"scope":[]`)},
		"a list that holds more than text": {body: answer(`"expires_in":3600,"scope":["a",1]`)},
		"a list of lists":                  {body: answer(`"expires_in":3600,"scope":[["a"]]`)},
		"a scope that is null":             {body: answer(`"expires_in":3600,"scope":null`)},
		"a scope that is a number":         {body: answer(`"expires_in":3600,"scope":7`)},
		"a scope that is an object":        {body: answer(`"expires_in":3600,"scope":{"read":true}`)},
		"a scope with control characters":  {body: answer(`"expires_in":3600,"scope":"a \u0007 b"`)},
		"a scope beyond ASCII":             {body: answer(`"expires_in":3600,"scope":"lecture-privée"`)},

		"the shortest life that is usable":        {body: answer(`"expires_in":30`), life: 30 * time.Second},
		"a day":                                   {body: answer(`"expires_in":86400`), life: 24 * time.Hour},
		"30 days":                                 {body: answer(`"expires_in":2592000`), life: month},
		"a second more than 30 days":              {body: answer(`"expires_in":2592001`), life: month},
		"a life that is no time.Duration":         {body: answer(`"expires_in":9223372036854775807`), life: month},
		"a life that is no 64-bit integer":        {body: answer(`"expires_in":9223372036854775808`), life: month},
		"a life with more digits than one can do": {body: answer(`"expires_in":` + strings.Repeat("9", 1000)), life: month},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status := max(test.status, http.StatusOK)
			life := test.life
			if life == 0 {
				life = time.Hour
			}
			server := serve(t, answerWith(status, nil, test.body))
			got, err := issue(t, newClient(t, server.URL))
			if err != nil {
				t.Fatal(err)
			}
			if got.AccessToken.Reveal() != token {
				t.Errorf("the token is %q, want %q", got.AccessToken.Reveal(), token)
			}
			got.AccessToken = pipedream.Sensitive{}
			want := pipedream.Token{Type: "Bearer", GrantedScope: test.scope, IssueTime: second, ExpirationTime: second.Add(life)}
			if diff := cmp.Diff(want, got, cmp.Comparer(sameSecret)); diff != "" {
				t.Errorf("the token (-want +got):\n%s", diff)
			}
		})
	}
}

func sameSecret(a, b pipedream.Sensitive) bool { return a.Reveal() == b.Reveal() }

// answer returns an answer with the token and other fields.
func answer(fields string) string { return fmt.Sprintf(`{"access_token":%q,%s}`, token, fields) }

// The answer may take seconds, which the token has lived then.
func TestATokenExpiresFromTheMomentBeforeTheRequest(t *testing.T) {
	t.Parallel()
	times := make(chan time.Time, 10)
	for i := range cap(times) {
		times <- now.Add(time.Duration(i) * 5 * time.Second)
	}
	server := serve(t, answerWith(http.StatusOK, nil, goodAnswer))
	client := newClient(t, server.URL, func(o *pipedream.Options) {
		o.Now = func() time.Time { return (<-times).In(time.FixedZone("UTC-8", -8*60*60)) }
	})
	got, err := issue(t, client)
	if err != nil {
		t.Fatal(err)
	}
	want := [2]time.Time{second, second.Add(time.Hour)}
	if diff := cmp.Diff(want, [2]time.Time{got.IssueTime, got.ExpirationTime}); diff != "" {
		t.Errorf("times (-want +got):\n%s", diff)
	}
	if got.IssueTime.Location() != time.UTC {
		t.Errorf("its time is in %s, want UTC", got.IssueTime.Location())
	}
}

func TestAnswersWithoutUsableToken(t *testing.T) {
	t.Parallel()
	const (
		noObject  = "the answer is not a JSON object"
		noToken   = "the answer has no usable access_token"
		noBearer  = "the answer's token_type is not Bearer"
		noInteger = "the answer's expires_in is not an integer"
		tooShort  = "the answer's expires_in is less than 30 seconds"
		tooLong   = "the answer is longer than 64 KiB"
	)
	withToken := func(text string) string { return fmt.Sprintf(`{"access_token":%s,"expires_in":3600}`, text) }
	tests := map[string]struct {
		status int
		body   string
		want   string
	}{
		"no body":                              {body: "", want: noObject},
		"status 204":                           {status: http.StatusNoContent, want: noObject},
		"a web page":                           {body: "<html><body>Sign in to c4n4ry</body></html>", want: noObject},
		"half of an object":                    {body: `{"access_token":"c4n4ry`, want: noObject},
		"two objects":                          {body: goodAnswer + goodAnswer, want: noObject},
		"a list":                               {body: "[" + goodAnswer + "]", want: noObject},
		"a text":                               {body: `"c4n4ry"`, want: noObject},
		"null":                                 {body: "null", want: noToken},
		"an empty object":                      {body: "{}", want: noToken},
		"an error with status 200":             {body: `{"error":"c4n4ry"}`, want: noToken},
		"an object around it":                  {body: `{"data":` + goodAnswer + `}`, want: noToken},
		"a token that is null":                 {body: withToken(`null`), want: noToken},
		"a token that is a number":             {body: withToken(`12345`), want: noToken},
		"a token that is an object":            {body: withToken(`{"value":"c4n4ry"}`), want: noToken},
		"an empty token":                       {body: withToken(`""`), want: noToken},
		"a token of a space":                   {body: withToken(`" "`), want: noToken},
		"a token with a space":                 {body: withToken(`"c4n4ry c4n4ry"`), want: noToken},
		"a token with a line feed at its end":  {body: withToken(`"c4n4ry\n"`), want: noToken},
		"a token with a header in it":          {body: withToken(`"c4n4ry\r\nX-Evil: 1"`), want: noToken},
		"a token with a zero byte":             {body: withToken(`"c4n4ry\u0000"`), want: noToken},
		"a token with DEL":                     {body: withToken(`"c4n4ry\u007f"`), want: noToken},
		"a token beyond ASCII":                 {body: withToken(`"c4n4ryé"`), want: noToken},
		"a token that is no UTF-8":             {body: withToken("\"c4n4ry\xff\""), want: noToken},
		"another token_type":                   {body: answer(`"token_type":"c4n4ry","expires_in":3600`), want: noBearer},
		"an empty token_type":                  {body: answer(`"token_type":"","expires_in":3600`), want: noBearer},
		"a token_type that is a number":        {body: answer(`"token_type":1,"expires_in":3600`), want: noBearer},
		"no expires_in":                        {body: answer(`"token_type":"Bearer"`), want: noInteger},
		"an expires_in that is null":           {body: answer(`"expires_in":null`), want: noInteger},
		"an expires_in that is a text":         {body: answer(`"expires_in":"3600"`), want: noInteger},
		"an expires_in that is a canary":       {body: answer(`"expires_in":"c4n4ry"`), want: noInteger},
		"an expires_in with a fraction":        {body: answer(`"expires_in":3600.5`), want: noInteger},
		"an expires_in with a zero fraction":   {body: answer(`"expires_in":3600.0`), want: noInteger},
		"an expires_in with an exponent":       {body: answer(`"expires_in":36e2`), want: noInteger},
		"an expires_in that is a list":         {body: answer(`"expires_in":[3600]`), want: noInteger},
		"an expires_in that is true":           {body: answer(`"expires_in":true`), want: noInteger},
		"an expires_in of 0":                   {body: answer(`"expires_in":0`), want: tooShort},
		"an expires_in of -0":                  {body: answer(`"expires_in":-0`), want: tooShort},
		"a negative expires_in":                {body: answer(`"expires_in":-3600`), want: tooShort},
		"an expires_in of 29":                  {body: answer(`"expires_in":29`), want: tooShort},
		"the most negative expires_in":         {body: answer(`"expires_in":-9223372036854775808`), want: tooShort},
		"an expires_in below all integers":     {body: answer(`"expires_in":-` + strings.Repeat("9", 30)), want: noInteger},
		"64 KiB and a byte":                    {body: padded(64<<10 + 1), want: tooLong},
		"megabytes":                            {body: padded(4 << 20), want: tooLong},
		"a good object, and megabytes of more": {body: goodAnswer + strings.Repeat(" ", 4<<20), want: tooLong},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status := max(test.status, http.StatusOK)
			server := serve(t, answerWith(status, nil, test.body))
			_, err := issue(t, newClient(t, server.URL))
			want := pipedream.Error{Kind: pipedream.Malformed, StatusCode: status, Detail: test.want}
			if diff := cmp.Diff(want, wantError(t, err)); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if text := "HTTP status " + strconv.Itoa(status) + " " + http.StatusText(status) + ", " + test.want; err.Error() != text {
				t.Errorf("its text is %q, want %q", err, text)
			}
		})
	}
}

func TestTheLongestAnswerThatIsRead(t *testing.T) {
	t.Parallel()
	server := serve(t, answerWith(http.StatusOK, nil, padded(64<<10)))
	if _, err := issue(t, newClient(t, server.URL)); err != nil {
		t.Error(err)
	}
}

// padded returns a good answer of a given length.
func padded(length int) string {
	const begin, end = `{"padding":"`, `",`
	rest := strings.TrimPrefix(goodAnswer, "{")
	return begin + strings.Repeat("x", length-len(begin)-len(end)-len(rest)) + end + rest
}
