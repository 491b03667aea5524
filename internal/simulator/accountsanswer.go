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

// answerValues are the values of each answer, the default first. AnswerPageSize is a number. The answers of the
// REST API are among them.
var answerValues = map[string][]string{
	AnswerSingle:           {answeredBare, answeredData, "list"},
	AnswerListing:          {answeredData, answeredAccounts, answeredBare},
	AnswerCursor:           {answeredTotal, answeredAlways, answeredNull, "ignored", answeredNone},
	AnswerPageSize:         nil,
	AnswerFilters:          {"both", "user", "app", answeredNone},
	AnswerWrongEnvironment: {"empty", "not-found", answeredBadRequest},
	AnswerForeignProject:   {valueForbidden, valueUnauthorized, valueNotFound},
	AnswerCredentialsScope: append([]string{"connect:accounts:read"}, slices.DeleteFunc(slices.Clone(knownScopes), func(scope string) bool {
		return scope == "connect:accounts:read"
	})...),
	AnswerNoExpiry:   {answeredNull, answeredAbsent},
	AnswerExternalID: {"present", answeredAbsent},
	AnswerNameSlug:   {"present", answeredAbsent},

	AnswerRESTSingle:       {answeredData, answeredBare, "list"},
	AnswerRESTListing:      {answeredData, answeredAccounts, answeredBare},
	AnswerRESTFields:       {"few", "all"},
	AnswerRESTOAuth:        {"accepted", "shared", valueUnauthorized, valueForbidden, valueNotFound},
	AnswerRefusedKey:       {"error", "empty", "text", "html", "oauth", "details"},
	AnswerOrgID:            {"optional", "first", "required", valueIgnored},
	AnswerForeignWorkspace: {valueForbidden, valueUnauthorized, valueNotFound},
	AnswerForeignAccount:   {valueNotFound, valueForbidden},
	AnswerUser:             {"orgs", "billing"},
	AnswerUserOAuth:        {valueUnauthorized, valueForbidden, valueNotFound},
}

const (
	defaultPageSize = 10
	maxPageSize     = 100
)

// accountAnswers are the chosen answers, by their names.
type accountAnswers map[string]string

func defaultAnswers() accountAnswers {
	answers := accountAnswers{AnswerPageSize: strconv.Itoa(defaultPageSize)}
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
	case valueUnauthorized:
		return apiError(http.StatusUnauthorized, "Unauthorized")
	case valueNotFound:
		return notFound()
	}
	return apiError(http.StatusForbidden, "Forbidden")
}

func wrongEnvironment() answer {
	return apiError(http.StatusBadRequest, "x-pd-environment is not the account's")
}

// omit removes the fields that the chosen answers do not have.
func (a accountAnswers) omit(c *account, out shown) {
	if c.NextRefresh == answeredAbsent {
		delete(out, "next_refresh_at")
	}
	if c.expires().IsZero() && a[AnswerNoExpiry] == answeredAbsent {
		delete(out, "expires_at")
	}
	if a[AnswerExternalID] == answeredAbsent {
		delete(out, "external_id")
	}
	if app, _ := out["app"].(map[string]any); a[AnswerNameSlug] == answeredAbsent {
		delete(app, "name_slug")
	}
}

// single returns the answer with one account, in a wrapping of AnswerSingle.
func single(wrapping string, one shown) answer {
	switch wrapping {
	case answeredData:
		return jsonAnswer(http.StatusOK, map[string]any{"data": one})
	case "list":
		return jsonAnswer(http.StatusOK, map[string]any{"data": []any{one}})
	}
	return jsonAnswer(http.StatusOK, one)
}

// filters returns the user and the app of a call; empty if the filter has no effect.
func (a accountAnswers) filters(r *http.Request) (user, app string) {
	query, effective := r.URL.Query(), a[AnswerFilters]
	if effective == "both" || effective == "user" {
		user = query.Get("external_user_id")
	}
	if effective == "both" || effective == "app" {
		app = query.Get("app")
	}
	return user, app
}

// page returns the answer to a call with one page of the accounts that match, in a wrapping of AnswerListing.
func (a accountAnswers) page(r *http.Request, matching []*account, wrapping string, show func(*account) shown) answer {
	query := r.URL.Query()
	begin := a.after(matching, query.Get("after"))
	end := min(begin+a.pageSize(query.Get("limit")), len(matching))
	list := []any{}
	for _, one := range matching[begin:end] {
		list = append(list, show(one))
	}
	info := pageInfo{TotalCount: len(matching), Count: len(list)}
	if len(list) > 0 {
		info.StartCursor, info.EndCursor = new(cursorOf(matching[begin])), new(cursorOf(matching[end-1]))
	}
	return a.listing(wrapping, list, info, end == len(matching))
}

// listing returns the answer with a page.
func (a accountAnswers) listing(wrapping string, list []any, info pageInfo, isLast bool) answer {
	fields := map[string]any{
		"total_count": info.TotalCount, "count": info.Count, "start_cursor": info.StartCursor, "end_cursor": info.EndCursor,
	}
	switch a[AnswerCursor] {
	case answeredNull:
		if isLast {
			fields["end_cursor"] = nil
		}
	case answeredAlways, "ignored":
		delete(fields, "total_count")
	case answeredNone:
		fields = nil
	}
	switch wrapping {
	case answeredBare:
		return jsonAnswer(http.StatusOK, list)
	case answeredAccounts:
		return jsonAnswer(http.StatusOK, pageOf(map[string]any{"accounts": list}, fields))
	}
	if a[AnswerCursor] == answeredTotal {
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
func (a accountAnswers) after(matching []*account, cursor string) int {
	if cursor == "" || a[AnswerCursor] == "ignored" {
		return 0
	}
	return slices.IndexFunc(matching, func(one *account) bool { return cursorOf(one) == cursor }) + 1
}

func cursorOf(one *account) string { return base64.StdEncoding.EncodeToString([]byte(one.id)) }

func (a accountAnswers) pageSize(text string) int {
	size, err := strconv.Atoi(text)
	if err != nil || size < 1 {
		size, _ = strconv.Atoi(a[AnswerPageSize])
	}
	return min(size, maxPageSize)
}
