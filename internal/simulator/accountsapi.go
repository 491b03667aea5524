// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"net/http"
	"slices"
)

// accountAPI answers the calls for accounts. It holds the lock of the accounts while it does.
type accountAPI struct {
	accounts *Accounts
}

// listAccounts answers GET /v1/connect/{project_id}/accounts for a client.
func (api *accountAPI) listAccounts(r *http.Request, clientID string) answer {
	api.accounts.mu.Lock()
	defer api.accounts.mu.Unlock()
	if refused := api.admit(r, clientID); refused != nil {
		return *refused
	}
	return api.page(r)
}

// oneAccount answers GET /v1/connect/{project_id}/accounts/{account_id} for a client.
func (api *accountAPI) oneAccount(r *http.Request, clientID string) answer {
	api.accounts.mu.Lock()
	defer api.accounts.mu.Unlock()
	if refused := api.admit(r, clientID); refused != nil {
		return *refused
	}
	found := api.accounts.accounts[r.PathValue("account_id")]
	switch {
	case found == nil || found.ProjectID != r.PathValue("project_id"):
		return notFound()
	case found.Environment != r.Header.Get("X-Pd-Environment"):
		if api.accounts.answers[AnswerWrongEnvironment] == answeredBadRequest {
			return wrongEnvironment()
		}
		return notFound()
	}
	answers := api.accounts.answers
	return single(answers[AnswerSingle], found.show(answers, api.accounts.now(), wantsCredentials(r)))
}

// admit refuses a call that the project limits, or that the client must not make. The caller holds the lock.
func (api *accountAPI) admit(r *http.Request, clientID string) *answer {
	project := r.PathValue("project_id")
	if refused := api.accounts.limit.take(project, api.accounts.now()); refused != nil {
		return refused
	}
	if allowed := api.accounts.projects[clientID]; len(allowed) > 0 && !slices.Contains(allowed, project) {
		return new(refusalFor(api.accounts.answers[AnswerForeignProject]))
	}
	return nil
}

// scopesFor returns the scopes that a call needs because it asks for credentials.
func (api *accountAPI) scopesFor(r *http.Request) []string {
	if !wantsCredentials(r) || r.PathValue("project_id") == "" {
		return nil
	}
	api.accounts.mu.Lock()
	defer api.accounts.mu.Unlock()
	return []string{api.accounts.answers[AnswerCredentialsScope]}
}

func wantsCredentials(r *http.Request) bool {
	wants := r.URL.Query().Get("include_credentials")
	return wants == "true" || wants == "1"
}

// page returns one page of the accounts that a call asks for. The caller holds the lock.
func (api *accountAPI) page(r *http.Request) answer {
	matching, elsewhere := api.matching(r)
	if len(matching) == 0 && elsewhere {
		switch api.accounts.answers[AnswerWrongEnvironment] {
		case "not-found":
			return notFound()
		case answeredBadRequest:
			return wrongEnvironment()
		}
	}
	answers := api.accounts.answers
	return answers.page(r, matching, answers[AnswerListing], func(one *account) shown {
		return one.show(answers, api.accounts.now(), wantsCredentials(r))
	})
}

// matching returns the accounts that a call asks for, and whether there are some in the other environment.
func (api *accountAPI) matching(r *http.Request) (matching []*account, elsewhere bool) {
	user, app := api.accounts.answers.filters(r)
	for _, id := range api.accounts.order {
		one := api.accounts.accounts[id]
		isMatch := one.ProjectID == r.PathValue("project_id") && (user == "" || one.ExternalUserID == user) && one.isOf(app)
		switch {
		case isMatch && one.Environment == r.Header.Get("X-Pd-Environment"):
			matching = append(matching, one)
		case isMatch:
			elsewhere = true
		}
	}
	return matching, elsewhere
}

// isOf reports whether the account is of an app, which a call names by its slug or its ID. An empty text names
// all apps.
func (c *account) isOf(app string) bool {
	return app == "" || c.App == app || "app_"+c.App == app
}
