// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// The names of the behaviors. Each is a question that Pipedream's documentation does not answer.
const (
	// BehaviorUnknownScope says how an exchange is answered that asks for an unknown scope.
	BehaviorUnknownScope = "unknown-scope"
	// BehaviorWrongSecret says how an exchange with a wrong client secret is answered.
	BehaviorWrongSecret = "wrong-secret"
	// BehaviorMissingScope says how the Connect API answers a token without the scope of the call.
	BehaviorMissingScope = "missing-scope"
	// BehaviorBadToken says how the Connect API answers a token that it does not accept.
	BehaviorBadToken = "bad-token"
	// BehaviorSecondToken says what a second exchange of a client does to its earlier tokens.
	BehaviorSecondToken = "second-token"
	// BehaviorRevoke says how a revocation is answered, and whether it has an effect.
	BehaviorRevoke = "revoke"
	// BehaviorRevokedAfter is how long the Connect API accepts a token after its revocation.
	BehaviorRevokedAfter = "revoked-after"
	// BehaviorDateSkew is how far the Date header of the answers is ahead.
	BehaviorDateSkew = "date-skew"
)

// The values of behaviors that more than one function knows.
const (
	valueOK           = "ok"
	valueBadRequest   = "bad-request"
	valueUnauthorized = "unauthorized"
	valueForbidden    = "forbidden"
	valueNotFound     = "not-found"
	valueIgnored      = "ignored"
	valueGranted      = "granted"
	valueOther        = "other"
	valueEndsFirst    = "ends-first"
	valueEndsAll      = "ends-all"
	valueSame         = "same"
	valueInvalidScope = "invalid-scope"
)

// maxSkew is the greatest value of a behavior that is a duration.
const maxSkew = 1000 * time.Hour

// behaviorValues are the values of each behavior, the default first. A behavior without values is a duration.
var behaviorValues = map[string][]string{
	BehaviorUnknownScope: {valueInvalidScope, valueBadRequest, valueUnauthorized, valueForbidden, valueIgnored, valueGranted},
	BehaviorWrongSecret:  {valueUnauthorized, valueBadRequest, valueForbidden, valueNotFound},
	BehaviorMissingScope: {valueForbidden, valueUnauthorized, valueNotFound, valueOK},
	BehaviorBadToken:     {valueUnauthorized, valueForbidden, valueNotFound},
	BehaviorSecondToken:  {valueOther, valueEndsFirst, valueEndsAll, valueSame},
	BehaviorRevoke:       {valueOK, valueIgnored, valueUnauthorized, valueNotFound},
	BehaviorRevokedAfter: nil,
	BehaviorDateSkew:     nil,
}

// statusOf is the HTTP status that a value of a behavior stands for.
var statusOf = map[string]int{
	valueInvalidScope: http.StatusBadRequest,
	valueBadRequest:   http.StatusBadRequest,
	valueUnauthorized: http.StatusUnauthorized,
	valueForbidden:    http.StatusForbidden,
	valueNotFound:     http.StatusNotFound,
}

// behaviors say how the simulator answers where Pipedream's documentation says nothing. The zero value has
// the default of each behavior. It is safe for concurrent use.
type behaviors struct {
	mu        sync.Mutex
	chosen    map[string]string
	durations map[string]time.Duration
}

// set changes behaviors, as Simulator.SetBehavior describes.
func (b *behaviors) set(changes map[string]string) error {
	durations := map[string]time.Duration{}
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		values, known := behaviorValues[name]
		switch {
		case !known:
			return fmt.Errorf("there is no behavior %q; there are %s", name, strings.Join(slices.Sorted(maps.Keys(behaviorValues)), ", "))
		case values == nil:
			d, err := time.ParseDuration(changes[name])
			if err != nil || d.Abs() > maxSkew || d < 0 && name != BehaviorDateSkew {
				return fmt.Errorf("%s must be a duration such as 3s, of at most %s, not %q", name, maxSkew, changes[name])
			}
			durations[name] = d
		case !slices.Contains(values, changes[name]):
			return fmt.Errorf("%s must be one of %q, not %q", name, values, changes[name])
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.chosen == nil {
		b.chosen, b.durations = map[string]string{}, map[string]time.Duration{}
	}
	maps.Copy(b.chosen, changes)
	maps.Copy(b.durations, durations)
	return nil
}

// of returns the value of a behavior.
func (b *behaviors) of(name string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if value := b.chosen[name]; value != "" {
		return value
	}
	return behaviorValues[name][0]
}

// durationOf returns the value of a behavior that is a duration.
func (b *behaviors) durationOf(name string) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.durations[name]
}

// refusedSecret answers an exchange with a wrong client secret.
func (b *behaviors) refusedSecret() answer {
	switch value := b.of(BehaviorWrongSecret); value {
	case valueForbidden, valueNotFound:
		return apiError(statusOf[value], http.StatusText(statusOf[value]))
	case valueBadRequest:
		return invalidClient(http.StatusBadRequest)
	}
	return invalidClient(http.StatusUnauthorized)
}

// refusedScope answers an exchange for scopes that are not granted.
func (b *behaviors) refusedScope() answer {
	switch value := b.of(BehaviorUnknownScope); value {
	case valueBadRequest, valueForbidden:
		return apiError(statusOf[value], http.StatusText(statusOf[value]))
	case valueUnauthorized:
		return invalidClient(http.StatusUnauthorized)
	}
	return invalidScope()
}

// knownAmong returns the scopes that an exchange asks for, without the unknown scopes if the simulator
// ignores them. It returns false if the exchange is refused for an unknown scope. If no scope is left, the
// exchange asks for everything.
func (b *behaviors) knownAmong(asked []string) (scopes []string, ok bool) {
	isUnknown := func(scope string) bool { return !slices.Contains(knownScopes, scope) }
	if !slices.ContainsFunc(asked, isUnknown) {
		return asked, true
	}
	switch b.of(BehaviorUnknownScope) {
	case valueGranted:
		return asked, true
	case valueIgnored:
		if scopes = slices.DeleteFunc(slices.Clone(asked), isUnknown); len(scopes) == 0 {
			scopes = []string{"*"}
		}
		return scopes, true
	}
	return nil, false
}

// refusedCall answers a call of the Connect API that is refused because of the behavior's subject: a token
// that is not accepted, or a scope that is missing. It returns false if the behavior is to serve the call.
func (b *behaviors) refusedCall(name string) (refused answer, ok bool) {
	value := b.of(name)
	switch value {
	case valueOK:
		return answer{}, false
	case valueNotFound:
		return notFound(), true
	}
	return apiError(statusOf[value], http.StatusText(statusOf[value])), true
}
