// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// maxClaim bounds what is shown of a claim.
const maxClaim = 400

// maxUnixTime is beyond the year 5000: a number above it is not shown as a time.
const maxUnixTime = 1e11

// harmlessClaims are those that are shown. They say who has issued the token, for
// what and for how long. Others are not: what they are for is not known.
var harmlessClaims = []string{"iss", "sub", "aud", "token_type", "scope", "scopes", "iat", "nbf", "exp"}

// claim is a part of what a token says of itself.
type claim struct{ name, value string }

// claimsOf returns the harmless claims of a token, and how many others it has; nothing
// if it is no JWT. It does not look at the signature.
func claimsOf(token pipedream.Sensitive) (shown []claim, others int, isJWT bool) {
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 {
		return nil, 0, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, 0, false
	}
	var said map[string]any
	if json.Unmarshal(payload, &said) != nil || said == nil {
		return nil, 0, false
	}
	for _, name := range harmlessClaims {
		if value, ok := said[name]; ok {
			shown = append(shown, claim{name: name, value: claimValue(name, value)})
		}
	}
	return shown, len(said) - len(shown), true
}

// claimValue shows times as times, and lists as words.
func claimValue(name string, value any) string {
	shown := fmt.Sprint(value)
	switch typed := value.(type) {
	case float64:
		if slices.Contains([]string{"iat", "nbf", "exp"}, name) && typed > 0 && typed < maxUnixTime {
			shown = time.Unix(int64(typed), 0).UTC().Format(time.RFC3339)
		}
	case []any:
		words := make([]string, 0, len(typed))
		for _, word := range typed {
			words = append(words, fmt.Sprint(word))
		}
		shown = strings.Join(words, " ")
	}
	if characters := []rune(shown); len(characters) > maxClaim {
		return string(characters[:maxClaim]) + "…"
	}
	return shown
}
