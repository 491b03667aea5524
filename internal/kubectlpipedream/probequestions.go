// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

const (
	// usualRequests is the number of requests to an API that is as the operator assumes.
	usualRequests               = 17
	usualRequestsWithoutProject = 13
	usualRequestsWithAccount    = 21
)

// The values that the command makes up. The API must not know them.
const (
	// madeUp is the client secret and the token that the command makes up.
	madeUp      = "made-up-by-kubectl-pipedream-probe"
	madeUpScope = "connect:made-up-by-probe:read"
)

var (
	// knownOffsets are the times after the issue of a token at which it is tried, until it is accepted.
	knownOffsets = []time.Duration{0, time.Second, 3 * time.Second, 10 * time.Second}
	// revokedOffsets are the times after a revocation at which the token is tried, until it is refused.
	revokedOffsets = []time.Duration{0, 2 * time.Second, 10 * time.Second}
)

// probeListing is a listing of the API with which the operator verifies tokens.
type probeListing struct {
	// name is the beginning of the names of its questions.
	name  string
	scope string
	// needsProject is set if the listing is of a project.
	needsProject bool
}

var (
	accountsListing = probeListing{name: "accounts", scope: "connect:accounts:read", needsProject: true}
	projectsListing = probeListing{name: "projects", scope: "connect:projects:read"}
)

// withoutProject is the answer to a question that needs a project.
const withoutProject = "not asked: no --project"

// probe asks the questions. Most of them use the first token, which has the scope of the listing main. The
// narrow token has the scope of the listing other.
type probe struct {
	sender      *probeSender
	options     *probeOptions
	main, other probeListing
	// first and second are two tokens with the scope of main; nil if there is none.
	first, second, narrow *issuedToken
	// isAccepted is set when the first token was accepted, and knownAfter is how long that took.
	isAccepted bool
	knownAfter time.Duration
	// firstLives is set when the first token was still accepted after the second one was issued.
	firstLives bool
	// withoutFirst and withoutNarrow are the answers to questions that need a token that was not issued.
	withoutFirst, withoutNarrow string
	answers                     probeAnswers
}

func newProbe(s *probeSender, options *probeOptions) *probe {
	p := &probe{sender: s, options: options, main: accountsListing, other: projectsListing, answers: probeAnswers{}}
	if options.project == "" {
		p.main, p.other = projectsListing, accountsListing
	}
	return p
}

// run asks all questions, and revokes all tokens. It returns an error if no question can be asked.
func (p *probe) run(ctx context.Context, source string) error {
	defer func() { p.sender.end(ctx) }()
	if err := p.begin(ctx, source); err != nil {
		return err
	}
	p.askWhenKnown(ctx)
	p.askSecond(ctx)
	p.askListings(ctx)
	p.askAccounts(ctx)
	p.askRevocation(ctx)
	p.askUnknownScope(ctx)
	p.sender.end(ctx) // Before a wrong secret is sent: the API could lock the client, and then revoke nothing.
	p.askWrongSecret(ctx)
	p.answers.describeHTTP(p.sender)
	return nil
}

// begin issues the narrow and the first token. It returns an error if there is no token at all, because all
// other questions need one.
func (p *probe) begin(ctx context.Context, source string) error {
	narrowReply, narrow := p.sender.issue(ctx, p.sender.credentials, p.other.scope)
	if narrow == nil && !isScopeRefusal(narrowReply) {
		return p.explainNoToken(narrowReply, source)
	}
	firstReply, first := p.sender.issue(ctx, p.sender.credentials, p.main.scope)
	if narrow == nil && first == nil {
		return p.explainNoToken(firstReply, source)
	}
	p.first, p.narrow = first, narrow
	p.withoutFirst, p.withoutNarrow = noToken(p.main, firstReply), noToken(p.other, narrowReply)
	if first != nil {
		p.answers.describeIssue(firstReply, first)
	} else {
		p.answers.describeIssue(narrowReply, narrow)
	}
	return nil
}

// isScopeRefusal reports whether a token request may have been refused for its scope. How the API refuses an
// unknown scope is one of the questions.
func isScopeRefusal(r reply) bool {
	statuses := []int{http.StatusBadRequest, http.StatusForbidden, http.StatusUnprocessableEntity}
	return r.kind() == pipedream.ScopeRejected || r.kind() == pipedream.RequestRejected && slices.Contains(statuses, r.status())
}

// explainNoToken returns the error for a token request that has failed, without which nothing can be asked.
func (p *probe) explainNoToken(r reply, source string) error {
	address := p.sender.api.Address()
	switch {
	case r.kind() == pipedream.CredentialsRejected:
		return fmt.Errorf("%s refused the client ID and the client secret %s (%w): check both. Nothing else was asked", address, source, r.err)
	case r.kind() == pipedream.CredentialsInvalid:
		return fmt.Errorf("nothing was sent: %w", r.err)
	case r.kind() == pipedream.RateLimited:
		return fmt.Errorf("%s asked for fewer requests (%w): try again later. Nothing else was asked", address, r.err)
	case isScopeRefusal(r):
		return fmt.Errorf("%s issued no token, neither with %s nor with %s (%w): check that the OAuth client may have one of these scopes, and the client ID and the client secret %s",
			address, p.other.scope, p.main.scope, r.err, source)
	case r.err != nil:
		return fmt.Errorf("%s issued no token (%w). Nothing else was asked", address, r.err)
	}
	return errors.New("no token was issued: " + r.String())
}

