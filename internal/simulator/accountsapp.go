// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import "net/http"

// AppCount counts the calls of an app.
type AppCount struct {
	Accepted int `json:"accepted"`
	Refused  int `json:"refused"`
}

// AccountCount counts what has happened to an account.
type AccountCount struct {
	// Fetches are the answers with its credentials, whatever Account.Credentials is.
	Fetches int `json:"fetches"`
	// Refreshes are the refreshes since it was connected.
	Refreshes int `json:"refreshes"`
}

// AccountCounters count the events since the start. They hold no secret.
type AccountCounters struct {
	Accounts map[string]AccountCount `json:"accounts"`
	Apps     map[string]AppCount     `json:"apps"`
	// Throttled are the calls that were more than the limit of their project.
	Throttled int `json:"throttled"`
}

// Counters returns a copy of the current counts. Refreshes in the background are made first.
func (a *Accounts) Counters() AccountCounters {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	counted := AccountCounters{Accounts: map[string]AccountCount{}, Apps: values(a.apps), Throttled: a.limit.refused}
	for id, one := range a.accounts {
		one.advance(now)
		one.count.Refreshes = one.version - 1
		counted.Accounts[id] = one.count
	}
	return counted
}

// me answers GET /_app/{slug}/me as an app does that accounts are connected to: 200 for an access token or API key
// of one of its accounts, else 401.
func (api *accountAPI) me(w http.ResponseWriter, r *http.Request) {
	id, ok := api.accounts.owner(r.PathValue("slug"), bearerOf(r))
	if !ok {
		refused := apiError(http.StatusUnauthorized, "invalid_token")
		refused.headers["WWW-Authenticate"] = `Bearer error="invalid_token"`
		refused.send(w, r, Fault{})
		return
	}
	jsonAnswer(http.StatusOK, map[string]string{"account": id}).send(w, r, Fault{})
}

// owner returns the account of an app whose token this is, and counts the call.
func (a *Accounts) owner(app, token string) (id string, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	isApp := false
	for _, one := range a.accounts {
		if one.App != app {
			continue
		}
		isApp = true
		one.advance(now)
		for _, good := range one.tokens {
			if good.value == token && !good.isOver(now) {
				id, ok = one.id, true
			}
		}
	}
	if !isApp {
		return "", false // Not counted: anybody can make up the names of apps.
	}
	if a.apps[app] == nil {
		a.apps[app] = &AppCount{}
	}
	if ok {
		a.apps[app].Accepted++
	} else {
		a.apps[app].Refused++
	}
	return id, ok
}
