// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"context"
	"errors"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/bearer"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/credentials"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/refresh"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

const (
	// requestTimeout is how long the requests for an account may take, and writeTimeout how long the
	// write of its credentials after them. Both go on when the process is told to stop. Together with a
	// report they take less than the time that the manager has for its shutdown.
	requestTimeout = 12 * time.Second
	writeTimeout   = 10 * time.Second
)

// fetch looks at the account when the turn of the PipedreamAccount has come, and writes its credentials
// if anything is new.
func (a actions) fetch(ctx context.Context, s snapshot, st state, why refresh.Why) (outcome, error) {
	if s.isQueued {
		return noAction{}, nil // A limiter wakes the PipedreamAccount when its turn has come.
	}
	if !isTypeKnown(s, st.cache.targetType) {
		return a.check(ctx, s) // Pipedream is not asked for a Secret that can't be written.
	}
	if ended := a.lookAgain(ctx, s); ended != nil {
		return ended, nil
	}
	if s.account.UsesAPIKey() {
		return a.fetchWithKey(ctx, s, st, why)
	}
	return a.fetchWithToken(ctx, s, st, why)
}

// fetchWithToken is fetch for a PipedreamAccount with an OAuth client, whose access token is lent.
func (a actions) fetchWithToken(ctx context.Context, s snapshot, st state, why refresh.Why) (outcome, error) {
	lent, err := a.bearers.Acquire(ctx, needOf(s, st, tokenLaneOf(s, st, why)))
	waiting, isWaiting := errors.AsType[*bearer.WaitingError](err)
	switch {
	case isWaiting:
		return queued{waiting.Ticket}, nil
	case errors.Is(err, bearer.ErrCredentialsNeeded) && s.areCredentialsRead:
		return blocked{refresh.NoCredentials}, nil
	case errors.Is(err, bearer.ErrCredentialsNeeded):
		return a.readCredentials(ctx, s)
	case err != nil:
		return lookFailed{cause: causeOf(err), isForToken: true, sentAt: s.now, why: why, at: a.clock.Now()}, nil
	}
	ticket := a.requests.Reserve(s.account.Spec.ProjectID, s.requester(), throttle.ReserveOptions{
		Lane: requestLaneOf(s, st, why), Expiry: endOf(s, st, why),
	})
	if !ticket.IsReady {
		return queued{ticket}, nil
	}
	if err := a.bearers.Send(lent); err != nil {
		return lookFailed{cause: causeOf(err), sentAt: s.now, why: why, at: a.clock.Now()}, nil
	}
	return a.request(ctx, s, st, why, access{limiter: s.account.Spec.ProjectID, token: lent.Token(), lent: lent}, ticket)
}

// fetchWithKey is fetch for a PipedreamAccount with an API key. The key is read for each request, and is not
// remembered: only its name at the limiters is. A refusal that is known already costs neither a request nor a read.
func (a actions) fetchWithKey(ctx context.Context, s snapshot, st state, why refresh.Why) (outcome, error) {
	limiter := limiterOf(s, st.check.apiKey)
	if limiter == "" {
		if s.areCredentialsRead {
			return blocked{refresh.NoCredentials}, nil
		}
		return a.readCredentials(ctx, s)
	}
	ticket := a.requests.Reserve(limiter, s.requester(), throttle.ReserveOptions{
		Lane: requestLaneOf(s, st, why), Expiry: endOf(s, st, why), Scopes: s.asksFor(), BypassRefusalCache: bypassesRefusals(s, st),
	})
	switch {
	case !ticket.IsReady:
		return queued{ticket}, nil
	case ticket.IsRefused():
		return lookFailed{cause: ticket.Refusal, sentAt: s.now, why: why, at: a.clock.Now()}, nil
	case !s.areCredentialsRead:
		return a.readCredentials(ctx, s)
	}
	return a.request(ctx, s, st, why, access{limiter: limiter, token: s.apiKey}, ticket)
}

// access is what the account is asked for with.
type access struct {
	// limiter is the name of the limiter: the project, or the name of the API key.
	limiter string
	// token is the access token or the API key.
	token pipedream.Sensitive
	// lent is the loan of the access token; zero for an API key.
	lent bearer.Bearer
}

// needOf returns what the PipedreamAccount needs an access token for.
func needOf(s snapshot, st state, lane throttle.Lane) bearer.Need {
	return bearer.Need{
		Requester: s.requester(), Lane: lane, CredentialReference: s.credentialsReference(), Credentials: s.clientCredentials,
		Project: s.account.Spec.ProjectID, Account: s.subject(), BypassRefusalCache: bypassesRefusals(s, st),
	}
}

// replaceBearer replaces the access token in the background, if that is up to this PipedreamAccount and its turn
// has come. The PipedreamAccount needs no access token now, so a failure is none of its own.
func (a actions) replaceBearer(ctx context.Context, s snapshot, st state) {
	if s.account.UsesAPIKey() || !a.bearers.IsReplacing(s.requester()) {
		return
	}
	need := needOf(s, st, throttle.DueRenewal)
	if _, err := a.bearers.Acquire(ctx, need); !errors.Is(err, bearer.ErrCredentialsNeeded) {
		return // Its turn has not come, or there is a new access token by now.
	}
	found, err := credentials.Read(ctx, a.client, s.account.Namespace, s.account.Spec.ClientSecretRef)
	if err != nil || found.Credentials == nil {
		a.bearers.Cancel(s.requester())
		return
	}
	need.Credentials = found.Credentials
	_, _ = a.bearers.Acquire(ctx, need) // The store of access tokens remembers a failure.
}

// request asks Pipedream for the account.
func (a actions) request(ctx context.Context, s snapshot, st state, why refresh.Why, with access, ticket throttle.Ticket) (outcome, error) {
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	asking = pipedream.OnNextPage(asking, func() { a.requests.Charge(with.limiter) })
	sentAt := a.clock.Now()
	var fetched pipedream.Account
	how := throttle.DoOptions{Scopes: s.asksFor(), BypassRefusalCache: bypassesRefusals(s, st)}
	err := a.requests.Do(with.limiter, s.requester(), how, func() (err error) {
		fetched, err = a.pipedream.Account(asking, with.token, s.query())
		a.metrics.requested(err, a.clock.Since(sentAt))
		return err
	})
	if errors.Is(err, throttle.ErrNotReady) {
		ticket.IsReady = false
		return queued{ticket}, nil
	}
	advice := a.bearers.Report(with.lent, s.record() != nil, err)
	switch {
	case advice.FetchAgain:
		return bearerRefused{}, nil
	case advice.Err == nil:
		stored, err := a.store(ctx, s, st, why, fetched)
		return answered{health: fetched.Health, stored: stored}, err
	}
	cause := causeOf(advice.Err)
	if !cause.Kind.IsAboutAccount() {
		return lookFailed{cause: cause, sentAt: sentAt, why: why, at: a.clock.Now()}, nil
	}
	return verdictGiven{cause: cause, why: why, otherFetched: advice.OtherFetched, at: a.clock.Now()}, nil
}

// causeOf returns an error as one of Pipedream's API.
func causeOf(err error) *pipedream.Error {
	if cause, ok := errors.AsType[*pipedream.Error](err); ok {
		return cause
	}
	return &pipedream.Error{Kind: pipedream.Unavailable, Detail: "no answer"}
}