// askWhenKnown tries the first token until it is accepted.
func (p *probe) askWhenKnown(ctx context.Context) {
	with := p.main.name + "-with-scope"
	if p.first == nil {
		p.answers.set("new-token", p.withoutFirst, holdsUnknown)
		p.answers.set(with, p.withoutFirst, holdsUnknown)
		if p.main.needsProject {
			p.describeListing(reply{skipped: p.withoutFirst})
		}
		return
	}
	r := p.poll(ctx, p.first.token, p.first.known, knownOffsets, func(r reply) bool { return !mayBeUnknown(r) })
	p.answerListing(p.main, r)
	elapsed := r.after.Sub(p.first.known).Round(100 * time.Millisecond)
	switch {
	case r.isSuccess():
		p.isAccepted, p.knownAfter = true, elapsed
		p.answers.set("new-token", fmt.Sprintf("%v after the answer that brought it, or earlier", elapsed), holdsYes)
	case r.isConclusive() && mayBeUnknown(r):
		p.answers.set("new-token", fmt.Sprintf("not in %v", elapsed), holdsUnknown)
	default:
		p.answers.set("new-token", r.String(), holdsUnknown)
	}
}

// mayBeUnknown reports whether the API may not know the token yet. Its documentation names 404 for a request
// without a token.
func mayBeUnknown(r reply) bool {
	return r.status() == http.StatusUnauthorized || r.status() == http.StatusNotFound
}

// poll tries a token at times after since, until a reply ends the poll, or says nothing about the token. It
// returns the last reply.
func (p *probe) poll(ctx context.Context, token pipedream.Sensitive, since time.Time, offsets []time.Duration, isEnd func(reply) bool) reply {
	var r reply
	for _, offset := range offsets {
		if wait := since.Add(offset).Sub(p.sender.plugin.Now()); wait > probeSpacing {
			_ = p.sender.plugin.sleep(ctx, wait-probeSpacing) // It fails if ctx has ended, which send checks.
		}
		if r = p.sender.try(ctx, token, p.trial(p.main)); !r.isConclusive() || isEnd(r) {
			return r
		}
	}
	return r
}

func (p *probe) trial(l probeListing) pipedream.Trial {
	return pipedream.Trial{ProjectID: p.options.project, Environment: p.options.environment, Scopes: []string{l.scope}}
}

// answerListing answers the question whether a token with the listing's scope is accepted there.
func (p *probe) answerListing(l probeListing, r reply) {
	name := l.name + "-with-scope"
	isAboutProject := r.status() == http.StatusForbidden || r.status() == http.StatusNotFound
	if l.needsProject {
		p.describeListing(r)
	}
	switch {
	case l.needsProject && isAboutProject:
		p.answers.set(name, r.String()+" (is --project right?)", holdsUnknown)
	case l == p.other:
		p.judgeNarrow(name, r, r.isSuccess())
	default:
		p.answers.judge(name, r, r.isSuccess())
	}
}

// judgeNarrow sets the answer to a question for which the narrow token was tried.
func (p *probe) judgeNarrow(name string, r reply, isAssumed bool) {
	if p.isAccepted && !p.firstLives && r.status() == http.StatusUnauthorized {
		p.answers.set(name, r.String()+" (perhaps a later token has ended this one)", holdsUnknown)
		return
	}
	p.answers.judge(name, r, isAssumed)
}

// askSecond issues a second token with the scope of the first.
func (p *probe) askSecond(ctx context.Context) {
	if p.first == nil {
		p.answers.set("second-token", p.withoutFirst, holdsUnknown)
		p.answers.set("first-token", p.withoutFirst, holdsUnknown)
		return
	}
	r, second := p.sender.issue(ctx, p.sender.credentials, p.main.scope)
	p.second = second
	switch second {
	case nil:
		p.answers.set("second-token", r.String(), holdsUnknown)
		p.answers.set("first-token", "not asked: no second token was issued", holdsUnknown)
		p.firstLives = p.isAccepted
		return
	case p.first:
		p.answers.set("second-token", fmt.Sprintf("the same token, for %d s", r.answer.ExpiresIn), holdsNo)
		p.answers.set("first-token", "not asked: the second token is the first one", holdsUnknown)
		p.firstLives = p.isAccepted
		return
	}
	p.answers.set("second-token", fmt.Sprintf("another token, for %d s", r.answer.ExpiresIn), holdsYes)
	if !p.isAccepted {
		p.answers.set("first-token", "not asked: it was not accepted before", holdsUnknown)
		return
	}
	again := p.sender.try(ctx, p.first.token, p.trial(p.main))
	p.firstLives = again.isSuccess()
	p.answers.judge("first-token", again, p.firstLives)
}

