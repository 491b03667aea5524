// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// AccountsObservation describes an answer with accounts. It is safe to show: it has nothing of the answer but
// the names of well-known fields, and words for the forms of values.
type AccountsObservation struct {
	// Form says where the accounts are in the answer, such as "data: a list".
	Form string
	// PageInfo names the fields of page_info; empty if there is none.
	PageInfo string
	// Count is the number of accounts. All that follows is about the first one, and empty if there is none.
	Count int
	// Fields names the fields of the account, and Credentials names the fields of its credentials.
	Fields, Credentials string
	// AuthType, Healthy, Dead, ExpiresAt and NextRefreshAt are the forms of these fields.
	AuthType, Healthy, Dead, ExpiresAt, NextRefreshAt string
}

// The fields whose names an AccountsObservation may contain. Others are counted: an app chooses the names of its
// fields, and a user the names of an app's fields.
var (
	shownAccountFields = []string{
		"id", "name", "external_id", "healthy", "dead", "app", "created_at", "updated_at", "authorized_scopes", "credentials",
		"expires_at", "error", "last_refreshed_at", "next_refresh_at",
	}
	shownCredentials = []string{
		"oauth_client_id", "oauth_access_token", "oauth_refresh_token", "oauth_client_secret", "oauth_uid", "oauth_signer_uri",
		"api_key", "api_token", "base_url",
	}
	shownPageInfo  = []string{"count", "total_count", "start_cursor", "end_cursor"}
	shownAuthTypes = []string{"oauth", "keys", "none"}
)

// The forms of a field that is not as it is usually.
const (
	formAbsent = "absent"
	formNull   = "null"
	formOther  = "of another type"
)

// observeAccounts describes an answer with accounts; nil if the answer has none of the forms that the Client reads.
func (a answer) observeAccounts() *AccountsObservation {
	var page accountPage
	list, err := page.unwrap(bytes.TrimSpace(a.body))
	if err != nil {
		return nil
	}
	o := &AccountsObservation{Form: page.form, Count: len(list)}
	var wrapped struct {
		PageInfo map[string]json.RawMessage `json:"page_info"`
	}
	if json.Unmarshal(a.body, &wrapped) == nil && len(wrapped.PageInfo) > 0 {
		o.PageInfo = describeFields(wrapped.PageInfo, shownPageInfo)
	}
	var account map[string]json.RawMessage
	if len(list) == 0 || json.Unmarshal(list[0], &account) != nil {
		return o
	}
	o.Fields = describeFields(account, shownAccountFields)
	o.Credentials = formOfCredentials(account["credentials"])
	o.AuthType = formOfAuthType(account["app"])
	o.Healthy, o.Dead = formOfFlag(account["healthy"]), formOfFlag(account["dead"])
	now := a.sentAt()
	o.ExpiresAt, o.NextRefreshAt = formOfTime(account["expires_at"], now), formOfTime(account["next_refresh_at"], now)
	return o
}

// formOf returns the form of a field that is absent, null or of another type; empty if isUsual says that the field
// is as usual.
func formOf(raw json.RawMessage, isUsual bool) string {
	switch {
	case raw == nil:
		return formAbsent
	case isNull(raw):
		return formNull
	case !isUsual:
		return formOther
	}
	return ""
}

func formOfFlag(raw json.RawMessage) string {
	if form := formOf(raw, string(raw) == "true" || string(raw) == "false"); form != "" {
		return form
	}
	return "a boolean"
}

// formOfTime also says whether the time is past, if it is known when the answer was sent.
func formOfTime(raw json.RawMessage, sentAt time.Time) string {
	text, isText := asString(raw)
	if form := formOf(raw, isText); form != "" {
		return form
	}
	at, err := time.Parse(time.RFC3339, text)
	switch {
	case err != nil:
		return "a text that is no time in RFC 3339"
	case sentAt.IsZero():
		return "a time in RFC 3339"
	case at.Before(sentAt):
		return "a time in RFC 3339, past"
	}
	return "a time in RFC 3339, not past"
}

func formOfAuthType(app json.RawMessage) string {
	var fields struct {
		AuthType json.RawMessage `json:"auth_type"`
	}
	if json.Unmarshal(app, &fields) != nil {
		return formAbsent
	}
	text, isText := asString(fields.AuthType)
	if form := formOf(fields.AuthType, isText); form != "" {
		return form
	}
	if slices.Contains(shownAuthTypes, text) {
		return text
	}
	return "another text"
}

func formOfCredentials(raw json.RawMessage) string {
	var fields map[string]json.RawMessage
	isObject := json.Unmarshal(raw, &fields) == nil
	if form := formOf(raw, isObject); form != "" {
		return form
	}
	if len(fields) == 0 {
		return "an object without fields"
	}
	text := "an object with " + describeFields(fields, shownCredentials)
	others := 0
	for _, value := range fields {
		if _, isText := asString(value); !isText {
			others++
		}
	}
	if others > 0 {
		text += fmt.Sprintf("; %d of the values are no texts", others)
	}
	return text
}
