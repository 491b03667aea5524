// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"maps"
	"net/http"
	"slices"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// rest is the part of Pipedream's REST API that takes the API keys of users. Its calls for accounts may also take
// the access tokens of OAuth clients.
type rest struct {
	tokens    *tokens
	behaviors *behaviors
	accounts  *Accounts
	users     *Users
}

// endpoints are the calls of the REST API that the Simulator serves.
func (api *rest) endpoints() []endpoint {
	get := func(path string, name Endpoint, handle func(*http.Request) answer) endpoint {
		return endpoint{
			path: path, name: name, method: http.MethodGet, clientOf: api.clientOf,
			handle: func(r *http.Request, _ []byte) answer { return handle(r) },
		}
	}
	return []endpoint{
		get("/v1/users/me", EndpointUser, api.me),
		get("/v1/accounts", EndpointRESTAccounts, api.list),
		get("/v1/accounts/{account_id}", EndpointRESTAccount, api.one),
	}
}

// clientOf returns the user whose API key a call has, or the client that its access token was issued to. It
// returns an empty text if neither is accepted.
func (api *rest) clientOf(r *http.Request, _ []byte) string {
	if caller := api.users.find(bearerOf(r)); caller != nil {
		return caller.id
	}
	_, granted, _ := api.tokens.accept(bearerOf(r))
	return granted.clientID
}

// me answers GET /v1/users/me.
func (api *rest) me(r *http.Request) answer {
	answers, key := api.accounts.chosen(), bearerOf(r)
	if _, _, isToken := api.tokens.accept(key); isToken {
		return refusalFor(answers[AnswerUserOAuth])
	}
	caller := api.users.find(key)
	if caller == nil {
		return answers.refusedKey(key)
	}
	if refused := api.users.take(caller); refused != nil {
		return *refused
	}
	return answers.user(caller)
}

// list answers GET /v1/accounts.
func (api *rest) list(r *http.Request) answer {
	answers := api.accounts.chosen()
	view, refused := api.admit(r, answers)
	if refused != nil {
		return *refused
	}
	return api.accounts.listFor(r, answers, view)
}

// one answers GET /v1/accounts/{account_id}.
func (api *rest) one(r *http.Request) answer {
	answers := api.accounts.chosen()
	view, refused := api.admit(r, answers)
	if refused != nil {
		return *refused
	}
	return api.accounts.oneFor(r, answers, view)
}

// admit returns which accounts a call may see, or refuses the call.
func (api *rest) admit(r *http.Request, answers accountAnswers) (view accountView, refused *answer) {
	key := bearerOf(r)
	if claimed, _, isToken := api.tokens.accept(key); isToken {
		return api.admitClient(claimed, answers)
	}
	caller := api.users.find(key)
	if caller == nil {
		return view, new(answers.refusedKey(key))
	}
	if refused := api.users.take(caller); refused != nil {
		return view, refused
	}
	workspaces, refused := answers.workspacesFor(r, caller)
	return accountView{userID: caller.id, workspaces: workspaces}, refused
}

// admitClient is admit for a call with an access token of an OAuth client.
func (api *rest) admitClient(claimed claims, answers accountAnswers) (view accountView, refused *answer) {
	reading := answers[AnswerRESTOAuth]
	if reading != "accepted" && reading != "shared" {
		return view, new(refusalFor(reading))
	}
	if !pipedream.Covers(claimed.Scopes, "*") {
		if refused, ok := api.behaviors.refusedCall(BehaviorMissingScope); ok {
			return view, &refused
		}
	}
	return accountView{onlyShared: reading == "shared"}, nil
}

// accountView is which accounts a call of the REST API may see.
type accountView struct {
	// userID is the user whose API key the call has; empty for a call with an access token.
	userID string
	// workspaces are the workspaces whose accounts the user sees.
	workspaces []string
	// onlyShared hides the accounts of users from an access token, unless they are shared.
	onlyShared bool
}

// has reports whether the call may see an account.
func (v accountView) has(one *account) bool {
	if v.userID == "" {
		return one.UserID == "" || one.Shared || !v.onlyShared
	}
	return slices.Contains(v.workspaces, one.WorkspaceID) && (one.UserID == v.userID || one.Shared)
}

// chosen returns a copy of the chosen answers.
func (a *Accounts) chosen() accountAnswers {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.answers)
}

// oneFor returns the account of a call of the REST API.
func (a *Accounts) oneFor(r *http.Request, answers accountAnswers, view accountView) answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	found := a.accounts[r.PathValue("account_id")]
	switch {
	case found == nil:
		return notFound()
	case !view.has(found):
		return refusalFor(answers[AnswerForeignAccount])
	}
	return single(answers[AnswerRESTSingle], found.showForREST(r, answers, a.now()))
}

// listFor returns a page of the accounts of a call of the REST API.
func (a *Accounts) listFor(r *http.Request, answers accountAnswers, view accountView) answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, app := answers.filters(r)
	var matching []*account
	for _, id := range a.order {
		if one := a.accounts[id]; view.has(one) && one.isOf(app) {
			matching = append(matching, one)
		}
	}
	return answers.page(r, matching, answers[AnswerRESTListing], func(one *account) shown {
		return one.showForREST(r, answers, a.now())
	})
}
