// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

var (
	byID   = pipedream.AccountQuery{ProjectID: "proj_abc", Environment: "production", AccountID: "apn_1"}
	byUser = pipedream.AccountQuery{ProjectID: "proj_abc", Environment: "production", ExternalUserID: "acme", App: "slack"}
)

// connect connects an account of the user acme to Slack, with changes.
func (w *world) connect(t *testing.T, id string, changes ...func(*simulator.Account)) {
	t.Helper()
	account := simulator.NewAccount("proj_abc", "acme", "slack")
	for _, change := range changes {
		change(&account)
	}
	if err := w.Accounts.Set(id, account); err != nil {
		t.Fatal(err)
	}
}

func (w *world) answers(t *testing.T, pairs ...string) {
	t.Helper()
	changes := map[string]string{}
	for pair := range slices.Chunk(pairs, 2) {
		changes[pair[0]] = pair[1]
	}
	if err := w.Accounts.SetAnswers(changes); err != nil {
		t.Fatal(err)
	}
}

// A fetcher asks for accounts as the operator does.
type fetcher struct {
	client *pipedream.Client
	token  pipedream.Sensitive
}

func (w *world) fetcher(t *testing.T, scope string) fetcher {
	t.Helper()
	client, err := pipedream.NewClient(pipedream.Options{Address: w.url, AllowInsecure: true, Now: w.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	return fetcher{client: client, token: pipedream.NewSensitive(w.token(t, scope))}
}

func (f fetcher) fetch(t *testing.T, query pipedream.AccountQuery) (pipedream.Account, error) {
	t.Helper()
	return f.client.Account(t.Context(), f.token, query)
}

// must fetches an account that must be there.
func (f fetcher) must(t *testing.T, query pipedream.AccountQuery) pipedream.Account {
	t.Helper()
	got, err := f.fetch(t, query)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func kindOf(err error) pipedream.Kind {
	failed, _ := errors.AsType[*pipedream.Error](err)
	if failed == nil {
		return ""
	}
	return failed.Kind
}

// naive are clients that know one reading only. Each returns the ID of the account in an answer.
var naive = map[string]func(body string) string{
	"single=bare":      func(body string) string { return dig(body, "id") },
	"single=data":      func(body string) string { return dig(body, "data", "id") },
	"single=list":      func(body string) string { return dig(body, "data", 0, "id") },
	"listing=data":     func(body string) string { return dig(body, "data", 0, "id") },
	"listing=accounts": func(body string) string { return dig(body, "data", "accounts", 0, "id") },
	"listing=bare":     func(body string) string { return dig(body, 0, "id") },
}

// dig returns a text deep in JSON; empty if there is none.
func dig(body string, path ...any) string {
	var value any
	if json.Unmarshal([]byte(body), &value) != nil {
		return ""
	}
	for _, step := range path {
		switch step := step.(type) {
		case string:
			object, _ := value.(map[string]any)
			value = object[step]
		case int:
			list, _ := value.([]any)
			if step >= len(list) {
				return ""
			}
			value = list[step]
		}
	}
	text, _ := value.(string)
	return text
}

// Each reading fails a client that was written for another one, and pipedream's client reads all.
func TestEachReadingFailsTheClientsOfOthers(t *testing.T) {
	t.Parallel()
	const single, listing = accounts + "/apn_1?include_credentials=true", accounts + "?external_user_id=acme&app=slack&include_credentials=true"
	for _, kind := range []struct{ name, path string }{{"single", single}, {"listing", listing}} {
		for reading := range naive {
			name, value, _ := strings.Cut(reading, "=")
			if name != kind.name {
				continue
			}
			t.Run(reading, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.connect(t, "apn_1")
				w.answers(t, name, value)
				body := w.use(t, kind.path, w.token(t, "")).body
				for other, parse := range naive {
					isSame := other == reading
					if strings.HasPrefix(other, name+"=") && (parse(body) == "apn_1") != isSame {
						t.Errorf("a client for %s reads %q in:\n%s", other, parse(body), body)
					}
				}
				f := w.fetcher(t, "connect:accounts:read")
				for _, query := range []pipedream.AccountQuery{byID, byUser} {
					if got := f.must(t, query); got.ID != "apn_1" || got.App != "slack" || got.Credentials["oauth_access_token"].IsEmpty() {
						t.Errorf("it reads %+v", got)
					}
				}
			})
		}
	}
}

// transcript returns what clients see of all that can be answered.
func (w *world) transcript(t *testing.T, token string) string {
	t.Helper()
	var seen strings.Builder
	for _, path := range []string{
		accounts + "/apn_1?include_credentials=true", accounts + "/apn_forever", accounts + "/apn_development",
		accounts + "?limit=3", accounts + "?limit=3&after=YXBuX3N0cmFuZ2Vy", accounts, // After apn_stranger.
		accounts + "?external_user_id=acme&limit=100", accounts + "?app=slack&limit=100", accounts + "?external_user_id=acme&app=slack&limit=100",
		"/v1/connect/proj_other/accounts?external_user_id=developer", "/v1/connect/proj_foreign/accounts",
	} {
		got := w.use(t, path, token)
		fmt.Fprintf(&seen, "%s: %d %s\n", path, got.status, got.body)
	}
	for _, path := range []string{
		"/v1/users/me", "/v1/accounts", "/v1/accounts/apn_of_u_me", "/v1/accounts/apn_of_u_other",
		"/v1/accounts?org_id=o_two", "/v1/accounts?org_id=o_foreign",
	} {
		for _, bearer := range []string{apiKey, "k3y-that-was-revoked", token} {
			got := w.use(t, path, bearer)
			fmt.Fprintf(&seen, "%s: %d %s\n", path, got.status, got.body)
		}
	}
	return seen.String()
}

// No two values of an answer look the same to a client.
func TestEachReadingIsAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.crowd(t)
	for i := range 12 {
		w.connect(t, fmt.Sprint("apn_more_", i))
	}
	w.connect(t, "apn_forever", func(a *simulator.Account) { a.Life = 0 })
	w.connect(t, "apn_developer", func(a *simulator.Account) {
		a.ProjectID, a.ExternalUserID, a.Environment = "proj_other", "developer", "development"
	})
	w.Accounts.SetClientProjects(clientID, []string{"proj_abc", "proj_other"})
	w.userWithAccounts(t)
	token := w.token(t, "")
	for name, values := range simulator.AnswerValues {
		switch name {
		case simulator.AnswerCredentialsScope:
			continue // It shows only to a token without the scope.
		case simulator.AnswerPageSize:
			values = []string{"10", "1", "100"}
		}
		seen := map[string]string{}
		for _, value := range values {
			w.answers(t, name, value)
			transcript := w.transcript(t, token)
			if other, ok := seen[transcript]; ok {
				t.Errorf("%s=%s looks like %s=%s", name, value, name, other)
			}
			seen[transcript] = value
		}
		w.answers(t, name, values[0])
	}
}

// crowd connects accounts among which one is asked for.
func (w *world) crowd(t *testing.T) {
	t.Helper()
	w.connect(t, "apn_old", func(a *simulator.Account) { a.Dead = new(true) })
	w.connect(t, "apn_github", func(a *simulator.Account) { a.App = "github" })
	w.connect(t, "apn_stranger", func(a *simulator.Account) { a.ExternalUserID = "stranger" })
	w.connect(t, "apn_both", func(a *simulator.Account) { a.ExternalUserID, a.App = "stranger", "github" })
	w.connect(t, "apn_development", func(a *simulator.Account) { a.Environment = "development" })
	w.connect(t, "apn_elsewhere", func(a *simulator.Account) { a.ProjectID = "proj_other" })
	w.connect(t, "apn_1")
}

// In every combination of readings, the client returns the account that is asked for, or that it can't tell,
// and never another one.
func TestTheClientSurvivesAllReadings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.crowd(t)
	f := w.fetcher(t, "connect:accounts:read")
	count := 0
	for _, listing := range []string{"data", "accounts", "bare"} {
		for _, cursor := range []string{"total", "always", "null", "ignored", "none"} {
			for _, filters := range []string{"both", "user", "app", "none"} {
				for _, user := range []string{"present", "absent"} {
					for _, slug := range []string{"present", "absent"} {
						w.answers(t, "listing", listing, "cursor", cursor, "filters", filters, "external-id", user, "name-slug", slug)
						knowsUser := user == "present" || filters == "both" || filters == "user"
						knowsApp := slug == "present" || filters == "both" || filters == "app"
						got, err := f.fetch(t, byUser)
						switch {
						case knowsUser && knowsApp:
							if err != nil || got.ID != "apn_1" {
								t.Errorf("%s, %s, %s, %s, %s: it returns %q, %v", listing, cursor, filters, user, slug, got.ID, err)
							}
						case kindOf(err) != pipedream.AccountAmbiguous:
							t.Errorf("%s, %s, %s, %s, %s: it can't tell, and returns %q, %v", listing, cursor, filters, user, slug, got.ID, err)
						}
						count++
					}
				}
			}
		}
	}
	if count != 240 {
		t.Errorf("%d readings", count)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		cursor, size string
		others       int // dead accounts of the same user and app
		want         pipedream.Kind
		wantCalls    int
	}{
		"one page that says how many there are":       {"total", "10", 5, "", 1},
		"three pages that say how many there are":     {"total", "2", 5, "", 3},
		"more than three pages":                       {"total", "2", 6, pipedream.AccountAmbiguous, 3},
		"a cursor on the last page":                   {"always", "2", 3, "", 3},
		"no cursor on the last page":                  {"null", "2", 5, "", 3},
		"no cursor on the last page of four":          {"null", "2", 6, pipedream.AccountAmbiguous, 3},
		"a cursor that changes nothing":               {"ignored", "10", 5, "", 2},
		"pages without cursors":                       {"none", "10", 5, "", 1},
		"a cursor on the last page, that may not end": {"always", "2", 5, pipedream.AccountAmbiguous, 3},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			for i := range test.others {
				w.connect(t, fmt.Sprint("apn_dead_", i), func(a *simulator.Account) { a.Dead = new(true) })
			}
			w.connect(t, "apn_1")
			w.answers(t, "cursor", test.cursor, "page-size", test.size)
			got, err := w.fetcher(t, "").fetch(t, byUser)
			if kindOf(err) != test.want || test.want == "" && got.ID != "apn_1" {
				t.Errorf("it returns %q, %v", got.ID, err)
			}
			if calls := w.Counters().Calls[simulator.EndpointAccounts].Total; calls != test.wantCalls {
				t.Errorf("%d calls, want %d", calls, test.wantCalls)
			}
		})
	}
}

