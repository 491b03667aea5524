// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream

import (
	"encoding/json"
	"net/http"
	"slices"
)

// name is the name of a user or of an app in an answer.
type name struct {
	// text is empty if the answer does not have the name.
	text string
	// isUnreadable is true if the answer has the name in a form that can't be compared with a text.
	isUnreadable bool
}

// parseName reads a name. A text that is not usable is as unreadable as a number or an object.
func parseName(raw json.RawMessage, isUsable func(string) bool) name {
	if isNull(raw) {
		return name{}
	}
	text, _, isExact := asExactText(raw)
	if !isExact || !isUsable(text) {
		return name{isUnreadable: true}
	}
	return name{text: text}
}

// match is how an account of an answer compares with the user or the app that is asked for.
type match int

const (
	// isSame: the account is of this user or app, or the answer does not say. The API applies the filter
	// of the request, so an account that says nothing counts as one of this user and app.
	isSame match = iota
	// isOther: the account is of another user or app.
	isOther
	// isUnclear: the answer says whose account it is, and the Client can't read it.
	isUnclear
)

// compare compares a name with the one that is asked for.
func (n name) compare(asked string) match {
	switch {
	case n.isUnreadable:
		return isUnclear
	case n.text == "" || n.text == asked:
		return isSame
	}
	return isOther
}

// compareApp compares the app of the account with a name slug or an ID that is asked for.
func (a rawAccount) compareApp(asked string) match {
	if asked == a.appID {
		return isSame
	}
	return a.appSlug.compare(asked)
}

// compare compares the account with the user and the app of a query.
func (a rawAccount) compare(query AccountQuery) match {
	app, user := a.compareApp(query.App), a.user.compare(query.ExternalUserID)
	switch {
	case app == isOther || user == isOther:
		return isOther
	case app == isUnclear || user == isUnclear:
		return isUnclear
	}
	return isSame
}

// matches are the accounts of a listing, over all of its pages.
type matches struct {
	// ids are the accounts that were listed, whether they match or not.
	ids []string
	// alive and dead are the accounts that match.
	alive, dead []listed
	// isUnclear is true if an account may match, and the answer does not say so in a readable form.
	isUnclear bool
}

// listed is an account with the page on which it is.
type listed struct {
	account rawAccount
	page    accountPage
}

// add adds a page, and reports whether it lists an account that no page before has listed. The API
// may apply a filter or not: so the query is compared with all that an account says of itself.
func (m *matches) add(query AccountQuery, page accountPage) (isNew bool) {
	for _, account := range page.accounts {
		if slices.Contains(m.ids, account.id) {
			continue
		}
		m.ids = append(m.ids, account.id)
		isNew = true
		switch compared := account.compare(query); {
		case compared == isOther:
		case compared == isUnclear:
			m.isUnclear = true
		case account.isDead:
			m.dead = append(m.dead, listed{account, page})
		default:
			m.alive = append(m.alive, listed{account, page})
		}
	}
	return isNew
}

func (m *matches) pick() (Account, error) {
	switch {
	case len(m.alive) == 1:
		return m.alive[0].page.read(m.alive[0].account)
	case m.isUnclear:
		return Account{}, unclear(http.StatusOK)
	case len(m.dead) > 0:
		return m.dead[0].page.read(m.dead[0].account)
	}
	return Account{}, &Error{Kind: AccountNotFound, StatusCode: http.StatusOK, Detail: "no account matches"}
}

// unclear returns the error for an answer that says whose account it has, and not in a readable form. The
// account may be another user's.
func unclear(status int) *Error {
	return &Error{Kind: Malformed, StatusCode: status, Detail: "the answer's external_id or app is not a readable name"}
}

func (m *matches) ambiguous(detail string) error {
	return &Error{Kind: AccountAmbiguous, StatusCode: http.StatusOK, Detail: detail}
}
