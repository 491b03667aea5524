// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// behave changes one behavior by a control call.
func (w *world) behave(t *testing.T, name, value string) {
	t.Helper()
	w.control(t, http.MethodPut, "behavior", jsonOf(t, map[string]string{name: value})).wantStatus(t, http.StatusNoContent)
}

func TestHowAnUnknownScopeIsAnswered(t *testing.T) {
	t.Parallel()
	for value, test := range map[string]struct {
		status int
		code   string
		// wantAccounts and wantUsers are what the listings answer to the token.
		wantAccounts, wantUsers int
	}{
		"":              {status: 400, code: "invalid_scope"},
		"invalid-scope": {status: 400, code: "invalid_scope"},
		"bad-request":   {status: 400, code: "Bad Request"},
		"unauthorized":  {status: 401, code: "invalid_client"},
		"forbidden":     {status: 403, code: "Forbidden"},
		"ignored":       {status: 200, wantAccounts: 200, wantUsers: 403},
		"granted":       {status: 200, wantAccounts: 200, wantUsers: 403},
	} {
		t.Run(value, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if value != "" {
				w.behave(t, simulator.BehaviorUnknownScope, value)
			}
			got := w.exchange(t, clientID, goodKey, "connect:accounts:read connect:moon")
			got.wantStatus(t, test.status)
			if test.status != http.StatusOK {
				if got.object(t)["error"] != test.code {
					t.Errorf("the answer is %s", got.body)
				}
				return
			}
			w.use(t, accounts, tokenIn(t, got)).wantStatus(t, test.wantAccounts)
			w.use(t, "/v1/connect/proj_abc/users", tokenIn(t, got)).wantStatus(t, test.wantUsers)
		})
	}
}

func TestAnUnknownScopeAloneIsIgnoredAsIfNoneWereAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.behave(t, simulator.BehaviorUnknownScope, "ignored")
	w.use(t, accounts, w.token(t, "connect:moon")).wantStatus(t, http.StatusOK)
}

func TestHowAWrongSecretIsAnswered(t *testing.T) {
	t.Parallel()
	for value, test := range map[string]struct {
		status int
		code   string
	}{
		"unauthorized": {401, "invalid_client"}, "bad-request": {400, "invalid_client"},
		"forbidden": {403, "Forbidden"}, "not-found": {404, "Not Found"},
	} {
		t.Run(value, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.behave(t, simulator.BehaviorWrongSecret, value)
			got := w.exchange(t, clientID, "wrong", "")
			got.wantStatus(t, test.status)
			if got.object(t)["error"] != test.code {
				t.Errorf("the answer is %s", got.body)
			}
			w.exchange(t, clientID, goodKey, "").wantStatus(t, http.StatusOK)
		})
	}
}

func TestHowATokenThatIsNotGoodEnoughIsAnswered(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]int{"unauthorized": 401, "forbidden": 403, "not-found": 404, "ok": 200} {
		t.Run(value, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if value != "ok" {
				w.behave(t, simulator.BehaviorBadToken, value)
				w.use(t, accounts, "made-up").wantStatus(t, want)
			}
			w.behave(t, simulator.BehaviorMissingScope, value)
			w.use(t, accounts, w.token(t, "connect:users:read")).wantStatus(t, want)
			w.use(t, accounts, w.token(t, "connect:accounts:read")).wantStatus(t, http.StatusOK)
		})
	}
}

func TestWhatASecondTokenDoesToTheFirst(t *testing.T) {
	t.Parallel()
	const scope = "connect:accounts:read"
	for value, test := range map[string]struct{ isSame, firstAlive, allAlive bool }{
		"other": {firstAlive: true, allAlive: true}, "ends-first": {allAlive: true}, "ends-all": {},
		"same": {isSame: true, firstAlive: true, allAlive: true},
	} {
		t.Run(value, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.behave(t, simulator.BehaviorSecondToken, value)
			all := w.token(t, "")
			first := w.token(t, scope)
			w.clock.Step(time.Minute)
			got := w.exchange(t, clientID, goodKey, scope)
			second := tokenIn(t, got)
			if isSame := first == second; isSame != test.isSame {
				t.Errorf("the second token is the first: %t", isSame)
			}
			wantLife := float64(3600)
			if test.isSame {
				wantLife -= 60
			}
			if life := got.object(t)["expires_in"]; life != wantLife {
				t.Errorf("expires_in is %v, want %v", life, wantLife)
			}
			if alive := w.alive(t, first); alive != test.firstAlive {
				t.Errorf("the first token is alive: %t", alive)
			}
			if alive := w.alive(t, all); alive != test.allAlive {
				t.Errorf("the token of other scopes is alive: %t", alive)
			}
			if !w.alive(t, second) {
				t.Error("the second token is not accepted")
			}
		})
	}
}

