// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// ScopeAnswer says which scopes an exchange grants, and whether and how the answer names them in its field "scope".
type ScopeAnswer string

// The ways to answer. Pipedream documents no field "scope". RFC 6749, section 5.1, defines it.
const (
	// ScopeAbsent grants the requested scopes. The answer has no field "scope".
	ScopeAbsent ScopeAnswer = "absent"
	// ScopeGranted grants the requested scopes. The answer names the granted scopes.
	ScopeGranted ScopeAnswer = "granted"
	// ScopeFewer grants the requested scopes without the last one. If no scope is left, it grants a scope
	// that was not requested. The answer names the granted scopes.
	ScopeFewer ScopeAnswer = "fewer"
	// ScopeMore grants the requested scopes and one more. The answer names the granted scopes.
	ScopeMore ScopeAnswer = "more"
	// ScopeList grants the requested scopes. The answer names the granted scopes in a JSON list.
	ScopeList ScopeAnswer = "list"
	// ScopeNull grants the requested scopes. The field "scope" is null.
	ScopeNull ScopeAnswer = "null"
	// ScopeEmpty grants the requested scopes. The field "scope" is an empty text.
	ScopeEmpty ScopeAnswer = "empty"
)

// ScopeAnswers are all ways to answer.
var ScopeAnswers = []ScopeAnswer{ScopeAbsent, ScopeGranted, ScopeFewer, ScopeMore, ScopeList, ScopeNull, ScopeEmpty}

// setScopeAnswer changes the ScopeAnswer for exchanges from now on. It returns an error if way is unknown.
func (o *oauth) setScopeAnswer(way ScopeAnswer) error {
	if !slices.Contains(ScopeAnswers, way) {
		return fmt.Errorf("the scope answer must be one of %q, not %q", ScopeAnswers, way)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.scopeAnswer = way
	return nil
}

// grantedTo returns the scopes that an exchange grants to a client, and the answer's field "scope"; nil for
// no field. scopes is empty if the client may have none of the requested scopes.
func (o *oauth) grantedTo(id string, asked []string) (scopes []string, said json.RawMessage) {
	o.mu.Lock()
	way := o.scopeAnswer
	o.mu.Unlock()
	scopes = permitted(o.clients.scopesOf(id), asked)
	if len(scopes) == 0 {
		return nil, nil
	}
	switch way {
	case ScopeFewer:
		if scopes = scopes[:len(scopes)-1]; len(scopes) == 0 {
			scopes = []string{notAmong(asked)}
		}
	case ScopeMore:
		scopes = append(slices.Clone(scopes), notAmong(scopes))
	case ScopeAbsent, ScopeGranted, ScopeList, ScopeNull, ScopeEmpty:
	}
	return scopes, way.field(scopes)
}

// permitted returns the requested scopes that a client may have.
func permitted(allowed, asked []string) []string {
	switch {
	case len(allowed) == 0:
		return asked
	case slices.Equal(asked, []string{"*"}):
		return allowed // All scopes that this client may have.
	}
	return slices.DeleteFunc(slices.Clone(asked), func(scope string) bool { return !pipedream.Covers(allowed, scope) })
}

// field returns the answer's field "scope"; nil for no field.
func (way ScopeAnswer) field(scopes []string) json.RawMessage {
	switch way {
	case ScopeAbsent:
		return nil
	case ScopeNull:
		return json.RawMessage("null")
	case ScopeEmpty:
		return json.RawMessage(`""`)
	case ScopeList:
		return jsonAnswer(http.StatusOK, scopes).body
	case ScopeGranted, ScopeFewer, ScopeMore:
	}
	return jsonAnswer(http.StatusOK, strings.Join(scopes, " ")).body
}

// notAmong returns a scope that these scopes do not permit, or connect:* if they permit all scopes.
func notAmong(scopes []string) string {
	for _, scope := range []string{"connect:usage:read", "connect:proxy", "*"} {
		if !pipedream.Covers(scopes, scope) {
			return scope
		}
	}
	return "connect:*"
}