func TestWhatTheClientIsTold(t *testing.T) {
	t.Parallel()
	set := func(change func(*simulator.Account)) func(*testing.T, *world) {
		return func(t *testing.T, w *world) { t.Helper(); w.connect(t, "apn_1", change) }
	}
	said := func(pairs ...string) func(*testing.T, *world) {
		return func(t *testing.T, w *world) { t.Helper(); w.connect(t, "apn_1"); w.answers(t, pairs...) }
	}
	foreign := func(way string) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			t.Helper()
			w.connect(t, "apn_1")
			w.Accounts.SetClientProjects(clientID, []string{"proj_other"})
			w.answers(t, "foreign-project", way)
		}
	}
	development := func(pairs ...string) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			t.Helper()
			w.connect(t, "apn_1", func(a *simulator.Account) { a.Environment = "development" })
			w.answers(t, pairs...)
		}
	}
	both := func(kind pipedream.Kind) [2]pipedream.Kind { return [2]pipedream.Kind{kind, kind} }
	tests := map[string]struct {
		given func(*testing.T, *world)
		want  [2]pipedream.Kind // by ID, by user
	}{
		"all is well":                      {said(), both("")},
		"a dead account":                   {set(func(a *simulator.Account) { a.Dead = new(true) }), both(pipedream.AccountDead)},
		"null for dead and healthy":        {set(func(a *simulator.Account) { a.Dead, a.Healthy = nil, nil }), both("")},
		"an unhealthy account":             {set(func(a *simulator.Account) { a.Healthy = new(false) }), both("")},
		"credentials that are null":        {set(func(a *simulator.Account) { a.Credentials = "null" }), both(pipedream.AccountNotExportable)},
		"credentials that are empty":       {set(func(a *simulator.Account) { a.Credentials = "empty" }), both(pipedream.AccountNotExportable)},
		"credentials that are absent":      {set(func(a *simulator.Account) { a.Credentials = "absent" }), both(pipedream.AccountNotExportable)},
		"an app without credentials":       {set(func(a *simulator.Account) { a.AuthType = "none" }), both(pipedream.AccountNotExportable)},
		"an app with keys":                 {set(func(a *simulator.Account) { a.AuthType = "keys" }), both("")},
		"no account":                       {func(*testing.T, *world) {}, both(pipedream.AccountNotFound)},
		"another project":                  {set(func(a *simulator.Account) { a.ProjectID = "proj_other" }), both(pipedream.AccountNotFound)},
		"another environment":              {development(), both(pipedream.AccountNotFound)},
		"another environment, with 404":    {development("wrong-environment", "not-found"), both(pipedream.AccountNotFound)},
		"another environment, with 400":    {development("wrong-environment", "bad-request"), both(pipedream.RequestRejected)},
		"a foreign project, with 403":      {foreign("forbidden"), both(pipedream.AccessDenied)},
		"a foreign project, with 401":      {foreign("unauthorized"), both(pipedream.TokenRejected)},
		"a foreign project, with 404":      {foreign("not-found"), both(pipedream.AccountNotFound)},
		"another scope for credentials":    {said("credentials-scope", "connect:accounts:write"), both(pipedream.AccessDenied)},
		"a credentials' scope that it has": {said("credentials-scope", "connect:accounts:read"), both("")},
		"two of one user": {func(t *testing.T, w *world) { t.Helper(); w.connect(t, "apn_1"); w.connect(t, "apn_2") }, [2]pipedream.Kind{
			"", pipedream.AccountAmbiguous,
		}},
		"a deleted account": {func(t *testing.T, w *world) {
			t.Helper()
			w.connect(t, "apn_1")
			if !w.Accounts.Delete("apn_1") || w.Accounts.Delete("apn_1") {
				t.Error("Delete does not say whether there was one")
			}
		}, both(pipedream.AccountNotFound)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			test.given(t, w)
			f := w.fetcher(t, "connect:accounts:read")
			for i, query := range []pipedream.AccountQuery{byID, byUser} {
				got, err := f.fetch(t, query)
				if kindOf(err) != test.want[i] || err == nil && got.ID != "apn_1" {
					t.Errorf("it is told %q, %v, want %q", got.ID, err, test.want[i])
				}
			}
		})
	}
}

