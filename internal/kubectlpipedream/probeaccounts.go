// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// madeUpAccount is the ID of an account that no project has.
const madeUpAccount = "apn_madeupbykubectlpipedreamprobe"

// withoutAccount is the answer to a question that needs an account.
const withoutAccount = "not asked: no --account"

// fetch asks for an account with its credentials. They are given to nobody.
func (s *probeSender) fetch(ctx context.Context, token pipedream.Sensitive, query pipedream.AccountQuery) (r reply, fetched pipedream.Account) {
	r = s.send(ctx, accountRequests, func(ctx context.Context) (err error) {
		ctx = pipedream.OnNextPage(ctx, func() {
			s.sent++
			_ = s.plugin.sleep(ctx, probeSpacing) // It fails if ctx has ended, which it has not: an interrupt does not reach it.
		})
		fetched, err = s.api.Account(ctx, token, query)
		return err
	})
	return r, fetched
}

// query asks for an account of --project by its ID.
func (p *probe) query(id string) pipedream.AccountQuery {
	return pipedream.AccountQuery{ProjectID: p.options.project, Environment: p.options.environment, AccountID: id}
}

// describeListing answers the question about the form of a listing of accounts.
func (p *probe) describeListing(r reply) {
	switch {
	case r.skipped != "":
		p.answers.set("accounts-listing", r.skipped, holdsUnknown)
	case !r.isSuccess():
		p.answers.set("accounts-listing", "not known: there was no listing", holdsUnknown)
	case r.answer.Accounts == nil:
		p.answers.set("accounts-listing", r.answer.Body, holdsNo)
	default:
		found := r.answer.Accounts
		p.answers.set("accounts-listing", joinForms(found.Form, formsOf("page_info", found.PageInfo), formsOf("the first account", found.Fields)), holdsYes)
	}
}

// askAccounts asks for an account that does not exist, and for the one that --account names.
func (p *probe) askAccounts(ctx context.Context) {
	token, without := p.living(ctx), p.withoutFirst
	switch {
	case p.options.project == "":
		token, without = nil, withoutProject
	case token == nil:
	case !p.isAccepted:
		token, without = nil, "not asked: the listing of accounts was not answered"
	}
	p.askUnknownAccount(ctx, token, without)
	if p.options.account == "" {
		token, without = nil, withoutAccount
	}
	if token == nil {
		for _, name := range []string{"account-credentials", "account-form", "account-times", "account-health", "account-again", "account-by-user", "account-without-scope"} {
			p.answers.set(name, without, holdsUnknown)
		}
		return
	}
	p.askAccount(ctx, token)
}

func (p *probe) askUnknownAccount(ctx context.Context, token *issuedToken, without string) {
	if token == nil {
		p.answers.set("unknown-account", without, holdsUnknown)
		return
	}
	r, _ := p.sender.fetch(ctx, token.token, p.query(madeUpAccount))
	p.answers.judge("unknown-account", r, r.kind() == pipedream.AccountNotFound)
}

// askAccount asks for the account that --account names, with its credentials.
func (p *probe) askAccount(ctx context.Context, token *issuedToken) {
	r, first := p.sender.fetch(ctx, token.token, p.query(p.options.account))
	p.describeAccount(r)
	if !r.isSuccess() {
		without := "not asked: there was no account with credentials"
		p.answers.set("account-again", without, holdsUnknown)
		p.answers.set("account-by-user", without, holdsUnknown)
	} else {
		again, second := p.sender.fetch(ctx, token.token, p.query(p.options.account))
		p.compareAgain(again, first, second)
		p.askByUser(ctx, token, first)
	}
	if p.narrow == nil {
		p.answers.set("account-without-scope", p.withoutNarrow, holdsUnknown)
		return
	}
	narrow, _ := p.sender.fetch(ctx, p.narrow.token, p.query(p.options.account))
	p.judgeNarrow("account-without-scope", narrow, true)
}

