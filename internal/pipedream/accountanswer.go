// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"
)

const (
	// mostFields is how many fields the credentials of an account have at most.
	mostFields = 64
	// clockTolerance is by how much two clocks may differ that count as the same.
	clockTolerance = 2 * time.Second
	// mostClockDifference is by how much two clocks may differ at most. If the Date of an answer is
	// farther from the clock than that, it is not the time of the answer.
	mostClockDifference = 24 * time.Hour
	// farFuture is the time from now after which a difference of clocks does not matter.
	farFuture = 100 * 365 * 24 * time.Hour
)

// withheldFields are never copied. With a refresh token, its holder could refresh the account itself,
// and so end the refresh token that Pipedream has. The secret of the OAuth client is not the
// account's.
var withheldFields = []string{"oauth_refresh_token", "oauth_client_secret"}

// accountPage is an answer with accounts.
type accountPage struct {
	status   int
	accounts []rawAccount
	// form says where the accounts are in the answer.
	form string
	// next is the cursor of the next page; empty if the answer has none.
	next string
	// total is how many accounts all pages have together; 0 if the answer does not say.
	total int
	// asked is the time just before the request. clockAhead is how much the clock of the caller is
	// ahead of the one of Pipedream.
	asked      time.Time
	now        time.Time
	clockAhead time.Duration
}

// rawAccount is an account as it is in an answer.
type rawAccount struct {
	id     string
	isDead bool
	// user is the end user who has connected the account.
	user name
	// appSlug is the name slug of the app. appID is empty if the answer does not have it.
	appSlug  name
	appID    string
	authType string
	health   Health
	// credentials, expiresAt and nextRefreshAt are read only if the account is to be returned.
	credentials, expiresAt, nextRefreshAt json.RawMessage
}

// parseAccounts reads a successful answer. Its errors do not quote the answer.
//
// Pipedream has answered in several shapes: an account alone or in a field "data", or a list of
// accounts alone, in a field "data", or in a field "accounts" of that.
func parseAccounts(got answer, asked, received time.Time) (accountPage, error) {
	if got.oversized {
		return accountPage{}, errors.New("the answer is longer than 256 KiB")
	}
	page := accountPage{status: got.status, asked: asked, now: received, clockAhead: clockAhead(got, asked, received)}
	list, err := page.unwrap(bytes.TrimSpace(got.body))
	if err != nil {
		return accountPage{}, err
	}
	for _, raw := range list {
		account, err := parseAccount(raw)
		if err != nil {
			return accountPage{}, err
		}
		page.accounts = append(page.accounts, account)
	}
	return page, nil
}

var errNoAccount = errors.New("the answer is neither an account nor a list of accounts in JSON")

// The places of accounts in an answer.
const (
	formAccount         = "an account"
	formList            = "a list"
	formDataNull        = "data: null"
	formDataAccount     = "data: an account"
	formDataList        = "data: a list"
	formDataAccountList = "data: a field accounts with a list"
)

// unwrap returns the accounts of an answer, and remembers its form and its cursor.
func (p *accountPage) unwrap(body []byte) ([]json.RawMessage, error) {
	if list, ok := asList(body); ok {
		p.form = formList
		return list, nil
	}
	var wrapped struct {
		ID       json.RawMessage `json:"id"`
		Data     json.RawMessage `json:"data"`
		PageInfo json.RawMessage `json:"page_info"`
	}
	switch {
	case !bytes.HasPrefix(body, []byte("{")) || json.Unmarshal(body, &wrapped) != nil:
		return nil, errNoAccount
	case wrapped.ID != nil:
		p.form = formAccount
		return []json.RawMessage{body}, nil
	case wrapped.Data == nil:
		return nil, errNoAccount
	}
	p.next, p.total = parsePageInfo(wrapped.PageInfo)
	return p.unwrapData(wrapped.Data)
}

