// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

const apiKey = "k3y-of-me"

// user registers a user who is in some workspaces.
func (w *world) user(t *testing.T, id, key string, workspaces ...string) {
	t.Helper()
	if err := w.Users.Set(id, simulator.User{APIKey: key, Workspaces: workspaces}); err != nil {
		t.Fatal(err)
	}
}

// connectFor connects an account of a user of Pipedream to Slack in a workspace, with changes.
func (w *world) connectFor(t *testing.T, user, workspace, id string, changes ...func(*simulator.Account)) {
	t.Helper()
	account := simulator.NewUserAccount(user, "slack")
	account.WorkspaceID = workspace
	for _, change := range changes {
		change(&account)
	}
	if err := w.Accounts.Set(id, account); err != nil {
		t.Fatal(err)
	}
}

// userWithAccounts registers the user u_me, who is in two workspaces, and whose API key is apiKey. It connects
// accounts that this user may see, and others.
func (w *world) userWithAccounts(t *testing.T) {
	t.Helper()
	w.user(t, "u_me", apiKey, "o_one", "o_two")
	w.user(t, "u_other", "k3y-of-other", "o_one", "o_foreign")
	isShared := func(a *simulator.Account) { a.Shared = true }
	w.connectFor(t, "u_me", "o_one", "apn_of_u_me")
	w.connectFor(t, "u_me", "o_two", "apn_of_u_me_in_two", func(a *simulator.Account) { a.App = "github" })
	w.connectFor(t, "u_me", "o_left", "apn_of_u_me_in_left")
	w.connectFor(t, "u_other", "o_one", "apn_of_u_other")
	w.connectFor(t, "u_other", "o_one", "apn_shared", isShared)
	w.connectFor(t, "u_other", "o_foreign", "apn_shared_in_foreign", isShared)
}

// idsIn returns the IDs of the accounts in a listing whose accounts are in data.
func idsIn(t *testing.T, r reply) []string {
	t.Helper()
	r.wantStatus(t, http.StatusOK)
	var listing struct {
		Data []struct{ ID string }
	}
	if err := json.Unmarshal([]byte(r.body), &listing); err != nil {
		t.Fatalf("%v in %s", err, r.body)
	}
	var ids []string
	for _, one := range listing.Data {
		ids = append(ids, strings.TrimPrefix(one.ID, "apn_"))
	}
	return ids
}

// An API key reads the accounts of its user, and the accounts that other users share in a workspace of its user.
func TestWhatAnAPIKeyReads(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		answers []string // pairs
		query   string
		want    []string
	}{
		"all workspaces of the user":                  {want: []string{"of_u_me", "of_u_me_in_two", "shared"}},
		"one workspace":                               {query: "?org_id=o_two", want: []string{"of_u_me_in_two"}},
		"the first workspace when none is named":      {answers: []string{"org-id", "first"}, want: []string{"of_u_me", "shared"}},
		"the named workspace, which is not the first": {answers: []string{"org-id", "first"}, query: "?org_id=o_two", want: []string{"of_u_me_in_two"}},
		"the named workspace when one is required":    {answers: []string{"org-id", "required"}, query: "?org_id=o_one", want: []string{"of_u_me", "shared"}},
		"all workspaces when org_id has no effect":    {answers: []string{"org-id", "ignored"}, query: "?org_id=o_two", want: []string{"of_u_me", "of_u_me_in_two", "shared"}},
		"a foreign workspace when it has no effect":   {answers: []string{"org-id", "ignored"}, query: "?org_id=o_foreign", want: []string{"of_u_me", "of_u_me_in_two", "shared"}},
		"an app":                             {query: "?app=github", want: []string{"of_u_me_in_two"}},
		"an app by its ID":                   {query: "?app=app_slack", want: []string{"of_u_me", "shared"}},
		"an app, whose filter has no effect": {answers: []string{"filters", "user"}, query: "?app=github", want: []string{"of_u_me", "of_u_me_in_two", "shared"}},
		"the first page":                     {query: "?limit=2", want: []string{"of_u_me", "of_u_me_in_two"}},
		"the page after a cursor":            {query: "?limit=2&after=YXBuX29mX3VfbWVfaW5fdHdv", want: []string{"shared"}}, // After apn_of_u_me_in_two.
		"an end user, who has no effect":     {query: "?external_user_id=acme", want: []string{"of_u_me", "of_u_me_in_two", "shared"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.userWithAccounts(t)
			w.connect(t, "apn_of_an_end_user")
			w.answers(t, test.answers...)
			if diff := cmp.Diff(test.want, idsIn(t, w.use(t, "/v1/accounts"+test.query, apiKey))); diff != "" {
				t.Errorf("accounts (-want +got):\n%s", diff)
			}
		})
	}
}

