// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

const (
	// probeSpacing is the minimum time between two requests.
	probeSpacing = 500 * time.Millisecond
	// maxRequests is the maximum number of requests.
	maxRequests = 30
	// maxUnanswered is the number of requests without an answer after which no more questions are asked.
	maxUnanswered = 2
	// endTimeout is the time after which none of the last revocations is begun.
	endTimeout = 30 * time.Second
	// maxShownLife is the longest life of a token in seconds that is believed.
	maxShownLife = 10 * 365 * 24 * 60 * 60
)

// reply is the outcome of one request.
type reply struct {
	// skipped says why the request was not sent. It is empty if it was sent.
	skipped string
	// answer describes the answer; nil if there was none.
	answer *pipedream.Observation
	// err is the error of the request; nil after a success.
	err *pipedream.Error
	// before and after are the times just before the request and just after it.
	before, after time.Time
}

// kind returns the kind of the error, or an empty kind after a success.
func (r reply) kind() pipedream.Kind {
	if r.err == nil {
		return ""
	}
	return r.err.Kind
}

// status returns the HTTP status, or 0 if there was no answer.
func (r reply) status() int {
	if r.answer == nil {
		return 0
	}
	return r.answer.StatusCode
}

// isSuccess reports whether the API has done what the request asked for.
func (r reply) isSuccess() bool {
	return r.err == nil && r.status() >= http.StatusOK && r.status() < http.StatusMultipleChoices
}

// isConclusive reports whether the answer says how the API behaves, and not that it is out of order.
func (r reply) isConclusive() bool {
	return r.answer != nil && r.kind() != pipedream.Unavailable && r.kind() != pipedream.RateLimited
}

// String describes the reply in words that repeat nothing of the body.
func (r reply) String() string {
	switch {
	case r.skipped != "":
		return r.skipped
	case r.answer == nil && r.err != nil:
		return "no answer: " + r.err.Error()
	case r.answer == nil:
		return "no answer"
	}
	words := []string{fmt.Sprint(r.answer.StatusCode), r.answer.Code, r.answer.Body}
	return strings.Join(slices.DeleteFunc(words, func(word string) bool { return word == "" }), ", ")
}

// issuedToken is a token that the command has issued.
type issuedToken struct {
	token pipedream.Sensitive
	// known is the time when the answer with the token was complete.
	known time.Time
	// expires is the zero time if the answer does not say when the token expires.
	expires time.Time
	// isEnded is true after a revocation that the API has answered with a success.
	isEnded bool
	// problem says why the token is not ended. It is empty as long as nothing has failed.
	problem string
}

// probeSender sends the requests of a probe, one after the other, and ends the tokens that it has issued.
type probeSender struct {
	plugin      *plugin
	api         *pipedream.Client
	credentials pipedream.Credentials
	// latest describes the answer to the latest request; nil if there was none.
	latest *pipedream.Observation
	// rateLimits are the latest headers about rate limits in the answers to each kind of request.
	rateLimits map[string][]pipedream.RateLimitHeader
	// protocols are the versions of HTTP of all answers.
	protocols []string
	// sent is the number of requests, and unanswered is how many of them had no answer.
	sent, unanswered int
	// stopped says why no more questions are asked. It is empty while they are.
	stopped string
	issued  []*issuedToken
	// isIneffective is set when a revoked token was still accepted.
	isIneffective bool
	// lost is the number of token requests without an answer. Each of them may have issued a token.
	lost int
}

// The kinds of requests, as the report names them.
const (
	tokenRequests   = "token requests"
	listings        = "listings"
	accountRequests = "accounts"
	revocations     = "revocations"
)

// observe takes the description of an answer.
func (s *probeSender) observe(one pipedream.Observation) { s.latest = &one }

// send sends one request, unless no more questions are asked.
func (s *probeSender) send(ctx context.Context, kind string, request func(context.Context) error) reply {
	if !s.isReady(ctx) {
		return reply{skipped: "not asked: " + s.stopped}
	}
	r := s.sendNow(ctx, kind, request)
	switch {
	case r.kind() == pipedream.RateLimited:
		s.stop(r)
	case r.answer == nil:
		if s.unanswered++; s.unanswered >= maxUnanswered {
			s.stopped = fmt.Sprintf("%d requests had no answer", s.unanswered)
		}
	}
	return r
}

// stop notes that no more questions are asked, because the API has asked for fewer requests.
func (s *probeSender) stop(r reply) {
	s.stopped = fmt.Sprintf("Pipedream asked for fewer requests (%d)", r.status())
}

// isReady waits until the next request may be sent. It returns false if no more questions are asked.
func (s *probeSender) isReady(ctx context.Context) bool {
	switch {
	case s.stopped != "":
		return false
	case s.sent+len(s.pending()) >= maxRequests:
		s.stopped = fmt.Sprintf("the limit of %d requests is reached", maxRequests)
		return false
	case s.sent > 0:
		_ = s.plugin.sleep(ctx, probeSpacing) // It fails if ctx has ended, which is checked next.
	}
	if ctx.Err() != nil {
		s.stopped = "interrupted"
	}
	return s.stopped == ""
}

// sendNow sends one request. The API's client limits its time. An interrupt does not cut it short, because a
// token that is just being issued would be lost.
func (s *probeSender) sendNow(ctx context.Context, kind string, request func(context.Context) error) reply {
	s.latest = nil
	s.sent++
	r := reply{before: s.plugin.Now()}
	err := request(context.WithoutCancel(ctx))
	r.after, r.answer = s.plugin.Now(), s.latest
	if failed, ok := errors.AsType[*pipedream.Error](err); ok {
		r.err = failed
	}
	if r.answer != nil {
		s.note(kind, *r.answer)
	}
	return r
}

