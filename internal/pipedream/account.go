// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	// mostPages is how many pages of a listing of accounts the Client reads at most.
	mostPages = 3
	// longestAccountID is the longest ID of an account.
	longestAccountID = 64
)

// The kinds of failure of a request for an account. The last five say something about the account,
// and nothing about how it was asked for.
const (
	// TokenRejected: the API answered 401 to the access token of an OAuth client. The 401 to an API key
	// is CredentialsRejected.
	TokenRejected Kind = "TokenRejected"
	// AccessDenied: the API answered 403, so the access token or the API key must not read the account.
	AccessDenied Kind = "AccessDenied"
	// AccountNotFound: no account matches, or the API answered 404.
	AccountNotFound Kind = "AccountNotFound"
	// AccountDead: Pipedream can't refresh the account any longer. The end user must reconnect it.
	AccountDead Kind = "AccountDead"
	// AccountNotExportable: there is the account, and the API does not give out its credentials.
	AccountNotExportable Kind = "AccountNotExportable"
	// AccountAmbiguous: more than one account matches.
	AccountAmbiguous Kind = "AccountAmbiguous"
	// AccountMismatch: the account is of another app.
	AccountMismatch Kind = "AccountMismatch"
)

// IsAboutAccount reports whether a failure of this kind says something about the account that was
// asked for, and not about how it was asked for.
func (k Kind) IsAboutAccount() bool {
	switch k {
	case AccountNotFound, AccountDead, AccountNotExportable, AccountAmbiguous, AccountMismatch:
		return true
	case CredentialsInvalid, CredentialsRejected, ScopeRejected, ScopeNotGranted, RequestRejected, RateLimited,
		Unavailable, Malformed, TokenRejected, AccessDenied:
	}
	return false
}

// AccountQuery says which account is asked for, and where. Either AccountID is set, or both
// ExternalUserID and App are.
type AccountQuery struct {
	// ProjectID is the project of Pipedream Connect. If it is empty, the endpoint for API keys of
	// users is asked with an API key. This endpoint needs an AccountID.
	ProjectID string
	// Environment is the environment of the project. It is sent with a ProjectID only.
	Environment string
	// WorkspaceID is the workspace of the account. It is sent without a ProjectID only. Optional.
	WorkspaceID string
	// AccountID is the ID of the account.
	AccountID string
	// ExternalUserID is the end user who has connected the account.
	ExternalUserID string
	// App is the name slug of the app. With an AccountID it is optional, and compared with the app
	// of the account.
	App string
}

// Health is what Pipedream says about its last attempts to refresh an account.
type Health string

// The values of Health.
const (
	// HealthUnknown: Pipedream says nothing.
	HealthUnknown Health = "Unknown"
	// Healthy: the account works.
	Healthy Health = "Healthy"
	// Unhealthy: the account may not work. Pipedream keeps trying, and the account may recover.
	Unhealthy Health = "Unhealthy"
)

// Account is a connected account with its credentials.
type Account struct {
	// ID has only letters, digits, _ and -.
	ID string
	// App is the name slug of the app. It has only lower-case letters, digits, _ and -. It is empty
	// if the answer does not have a name slug of that form.
	App string
	// ExternalUserID is the end user who has connected the account. It is empty if the answer does
	// not name the user in a readable form.
	ExternalUserID Sensitive
	// Credentials are the values by the name of their field, at least one and at most 64. Texts are
	// as they are, all other values are compact JSON; all are UTF-8. The refresh token and the secret of the OAuth
	// client are never among them.
	Credentials map[string]Sensitive
	Health      Health
	// FetchTime is the time just before the request, in whole seconds.
	FetchTime time.Time
	// ExpirationTime is when the credentials expire, in whole seconds; zero if they do not. It may
	// be past. NextRefreshTime is when Pipedream says that it refreshes them; zero if it does not
	// say.
	//
	// Both count from the time at which Pipedream has answered by its own clock, so that they are
	// right by the clock of the caller even if that is wrong. If the two clocks differ, the times of
	// two answers may differ by a second or two.
	ExpirationTime, NextRefreshTime time.Time
}

// Account fetches an account with its credentials. The token is an access token if the query has a
// ProjectID, and the API key of a user if it has none. The error is an *Error. A 401 to an API key is
// CredentialsRejected: the key was revoked, and there is nothing else to try. A 401 to an access token is
// TokenRejected: the client credentials may still be good for another access token.
//
// A query with an AccountID takes one request. A query with an ExternalUserID takes up to three,
// because the API may divide its listing into pages; see OnNextPage. Accounts that are dead are passed over as long
// as there is another one. More than one account, or more than three pages, is AccountAmbiguous.
func (c *Client) Account(ctx context.Context, token Sensitive, query AccountQuery) (Account, error) {
	if err := query.check(token); err != nil {
		return Account{}, err
	}
	if query.AccountID != "" {
		page, err := c.accounts(ctx, token, query, "")
		if err != nil {
			return Account{}, err
		}
		return query.pickByID(page)
	}
	return c.accountOfUser(ctx, token, query)
}

// check returns an error if the API must not be asked with this token.
func (q AccountQuery) check(token Sensitive) error {
	switch {
	case q.AccountID != "" && !IsAccountID(q.AccountID):
		return &Error{Kind: RequestRejected, Detail: "the account ID must have only letters, digits, _ and -, and at most 64 of them"}
	case q.AccountID == "" && (q.ExternalUserID == "" || q.App == "" || q.ProjectID == ""):
		return &Error{Kind: RequestRejected, Detail: "the query names no account"}
	case q.ProjectID != "":
		return nil
	}
	if err := checkCredential(token.Reveal()); err != nil {
		return &Error{Kind: CredentialsInvalid, Detail: "the API key " + err.Error()}
	}
	return nil
}