// What an API key may not read is refused in each reading.
func TestWhatAnAPIKeyIsRefused(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		answers []string // pairs
		path    string
		want    int
	}{
		"no account":                              {path: "apn_none", want: 404},
		"an account of another user":              {path: "apn_of_u_other", want: 404},
		"an account of another user, with 403":    {answers: []string{"foreign-account", "forbidden"}, path: "apn_of_u_other", want: 403},
		"an account of an end user":               {path: "apn_of_an_end_user", want: 404},
		"an account in a workspace that was left": {path: "apn_of_u_me_in_left", want: 404},
		"a shared account of a foreign workspace": {path: "apn_shared_in_foreign", want: 404},
		"an account of another workspace":         {path: "apn_of_u_me?org_id=o_two", want: 404},
		"an account that is not in the first one": {answers: []string{"org-id", "first"}, path: "apn_of_u_me_in_two", want: 404},
		"no workspace where one is required":      {answers: []string{"org-id", "required"}, path: "apn_of_u_me", want: 400},
		"a foreign workspace":                     {path: "apn_of_u_me?org_id=o_foreign", want: 403},
		"a foreign workspace, with 401":           {answers: []string{"foreign-workspace", "unauthorized"}, path: "apn_of_u_me?org_id=o_foreign", want: 401},
		"a foreign workspace, with 404":           {answers: []string{"foreign-workspace", "not-found"}, path: "apn_of_u_me?org_id=o_foreign", want: 404},
		"a workspace that there is not":           {path: "apn_of_u_me?org_id=o_none", want: 403},
		"its own account":                         {path: "apn_of_u_me", want: 200},
		"its own account in the workspace":        {path: "apn_of_u_me_in_two?org_id=o_two", want: 200},
		"a shared account":                        {path: "apn_shared", want: 200},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.userWithAccounts(t)
			w.connect(t, "apn_of_an_end_user")
			w.answers(t, test.answers...)
			got := w.use(t, "/v1/accounts/"+test.path, apiKey)
			got.wantStatus(t, test.want)
			if strings.Contains(got.body, "sim_") {
				t.Errorf("there are credentials in %s", got.body)
			}
		})
	}
}

// An account of a user may be in a project of Connect, too, and its credentials are the same at both APIs.
func TestAnAccountAtBothAPIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.userWithAccounts(t)
	w.connectFor(t, "u_me", "o_one", "apn_both", func(a *simulator.Account) { a.ProjectID, a.ExternalUserID = "proj_abc", "acme" })
	connect := dig(w.use(t, accounts+"/apn_both?include_credentials=true", w.token(t, "")).body, "credentials", "oauth_access_token")
	rest := dig(w.use(t, "/v1/accounts/apn_both?include_credentials=1", apiKey).body, "data", "credentials", "oauth_access_token")
	if connect == "" || connect != rest {
		t.Errorf("the access token is %q by Connect and %q by REST", connect, rest)
	}
	if got := idsIn(t, w.use(t, accounts, w.token(t, ""))); !slices.Equal(got, []string{"both"}) {
		t.Errorf("Connect has the accounts %q", got)
	}
	if body := w.use(t, "/v1/accounts/apn_both", apiKey).body; strings.Contains(body, "credentials") {
		t.Errorf("there are credentials in %s", body)
	}
}

// TestTheDocsNameEachAnswer keeps docs/simulator.md complete. The page names one scope for all.
func TestTheDocsNameEachAnswer(t *testing.T) {
	t.Parallel()
	named := maps.Clone(simulator.AnswerValues)
	named[simulator.AnswerCredentialsScope] = named[simulator.AnswerCredentialsScope][:1]
	wantInDocs(t, named)
}

