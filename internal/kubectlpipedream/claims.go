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

// maxClaim is the maximum number of characters that are shown of a claim.
const maxClaim = 400

// maxUnixTime is a time after the year 5000. A number above it is shown as a number, not as a time.
const maxUnixTime = 1e11

// harmlessClaims are the claims that the plugin shows. They say who issued the token, for what purpose and
// for how long. The plugin shows no other claim, because the meaning of other claims is unknown.
var harmlessClaims = []string{"iss", "sub", "aud", "token_type", "scope", "scopes", "iat", "nbf", "exp"}

// claim is one claim in the payload of a JWT.
type claim struct{ name, value string }

// claimsOf returns the harmless claims of a token, and the number of its other claims. isJWT is false if the
// token is not a JWT. claimsOf does not check the signature.
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

// claimValue returns a claim's value as text: a time in RFC 3339, and a list as words with spaces between
// them.
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