func TestWhatAnAccountHolds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	second := w.clock.Now().Truncate(time.Second)
	w.connect(t, "apn_1", func(a *simulator.Account) {
		a.Refresh, a.Fields = "background:13m30s", map[string]any{"base_url": "https://acme.example", "port": 443}
	})
	w.connect(t, "apn_2", func(a *simulator.Account) { a.AuthType, a.App, a.Life, a.Healthy = "keys", "github", 0, new(false) })
	f := w.fetcher(t, "")
	got := f.must(t, byID)
	names := []string{"base_url", "oauth_access_token", "oauth_client_id", "oauth_uid", "port"}
	if diff := cmp.Diff(names, keysOf(got.Credentials)); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	if got.Credentials["port"].Reveal() != "443" || got.Health != pipedream.Healthy || got.ExternalUserID.Reveal() != "acme" {
		t.Errorf("the account is %+v", got)
	}
	if got := got.ExpirationTime.Sub(second); got != time.Hour {
		t.Errorf("it expires in %s", got)
	}
	if got := got.NextRefreshTime.Sub(second); got < 13*time.Minute+30*time.Second || got > 13*time.Minute+31*time.Second {
		t.Errorf("it is refreshed in %s", got)
	}
	for _, noExpiry := range []string{"null", "absent"} {
		w.answers(t, "no-expiry", noExpiry)
		got = f.must(t, pipedream.AccountQuery{ProjectID: "proj_abc", Environment: "production", AccountID: "apn_2", App: "github"})
		if !got.ExpirationTime.IsZero() || got.Health != pipedream.Unhealthy || !slices.Equal(keysOf(got.Credentials), []string{"api_key"}) {
			t.Errorf("the account is %+v", got)
		}
	}
	// Who does not ask for credentials gets none.
	for _, path := range []string{accounts + "/apn_1", accounts} {
		if body := w.use(t, path, w.token(t, "")).body; strings.Contains(body, "credentials") || strings.Contains(body, "sim_") {
			t.Errorf("there are credentials in %s", body)
		}
	}
}

