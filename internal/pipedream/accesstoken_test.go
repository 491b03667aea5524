// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// FuzzAccessToken has tokens of all shapes issued. Pipedream's are JWTs, but nothing
// of them is parsed: a token is whatever visible ASCII can stand in a header. It is
// kept to the byte, and shown nowhere.
func FuzzAccessToken(f *testing.F) {
	f.Add("eyJ0eXAiOiJKV1QiLCJhbGciOiJFZERTQSJ9.eyJqdGkiOiIxIiwic2NvcGUiOiIqIn0.c2lnbmF0dXJl")
	f.Fuzz(func(t *testing.T, accessToken string) {
		body, err := json.Marshal(map[string]any{"access_token": accessToken, "token_type": "Bearer", "expires_in": 3600})
		if err != nil {
			t.Fatal(err)
		}
		got, err := pipedream.ParseToken(body, second)
		isUsable := accessToken != "" && !strings.ContainsFunc(accessToken, func(r rune) bool { return !isVisible(r) })
		switch {
		case isUsable != (err == nil):
			t.Fatalf("the error for the token %q is %v", accessToken, err)
		case err == nil && got.AccessToken.Reveal() != accessToken:
			t.Fatalf("the token %q has become %q", accessToken, got.AccessToken.Reveal())
		}
		// A shorter one may be in the text by accident.
		const telling = 12
		if len(accessToken) < telling {
			return
		}
		encoded, _ := json.Marshal(got)
		for _, shown := range []string{fmt.Sprintf("%v %+v %#v %s %q %x", got, got, got, got, got, got), string(encoded), fmt.Sprint(err)} {
			if strings.Contains(shown, accessToken) || strings.Contains(shown, fmt.Sprintf("%x", accessToken)) {
				t.Errorf("the token %q is shown: %s", accessToken, shown)
			}
		}
	})
}
