// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream

import (
	"fmt"
	"strings"
)

const (
	// mostShownScopes and longestShownScope limit the length of ShowScopes, so that a message
	// with this list fits into a Kubernetes event.
	mostShownScopes   = 8
	longestShownScope = 64
)

// Covers reports whether the allowed scopes together permit the wanted scope. A scope permits
// itself. A scope that ends in * permits every scope that begins with the text before the *, so
// * alone permits every scope. Only the scope * permits the scope *.
func Covers(allowed []string, wanted string) bool {
	for _, scope := range allowed {
		prefix, isWildcard := strings.CutSuffix(scope, "*")
		if scope == wanted || isWildcard && wanted != "*" && strings.HasPrefix(wanted, prefix) {
			return true
		}
	}
	return false
}

// NotCovered returns the wanted scopes that the allowed scopes do not permit, in the order of
// wanted. It returns nil when they permit all wanted scopes.
func NotCovered(allowed, wanted []string) []string {
	var missing []string
	for _, scope := range wanted {
		if !Covers(allowed, scope) {
			missing = append(missing, scope)
		}
	}
	return missing
}

// IsScope reports whether a text is a single scope as RFC 6749, appendix A.4, defines it:
// visible ASCII characters except the double quote and the backslash.
func IsScope(text string) bool {
	return isVisibleASCII(text) && !strings.ContainsAny(text, `"\`)
}

// ShowScopes returns a list of scopes for a message. It contains the first eight scopes, at
// most 64 characters of each, and the number of scopes left out.
func ShowScopes(scopes []string) string {
	var shown []string
	for _, scope := range scopes[:min(len(scopes), mostShownScopes)] {
		if len(scope) > longestShownScope {
			scope = scope[:longestShownScope] + "…"
		}
		shown = append(shown, "`"+scope+"`")
	}
	list := strings.Join(shown, ", ")
	if more := len(scopes) - len(shown); more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return list
}