// describeAccount answers the questions about the form of an answer with one account.
func (p *probe) describeAccount(r reply) {
	if r.answer == nil || r.answer.Accounts == nil {
		for _, name := range []string{"account-form", "account-times", "account-health"} {
			p.answers.set(name, "not known: there was no account", holdsUnknown)
		}
		if r.kind() == pipedream.AccountNotFound {
			p.answers.set("account-credentials", r.String()+" (is --account right?)", holdsUnknown)
			return
		}
		p.answers.judge("account-credentials", r, false)
		return
	}
	found := r.answer.Accounts
	isReadable := holdsIf(r.kind() != pipedream.Malformed)
	p.answers.set("account-credentials", joinForms(fmt.Sprintf("%d, credentials: %s", r.status(), orNone(found.Credentials)), formsOf("auth_type", found.AuthType)), isReadable)
	p.answers.set("account-form", joinForms(found.Form, found.Fields), isReadable)
	p.answers.set("account-times", joinForms("expires_at: "+orNone(found.ExpiresAt), "next_refresh_at: "+orNone(found.NextRefreshAt)), holdsIf(isTimeOrNone(found.ExpiresAt)))
	p.answers.set("account-health", joinForms("healthy: "+orNone(found.Healthy), "dead: "+orNone(found.Dead)), holdsIf(isFlagOrNone(found.Healthy) && isFlagOrNone(found.Dead)))
}

// isTimeOrNone reports whether the operator can read a time of this form, or takes it for none.
func isTimeOrNone(form string) bool {
	return form == "absent" || form == "null" || strings.HasPrefix(form, "a time in RFC 3339")
}

func isFlagOrNone(form string) bool { return form == "absent" || form == "null" || form == "a boolean" }

// compareAgain says whether a second request has brought other credentials than the first one.
func (p *probe) compareAgain(r reply, first, second pipedream.Account) {
	switch {
	case !r.isSuccess():
		p.answers.judge("account-again", r, false)
	case maps.Equal(revealed(first.Credentials), revealed(second.Credentials)):
		p.answers.set("account-again", "the same credentials", holdsYes)
	default:
		p.answers.set("account-again", "other credentials: a request may have Pipedream refresh them", holdsYes)
	}
}

func revealed(credentials map[string]pipedream.Sensitive) map[string]string {
	texts := make(map[string]string, len(credentials))
	for name, value := range credentials {
		texts[name] = value.Reveal()
	}
	return texts
}

// askByUser asks for the account by its end user and its app, as the first answer names them.
func (p *probe) askByUser(ctx context.Context, token *issuedToken, account pipedream.Account) {
	if account.ExternalUserID.IsEmpty() || account.App == "" {
		p.answers.set("account-by-user", "not asked: the answer names no end user, or no app", holdsUnknown)
		return
	}
	query := p.query("")
	query.ExternalUserID, query.App = account.ExternalUserID.Reveal(), account.App
	r, found := p.sender.fetch(ctx, token.token, query)
	switch {
	case r.kind() == pipedream.AccountAmbiguous:
		p.answers.set("account-by-user", fmt.Sprintf("%d, more than one account", r.status()), holdsUnknown)
	case !r.isSuccess():
		p.answers.judge("account-by-user", r, false)
	case found.ID != account.ID:
		p.answers.set("account-by-user", fmt.Sprintf("%d, another account", r.status()), holdsNo)
	default:
		p.answers.set("account-by-user", fmt.Sprintf("%d, the same account, with credentials", r.status()), holdsYes)
	}
}

// formsOf joins a name and a form; empty if there is no form.
func formsOf(name, form string) string {
	if form == "" {
		return ""
	}
	return name + ": " + form
}

// joinForms joins the forms that are there.
func joinForms(forms ...string) string {
	var found []string
	for _, form := range forms {
		if form != "" {
			found = append(found, form)
		}
	}
	return strings.Join(found, "; ")
}
