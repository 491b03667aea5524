// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The answers that can be chosen. Each is a question that Pipedream's documentation does not answer, or has
// answered in different ways.
const (
	// AnswerSingle is what a single account is wrapped in.
	AnswerSingle = "single"
	// AnswerListing is what a list of accounts is wrapped in.
	AnswerListing = "listing"
	// AnswerCursor is when a listing has a cursor.
	AnswerCursor = "cursor"
	// AnswerPageSize is how many accounts a page has if the call does not say.
	AnswerPageSize = "page-size"
	// AnswerFilters is which filters of a listing have an effect.
	AnswerFilters = "filters"
	// AnswerWrongEnvironment is how a call is answered whose accounts are in the other environment.
	AnswerWrongEnvironment = "wrong-environment"
	// AnswerForeignProject is how a call is answered for a project that the client must not ask.
	AnswerForeignProject = "foreign-project"
	// AnswerCredentialsScope is the scope without which include_credentials is refused.
	AnswerCredentialsScope = "credentials-scope"
	// AnswerNoExpiry is how the answer says that the credentials do not expire.
	AnswerNoExpiry = "no-expiry"
	// AnswerExternalID is whether an account says whose it is.
	AnswerExternalID = "external-id"
	// AnswerNameSlug is whether an account says the name slug of its app.
	AnswerNameSlug = "name-slug"
)

// The values of answers that more than one function knows.
const (
	answeredBare       = "bare"
	answeredData       = "data"
	answeredAccounts   = "accounts"
	answeredNull       = "null"
	answeredAbsent     = "absent"
	answeredAlways     = "always"
	answeredTotal      = "total"
	answeredNone       = "none"
	answeredBadRequest = "bad-request"
)

// answerValues are the values of each answer, the default first. AnswerPageSize is a number.
var answerValues = map[string][]string{
	AnswerSingle:           {answeredBare, answeredData, "list"},
	AnswerListing:          {answeredData, answeredAccounts, answeredBare},
	AnswerCursor:           {answeredTotal, answeredAlways, answeredNull, "ignored", answeredNone},
	AnswerPageSize:         nil,
	AnswerFilters:          {"both", "user", "app", answeredNone},
	AnswerWrongEnvironment: {"empty", "not-found", answeredBadRequest},
	AnswerForeignProject:   {"forbidden", "unauthorized", "not-found"},
	AnswerCredentialsScope: append([]string{"connect:accounts:read"}, slices.DeleteFunc(slices.Clone(knownScopes), func(scope string) bool {
		return scope == "connect:accounts:read"
	})...),
	AnswerNoExpiry:   {answeredNull, answeredAbsent},
	AnswerExternalID: {"present", answeredAbsent},
	AnswerNameSlug:   {"present", answeredAbsent},
}

const (
	defaultPageSize = 10
	maxPageSize     = 100
)

func defaultAnswers() map[string]string {
	answers := map[string]string{AnswerPageSize: strconv.Itoa(defaultPageSize)}
	for name, values := range answerValues {
		if len(values) > 0 {
			answers[name] = values[0]
		}
	}
	return answers
}