func keysOf(credentials map[string]pipedream.Sensitive) []string {
	var names []string
	for name := range credentials {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// By default, an access token with all scopes can read accounts at the REST API, too.
func TestTheRESTAPIWithAnAccessToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect(t, "apn_1")
	got := w.fetcher(t, "*").must(t, pipedream.AccountQuery{AccountID: "apn_1"})
	if got.ID != "apn_1" || got.App != "" || !got.ExternalUserID.IsEmpty() || got.Credentials["oauth_access_token"].IsEmpty() {
		t.Errorf("the account is %+v", got)
	}
	if _, err := w.fetcher(t, "connect:*").fetch(t, pipedream.AccountQuery{AccountID: "apn_1"}); kindOf(err) != pipedream.AccessDenied {
		t.Errorf("with a scope of Connect it answers %v", err)
	}
	if _, err := w.fetcher(t, "*").fetch(t, pipedream.AccountQuery{AccountID: "apn_2"}); kindOf(err) != pipedream.AccountNotFound {
		t.Errorf("without an account it answers %v", err)
	}
}

// app returns what the app of the accounts answers to a token.
func (w *world) app(t *testing.T, token pipedream.Sensitive) int {
	t.Helper()
	return w.call(t, http.MethodGet, "/_app/slack/me", "", map[string]string{"Authorization": "Bearer " + token.Reveal()}).status
}

func TestRefreshes(t *testing.T) {
	t.Parallel()
	type step struct {
		at          time.Duration // since the account was connected
		wantVersion int           // which token it has, counted from 1
		wantLife    time.Duration
		wantNext    time.Duration // 0 for none
	}
	const s, m, h = time.Second, time.Minute, time.Hour
	tests := map[string]struct {
		refresh, next string
		change        func(*simulator.Account)
		steps         []step
	}{
		"in the background": {refresh: "background:13m30s", steps: []step{
			{0, 1, h, 810 * s}, {809 * s, 1, h - 809*s, s}, {810 * s, 2, h, 810 * s}, {2*810*s + 10*s, 3, h - 10*s, 800 * s}, {100 * 810 * s, 101, h, 810 * s},
		}},
		"before they expire":                {refresh: "lead:5m", steps: []step{{54 * m, 1, 6 * m, m}, {55 * m, 2, h, 55 * m}}},
		"when expired ones are":             {refresh: "lazy", steps: []step{{59 * m, 1, m, 0}, {h, 2, h, 0}, {h + m, 2, 59 * m, 0}, {5 * h, 3, h, 0}}},
		"whenever they are":                 {refresh: "force", steps: []step{{0, 2, h, 0}, {m, 3, h, 0}, {m, 4, h, 0}}},
		"never":                             {refresh: "never", steps: []step{{0, 1, h, 0}, {2 * h, 1, -h, 0}}},
		"with a time that is late":          {refresh: "lead:5m", next: "10m", steps: []step{{0, 1, h, 65 * m}}},
		"with a time that is early":         {refresh: "lead:5m", next: "-10m", steps: []step{{0, 1, h, 45 * m}}},
		"with a time that is never reached": {refresh: "lazy", next: "in:1s", steps: []step{{0, 1, h, s}, {59 * m, 1, m, s}, {h, 2, h, s}}},
		"with a time that is just past":     {refresh: "lazy", next: "in:-10s", steps: []step{{0, 1, h, -10 * s}, {59 * m, 1, m, -10 * s}}},
		"with something that is not a time": {refresh: "lead:5m", next: "unreadable", steps: []step{{0, 1, h, 0}, {55 * m, 2, h, 0}}},
		"without a time":                    {refresh: "lead:5m", next: "absent", steps: []step{{0, 1, h, 0}, {55 * m, 2, h, 0}}},
		"not while it is unhealthy": {
			refresh: "lead:5m", change: func(a *simulator.Account) { a.Healthy = new(false) },
			steps: []step{{0, 1, h, 0}, {2 * h, 1, -h, 0}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.clock.Step(300 * time.Millisecond) // Whole seconds.
			w.connect(t, "apn_1", func(a *simulator.Account) {
				a.Refresh = test.refresh
				if test.next != "" {
					a.NextRefresh = test.next
				}
				if test.change != nil {
					test.change(a)
				}
			})
			if err := w.SetTokenLifetime(1000 * h); err != nil {
				t.Fatal(err)
			}
			begin := w.clock.Now()
			f := w.fetcher(t, "")
			seen := map[string]bool{}
			for _, step := range test.steps {
				w.clock.Step(begin.Add(step.at).Sub(w.clock.Now()))
				got := f.must(t, byID)
				now := w.clock.Now()
				next := time.Duration(0)
				if !got.NextRefreshTime.IsZero() {
					next = got.NextRefreshTime.Sub(now)
				}
				if life := got.ExpirationTime.Sub(now); life != step.wantLife || next != step.wantNext {
					t.Errorf("after %s it lives %s and is refreshed in %s, want %s and %s", step.at, life, next, step.wantLife, step.wantNext)
				}
				token := got.Credentials["oauth_access_token"].Reveal()
				if version := w.Accounts.Counters().Accounts["apn_1"].Refreshes + 1; version != step.wantVersion {
					t.Errorf("after %s it has token %d, want %d", step.at, version, step.wantVersion)
				}
				seen[token] = true
				wantStatus := http.StatusOK
				if step.wantLife <= 0 {
					wantStatus = http.StatusUnauthorized
				}
				if status := w.app(t, got.Credentials["oauth_access_token"]); status != wantStatus {
					t.Errorf("after %s the app answers %d", step.at, status)
				}
			}
			versions := map[int]bool{}
			for _, step := range test.steps {
				versions[step.wantVersion] = true
			}
			if len(seen) != len(versions) {
				t.Errorf("%d different tokens, want %d", len(seen), len(versions))
			}
		})
	}
}

// The clock of the client may be wrong: the times of an account are right by it.
func TestTheDateIsTheSimulators(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{0, 3 * time.Hour, -3 * time.Hour} {
		w := newWorld(t)
		w.connect(t, "apn_1")
		w.use(t, accounts+"/apn_1", w.token(t, "")).wantHeader(t, "Date", "Sun, 01 Mar 2026 12:00:00 GMT")
		client, err := pipedream.NewClient(pipedream.Options{
			Address: w.url, AllowInsecure: true, Now: func() time.Time { return w.clock.Now().Add(ahead) },
		})
		if err != nil {
			t.Fatal(err)
		}
		got := fetcher{client: client, token: pipedream.NewSensitive(w.token(t, ""))}.must(t, byID)
		if life := got.ExpirationTime.Sub(got.FetchTime); (life - time.Hour).Abs() > time.Second {
			t.Errorf("%s ahead, the credentials live %s", ahead, life)
		}
	}
}

func TestTheApp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect(t, "apn_1")
	w.connect(t, "apn_github", func(a *simulator.Account) { a.App = "github" })
	f := w.fetcher(t, "")
	first := f.must(t, byID).Credentials
	if got := w.call(t, http.MethodGet, "/_app/slack/me", "", map[string]string{"Authorization": "Bearer " + first["oauth_access_token"].Reveal()}); got.body != `{"account":"apn_1"}` {
		t.Errorf("the app answers %s", got.body)
	}
	w.clock.Step(30 * time.Minute)
	if err := w.Accounts.Refresh("apn_1"); err != nil {
		t.Fatal(err)
	}
	second := f.must(t, byID).Credentials
	github := pipedream.AccountQuery{ProjectID: "proj_abc", Environment: "production", AccountID: "apn_github"}
	steps := []struct {
		name  string
		after time.Duration
		token pipedream.Sensitive
		want  int
	}{
		{"the current token", 0, second["oauth_access_token"], 200},
		{"the token before, until it expires", 0, first["oauth_access_token"], 200},
		{"a token of another app", 0, f.must(t, github).Credentials["oauth_access_token"], 401},
		{"what is no token", 0, second["oauth_uid"], 401},
		{"the token before, when it has expired", 30 * time.Minute, first["oauth_access_token"], 401},
		{"the current token, in its last second", 30*time.Minute - time.Second, second["oauth_access_token"], 200},
		{"the current token, when it has expired", time.Second, second["oauth_access_token"], 401},
	}
	for _, step := range steps {
		w.clock.Step(step.after)
		if got := w.app(t, step.token); got != step.want {
			t.Errorf("%s: the app answers %d, want %d", step.name, got, step.want)
		}
	}
	got := w.call(t, http.MethodGet, "/_app/slack/me", "", nil)
	got.wantStatus(t, http.StatusUnauthorized)
	got.wantHeader(t, "WWW-Authenticate", `Bearer error="invalid_token"`)
	w.call(t, http.MethodGet, "/_app/unknown/me", "", nil).wantStatus(t, http.StatusUnauthorized)
	counted := w.Accounts.Counters()
	want := map[string]simulator.AppCount{"slack": {Accepted: 4, Refused: 5}}
	if diff := cmp.Diff(want, counted.Apps); diff != "" {
		t.Errorf("calls of apps (-want +got):\n%s", diff)
	}
}