// unwrapData returns the accounts of a field "data".
func (p *accountPage) unwrapData(data json.RawMessage) ([]json.RawMessage, error) {
	if isNull(data) {
		p.form = formDataNull
		return nil, nil
	}
	if list, ok := asList(data); ok {
		p.form = formDataList
		return list, nil
	}
	var fields struct {
		ID       json.RawMessage `json:"id"`
		Accounts json.RawMessage `json:"accounts"`
	}
	if json.Unmarshal(data, &fields) != nil {
		return nil, errNoAccount
	}
	if fields.ID != nil {
		p.form = formDataAccount
		return []json.RawMessage{data}, nil
	}
	if list, ok := asList(fields.Accounts); ok {
		p.form = formDataAccountList
		return list, nil
	}
	return nil, errNoAccount
}

// parsePageInfo returns the cursor of the next page and the number of all accounts, as far as they
// can be read.
func parsePageInfo(raw json.RawMessage) (next string, total int) {
	var info struct {
		EndCursor  json.RawMessage `json:"end_cursor"`
		TotalCount json.RawMessage `json:"total_count"`
	}
	if json.Unmarshal(raw, &info) != nil {
		return "", 0
	}
	next, _ = asString(info.EndCursor)
	_ = json.Unmarshal(info.TotalCount, &total)
	return next, max(total, 0)
}

func parseAccount(raw json.RawMessage) (rawAccount, error) {
	var fields struct {
		ID            json.RawMessage `json:"id"`
		ExternalID    json.RawMessage `json:"external_id"`
		Healthy       json.RawMessage `json:"healthy"`
		Dead          json.RawMessage `json:"dead"`
		App           json.RawMessage `json:"app"`
		Credentials   json.RawMessage `json:"credentials"`
		ExpiresAt     json.RawMessage `json:"expires_at"`
		NextRefreshAt json.RawMessage `json:"next_refresh_at"`
	}
	if json.Unmarshal(raw, &fields) != nil {
		return rawAccount{}, errNoAccount
	}
	id, _ := asString(fields.ID)
	if !IsAccountID(id) {
		return rawAccount{}, errors.New("the answer has an account without a usable id")
	}
	account := rawAccount{
		id: id, isDead: isTrue(fields.Dead), health: parseHealth(fields.Healthy),
		credentials: fields.Credentials, expiresAt: fields.ExpiresAt, nextRefreshAt: fields.NextRefreshAt,
	}
	account.user = parseName(fields.ExternalID, func(user string) bool { return user != "" })
	account.parseApp(fields.App)
	return account, nil
}

func (a *rawAccount) parseApp(raw json.RawMessage) {
	var app struct {
		ID       json.RawMessage `json:"id"`
		NameSlug json.RawMessage `json:"name_slug"`
		AuthType json.RawMessage `json:"auth_type"`
	}
	if !isNull(raw) && json.Unmarshal(raw, &app) != nil {
		a.appSlug.isUnreadable = true
		return
	}
	a.appID, _ = asString(app.ID)
	a.authType, _ = asString(app.AuthType)
	a.appSlug = parseName(app.NameSlug, IsAppSlug)
}

func parseHealth(raw json.RawMessage) Health {
	switch string(raw) {
	case "true":
		return Healthy
	case "false":
		return Unhealthy
	}
	return HealthUnknown
}

// read returns an account of the page with its credentials. The error is an *Error.
func (p accountPage) read(account rawAccount) (Account, error) {
	if account.isDead {
		return Account{}, &Error{Kind: AccountDead, StatusCode: p.status, Detail: "Pipedream calls the account dead"}
	}
	credentials, err := parseAccountCredentials(account.credentials)
	switch {
	case err != nil:
		return Account{}, &Error{Kind: Malformed, StatusCode: p.status, Detail: err.Error()}
	case len(credentials) == 0 && account.authType == "none":
		return Account{}, &Error{Kind: AccountNotExportable, StatusCode: p.status, Detail: "accounts of this app have no credentials"}
	case len(credentials) == 0:
		return Account{}, &Error{Kind: AccountNotExportable, StatusCode: p.status, Detail: "the answer has no credentials"}
	}
	expires, err := p.parseTime(account.expiresAt)
	if err != nil {
		return Account{}, &Error{Kind: Malformed, StatusCode: p.status, Detail: "the answer's expires_at is not a time"}
	}
	// The time of the next refresh only helps to look at the right time. Without it, nothing is lost.
	next, _ := p.parseTime(account.nextRefreshAt)
	return Account{
		ID: account.id, App: account.appSlug.text, ExternalUserID: NewSensitive(account.user.text),
		Credentials: credentials, Health: account.health,
		FetchTime: p.asked.UTC().Truncate(time.Second), ExpirationTime: expires, NextRefreshTime: next,
	}, nil
}