// nextPageKey is the key of a function in a context.
type nextPageKey struct{}

// OnNextPage returns a context with which Account calls a function before each request after its first one. So
// a caller that paces its requests learns of the further ones.
func OnNextPage(ctx context.Context, call func()) context.Context {
	return context.WithValue(ctx, nextPageKey{}, call)
}

// accountOfUser fetches the account that an end user has connected to an app.
func (c *Client) accountOfUser(ctx context.Context, token Sensitive, query AccountQuery) (Account, error) {
	var found matches
	cursor := ""
	for number := range mostPages {
		if call, ok := ctx.Value(nextPageKey{}).(func()); ok && number > 0 {
			call()
		}
		page, err := c.accounts(ctx, token, query, cursor)
		if err != nil {
			return Account{}, err
		}
		isNew := found.add(query, page)
		if len(found.alive) > 1 {
			return Account{}, found.ambiguous("more than one account matches")
		}
		if cursor = page.next; cursor == "" || !isNew || page.total > 0 && len(found.ids) >= page.total {
			return found.pick()
		}
	}
	return Account{}, found.ambiguous("there are more than three pages of accounts")
}

// pickByID returns the account of an answer that must have the one that was asked for.
func (q AccountQuery) pickByID(page accountPage) (Account, error) {
	i := slices.IndexFunc(page.accounts, func(account rawAccount) bool { return account.id == q.AccountID })
	switch {
	case len(page.accounts) == 0:
		return Account{}, &Error{Kind: AccountNotFound, StatusCode: page.status, Detail: "no account matches"}
	case i < 0:
		return Account{}, &Error{Kind: Malformed, StatusCode: page.status, Detail: "the answer is about another account"}
	case q.App == "":
		return page.read(page.accounts[i])
	}
	switch page.accounts[i].compareApp(q.App) {
	case isOther:
		return Account{}, &Error{Kind: AccountMismatch, StatusCode: page.status, Detail: "the account is of another app"}
	case isUnclear:
		return Account{}, unclear(page.status)
	case isSame:
	}
	return page.read(page.accounts[i])
}

// accounts sends one request for accounts, and reads the answer. The cursor is the one of the page
// before; empty for the first page.
func (c *Client) accounts(ctx context.Context, token Sensitive, query AccountQuery, cursor string) (accountPage, error) {
	header := http.Header{
		"Authorization": {TokenType + " " + token.Reveal()},
		"Cache-Control": {"no-cache"}, // The credentials and the Date must not be those of an earlier answer.
	}
	if query.ProjectID != "" {
		header.Set("X-Pd-Environment", query.Environment)
	}
	asked := c.now()
	got, err := c.exchange(ctx, http.MethodGet, query.path(cursor), header, nil, maxAccountBytes)
	switch {
	case err != nil:
		return accountPage{}, err
	case !got.isSuccess():
		return accountPage{}, query.rejection(got, c.now())
	}
	page, err := parseAccounts(got, asked, c.now())
	if err != nil {
		return accountPage{}, &Error{Kind: Malformed, StatusCode: got.status, Detail: err.Error()}
	}
	return page, nil
}

// path returns the path and the query of the URL.
func (q AccountQuery) path(cursor string) string {
	parameters := url.Values{"include_credentials": {"true"}}
	if q.ProjectID == "" {
		if q.WorkspaceID != "" {
			parameters.Set("org_id", q.WorkspaceID)
		}
		return "/v1/accounts/" + url.PathEscape(q.AccountID) + "?" + parameters.Encode()
	}
	path := "/v1/connect/" + url.PathEscape(q.ProjectID) + "/accounts"
	if q.AccountID != "" {
		return path + "/" + url.PathEscape(q.AccountID) + "?" + parameters.Encode()
	}
	parameters.Set("external_user_id", q.ExternalUserID)
	parameters.Set("app", q.App)
	if cursor != "" {
		parameters.Set("after", cursor)
	}
	return path + "?" + parameters.Encode()
}

// rejection returns the Error for an answer that is not a success. With a ProjectID, no credentials are
// part of the request, so no answer is about them. Without one, the API key is.
func (q AccountQuery) rejection(got answer, now time.Time) *Error {
	e := rejection(got, "", now)
	switch got.status {
	case http.StatusUnauthorized:
		if q.ProjectID != "" {
			e.Kind = TokenRejected
		}
	case http.StatusForbidden:
		e.Kind = AccessDenied
	case http.StatusNotFound:
		e.Kind = AccountNotFound
	}
	return e
}

// IsAccountID reports whether a text can be the ID of an account.
func IsAccountID(text string) bool {
	return text != "" && len(text) <= longestAccountID && consistsOf(text, func(r rune) bool {
		return isSlugRune(r) || r >= 'A' && r <= 'Z'
	})
}

// IsAppSlug reports whether a text can be the name slug of an app.
func IsAppSlug(text string) bool {
	return text != "" && len(text) <= longestAccountID && !strings.ContainsAny(text[:1], "_-") && consistsOf(text, isSlugRune)
}

func isSlugRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' || r == '-'
}

func consistsOf(text string, isAllowed func(rune) bool) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return !isAllowed(r) })
}