// naiveREST are clients of the REST API that know one reading only. Each returns the ID of the account in an answer,
// or whether the answer says that the API key is not accepted.
var naiveREST = map[string]func(reply) bool{
	"rest-single=data":      func(r reply) bool { return dig(r.body, "data", "id") == "apn_of_u_me" },
	"rest-single=bare":      func(r reply) bool { return dig(r.body, "id") == "apn_of_u_me" },
	"rest-single=list":      func(r reply) bool { return dig(r.body, "data", 0, "id") == "apn_of_u_me" },
	"rest-listing=data":     func(r reply) bool { return dig(r.body, "data", 0, "id") == "apn_of_u_me" },
	"rest-listing=accounts": func(r reply) bool { return dig(r.body, "data", "accounts", 0, "id") == "apn_of_u_me" },
	"rest-listing=bare":     func(r reply) bool { return dig(r.body, 0, "id") == "apn_of_u_me" },
	"refused-key=error":     func(r reply) bool { return dig(r.body, "error") == "Unauthorized" },
	"refused-key=empty":     func(r reply) bool { return r.status == http.StatusUnauthorized && r.body == "" },
	"refused-key=text":      func(r reply) bool { return r.body == "Unauthorized" },
	"refused-key=html":      func(r reply) bool { return strings.HasPrefix(r.header.Get("Content-Type"), "text/html") },
	"refused-key=oauth":     func(r reply) bool { return dig(r.body, "error_description") != "" },
	"refused-key=details":   func(r reply) bool { return dig(r.body, "code") == "unauthorized" },
}

// Each reading of the REST API fails a client that was written for another one.
func TestEachRESTReadingFailsTheClientsOfOthers(t *testing.T) {
	t.Parallel()
	for reading := range naiveREST {
		t.Run(reading, func(t *testing.T) {
			t.Parallel()
			name, value, _ := strings.Cut(reading, "=")
			w := newWorld(t)
			w.userWithAccounts(t)
			w.answers(t, name, value)
			path, key := "/v1/accounts/apn_of_u_me", apiKey
			switch name {
			case simulator.AnswerRESTListing:
				path = "/v1/accounts"
			case simulator.AnswerRefusedKey:
				key = "k3y-that-was-revoked"
			}
			got := w.use(t, path, key)
			for other, understands := range naiveREST {
				if strings.HasPrefix(other, name+"=") && understands(got) != (other == reading) {
					t.Errorf("a client for %s understands it: %t, in:\n%s", other, understands(got), got.body)
				}
			}
		})
	}
}

// The 401 to a key that is not accepted is the same at each endpoint, and whatever the key is.
func TestARefusedKeyAtEachEndpoint(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"error", "empty", "text", "html", "oauth", "details"} {
		w := newWorld(t)
		w.userWithAccounts(t)
		w.answers(t, "refused-key", body)
		foreign := newWorld(t).token(t, "")
		for _, path := range []string{"/v1/users/me", "/v1/accounts", "/v1/accounts/apn_of_u_me", "/v1/accounts/apn_none"} {
			for _, header := range []string{"", "Bearer", "Bearer ", "Basic " + apiKey, "Bearer K3y-of-me", "Bearer " + foreign} {
				w.call(t, http.MethodGet, path, "", map[string]string{"Authorization": header}).wantStatus(t, http.StatusUnauthorized)
			}
			w.use(t, path, apiKey+"?").wantStatus(t, http.StatusUnauthorized)
		}
	}
}

// Connect knows no API keys: it answers as to any token that it does not accept.
func TestConnectRefusesAPIKeys(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]int{"unauthorized": 401, "forbidden": 403, "not-found": 404} {
		w := newWorld(t)
		w.userWithAccounts(t)
		w.connect(t, "apn_1")
		w.behave(t, simulator.BehaviorBadToken, value)
		for _, path := range []string{accounts, accounts + "/apn_1", users, projects} {
			w.use(t, path, apiKey).wantStatus(t, want)
		}
		w.use(t, "/v1/accounts/apn_of_u_me", apiKey).wantStatus(t, http.StatusOK)
	}
}

// In each reading of what access tokens are worth at the REST API, API keys are worth the same.
func TestAccessTokensAtTheRESTAPI(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ private, shared, ofEndUser int }{
		"accepted":     {200, 200, 200},
		"shared":       {404, 200, 200},
		"unauthorized": {401, 401, 401},
		"forbidden":    {403, 403, 403},
		"not-found":    {404, 404, 404},
	}
	for reading, want := range tests {
		t.Run(reading, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.userWithAccounts(t)
			w.connect(t, "apn_of_an_end_user")
			w.answers(t, "rest-oauth", reading)
			token := w.token(t, "")
			w.use(t, "/v1/accounts/apn_of_u_me", token).wantStatus(t, want.private)
			w.use(t, "/v1/accounts/apn_shared", token).wantStatus(t, want.shared)
			w.use(t, "/v1/accounts/apn_of_an_end_user", token).wantStatus(t, want.ofEndUser)
			w.use(t, "/v1/accounts/apn_of_u_me", apiKey).wantStatus(t, http.StatusOK)
			if narrow := w.use(t, "/v1/accounts/apn_shared", w.token(t, "connect:*")).status; narrow == http.StatusOK {
				t.Error("a token of Connect's scopes is accepted")
			}
		})
	}
}

func TestWhoAUserIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.userWithAccounts(t)
	keysOf := func(body string) (me map[string]any, names []string) {
		var answer struct{ Data map[string]any }
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			t.Fatalf("%v in %s", err, body)
		}
		return answer.Data, slices.Sorted(maps.Keys(answer.Data))
	}
	body := w.use(t, "/v1/users/me", apiKey).body
	me, names := keysOf(body)
	want := []string{
		"daily_compute_time_quota", "daily_compute_time_used", "daily_invocations_quota", "daily_invocations_used", "email", "id", "orgs", "username",
	}
	if diff := cmp.Diff(want, names); diff != "" || me["id"] != "u_me" || me["username"] != "me" {
		t.Errorf("the user is %v, fields (-want +got):\n%s", me, diff)
	}
	if dig(body, "data", "orgs", 0, "id") != "o_one" || dig(body, "data", "orgs", 1, "id") != "o_two" || dig(body, "data", "orgs", 2, "id") != "" {
		t.Errorf("the workspaces are %v", me["orgs"])
	}
	w.answers(t, "users-me", "billing")
	me, names = keysOf(w.use(t, "/v1/users/me", apiKey).body)
	want = []string{"billing_period_credits", "billing_period_end_ts", "billing_period_start_ts", "email", "id", "username"}
	if diff := cmp.Diff(want, names); diff != "" || me["id"] != "u_me" {
		t.Errorf("the user is %v, fields (-want +got):\n%s", me, diff)
	}
	for reading, status := range map[string]int{"unauthorized": 401, "forbidden": 403, "not-found": 404} {
		w.answers(t, "users-me-oauth", reading)
		w.use(t, "/v1/users/me", w.token(t, "")).wantStatus(t, status)
	}
}

// REVOKE ends a key at once, and nothing but the key.
func TestAKeyIsRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.userWithAccounts(t)
	const first, second, third = apiKey, "k3y-the-second", "k3y-the-third"
	wantOnly := func(good string) {
		t.Helper()
		for _, key := range []string{first, second, third, ""} {
			want := http.StatusUnauthorized
			if key == good {
				want = http.StatusOK
			}
			w.use(t, "/v1/accounts/apn_of_u_me", key).wantStatus(t, want)
			w.use(t, "/v1/users/me", key).wantStatus(t, want)
		}
		w.use(t, "/v1/accounts/apn_of_u_other", "k3y-of-other").wantStatus(t, http.StatusOK)
	}
	token := dig(w.use(t, "/v1/accounts/apn_of_u_me?include_credentials=true", first).body, "data", "credentials", "oauth_access_token")
	wantOnly(first)
	w.control(t, http.MethodPost, "users/u_me/revoke-key", `{"api_key":"`+second+`"}`).wantStatus(t, http.StatusNoContent)
	wantOnly(second)
	w.control(t, http.MethodPost, "users/u_me/revoke-key", `{}`).wantStatus(t, http.StatusNoContent)
	wantOnly("none")
	w.control(t, http.MethodPost, "users/u_me/revoke-key", `{"api_key":"`+third+`"}`).wantStatus(t, http.StatusNoContent)
	wantOnly(third)
	if got := idsIn(t, w.use(t, "/v1/accounts?org_id=o_two", third)); !slices.Equal(got, []string{"of_u_me_in_two"}) {
		t.Errorf("with the new key it reads %q", got)
	}
	if got := dig(w.use(t, "/v1/accounts/apn_of_u_me?include_credentials=true", third).body, "data", "credentials", "oauth_access_token"); got != token || got == "" {
		t.Errorf("the new key gets the access token %q, the old one got %q", got, token)
	}
	w.control(t, http.MethodPut, "users/u_me", `{"api_key":"`+first+`","workspaces":["o_two"]}`).wantStatus(t, http.StatusNoContent)
	w.use(t, "/v1/accounts/apn_of_u_me", third).wantStatus(t, http.StatusUnauthorized)
	if got := idsIn(t, w.use(t, "/v1/accounts", first)); !slices.Equal(got, []string{"of_u_me_in_two"}) {
		t.Errorf("with another workspace it reads %q", got)
	}
	w.control(t, http.MethodDelete, "users/u_me", "").wantStatus(t, http.StatusNoContent)
	wantOnly("none")
}

func TestTheLimitOfAKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.userWithAccounts(t)
	for range 50 {
		w.use(t, "/v1/accounts/apn_of_u_me", apiKey).wantStatus(t, http.StatusOK) // There is no limit at first.
	}
	w.control(t, http.MethodPut, "key-limit", `{"calls":3,"window":"1m"}`).wantStatus(t, http.StatusNoContent)
	w.use(t, "/v1/accounts/apn_of_u_me", apiKey).wantStatus(t, http.StatusOK)
	w.clock.Step(20 * time.Second)
	w.use(t, "/v1/accounts?org_id=o_foreign", apiKey).wantStatus(t, http.StatusForbidden)
	w.use(t, "/v1/users/me", apiKey).wantStatus(t, http.StatusOK)
	for _, path := range []string{"/v1/accounts/apn_of_u_me", "/v1/accounts", "/v1/users/me"} {
		got := w.use(t, path, apiKey)
		got.wantStatus(t, http.StatusTooManyRequests)
		got.wantHeader(t, "Retry-After", "40")
		got.wantHeader(t, "X-RateLimit-Limit", "3")
		got.wantHeader(t, "X-RateLimit-Remaining", "0")
	}
	// The limit is the user's: a new key does not help, and another user and a client are not concerned.
	w.control(t, http.MethodPost, "users/u_me/revoke-key", `{"api_key":"n3w"}`).wantStatus(t, http.StatusNoContent)
	w.use(t, "/v1/accounts/apn_of_u_me", "n3w").wantStatus(t, http.StatusTooManyRequests)
	w.use(t, "/v1/accounts/apn_of_u_me", apiKey).wantStatus(t, http.StatusUnauthorized)
	w.use(t, "/v1/accounts/apn_of_u_other", "k3y-of-other").wantStatus(t, http.StatusOK)
	w.use(t, "/v1/accounts/apn_of_u_me", w.token(t, "")).wantStatus(t, http.StatusOK)
	w.clock.Step(40*time.Second - time.Millisecond)
	w.use(t, "/v1/accounts/apn_of_u_me", "n3w").wantStatus(t, http.StatusTooManyRequests)
	w.clock.Step(time.Millisecond)
	w.use(t, "/v1/accounts/apn_of_u_me", "n3w").wantStatus(t, http.StatusOK)

	got := w.control(t, http.MethodGet, "users", "")
	if want := `{"users":{"u_me":{"accepted":59,"throttled":5},"u_other":{"accepted":1,"throttled":0}}}`; got.body != want {
		t.Errorf("the counters are %s, want %s", got.body, want)
	}
	counted := w.Counters().Calls
	want := map[simulator.Endpoint]simulator.Count{
		simulator.EndpointRESTAccount:  {Total: 58, Accepted: 54, Refused: 4},
		simulator.EndpointRESTAccounts: {Total: 2, Refused: 2},
		simulator.EndpointUser:         {Total: 2, Accepted: 1, Refused: 1},
	}
	for endpoint, count := range want {
		if counted[endpoint] != count {
			t.Errorf("the calls of %s are %+v, want %+v", endpoint, counted[endpoint], count)
		}
	}
	w.control(t, http.MethodPut, "key-limit", `{"calls":0}`).wantStatus(t, http.StatusNoContent)
	for range 10 {
		w.use(t, "/v1/accounts/apn_of_u_me", "n3w").wantStatus(t, http.StatusOK)
	}
}

func TestControlOfUsersRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.userWithAccounts(t)
	const hidden = "h1dden"
	tests := map[string]struct{ method, path, body, want string }{
		"no user":                            {http.MethodPut, "users/u_1", ``, "send JSON like"},
		"an id of another form":              {http.MethodPut, "users/me", `{"api_key":"h1dden"}`, "the user's id must be like u_abc123"},
		"no key":                             {http.MethodPut, "users/u_1", `{}`, "api_key must not be empty"},
		"the key of another user":            {http.MethodPut, "users/u_1", `{"api_key":"` + apiKey + `"}`, "another user has this api_key"},
		"no workspace":                       {http.MethodPut, "users/u_1", `{"api_key":"h1dden","workspaces":[]}`, "at least one workspace"},
		"a workspace of another form":        {http.MethodPut, "users/u_1", `{"api_key":"h1dden","workspaces":["o_1","2"]}`, "workspaces must be like o_abc123"},
		"an unknown field":                   {http.MethodPut, "users/u_1", `{"api_key":"h1dden","org":"o_1"}`, "send JSON like"},
		"the end of no user":                 {http.MethodDelete, "users/u_1", ``, `there is no user \"u_1\"`},
		"a key of no user":                   {http.MethodPost, "users/u_1/revoke-key", `{"api_key":"h1dden"}`, `there is no user \"u_1\"`},
		"a new key that is the old one":      {http.MethodPost, "users/u_me/revoke-key", `{"api_key":"` + apiKey + `"}`, "the key that is to be revoked"},
		"a new key that another user has":    {http.MethodPost, "users/u_me/revoke-key", `{"api_key":"k3y-of-other"}`, "another user has this api_key"},
		"a REVOKE without a body":            {http.MethodPost, "users/u_me/revoke-key", ``, "send JSON like"},
		"no limit":                           {http.MethodPut, "key-limit", `{}`, "send JSON like"},
		"a limit without a window":           {http.MethodPut, "key-limit", `{"calls":5}`, "a limit needs"},
		"a user of another form":             {http.MethodPut, "accounts/apn_x", `{"user_id":"me","app":"slack"}`, "user_id must be like u_abc123"},
		"a user's account in half a project": {http.MethodPut, "accounts/apn_x", `{"user_id":"u_me","app":"slack","project_id":"proj_abc"}`, "external_user_id must not be empty"},
		"a user's account of an end user":    {http.MethodPut, "accounts/apn_x", `{"user_id":"u_me","app":"slack","external_user_id":"acme"}`, "project_id must be like"},
		"a workspace that can't be":          {http.MethodPut, "accounts/apn_x", `{"user_id":"u_me","app":"slack","workspace_id":"one"}`, "workspace_id must be like o_abc123"},
		"a shared account of nobody":         {http.MethodPut, "accounts/apn_x", `{"project_id":"proj_abc","external_user_id":"acme","app":"slack","shared":true}`, "shared needs a user_id"},
		"a grace without rotating":           {http.MethodPut, "accounts/apn_x", `{"user_id":"u_me","app":"slack","grace":"5s"}`, "grace must not be negative, and needs rotating"},
		"a grace below nothing":              {http.MethodPut, "accounts/apn_x", `{"user_id":"u_me","app":"slack","rotating":true,"grace":"-5s"}`, "grace must not be negative"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := w.control(t, test.method, test.path, test.body)
			got.wantStatus(t, http.StatusBadRequest)
			if !strings.Contains(got.body, test.want) || strings.Contains(got.body, hidden) || strings.Contains(got.body, apiKey) {
				t.Errorf("the error is %s, want %q in it and no key", got.body, test.want)
			}
			// Nothing was changed.
			if ids := idsIn(t, w.use(t, "/v1/accounts", apiKey)); len(ids) != 3 {
				t.Errorf("the key reads %q", ids)
			}
		})
	}
}

func TestFaultsOfUsers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.userWithAccounts(t)
	w.add(t, simulator.Fault{Endpoint: simulator.EndpointAny, ClientID: "u_me", Status: http.StatusServiceUnavailable, Calls: 3})
	for _, path := range []string{"/v1/accounts", "/v1/accounts/apn_shared", "/v1/users/me"} {
		w.use(t, path, "k3y-of-other").wantStatus(t, http.StatusOK)
		w.use(t, path, apiKey).wantStatus(t, http.StatusServiceUnavailable)
	}
	for i, endpoint := range []simulator.Endpoint{simulator.EndpointRESTAccounts, simulator.EndpointUser} {
		w.add(t, simulator.Fault{Endpoint: endpoint, Status: http.StatusBadGateway, Calls: 1})
		w.use(t, []string{"/v1/accounts", "/v1/users/me"}[i], apiKey).wantStatus(t, http.StatusBadGateway)
	}
	w.use(t, "/v1/accounts/apn_of_u_me", apiKey).wantStatus(t, http.StatusOK)
}

// No counter and no answer to a control call has a key.
func TestNoCounterTellsAKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.userWithAccounts(t)
	w.use(t, "/v1/accounts", apiKey)
	for _, path := range []string{"counters", "users", "accounts"} {
		if body := w.control(t, http.MethodGet, path, "").body; strings.Contains(body, "k3y") || !strings.Contains(body, "{") {
			t.Errorf("%s answers %s", path, body)
		}
	}
	if shown := fmt.Sprintf("%+v %+v", w.Users.Counters(), w.Counters()); strings.Contains(shown, "k3y") {
		t.Errorf("the counters are %s", shown)
	}
}
