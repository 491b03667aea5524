// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
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
		// Whatever it is, it leads to a pause of a sensible length.
		g := newGate(t, pipedream.GateOptions{})
		g.now = now
		pause := g.limited("a", at).Sub(now)
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

// FuzzGate does what it is told to a gate: each byte is one deed. Whatever comes, the
// gate agrees with itself, keeps its pauses and bounds, and lets all through in the end.
func FuzzGate(f *testing.F) {
	f.Add([]byte("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"))
	f.Add([]byte{0, 1, 2, 3, 4, 5, 64, 65, 66, 67, 200, 201, 128, 129, 130, 255, 254, 253, 250, 64, 65, 7, 15, 23})
	f.Add([]byte("\x00\x40\x41\x42\x80\x81\x82\x83\xc0\xc1\xc2\xd0\xd8\xe0\xe8\xf0\xf8\x00\x40\x80"))
	f.Fuzz(func(t *testing.T, deeds []byte) {
		g := newGate(t, pipedream.GateOptions{PerSecond: 2, Burst: 3, InFlight: 2})
		outcomes := []error{nil, errScope, errUnavailable, errRefused, errTooMany, nil, errUnavailable, errRefused}
		var flights []*flight
		for _, deed := range deeds[:min(len(deeds), 1000)] {
			name, kind := fmt.Sprint(deed%8), deed>>3%8
			place := g.Enter(shop(name), pipedream.Lane(kind%4))
			if left := place.PausedUntil.Sub(g.now); !place.PausedUntil.IsZero() && (left <= 0 || left > 15*time.Minute) {
				t.Errorf("there is a pause for another %s", left)
			}
			switch deed >> 6 {
			case 0:
				_ = g.send(name, client(fmt.Sprint(deed%3)), kind > 4, outcomes[kind])
			case 1:
				// It can be known only by trying whether the request goes.
				if place.IsTurn && len(flights) < 2 {
					if f := g.tryStart(name, client(fmt.Sprint(deed%3))); f != nil {
						flights = append(flights, f)
					}
				} else if len(flights) > 0 {
					_ = flights[0].end(outcomes[kind])
					flights = flights[1:]
				}
			case 2:
				g.now = g.now.Add(time.Duration(kind*kind*kind) * time.Second / 4)
				g.Turns()
			case 3:
				switch kind {
				case 0:
					g.now = g.now.Add(-time.Hour)
				case 1:
					g.now = g.now.Add(time.Hour)
				case 2:
					g.Pause(g.now.Add(time.Minute))
				default:
					g.Leave(shop(name))
				}
			}
			g.check()
		}
		for _, f := range flights {
			_ = f.end(nil)
		}
		for range 40 {
			for i := range 8 {
				if name := fmt.Sprint(i); g.hasTurn(shop(name)) {
					_ = g.send(name, client("good"), false, nil)
					g.Leave(shop(name))
				}
			}
			g.now = g.now.Add(time.Minute)
		}
		for i := range 8 {
			g.Leave(shop(fmt.Sprint(i)))
		}
		for range 60 {
			g.now = g.now.Add(time.Minute)
			_ = g.try("last", nil, nil)
		}
		g.wantPass("last")
		if g.Places() != 0 || g.InFlight() != 0 {
			t.Errorf("%d have a place, and %d requests are on their way, want none", g.Places(), g.InFlight())
		}
	})
}
