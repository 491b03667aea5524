// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
)

func TestASecretIsFoundInEachForm(t *testing.T) {
	t.Parallel()
	const secret = "chaos-secret-ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	token := "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJjaGFvcyJ9." + strings.Repeat("Zx9-_q", 14)
	tests := map[string]struct {
		text string
		want string
	}{
		"in clear":                      {"a line with " + secret + " in it", "the secret"},
		"in hexadecimal":                {"00" + hex.EncodeToString([]byte(secret)), "the secret"},
		"in base64":                     {base64.StdEncoding.EncodeToString([]byte(secret)), "the secret"},
		"in base64, one byte later":     {base64.StdEncoding.EncodeToString([]byte(":" + secret + ":")), "the secret"},
		"in base64, two later":          {base64.URLEncoding.EncodeToString([]byte("::" + secret + "::")), "the secret"},
		"in Basic authentication":       {base64.StdEncoding.EncodeToString([]byte("chaos-client-1:" + secret)), "the secret"},
		"a token's signature":           {"token " + token[len(token)-84:], "the token"},
		"a token that no Secret had":    {"Bearer eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.other", "the beginning of a token"},
		"a refresh token of an account": {"the app has refused the refresh token sim_" + strings.Repeat("aZ3-_", 8), "a secret of an account"},
		"nothing secret":                {"issued a token, for chaos-client-1, digest 0123456789abcdef0123456789abcdef", ""},
		"half of a secret":              {secret[:20], ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLeaks()
			l.add("log", test.text, at(0))
			l.learn("the secret", secret) // The secret is learned after the log line was written.
			l.learnToken("the token", token)
			if early := l.search(at(1)); len(early) != 0 {
				t.Errorf("searched before all secrets are known: %v", early)
			}
			got := ""
			for _, found := range l.search(at(60)) {
				got = found.name
			}
			if got != test.want {
				t.Errorf("found %q, want %q", got, test.want)
			}
		})
	}
}