// parseAccountCredentials returns the fields of the credentials that may be copied. It returns none
// if there are no credentials.
func parseAccountCredentials(raw json.RawMessage) (map[string]Sensitive, error) {
	if isNull(raw) {
		return nil, nil
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		return nil, errors.New("the answer's credentials are not a JSON object")
	}
	credentials := map[string]Sensitive{}
	for name, value := range fields {
		if isNull(value) || slices.Contains(withheldFields, name) {
			continue
		}
		text, err := credentialText(value)
		if err != nil {
			return nil, err
		}
		credentials[name] = NewSensitive(text)
	}
	if len(credentials) > mostFields {
		return nil, fmt.Errorf("the answer's credentials have more than %d fields", mostFields)
	}
	return credentials, nil
}

// credentialText returns the text of a field of the credentials: of a JSON string its content, of anything else the
// compact JSON.
func credentialText(value json.RawMessage) (string, error) {
	text, isText, isExact := asExactText(value)
	switch {
	case isText && !isExact, !utf8.Valid(value):
		return "", errors.New("the answer's credentials have a text that UTF-8 can't hold")
	case isText:
		return text, nil
	}
	var compact bytes.Buffer
	if json.Compact(&compact, value) != nil {
		return "", errors.New("the answer's credentials are not a JSON object")
	}
	return compact.String(), nil
}

// parseTime returns a time of the answer by the clock of the caller, in whole seconds. It returns
// zero if the answer has no such time.
func (p accountPage) parseTime(raw json.RawMessage) (time.Time, error) {
	if isNull(raw) {
		return time.Time{}, nil
	}
	text, _ := asString(raw)
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, errors.New("not a time") // The error of package time quotes the text.
	}
	if at.Sub(p.now) < farFuture {
		at = at.Add(p.clockAhead)
	}
	return recordable(at.UTC().Truncate(time.Second)), nil
}

// firstTime and lastTime limit the times of an answer. The zero time would say that there is no such
// time, and RFC 3339 can't write a year with five digits, or one before the year 0. A time can get such
// a year by its time zone.
var (
	firstTime = time.Time{}.Add(time.Second)
	lastTime  = time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC)
)

// recordable returns the time that is nearest to a given one, and that can be written and read again.
func recordable(at time.Time) time.Time {
	switch {
	case at.Before(firstTime):
		return firstTime
	case at.After(lastTime):
		return lastTime
	}
	return at
}

// clockAhead returns how much the clock of the caller is ahead of the one of Pipedream, in whole
// seconds. It is zero if the time of the answer fits to the clock, and when there is no usable time.
func clockAhead(got answer, asked, received time.Time) time.Duration {
	date := got.sentAt()
	if date.IsZero() {
		return 0
	}
	// Pipedream has answered after asked and before received, and in the second after date.
	least, most := asked.Sub(date)-time.Second, received.Sub(date)
	ahead := time.Duration(0)
	switch {
	case least > clockTolerance:
		ahead = least
	case most < -clockTolerance:
		ahead = most
	}
	if ahead.Abs() > mostClockDifference {
		return 0
	}
	return ahead.Round(time.Second)
}

// asList returns the elements of a JSON list.
func asList(raw json.RawMessage) ([]json.RawMessage, bool) {
	if !bytes.HasPrefix(bytes.TrimSpace(raw), []byte("[")) {
		return nil, false
	}
	var list []json.RawMessage
	err := json.Unmarshal(raw, &list)
	return list, err == nil
}

// isNull reports whether a field is absent or null.
func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

func isTrue(raw json.RawMessage) bool { return string(raw) == "true" }
