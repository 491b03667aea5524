// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"fmt"
	"strings"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// minLifetime is the shortest life of a token in seconds that the operator accepts.
const minLifetime = 30

// holds says whether an assumption of the operator holds.
type holds string

// Whether an assumption holds.
const (
	holdsYes     holds = "yes"
	holdsNo      holds = "no"
	holdsUnknown holds = "unknown"
)

func holdsIf(does bool) holds {
	if does {
		return holdsYes
	}
	return holdsNo
}

// answerRow is the answer to a question.
type answerRow struct {
	text  string
	holds holds
}

// probeAnswers are the answers by the names of the questions.
type probeAnswers map[string]answerRow

// set sets the answer to a question.
func (a probeAnswers) set(name, text string, does holds) {
	a[name] = answerRow{text: text, holds: does}
}

// judge sets the answer to a question to the words for a reply. If the reply says how the API behaves, isAssumed
// tells whether the operator assumes it.
func (a probeAnswers) judge(name string, r reply, isAssumed bool) {
	does := holdsUnknown
	if r.isConclusive() {
		does = holdsIf(isAssumed)
	}
	a.set(name, r.String(), does)
}

// describeIssue answers the questions about an answer with a token.
func (a probeAnswers) describeIssue(r reply, token *issuedToken) {
	switch field := r.answer.ScopeField; {
	case r.kind() == pipedream.ScopeNotGranted:
		a.set("scope-field", "it does not cover the requested scope", holdsNo)
	case field == pipedream.ScopeOther:
		a.set("scope-field", string(field), holdsNo)
	case field == pipedream.ScopeText, field == pipedream.ScopeList:
		a.set("scope-field", string(field)+" that covers the requested scope", holdsYes)
	default:
		a.set("scope-field", string(field), holdsYes)
	}
	if life := r.answer.ExpiresIn; life > 0 {
		a.set("expires-in", fmt.Sprint(life), holdsIf(life >= minLifetime))
	} else {
		a.set("expires-in", "absent, or not a whole number above 0", holdsNo)
	}
	createdAt := "absent"
	if r.answer.HasCreatedAt {
		createdAt = "present"
	}
	a.set("created-at", createdAt, holdsYes)
	a.set("token-form", describeToken(token.token), holdsIf(isVisibleASCII(token.token.Reveal())))
	if date := r.answer.Date; date.IsZero() {
		a.set("clock", "not known: the answers have no Date", holdsUnknown)
	} else {
		skew := skewOf(r.before, r.after, date)
		a.set("clock", describeSkew(skew), holdsIf(skew.Abs() <= bigSkew))
	}
}

// describeToken says of which form a token is. It repeats nothing of the token.
func describeToken(token pipedream.Sensitive) string {
	length := len(token.Reveal())
	shown, _, isJWT := claimsOf(token)
	if !isJWT {
		return fmt.Sprintf("opaque, of %d characters", length)
	}
	for _, one := range shown {
		if one.name == "scope" || one.name == "scopes" {
			return fmt.Sprintf("a JWT of %d characters, with the claim %s", length, one.name)
		}
	}
	return fmt.Sprintf("a JWT of %d characters, without a claim of scopes", length)
}

func isVisibleASCII(text string) bool {
	return strings.IndexFunc(text, func(character rune) bool { return character <= ' ' || character > '~' }) < 0
}

func describeSkew(skew time.Duration) string {
	switch {
	case skew > time.Second:
		return fmt.Sprintf("%v ahead of the API's", skew)
	case skew < -time.Second:
		return fmt.Sprintf("%v behind the API's", -skew)
	}
	return "as the API's"
}

// describeHTTP answers the questions that each answer answers.
func (a probeAnswers) describeHTTP(s *probeSender) {
	a.set("http-version", strings.Join(s.protocols, ", "), holdsYes)
	var found []string
	for _, kind := range []string{tokenRequests, listings, accountRequests, revocations} {
		if headers, ok := s.rateLimits[kind]; ok {
			found = append(found, kind+": "+describeRateLimits(headers))
		}
	}
	a.set("rate-limits", strings.Join(found, "; "), holdsYes)
}

func describeRateLimits(headers []pipedream.RateLimitHeader) string {
	if len(headers) == 0 {
		return "none"
	}
	words := make([]string, 0, len(headers))
	for _, one := range headers {
		if one.Value == "" {
			words = append(words, one.Name+" (not a number)")
			continue
		}
		words = append(words, one.Name+" "+one.Value)
	}
	return strings.Join(words, ", ")
}
