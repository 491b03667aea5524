// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bearer

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

const (
	// freshEvery is the shortest time between two tokens of a client if the second one is only issued
	// because the first one was refused.
	freshEvery = time.Minute
	// knownAfter is the age until which a token may be refused although it is good: Pipedream may need a
	// few seconds to know a token that it has issued.
	knownAfter = 10 * time.Second
	// longestFailure is the longest time without an attempt after a transient failure, and
	// bypassAfter the shortest one for a requester that bypasses the refusal cache.
	longestFailure = 30 * time.Second
	bypassAfter    = retry.MinInterval
)

// digest identifies an OAuth client by its credentials.
type digest [sha256.Size]byte

// client is what a Store knows of an OAuth client. A nil client is one whose credentials were not read
// yet.
type client struct {
	digest digest
	// current is the newest token; nil if there is none. previous is the one before, as long as that is
	// lent; else nil.
	current, previous *token
	// serial counts the tokens of the client.
	serial int
	flight *flight
	// failure is why there is no newer token; nil if the last exchange went well.
	failure *failure
	// wantsFresh is true if the current token is to be replaced because it was refused.
	wantsFresh bool
	// refusals are the refusals of the client's tokens.
	refusals refusals
	usedAt   time.Time
}

// token is an access token of a client.
type token struct {
	value           pipedream.Sensitive
	serial          int
	issued, expires time.Time
	// accepted says when each project has last accepted the token, and for which accounts.
	accepted map[string]acceptance
	// isDoubted is true if the token was refused with 401, and nobody has accepted it since.
	isDoubted bool
}

// acceptance is that a project has accepted a token.
type acceptance struct {
	at time.Time
	// newest is the last fetch of an account, and other the last fetch of an account that is another one. Each
	// is zero if there was none.
	newest, other accountFetch
}

// accountFetch is that a project has given out the credentials of an account at a time.
type accountFetch struct {
	account string
	at      time.Time
}

// fetched records that the project has given out the credentials of an account.
func (a *acceptance) fetched(account string, now time.Time) {
	if a.newest.account != account {
		a.other = a.newest
	}
	a.newest = accountFetch{account: account, at: now}
}

// otherFetched returns when the project has last given out the credentials of any other account; zero if
// it has not.
func (a acceptance) otherFetched(account string) time.Time {
	if a.newest.account != account {
		return a.newest.at
	}
	return a.other.at
}

// failure is how the last exchange of a client has ended.
type failure struct {
	err       *pipedream.Error
	at, until time.Time
	count     int
}

// digestOf returns the digest of credentials, with a key that no other Store has.
func digestOf(key []byte, credentials pipedream.Credentials) digest {
	mac := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(mac, "%d:%s%s", len(credentials.ClientID), credentials.ClientID, credentials.ClientSecret.Reveal())
	return digest(mac.Sum(nil))
}

// lend returns the token that may be lent for a need; nil if there is none. It returns an error if no
// token would be of use now.
func (c *client) lend(need Need, now time.Time) (*token, error) {
	if c == nil {
		return nil, nil
	}
	if err := c.refusals.denialOf(need.Requester, subject{need.Project, need.Account}, now); err != nil {
		return nil, err
	}
	if c.isPreviousLent(now) {
		return c.previous, nil
	}
	c.previous = nil
	if c.current.isGood(now) && !c.current.isDoubted && !c.isRefusedFor(need) {
		return c.current, nil
	}
	if c.isFailing(now) && (!need.BypassRefusalCache || now.Before(c.failure.at.Add(bypassAfter))) {
		return nil, c.failure.err.WithRetryAt(c.failure.until)
	}
	return nil, nil
}

// lease lends a token.
func (c *client) lease(lent *token, need Need, now time.Time) Bearer {
	if lent == nil {
		return Bearer{}
	}
	return Bearer{client: c, token: lent, requester: need.Requester, project: need.Project, account: need.Account, lentAt: now}
}

func (t *token) isGood(now time.Time) bool { return t != nil && now.Before(t.expires) }

