// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// With a rotating app, a refresh ends the access token from before it, at once or after a grace. The client fetches the
// first token at the beginning, and the second token after the first refresh.
func TestARotatingApp(t *testing.T) {
	t.Parallel()
	const s, m = time.Second, time.Minute
	type step struct {
		at                    time.Duration // since the account was connected
		wantFirst, wantSecond int           // what the app answers to the first and the second token
	}
	tests := map[string]struct {
		change func(*simulator.Account)
		steps  []step // the second token is fetched 13m30s after the account was connected
	}{
		"that rotates": {
			func(a *simulator.Account) { a.Rotating = true },
			[]step{{810*s - time.Millisecond, 200, 0}, {810 * s, 401, 200}, {1620*s - s, 401, 200}, {1620 * s, 401, 401}},
		},
		"that rotates after a grace": {
			func(a *simulator.Account) { a.Rotating, a.Grace = true, 20*s },
			[]step{{810 * s, 200, 200}, {830*s - s, 200, 200}, {830 * s, 401, 200}, {1640*s - s, 401, 200}, {1640 * s, 401, 401}},
		},
		"whose grace is longer than the token lives": {
			func(a *simulator.Account) { a.Rotating, a.Grace = true, 2*time.Hour },
			[]step{{810 * s, 200, 200}, {60*m - s, 200, 200}, {60 * m, 401, 200}, {60*m + 810*s, 401, 401}},
		},
		"whose tokens do not expire": {
			func(a *simulator.Account) { a.Rotating, a.Grace, a.Life = true, 20*s, 0 },
			[]step{{830*s - s, 200, 200}, {830 * s, 401, 200}, {1640 * s, 401, 401}},
		},
		"that does not rotate": {
			func(*simulator.Account) {},
			[]step{{810 * s, 200, 200}, {60*m - s, 200, 200}, {60 * m, 401, 200}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if err := w.SetTokenLifetime(10 * time.Hour); err != nil {
				t.Fatal(err)
			}
			w.connect(t, "apn_1", func(a *simulator.Account) {
				a.Refresh = "background:13m30s"
				test.change(a)
			})
			begin := w.clock.Now()
			f := w.fetcher(t, "")
			first := f.must(t, byID).Credentials["oauth_access_token"]
			var second pipedream.Sensitive
			for _, step := range test.steps {
				w.clock.Step(begin.Add(step.at).Sub(w.clock.Now()))
				if second.IsEmpty() && step.at >= 810*s {
					second = f.must(t, byID).Credentials["oauth_access_token"]
				}
				if got := w.app(t, first); got != step.wantFirst {
					t.Errorf("after %s the app answers %d to the first token, want %d", step.at, got, step.wantFirst)
				}
				if step.wantSecond == 0 {
					continue
				}
				if got := w.app(t, second); got != step.wantSecond {
					t.Errorf("after %s the app answers %d to the second token, want %d", step.at, got, step.wantSecond)
				}
			}
			if got := w.app(t, f.must(t, byID).Credentials["oauth_access_token"]); got != http.StatusOK {
				t.Errorf("the app answers %d to the current token", got)
			}
		})
	}
}

// A rotating app refuses the old token also if nobody has looked at the account for many refreshes, and not before
// its grace is over.
func TestARotatingAppThatNobodyLooksAt(t *testing.T) {
	t.Parallel()
	for after, want := range map[time.Duration]int{
		40*time.Second - time.Millisecond: http.StatusOK, 40 * time.Second: http.StatusUnauthorized, 400 * time.Second: http.StatusUnauthorized,
	} {
		w := newWorld(t)
		w.connect(t, "apn_1", func(a *simulator.Account) {
			a.Refresh, a.Rotating, a.Grace = "background:1s", true, 39*time.Second
		})
		first := w.fetcher(t, "").must(t, byID).Credentials["oauth_access_token"]
		w.clock.Step(after)
		if got := w.app(t, first); got != want {
			t.Errorf("after %s the app answers %d, want %d", after, got, want)
		}
		w.clock.Step(1000 * time.Second)
		if got := w.app(t, w.fetcher(t, "").must(t, byID).Credentials["oauth_access_token"]); got != http.StatusOK {
			t.Errorf("the app answers %d to the current token", got)
		}
	}
}

// Each way to refresh ends the old token: also a look that refreshes, and the end user who reconnects the account.
func TestWhatRotates(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change  func(*simulator.Account)
		refresh func(*testing.T, *world, fetcher)
		field   string
	}{
		"a look": {
			change:  func(a *simulator.Account) { a.Refresh = "force" },
			refresh: func(t *testing.T, _ *world, f fetcher) { t.Helper(); f.must(t, byID) },
			field:   "oauth_access_token",
		},
		"the end user": {
			change: func(*simulator.Account) {},
			refresh: func(t *testing.T, w *world, _ fetcher) {
				t.Helper()
				w.control(t, http.MethodPost, "accounts/apn_1/refresh", "").wantStatus(t, http.StatusNoContent)
			},
			field: "oauth_access_token",
		},
		"the end user, with another key": {
			change: func(a *simulator.Account) { a.AuthType = simulator.AuthKeys },
			refresh: func(t *testing.T, w *world, _ fetcher) {
				t.Helper()
				w.control(t, http.MethodPost, "accounts/apn_1/refresh", "").wantStatus(t, http.StatusNoContent)
			},
			field: "api_key",
		},
	}
	for name, test := range tests {
		for _, isRotating := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.connect(t, "apn_1", test.change)
				w.control(t, http.MethodPatch, "accounts/apn_1", jsonOf(t, map[string]any{"rotating": isRotating})).wantStatus(t, http.StatusNoContent)
				f := w.fetcher(t, "")
				first := f.must(t, byID).Credentials[test.field]
				if got := w.app(t, first); got != http.StatusOK {
					t.Fatalf("the app answers %d to the first one", got)
				}
				test.refresh(t, w, f)
				want := http.StatusOK
				if isRotating {
					want = http.StatusUnauthorized
				}
				if got := w.app(t, first); got != want {
					t.Errorf("rotating %t: the app answers %d to the old one, want %d", isRotating, got, want)
				}
				if got := w.app(t, f.must(t, byID).Credentials[test.field]); got != http.StatusOK {
					t.Errorf("rotating %t: the app answers %d to the new one", isRotating, got)
				}
			})
		}
	}
	// The grace can be changed over HTTP, too.
	w := newWorld(t)
	w.control(t, http.MethodPut, "accounts/apn_1",
		`{"project_id":"proj_abc","external_user_id":"acme","app":"slack","rotating":true,"grace":"20s"}`).wantStatus(t, http.StatusNoContent)
	first := w.fetcher(t, "").must(t, byID).Credentials["oauth_access_token"]
	w.control(t, http.MethodPost, "accounts/apn_1/refresh", "").wantStatus(t, http.StatusNoContent)
	for _, want := range []int{http.StatusOK, http.StatusUnauthorized} {
		if got := w.app(t, first); got != want {
			t.Errorf("the app answers %d, want %d", got, want)
		}
		w.clock.Step(20 * time.Second)
	}
}
