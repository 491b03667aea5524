// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// TestAnyAnswerShowsThatTheAPIIsReached is about a request without credentials.
func TestAnyAnswerShowsThatTheAPIIsReached(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		date   []string
		want   time.Time
		age    string
	}{
		"a success":               {status: 200, date: []string{"Sun, 01 Mar 2026 12:00:00 GMT"}, want: second},
		"an error":                {status: 503, date: []string{"Sun, 01 Mar 2026 12:00:00 GMT"}, want: second},
		"a redirect":              {status: 302, date: []string{"Sun, 01 Mar 2026 12:00:00 GMT"}, want: second},
		"an answer without date":  {status: 200},
		"an answer with nonsense": {status: 200, date: []string{"today"}},
		"an answer from a cache":  {status: 200, date: []string{"Sun, 01 Mar 2026 11:50:00 GMT"}, want: second, age: "600"},
		"an age with nonsense":    {status: 200, date: []string{"Sun, 01 Mar 2026 11:50:00 GMT"}, age: "old"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if got := r.Header.Get("Authorization"); got != "" || r.Method != http.MethodGet {
					t.Errorf("it sends a %s with the authorization %q", r.Method, got)
				}
				if got := r.Header.Get("Cache-Control"); got != "no-cache" {
					t.Errorf("Cache-Control is %q", got)
				}
				w.Header()["Date"] = test.date // nil: none at all.
				if test.age != "" {
					w.Header().Set("Age", test.age)
				}
				w.Header().Set("Location", "https://elsewhere.invalid")
				w.WriteHeader(test.status)
			}))
			t.Cleanup(server.Close)
			if status, got, err := newClient(t, server.URL).Reach(t.Context()); err != nil || status != test.status || !got.Equal(test.want) {
				t.Errorf("the status is %d and the date %v (%v), want %d and %v", status, got, err, test.status, test.want)
			}
		})
	}
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	if _, _, err := newClient(t, server.URL).Reach(t.Context()); !errors.As(err, new(*pipedream.Error)) {
		t.Errorf("the error is %v (%T), want an *Error", err, err)
	}
}