// askListings tries which listing answers what to which scope, and to a token that the API does not know.
func (p *probe) askListings(ctx context.Context) {
	p.answerListing(p.other, p.tryListing(ctx, p.other, p.narrow, p.withoutNarrow))
	p.judgeNarrow(p.main.name+"-without-scope", p.tryListing(ctx, p.main, p.narrow, p.withoutNarrow), true)
	p.answers.judge(p.other.name+"-without-scope", p.tryListing(ctx, p.other, p.living(ctx), p.withoutFirst), true)
	bad := &issuedToken{token: pipedream.NewSensitive(madeUp)}
	for _, l := range []probeListing{p.main, p.other} {
		r := p.tryListing(ctx, l, bad, "")
		p.answers.judge(l.name+"-bad-token", r, r.status() == http.StatusUnauthorized)
	}
}

// tryListing asks for a listing with a token. without says why there is no token.
func (p *probe) tryListing(ctx context.Context, l probeListing, token *issuedToken, without string) reply {
	switch {
	case l.needsProject && p.options.project == "":
		return reply{skipped: withoutProject}
	case token == nil:
		return reply{skipped: without}
	}
	return p.sender.try(ctx, token.token, p.trial(l))
}

// living returns a token with the scope of main that should be accepted, or nil if there is no token with this
// scope. If the second token has ended the first, living waits until the API should know the second one.
func (p *probe) living(ctx context.Context) *issuedToken {
	if p.firstLives || p.second == nil {
		return p.first
	}
	if wait := p.second.known.Add(p.knownAfter).Sub(p.sender.plugin.Now()); wait > 0 {
		_ = p.sender.plugin.sleep(ctx, wait) // It fails if ctx has ended, which send checks.
	}
	return p.second
}

// askUnknownScope asks for a token with a scope that the API does not know, beside a scope that it knows.
func (p *probe) askUnknownScope(ctx context.Context) {
	scopes := []string{p.main.scope, madeUpScope}
	if p.first == nil {
		scopes[0] = p.other.scope
	}
	r, _ := p.sender.issue(ctx, p.sender.credentials, scopes...)
	switch {
	case r.kind() == pipedream.ScopeNotGranted:
		p.answers.set("unknown-scope", fmt.Sprintf("%d, a token whose scopes do not cover it", r.status()), holdsYes)
	case r.isSuccess():
		p.answers.set("unknown-scope", fmt.Sprintf("%d, a token; field scope: %s", r.status(), r.answer.ScopeField), holdsNo)
	default:
		p.answers.judge("unknown-scope", r, r.kind() == pipedream.ScopeRejected)
	}
}

// askWrongSecret asks for a token with a wrong client secret.
func (p *probe) askWrongSecret(ctx context.Context) {
	wrong := pipedream.Credentials{ClientID: p.sender.credentials.ClientID, ClientSecret: pipedream.NewSensitive(madeUp)}
	r, _ := p.sender.issue(ctx, wrong, p.main.scope)
	p.answers.judge("wrong-secret", r, r.kind() == pipedream.CredentialsRejected)
}

// askRevocation revokes a token, and tries it until it is refused.
func (p *probe) askRevocation(ctx context.Context) {
	target, wasAccepted := p.living(ctx), p.firstLives
	switch {
	case target == nil:
		target = p.narrow
	case !wasAccepted:
		wasAccepted = p.sender.try(ctx, target.token, p.trial(p.main)).isSuccess()
	}
	r := p.sender.revoke(ctx, target)
	p.answers.judge("revoke", r, true)
	switch {
	case r.skipped != "":
		p.answers.set("revoked-token", r.skipped, holdsUnknown)
		return
	case !r.isSuccess():
		p.answers.set("revoked-token", "not asked: the revocation has failed", holdsUnknown)
		return
	case !wasAccepted:
		p.answers.set("revoked-token", "not asked: the token was not accepted before", holdsUnknown)
		return
	}
	last := p.poll(ctx, target.token, r.after, revokedOffsets, func(r reply) bool { return !r.isSuccess() })
	elapsed := last.after.Sub(r.after).Round(100 * time.Millisecond)
	switch {
	case last.isSuccess():
		p.sender.disbelieve()
		p.answers.set("revoked-token", fmt.Sprintf("still accepted after %v", elapsed), holdsNo)
	case last.isConclusive():
		p.answers.set("revoked-token", fmt.Sprintf("%v, %v after the revocation or earlier", last, elapsed), holdsIf(last.status() == http.StatusUnauthorized))
	default:
		p.answers.set("revoked-token", last.String(), holdsUnknown)
	}
}

// noToken is the answer to a question that needs a token with the listing's scope.
func noToken(l probeListing, r reply) string {
	if r.skipped != "" {
		return r.skipped
	}
	return fmt.Sprintf("not asked: the request for a token with %s was answered %s", l.scope, r)
}