// TestARevokedTokenIsNotIssuedAgain is about tokens that are still accepted for a while.
func TestARevokedTokenIsNotIssuedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.behave(t, simulator.BehaviorSecondToken, "same")
	w.behave(t, simulator.BehaviorRevokedAfter, "5s")
	first := w.token(t, "connect:accounts:read")
	w.revoke(t, first).wantStatus(t, http.StatusOK)
	if second := w.token(t, "connect:accounts:read"); second == first {
		t.Error("the token was revoked, and is issued again")
	}
}

func (w *world) revoke(t *testing.T, token string) reply {
	t.Helper()
	body := jsonOf(t, map[string]string{"client_id": clientID, "client_secret": goodKey, "token": token})
	return w.call(t, http.MethodPost, "/v1/oauth/revoke", body, map[string]string{"Content-Type": "application/json"})
}

func TestHowARevocationIsAnsweredAndWhatItDoes(t *testing.T) {
	t.Parallel()
	for value, test := range map[string]struct {
		status    int
		wantAlive bool
	}{
		"ok": {200, false}, "ignored": {200, true}, "unauthorized": {401, true}, "not-found": {404, true},
	} {
		t.Run(value, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.behave(t, simulator.BehaviorRevoke, value)
			token := w.token(t, "")
			w.revoke(t, token).wantStatus(t, test.status)
			if alive := w.alive(t, token); alive != test.wantAlive {
				t.Errorf("the token is alive: %t", alive)
			}
		})
	}
}

func TestARevokedTokenIsAcceptedForAWhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.behave(t, simulator.BehaviorRevokedAfter, "5s")
	token := w.token(t, "")
	w.revoke(t, token).wantStatus(t, http.StatusOK)
	w.clock.Step(3 * time.Second)
	w.revoke(t, token).wantStatus(t, http.StatusOK) // A second revocation does not begin the time anew.
	w.clock.Step(time.Second)
	if !w.alive(t, token) {
		t.Error("the token is refused after 4s")
	}
	w.clock.Step(time.Second)
	if w.alive(t, token) {
		t.Error("the token is accepted after 5s")
	}
}

func TestTheDateOfAnswersCanBeAhead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for value, want := range map[string]string{"10m": "Sun, 01 Mar 2026 12:10:00 GMT", "-10m": "Sun, 01 Mar 2026 11:50:00 GMT"} {
		w.behave(t, simulator.BehaviorDateSkew, value)
		w.exchange(t, clientID, goodKey, "").wantHeader(t, "Date", want)
		w.call(t, http.MethodGet, "/.well-known/jwks.json", "", nil).wantHeader(t, "Date", want)
	}
}

func TestBehaviorsThatAreRefusedChangeNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ body, want string }{
		"an unknown name":          {`{"moon":"full"}`, `there is no behavior \"moon\"; there are bad-token, date-skew,`},
		"an unknown value":         {`{"revoke":"maybe"}`, "revoke must be one of"},
		"a value without a name":   {`{"":""}`, "there is no behavior"},
		"nothing":                  {`{}`, "send JSON like"},
		"a number":                 {`{"date-skew":5}`, "send JSON like"},
		"no duration":              {`{"date-skew":"soon"}`, "must be a duration such as 3s"},
		"a duration without unit":  {`{"revoked-after":"5"}`, "must be a duration such as 3s"},
		"a delay that is negative": {`{"revoked-after":"-5s"}`, "must be a duration such as 3s"},
		"a skew of years":          {`{"date-skew":"50000h"}`, "of at most 1000h"},
		"one of two is wrong":      {`{"wrong-secret":"not-found","zero":"1"}`, "there is no behavior"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			got := w.control(t, http.MethodPut, "behavior", test.body)
			got.wantStatus(t, http.StatusBadRequest)
			if !strings.Contains(got.body, test.want) {
				t.Errorf("the answer is %s, want in it %q", got.body, test.want)
			}
			w.exchange(t, clientID, "wrong", "").wantStatus(t, http.StatusUnauthorized)
		})
	}
}

// TestTheDocsNameEachBehavior keeps docs/simulator.md complete.
func TestTheDocsNameEachBehavior(t *testing.T) {
	t.Parallel()
	wantInDocs(t, simulator.BehaviorValues)
}

// wantInDocs checks that docs/simulator.md has all names and their values.
func wantInDocs(t *testing.T, named map[string][]string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(harness.Root(), "docs", "simulator.md"))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range named {
		for _, want := range append([]string{name}, values...) {
			if !strings.Contains(string(content), "`"+want+"`") {
				t.Errorf("docs/simulator.md does not name `%s`", want)
			}
		}
	}
}