// note keeps the properties of an answer that the report shows for all answers together.
func (s *probeSender) note(kind string, answer pipedream.Observation) {
	known := s.rateLimits[kind]
	for _, header := range answer.RateLimits {
		known = slices.DeleteFunc(known, func(earlier pipedream.RateLimitHeader) bool { return earlier.Name == header.Name })
		known = append(known, header)
	}
	if s.rateLimits == nil {
		s.rateLimits = map[string][]pipedream.RateLimitHeader{}
	}
	s.rateLimits[kind] = known
	if !slices.Contains(s.protocols, answer.Protocol) {
		s.protocols = append(s.protocols, answer.Protocol)
	}
}

// issue asks for a token. The token is nil if there is none in the answer. It is the same one as before if
// the API has issued the same token again.
func (s *probeSender) issue(ctx context.Context, credentials pipedream.Credentials, scopes ...string) (reply, *issuedToken) {
	r := s.send(ctx, tokenRequests, func(ctx context.Context) error {
		_, err := s.api.Issue(ctx, credentials, scopes)
		return err
	})
	switch {
	case r.skipped == "" && r.answer == nil && r.kind() == pipedream.Unavailable:
		s.lost++
		return r, nil
	case r.answer == nil || r.status() >= http.StatusMultipleChoices || r.answer.AccessToken.IsEmpty():
		return r, nil
	}
	for _, earlier := range s.issued {
		if earlier.token.Reveal() == r.answer.AccessToken.Reveal() {
			return r, earlier
		}
	}
	issued := &issuedToken{token: r.answer.AccessToken, known: r.after}
	if life := r.answer.ExpiresIn; life > 0 {
		issued.expires = r.after.Add(time.Duration(min(life, maxShownLife)) * time.Second)
	}
	s.issued = append(s.issued, issued)
	return r, issued
}

// try asks for a listing with a token.
func (s *probeSender) try(ctx context.Context, token pipedream.Sensitive, trial pipedream.Trial) reply {
	return s.send(ctx, listings, func(ctx context.Context) error {
		_, err := s.api.Verify(ctx, token, trial)
		return err
	})
}

// revoke revokes a token as one of the questions.
func (s *probeSender) revoke(ctx context.Context, token *issuedToken) reply {
	return s.send(ctx, revocations, s.revocation(token))
}

// ineffective is the problem of a token whose revocation was answered with a success.
const ineffective = "the API answers with a success, but still accepts revoked tokens"

// revocation returns the request that revokes a token. The request notes whether it has succeeded.
func (s *probeSender) revocation(token *issuedToken) func(context.Context) error {
	return func(ctx context.Context) error {
		err := s.api.Revoke(ctx, s.credentials, token.token)
		switch {
		case err != nil:
			token.problem = err.Error()
		case s.isIneffective:
			token.problem = ineffective
		default:
			token.isEnded = true
		}
		return err
	}
}

// pending returns the tokens whose revocation was not tried yet.
func (s *probeSender) pending() []*issuedToken {
	var pending []*issuedToken
	for _, one := range s.issued {
		if !one.isEnded && one.problem == "" {
			pending = append(pending, one)
		}
	}
	return pending
}

// end revokes the tokens that are not revoked yet, each with one request. It does so also after an interrupt,
// but stops if the API asks for fewer revocations.
func (s *probeSender) end(ctx context.Context) {
	pending := s.pending()
	if ctx.Err() != nil && len(pending) > 0 {
		s.plugin.printError("interrupted: revoking the tokens that were issued")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	isLimited := false
	for _, one := range pending {
		switch {
		case isLimited:
			one.problem = "not asked: Pipedream asked for fewer requests"
			continue
		case s.plugin.sleep(ctx, probeSpacing) != nil:
			one.problem = "not asked: there was no time left"
			continue
		}
		r := s.sendNow(ctx, revocations, s.revocation(one))
		if isLimited = r.kind() == pipedream.RateLimited; isLimited {
			s.stop(r)
		}
	}
}

// disbelieve notes that revocations have no effect although the API answers them with a success.
func (s *probeSender) disbelieve() {
	s.isIneffective = true
	for _, one := range s.issued {
		if one.isEnded {
			one.isEnded, one.problem = false, ineffective
		}
	}
}

// left returns a sentence for each token that may still be valid.
func (s *probeSender) left() []string {
	var sentences []string
	for _, one := range s.issued {
		if one.isEnded {
			continue
		}
		expires := "when it expires is not known"
		if !one.expires.IsZero() {
			expires = "it expires " + moment(new(metav1.NewTime(one.expires)), s.plugin.Now())
		}
		sentences = append(sentences, fmt.Sprintf("A token could not be revoked (%s): %s.", one.problem, expires))
	}
	if s.lost > 0 {
		sentences = append(sentences, fmt.Sprintf("Token requests without a complete answer: %d. If one of them has issued a token, this command can't revoke it; the token is valid until it expires, usually an hour later.", s.lost))
	}
	return sentences
}

// printLeftTokens tells the user which tokens may still be valid.
func (s *probeSender) printLeftTokens() {
	for _, sentence := range s.left() {
		s.plugin.printError(sentence)
	}
}
