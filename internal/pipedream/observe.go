// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Observation describes an answer of the API, for Options.Observe. Except for AccessToken, it is
// safe to show: it has nothing of the body but the names of well-known fields, an error code of
// RFC 6749, and a number of seconds.
type Observation struct {
	// StatusCode is the HTTP status.
	StatusCode int
	// Protocol is the version of HTTP, such as HTTP/2.0.
	Protocol string
	// Date is the time of the answer by the clock of the API, or zero if the answer does not tell.
	Date time.Time
	// Code is the OAuth error code in the body if RFC 6749 defines it, otherwise empty.
	Code string
	// Body describes the body in words, such as "a JSON object with error".
	Body string
	// RateLimits are the well-known headers about rate limits that the answer has.
	RateLimits []RateLimitHeader
	// AccessToken is the access_token in the body, if any, also where Issue returns an error.
	AccessToken Sensitive
	// ExpiresIn is the body's expires_in in seconds, or 0 if it is absent or no integer above 0.
	ExpiresIn int64
	// ScopeField says how the body names the granted scopes.
	ScopeField ScopeField
	// HasCreatedAt reports whether the body has the field created_at.
	HasCreatedAt bool
	// Accounts describes an answer with accounts; nil for any other answer.
	Accounts *AccountsObservation
}

// RateLimitHeader is a header about rate limits.
type RateLimitHeader struct {
	Name string
	// Value is the number in the header, or empty if the header holds something else.
	Value string
}

// ScopeField is the form of the field scope in an answer.
type ScopeField string

// The forms of the field scope.
const (
	ScopeAbsent ScopeField = "absent"
	ScopeNull   ScopeField = "null"
	ScopeEmpty  ScopeField = "an empty text"
	ScopeText   ScopeField = "a text"
	ScopeList   ScopeField = "a list"
	ScopeOther  ScopeField = "neither a text nor a list of texts"
)

// shownFields are the names of fields that Observation.Body may contain. Other names are
// counted, because a name could repeat a part of the request.
var shownFields = []string{
	"access_token", "token_type", "expires_in", "created_at", "refresh_token", "scope",
	"error", "error_description", "error_uri", "errors", "code", "details", "message", "status",
	"data", "page_info",
}

// shownRateLimits are the headers that Observation.RateLimits may contain.
var shownRateLimits = []string{
	"Retry-After",
	"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset",
	"X-Rate-Limit-Limit", "X-Rate-Limit-Remaining", "X-Rate-Limit-Reset",
	"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "RateLimit-Policy", "RateLimit",
}

// longestShownNumber is the maximum number of digits in RateLimitHeader.Value.
const longestShownNumber = 12

// observe describes an answer.
func (a answer) observe() Observation {
	o := Observation{
		StatusCode: a.status,
		Protocol:   a.protocol,
		Code:       oauthErrorCode(a.body),
		Body:       a.describeBody(),
		RateLimits: rateLimitsIn(a.header),
		Date:       a.sentAt(),
	}
	var fields struct {
		AccessToken json.RawMessage `json:"access_token"`
		ExpiresIn   json.RawMessage `json:"expires_in"`
		Scope       json.RawMessage `json:"scope"`
		CreatedAt   json.RawMessage `json:"created_at"`
	}
	o.ScopeField = ScopeAbsent
	if a.isSuccess() && !a.oversized {
		o.Accounts = a.observeAccounts()
	}
	if json.Unmarshal(a.body, &fields) != nil {
		return o
	}
	if token, ok := asString(fields.AccessToken); ok {
		o.AccessToken = NewSensitive(token)
	}
	if seconds, err := strconv.ParseInt(string(fields.ExpiresIn), 10, 64); err == nil {
		o.ExpiresIn = max(seconds, 0)
	}
	o.ScopeField = scopeFieldOf(fields.Scope)
	o.HasCreatedAt = fields.CreatedAt != nil
	return o
}

// describeBody describes the body in words that repeat nothing of it but names of well-known
// fields.
func (a answer) describeBody() string {
	text := bytes.TrimSpace(a.body)
	var object map[string]json.RawMessage
	switch {
	case len(text) == 0:
		return "an empty body"
	case a.oversized:
		return "more than 64 KiB"
	case json.Unmarshal(text, &object) == nil && object != nil:
		return describeObject(object)
	case json.Valid(text) && text[0] == '[':
		return "a JSON list"
	case json.Valid(text):
		return "JSON, but neither an object nor a list"
	case text[0] == '<':
		return "HTML or XML"
	}
	return "text that is not JSON"
}

func describeObject(object map[string]json.RawMessage) string {
	if len(object) == 0 {
		return "a JSON object without fields"
	}
	return "a JSON object with " + describeFields(object, shownFields)
}

// describeFields names the fields of an object that are well known, and counts the others.
func describeFields(object map[string]json.RawMessage, known []string) string {
	var names []string
	for _, name := range known {
		if _, ok := object[name]; ok {
			names = append(names, name)
		}
	}
	if others := len(object) - len(names); others > 0 {
		names = append(names, fmt.Sprintf("%d other fields", others))
	}
	return strings.Join(names, ", ")
}

func rateLimitsIn(header http.Header) []RateLimitHeader {
	var found []RateLimitHeader
	for _, name := range shownRateLimits {
		if header.Values(name) == nil {
			continue
		}
		value := strings.TrimSpace(header.Get(name))
		if strings.Trim(value, "0123456789") != "" || len(value) > longestShownNumber {
			value = ""
		}
		found = append(found, RateLimitHeader{Name: name, Value: value})
	}
	return found
}

func scopeFieldOf(raw json.RawMessage) ScopeField {
	var list []string
	text, isText := asString(raw)
	switch {
	case raw == nil:
		return ScopeAbsent
	case slices.Equal(raw, []byte("null")):
		return ScopeNull
	case isText && strings.TrimSpace(text) == "":
		return ScopeEmpty
	case isText:
		return ScopeText
	case json.Unmarshal(raw, &list) == nil:
		return ScopeList
	}
	return ScopeOther
}