// SetAnswers changes how calls for accounts are answered, from now on. The keys are names of answers; the other
// ones stay as they are. If a name or a value is unknown, it returns an error and changes nothing.
func (a *Accounts) SetAnswers(changes map[string]string) error {
	for name, value := range changes {
		values, known := answerValues[name]
		size, err := strconv.Atoi(value)
		switch {
		case !known:
			return fmt.Errorf("there is no answer %q; there are %s", name, strings.Join(slices.Sorted(maps.Keys(answerValues)), ", "))
		case values == nil && (err != nil || size < 1 || size > maxPageSize):
			return fmt.Errorf("%s must be a number from 1 to %d, not %q", name, maxPageSize, value)
		case values != nil && !slices.Contains(values, value):
			return fmt.Errorf("%s must be one of %q, not %q", name, values, value)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.Copy(a.answers, changes)
	return nil
}

func refusalFor(value string) answer {
	switch value {
	case "unauthorized":
		return apiError(http.StatusUnauthorized, "Unauthorized")
	case "not-found":
		return notFound()
	}
	return apiError(http.StatusForbidden, "Forbidden")
}

func wrongEnvironment() answer {
	return apiError(http.StatusBadRequest, "x-pd-environment is not the account's")
}

// shown is an account in an answer.
type shown map[string]any

// show returns an account as it is answered. With credentials, it counts as fetched, and may be refreshed. The
// caller holds the lock.
func (a *Accounts) show(c *account, withCredentials bool) shown {
	now := a.now()
	c.advance(a, now)
	if withCredentials {
		c.count.Fetches++
		c.askedFor(a, now)
	}
	out := shown{
		"id": c.id, "name": nil, "external_id": c.ExternalUserID, "healthy": c.Healthy, "dead": c.Dead,
		"app": map[string]any{
			"id": "app_" + c.App, "name_slug": c.App, "name": c.App, "auth_type": c.AuthType, "description": "An app.",
			"img_src": "https://assets.example/" + c.App, "custom_fields_json": "[]", "categories": []string{}, "featured_weight": 1,
		},
		"created_at": timeText(c.created), "updated_at": timeText(c.refreshed), "authorized_scopes": []string{},
		"error": nil, "last_refreshed_at": timeText(c.refreshed), "expires_at": timeText(c.expires()), "next_refresh_at": timeText(c.nextRefresh()),
	}
	if !c.isRefreshable() && c.AuthType == AuthOAuth {
		out["error"] = "the app has refused the refresh token " + a.secret(c, "refresh") // No client may show this.
	}
	a.omit(c, out)
	if withCredentials {
		a.addCredentials(c, out)
	}
	return out
}

// omit removes the fields that the chosen answers do not have.
func (a *Accounts) omit(c *account, out shown) {
	if c.NextRefresh == answeredAbsent {
		delete(out, "next_refresh_at")
	}
	if c.expires().IsZero() && a.answers[AnswerNoExpiry] == answeredAbsent {
		delete(out, "expires_at")
	}
	if a.answers[AnswerExternalID] == answeredAbsent {
		delete(out, "external_id")
	}
	if app, _ := out["app"].(map[string]any); a.answers[AnswerNameSlug] == answeredAbsent {
		delete(app, "name_slug")
	}
}

func (a *Accounts) addCredentials(c *account, out shown) {
	switch {
	case c.Credentials == CredentialsAbsent:
	case c.Credentials == CredentialsNull, c.AuthType == AuthNone:
		out["credentials"] = nil
	case c.Credentials == CredentialsEmpty:
		out["credentials"] = map[string]any{}
	default:
		out["credentials"] = a.credentialsOf(c)
	}
}

// credentialsOf returns the credentials of an account with all of their fields.
func (a *Accounts) credentialsOf(c *account) map[string]any {
	fields := map[string]any{}
	switch c.AuthType {
	case AuthOAuth:
		fields["oauth_client_id"], fields["oauth_uid"] = "client-of-"+c.App, "uid-"+c.id
		fields["oauth_access_token"], fields["oauth_refresh_token"] = a.secret(c, "token"), a.secret(c, "refresh")
	case AuthKeys:
		fields["api_key"] = a.secret(c, "token")
	}
	maps.Copy(fields, c.Fields)
	return fields
}

// rest returns the fields that the endpoint has that is not Connect's.
func (s shown) rest() shown {
	out := shown{}
	for _, name := range []string{"id", "created_at", "updated_at", "expires_at", "name", "healthy", "credentials"} {
		if value, ok := s[name]; ok {
			out[name] = value
		}
	}
	app, _ := s["app"].(map[string]any)
	out["app"] = map[string]any{"id": app["id"], "name": app["name"]}
	return out
}

// single returns the answer with one account.
func (a *Accounts) single(one shown) answer {
	switch a.answers[AnswerSingle] {
	case answeredData:
		return jsonAnswer(http.StatusOK, map[string]any{"data": one})
	case "list":
		return jsonAnswer(http.StatusOK, map[string]any{"data": []any{one}})
	}
	return jsonAnswer(http.StatusOK, one)
}

// page returns one page of the accounts that a call asks for. The caller holds the lock.
func (a *Accounts) page(r *http.Request) answer {
	matching, elsewhere := a.matching(r)
	if len(matching) == 0 && elsewhere {
		switch a.answers[AnswerWrongEnvironment] {
		case "not-found":
			return notFound()
		case answeredBadRequest:
			return wrongEnvironment()
		}
	}
	query := r.URL.Query()
	begin := a.after(matching, query.Get("after"))
	end := min(begin+a.pageSize(query.Get("limit")), len(matching))
	list := []any{}
	for _, one := range matching[begin:end] {
		list = append(list, a.show(one, wantsCredentials(r)))
	}
	info := pageInfo{TotalCount: len(matching), Count: len(list)}
	if len(list) > 0 {
		info.StartCursor, info.EndCursor = new(cursorOf(matching[begin])), new(cursorOf(matching[end-1]))
	}
	return a.listing(list, info, end == len(matching))
}

// matching returns the accounts that a call asks for, and whether there are some in the other environment.
func (a *Accounts) matching(r *http.Request) (matching []*account, elsewhere bool) {
	user, app := a.filters(r)
	for _, id := range a.order {
		one := a.accounts[id]
		isMatch := one.ProjectID == r.PathValue("project_id") &&
			(user == "" || one.ExternalUserID == user) &&
			(app == "" || one.App == app || "app_"+one.App == app)
		switch {
		case isMatch && one.Environment == r.Header.Get("X-Pd-Environment"):
			matching = append(matching, one)
		case isMatch:
			elsewhere = true
		}
	}
	return matching, elsewhere
}

// filters returns the user and the app of a call; empty if the filter has no effect.
func (a *Accounts) filters(r *http.Request) (user, app string) {
	query, effective := r.URL.Query(), a.answers[AnswerFilters]
	if effective == "both" || effective == "user" {
		user = query.Get("external_user_id")
	}
	if effective == "both" || effective == "app" {
		app = query.Get("app")
	}
	return user, app
}

// listing returns the answer with a page.
func (a *Accounts) listing(list []any, info pageInfo, isLast bool) answer {
	fields := map[string]any{
		"total_count": info.TotalCount, "count": info.Count, "start_cursor": info.StartCursor, "end_cursor": info.EndCursor,
	}
	switch a.answers[AnswerCursor] {
	case answeredNull:
		if isLast {
			fields["end_cursor"] = nil
		}
	case answeredAlways, "ignored":
		delete(fields, "total_count")
	case answeredNone:
		fields = nil
	}
	switch a.answers[AnswerListing] {
	case answeredBare:
		return jsonAnswer(http.StatusOK, list)
	case answeredAccounts:
		return jsonAnswer(http.StatusOK, pageOf(map[string]any{"accounts": list}, fields))
	}
	if a.answers[AnswerCursor] == answeredTotal {
		return jsonAnswer(http.StatusOK, page{Data: list, Info: info})
	}
	return jsonAnswer(http.StatusOK, pageOf(list, fields))
}

func pageOf(data any, info map[string]any) map[string]any {
	out := map[string]any{"data": data}
	if info != nil {
		out["page_info"] = info
	}
	return out
}

// after returns the index of the first account behind a cursor.
func (a *Accounts) after(matching []*account, cursor string) int {
	if cursor == "" || a.answers[AnswerCursor] == "ignored" {
		return 0
	}
	return slices.IndexFunc(matching, func(one *account) bool { return cursorOf(one) == cursor }) + 1
}

func cursorOf(one *account) string { return base64.StdEncoding.EncodeToString([]byte(one.id)) }

func (a *Accounts) pageSize(text string) int {
	size, err := strconv.Atoi(text)
	if err != nil || size < 1 {
		size, _ = strconv.Atoi(a.answers[AnswerPageSize])
	}
	return min(size, maxPageSize)
}

// timeText returns a time as Pipedream writes it; nil for the zero time.
func timeText(at time.Time) any {
	if at.IsZero() {
		return nil
	}
	return at.UTC().Format("2006-01-02T15:04:05.000Z")
}