func TestTheLimitOfAProject(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect(t, "apn_1")
	f := w.fetcher(t, "")
	for range 50 {
		f.must(t, byID) // There is no limit at first.
	}
	if err := w.Accounts.SetLimit(3, 5*time.Minute); err != nil {
		t.Fatal(err)
	}
	f.must(t, byID)
	w.clock.Step(time.Minute)
	f.must(t, byUser)
	w.use(t, accounts+"?limit=1", w.token(t, "")).wantStatus(t, http.StatusOK)
	got := w.use(t, accounts+"/apn_1", w.token(t, ""))
	got.wantStatus(t, http.StatusTooManyRequests)
	got.wantHeader(t, "Retry-After", "240")
	got.wantHeader(t, "X-RateLimit-Limit", "3")
	got.wantHeader(t, "X-RateLimit-Remaining", "0")
	_, err := f.fetch(t, byID)
	failed, _ := errors.AsType[*pipedream.Error](err)
	if failed == nil || failed.Kind != pipedream.RateLimited || failed.RetryAt.Sub(w.clock.Now()) != 4*time.Minute {
		t.Errorf("the client is told %+v", failed)
	}
	// Another project has a limit of its own.
	if _, err := f.fetch(t, pipedream.AccountQuery{ProjectID: "proj_other", Environment: "production", AccountID: "apn_1"}); kindOf(err) != pipedream.AccountNotFound {
		t.Errorf("another project answers %v", err)
	}
	w.clock.Step(4*time.Minute - time.Millisecond)
	if _, err := f.fetch(t, byID); kindOf(err) != pipedream.RateLimited {
		t.Errorf("too early it answers %v", err)
	}
	w.clock.Step(time.Millisecond)
	f.must(t, byID)
	if _, err := f.fetch(t, byID); kindOf(err) != pipedream.RateLimited {
		t.Errorf("the window has one call only, and it answers %v", err)
	}
	if got := w.Accounts.Counters().Throttled; got != 4 {
		t.Errorf("%d calls were too many, want 4", got)
	}
}

func TestControlOfAccounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.fetcher(t, "")
	const account = `{"project_id":"proj_abc","external_user_id":"acme","app":"slack","life":"30m","fields":{"a":1}}`
	w.control(t, http.MethodPut, "accounts/apn_1", account).wantStatus(t, http.StatusNoContent)
	first := f.must(t, byID)
	if life := first.ExpirationTime.Sub(w.clock.Now()); life > 30*time.Minute || life < 29*time.Minute {
		t.Errorf("it lives %s", life)
	}
	w.control(t, http.MethodPatch, "accounts/apn_1", `{"dead":true}`).wantStatus(t, http.StatusNoContent)
	if _, err := f.fetch(t, byID); kindOf(err) != pipedream.AccountDead {
		t.Errorf("it answers %v", err)
	}
	w.control(t, http.MethodPatch, "accounts/apn_1", `{"dead":false,"healthy":null}`).wantStatus(t, http.StatusNoContent)
	same := f.must(t, byID)
	if same.Credentials["oauth_access_token"].Reveal() != first.Credentials["oauth_access_token"].Reveal() || same.Health != pipedream.HealthUnknown {
		t.Error("a change has changed more than it should")
	}
	w.control(t, http.MethodPost, "accounts/apn_1/refresh", "").wantStatus(t, http.StatusNoContent)
	if f.must(t, byID).Credentials["oauth_access_token"].Reveal() == first.Credentials["oauth_access_token"].Reveal() {
		t.Error("it was not refreshed")
	}
	w.control(t, http.MethodPut, "account-answers", `{"single":"data","page-size":"3"}`).wantStatus(t, http.StatusNoContent)
	if body := w.use(t, accounts+"/apn_1", w.token(t, "")).body; dig(body, "data", "id") != "apn_1" {
		t.Errorf("it answers %s", body)
	}
	w.control(t, http.MethodPut, "clients/"+clientID+"/projects", `{"projects":["proj_x"]}`).wantStatus(t, http.StatusNoContent)
	if _, err := f.fetch(t, byID); kindOf(err) != pipedream.AccessDenied {
		t.Errorf("it answers %v", err)
	}
	w.control(t, http.MethodPut, "clients/"+clientID+"/projects", `{"projects":[]}`).wantStatus(t, http.StatusNoContent)
	w.control(t, http.MethodPut, "account-limit", `{"calls":1,"window":"5m"}`).wantStatus(t, http.StatusNoContent)
	f.must(t, byID)
	if _, err := f.fetch(t, byID); kindOf(err) != pipedream.RateLimited {
		t.Errorf("it answers %v", err)
	}
	w.control(t, http.MethodPut, "account-limit", `{"calls":0}`).wantStatus(t, http.StatusNoContent)
	got := w.control(t, http.MethodGet, "accounts", "")
	want := `{"accounts":{"apn_1":{"fetches":5,"refreshes":1}},"apps":{},"throttled":1}`
	if got.body != want {
		t.Errorf("the counters are %s, want %s", got.body, want)
	}
	w.control(t, http.MethodDelete, "accounts/apn_1", "").wantStatus(t, http.StatusNoContent)
	if _, err := f.fetch(t, byID); kindOf(err) != pipedream.AccountNotFound {
		t.Errorf("it answers %v", err)
	}
}

func TestControlOfAccountsRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect(t, "apn_1")
	account := func(extra string) string {
		return `{"project_id":"proj_abc","external_user_id":"acme","app":"slack"` + extra + `}`
	}
	tests := map[string]struct{ method, path, body, want string }{
		"no account":                    {http.MethodPut, "accounts/a", ``, "send JSON like"},
		"a field that there is not":     {http.MethodPut, "accounts/a", account(`,"moon":1`), "send JSON like"},
		"an id with a space":            {http.MethodPut, "accounts/a%20b", account(""), "id must have only letters"},
		"no project":                    {http.MethodPut, "accounts/a", `{"external_user_id":"acme","app":"slack"}`, "project_id must be like"},
		"no user":                       {http.MethodPut, "accounts/a", `{"project_id":"proj_abc","app":"slack"}`, "external_user_id must not be empty"},
		"no slug":                       {http.MethodPut, "accounts/a", account(`,"app":"Slack"`), "app must be like"},
		"a fractional life":             {http.MethodPut, "accounts/a", account(`,"life":"1.5s"`), "life must be whole seconds"},
		"a negative life":               {http.MethodPut, "accounts/a", account(`,"life":"-1s"`), "life must be whole seconds"},
		"a way to refresh of nothing":   {http.MethodPut, "accounts/a", account(`,"refresh":"background:0s"`), "refresh must be like"},
		"a lead that is too long":       {http.MethodPut, "accounts/a", account(`,"refresh":"lead:1h"`), "refresh must be like"},
		"a way that there is not":       {http.MethodPut, "accounts/a", account(`,"refresh":"often"`), "refresh must be like"},
		"a lazy time":                   {http.MethodPut, "accounts/a", account(`,"refresh":"lazy:1s"`), "refresh must be like"},
		"a next refresh that is none":   {http.MethodPut, "accounts/a", account(`,"next_refresh":"soon"`), "next_refresh must be"},
		"an environment":                {http.MethodPut, "accounts/a", account(`,"environment":"staging"`), "environment must be one of"},
		"a way to authenticate":         {http.MethodPut, "accounts/a", account(`,"auth_type":"basic"`), "auth_type must be one of"},
		"a way to show the credentials": {http.MethodPut, "accounts/a", account(`,"credentials":"hidden"`), "credentials must be one of"},
		"a change of no account":        {http.MethodPatch, "accounts/b", `{"dead":true}`, `there is no account "b"`},
		"a change that is none":         {http.MethodPatch, "accounts/apn_1", `{"moon":1}`, "send JSON like"},
		"a change to what can't be":     {http.MethodPatch, "accounts/apn_1", `{"app":""}`, "app must be like"},
		"a refresh of no account":       {http.MethodPost, "accounts/b/refresh", "", `there is no account "b"`},
		"the end of no account":         {http.MethodDelete, "accounts/b", "", `there is no account "b"`},
		"an answer that there is not":   {http.MethodPut, "account-answers", `{"moon":"full"}`, "there are credentials-scope, cursor, "},
		"a value that there is not":     {http.MethodPut, "account-answers", `{"single":"double"}`, "single must be one of"},
		"a page of nothing":             {http.MethodPut, "account-answers", `{"page-size":"0"}`, "page-size must be a number from 1 to 100"},
		"no answers":                    {http.MethodPut, "account-answers", `[]`, "send JSON like"},
		"no limit":                      {http.MethodPut, "account-limit", `{}`, "send JSON like"},
		"a limit without a window":      {http.MethodPut, "account-limit", `{"calls":5}`, "a limit needs"},
		"a limit below nothing":         {http.MethodPut, "account-limit", `{"calls":-1,"window":"1s"}`, "a limit needs"},
		"no projects":                   {http.MethodPut, "clients/a/projects", `{}`, "send JSON like"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := w.control(t, test.method, test.path, test.body)
			got.wantStatus(t, http.StatusBadRequest)
			if want := strings.ReplaceAll(test.want, `"b"`, `\"b\"`); !strings.Contains(got.body, want) {
				t.Errorf("the error is %s, want %q in it", got.body, want)
			}
		})
	}
	// Nothing was changed.
	if got := w.fetcher(t, "").must(t, byUser); got.ID != "apn_1" {
		t.Errorf("the account is %+v", got)
	}
}

func TestFaultsOfAccounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect(t, "apn_1")
	f := w.fetcher(t, "*")
	w.add(t, simulator.Fault{Endpoint: simulator.EndpointAccount, ClientID: clientID, Status: http.StatusServiceUnavailable, Calls: 1})
	w.add(t, simulator.Fault{Endpoint: simulator.EndpointRESTAccount, Status: http.StatusNotFound, Calls: 1})
	f.must(t, byUser)
	if _, err := f.fetch(t, byID); kindOf(err) != pipedream.Unavailable {
		t.Errorf("it answers %v", err)
	}
	if _, err := f.fetch(t, pipedream.AccountQuery{AccountID: "apn_1"}); kindOf(err) != pipedream.AccountNotFound {
		t.Errorf("it answers %v", err)
	}
	f.must(t, byID)
}

func TestAccountsShareNothingWithTheirCaller(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	account := simulator.NewAccount("proj_abc", "acme", "slack")
	account.Fields = map[string]any{"a": "1"}
	if err := w.Accounts.Set("apn_1", account); err != nil {
		t.Fatal(err)
	}
	*account.Dead, account.Fields["a"] = true, "2"
	if got := w.fetcher(t, "").must(t, byID).Credentials["a"].Reveal(); got != "1" {
		t.Errorf("the field is %q", got)
	}
	if err := w.Accounts.Change("apn_1", func(a *simulator.Account) { a.App = "github" }); err != nil {
		t.Fatal(err)
	}
	if err := w.Accounts.Change("apn_2", func(*simulator.Account) {}); err == nil {
		t.Error("an account is changed that there is not")
	}
	if got := w.fetcher(t, "").must(t, byID); got.App != "github" {
		t.Errorf("the app is %q", got.App)
	}
}