// isPreviousLent reports whether the token before the current one is lent still, because Pipedream may not
// know the current one yet.
func (c *client) isPreviousLent(now time.Time) bool {
	return c.previous.isGood(now) && now.Before(c.current.issued.Add(knownAfter))
}

// isReplaced reports whether a token is to be issued although the current one is good.
func (c *client) isReplaced(now time.Time) bool {
	life := c.current.expires.Sub(c.current.issued)
	return (c.wantsFresh || !now.Before(c.current.issued.Add(life/3*2))) && !c.isFailing(now)
}

// isRefusedFor reports whether the current token was refused for this very need, so that only a fresh
// one is of use.
func (c *client) isRefusedFor(need Need) bool {
	return c.wantsFresh && c.refusals.bySubject[subject{need.Project, need.Account}].serial == c.current.serial
}

func (c *client) isFailing(now time.Time) bool {
	return c.failure != nil && now.Before(retry.Believe(c.failure.until, now))
}

// accept records a token that was issued.
func (c *client) accept(issued pipedream.Token, now time.Time) {
	c.serial++
	c.previous = nil
	if c.current.isGood(now) && !c.wantsFresh {
		c.previous = c.current
	}
	c.current = &token{
		value: issued.AccessToken, serial: c.serial, issued: now, expires: issued.ExpirationTime,
		accepted: map[string]acceptance{},
	}
	c.failure, c.wantsFresh = nil, false
}

// fail records that no token was issued, and returns the error with the time of the next attempt. Until
// then the others use the current token, as long as it is good.
func (c *client) fail(err error, now time.Time) error {
	failed, ok := errors.AsType[*pipedream.Error](err)
	if !ok {
		failed = &pipedream.Error{Kind: pipedream.Unavailable, Detail: "no answer"}
	}
	next := failure{err: failed, at: now, count: 1}
	if c.failure != nil {
		next.count += c.failure.count
	}
	switch {
	case failed.Kind == pipedream.Unavailable, failed.Kind == pipedream.Malformed:
		wait := retry.After(retry.Transient, string(c.digest[:]), next.count)
		next.until = now.Add(min(wait, longestFailure))
	case failed.RetryAt.IsZero():
		next.until = now.Add(retry.After(retry.Refused, "", next.count))
	}
	if failed.RetryAt.After(next.until) {
		next.until = failed.RetryAt
	}
	c.failure = &next
	if c.current != nil {
		c.current.isDoubted = false
	}
	return failed.WithRetryAt(next.until)
}

// acceptedBy records that a project has accepted a token, and whether it has given out the credentials of
// the account.
func (c *client) acceptedBy(b Bearer, isFetched bool, now time.Time) {
	limit(b.token.accepted, mostProjects, func(a acceptance) time.Time { return a.at })
	known := b.token.accepted[b.project]
	if known.at = now; isFetched {
		known.fetched(b.account, now)
	}
	b.token.accepted[b.project] = known
	b.token.isDoubted = false
	c.refusals.forget(b)
}

// refusedBy records that a token was refused, and returns whether another token may help, and else the
// error.
func (c *client) refusedBy(b Bearer, failed *pipedream.Error, now time.Time) (again bool, err error) {
	if b.token == c.previous {
		c.previous = nil
	}
	if b.token != c.current || !b.token.isGood(now) {
		return true, failed // There is another token by now, or there will be.
	}
	isFreshUseful := c.refusals.isFreshUseful(b, now)
	c.refusals.add(b, now)
	if !isFreshUseful {
		return false, c.refusals.deny(b, failed, now)
	}
	c.wantsFresh = true
	if failed.Kind == pipedream.TokenRejected {
		b.token.isDoubted = true
	}
	return true, failed
}

// isAcceptedSince reports whether any project has accepted the token since a time.
func (t *token) isAcceptedSince(since time.Time) bool {
	for _, known := range t.accepted {
		if !known.at.Before(since) {
			return true
		}
	}
	return false
}
