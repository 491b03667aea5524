// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package refresh_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/refresh"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// shelf holds credentials as a Secret does, and gets them from a simulator over HTTP when refresh
// decides so.
type shelf struct {
	t       *testing.T
	now     time.Time
	api     *simulator.Simulator
	client  *pipedream.Client
	bearer  pipedream.Sensitive
	desired refresh.Desired
	facts   refresh.Facts
	held    map[string]pipedream.Sensitive
	fetches int
}

func newShelf(t *testing.T, account simulator.Account, desired refresh.Desired) *shelf {
	t.Helper()
	s := &shelf{t: t, now: now, desired: desired}
	clock := func() time.Time { return s.now }
	s.api = simulator.New(simulator.Options{
		Now: clock, TokenLifetime: 24 * time.Hour, Clients: []simulator.Client{{ID: "orders", Secret: "s3cret"}},
	})
	if err := s.api.Accounts.Set("apn_1", account); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s.api)
	t.Cleanup(server.Close)
	var err error
	s.client, err = pipedream.NewClient(pipedream.Options{Address: server.URL, AllowInsecure: true, Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	credentials := pipedream.Credentials{ClientID: "orders", ClientSecret: pipedream.NewSensitive("s3cret")}
	issued, err := s.client.Issue(t.Context(), credentials, []string{"connect:accounts:read"})
	if err != nil {
		t.Fatal(err)
	}
	s.bearer = issued.AccessToken
	s.facts = refresh.Facts{Target: refresh.Absent, Check: refresh.Good, HasCredentials: true, Looks: refresh.Looks{Since: s.now}}
	return s
}

// act does what is to be done now.
func (s *shelf) act() {
	s.t.Helper()
	if refresh.Decide(s.desired, s.facts, s.now).Action != refresh.Fetch {
		return
	}
	s.fetches++
	got, err := s.client.Account(s.t.Context(), s.bearer, pipedream.AccountQuery{
		ProjectID: "proj_abc", Environment: "production", AccountID: "apn_1",
	})
	if err != nil {
		s.t.Fatal(err)
	}
	record := s.facts.Record
	token := got.Credentials["oauth_access_token"].Reveal()
	isNewer := token != s.held["oauth_access_token"].Reveal() || got.ExpirationTime.After(record.ExpirationTime)
	isStale := !got.ExpirationTime.IsZero() && !got.ExpirationTime.After(s.now)
	s.facts.Looks.Add(s.desired, record, isNewer && !isStale, s.now)
	if isNewer && !isStale {
		s.held, s.facts.Target = got.Credentials, refresh.Owned
		s.facts.Record = &refresh.Record{FetchTime: s.now, ExpirationTime: got.ExpirationTime, NextRefreshTime: got.NextRefreshTime}
	}
}

// use reports whether the app accepts the token that is held.
func (s *shelf) use() bool {
	s.t.Helper()
	request := httptest.NewRequestWithContext(s.t.Context(), http.MethodGet, "/_app/slack/me", http.NoBody)
	request.Header.Set("Authorization", "Bearer "+s.held["oauth_access_token"].Reveal())
	answer := httptest.NewRecorder()
	s.api.ServeHTTP(answer, request)
	return answer.Code == http.StatusOK
}

// A program that takes its token from the Secret and calls the app each second is refused for two
// seconds at most in each life, whenever Pipedream refreshes.
func TestAConsumerIsHardlyEverRefused(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		refresh, next string
		// refused is how many seconds of four lives the app may refuse the token, and fetches how many
		// fetches four lives may take.
		refused, fetches int
	}{
		"in the background, often":            {"background:2m15s", "true", 0, 8},
		"in the background, close to the end": {"background:9m30s", "true", 0, 7},
		"in the background, unsaid":           {"background:9m30s", "absent", 8, 12},
		"before they expire":                  {"lead:1m", "true", 0, 6},
		"before they expire, late by word":    {"lead:1m", "5m", 8, 12},
		"when expired ones are asked for":     {"lazy", "true", 8, 10},
		"whenever they are asked for":         {"force", "true", 0, 8},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const lives, life = 4, 10 * time.Minute
			account := simulator.NewAccount("proj_abc", "acme", "slack")
			account.Life, account.Refresh, account.NextRefresh = life, test.refresh, test.next
			s := newShelf(t, account, refresh.Desired{})
			refused, longest, row := 0, 0, 0
			for range lives * int(life/time.Second) {
				s.act()
				if s.use() {
					row = 0
				} else {
					refused++
					row++
					longest = max(longest, row)
				}
				s.now = s.now.Add(time.Second)
			}
			if refused > test.refused || longest > 2 {
				t.Errorf("the app has refused the token for %d seconds, %d in a row", refused, longest)
			}
			if s.fetches > test.fetches {
				t.Errorf("%d fetches, want at most %d", s.fetches, test.fetches)
			}
			t.Logf("%d fetches, refused for %d seconds", s.fetches, refused)
		})
	}
}
