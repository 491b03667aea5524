// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle

import (
	"crypto/sha256"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

const (
	// quietTime is how long an acceptance allows further requests at the same time. After
	// it, the next request goes alone.
	quietTime = 5 * time.Second
	// firstRefusal is how long credentials are not sent again after the first refusal. The
	// time doubles with each further refusal in a row, up to retry.LongestWait.
	firstRefusal = time.Minute
	// firstBypass and longestBypass are the same for requesters that bypass the refusal
	// cache.
	firstBypass   = 10 * time.Second
	longestBypass = 5 * time.Minute
)

// oauthClient is what a Limiter remembers about one pair of client ID and client secret.
// It is nil for a request without credentials, and while nothing is known about the
// client.
type oauthClient struct {
	digest [sha256.Size]byte
	// isUnread is true if the credentials were not read yet, so that this may turn out to
	// be any client.
	isUnread bool
	// users counts the entries that are known to send with this client, and its requests on
	// their way.
	users int
	// readyToSend counts the entries that are ready to send with this client, and inFlight
	// its requests on their way.
	readyToSend, inFlight int
	// acceptedAt is when the client was last accepted. It is zero if the client was refused
	// since. inARow counts the acceptances in a row, without a quiet time in between.
	acceptedAt time.Time
	inARow     int
	// refusal is the last answer if it was a refusal. It came at refusedAt, to a request
	// that was sent at triedAt. refusals counts the refusals in a row.
	refusal            *pipedream.Error
	triedAt, refusedAt time.Time
	refusals           int
}

// isUnproven reports whether the client was never accepted, or was refused since.
func (c *oauthClient) isUnproven() bool { return c != nil && !c.isUnread && c.acceptedAt.IsZero() }

func (c *oauthClient) addReadyToSend(count int) {
	if c != nil {
		c.readyToSend += count
	}
}

// mayBegin reports whether another request may be on its way now. After a quiet time one
// request goes alone. With each acceptance, one more request may be on its way at the same
// time. So few requests find out that credentials have become bad.
func (c *oauthClient) mayBegin(now time.Time) bool {
	if c == nil {
		return true
	}
	if c.refusal != nil && now.Before(c.refusedAt.Add(retry.Doubled(firstBypass, longestBypass, c.refusals))) {
		return false
	}
	busy := c.readyToSend + c.inFlight
	return busy == 0 || busy <= c.inARow && now.Sub(c.acceptedAt) <= quietTime
}

// refusalFor returns the refusal if it answers the entry's request, so that there is
// nothing to send, and otherwise nil. For an entry that bypasses the refusal cache, only
// an attempt that began after its reservation is an answer.
func (c *oauthClient) refusalFor(e *entry, now time.Time) *pipedream.Error {
	if c.refusal == nil || !now.Before(c.refusal.RetryAt) || e.bypassesRefusals && c.triedAt.Before(e.since) {
		return nil
	}
	return c.refusal
}

// accept records that the request that was sent at sentAt was accepted.
func (c *oauthClient) accept(sentAt, now time.Time) {
	if sentAt.Sub(c.acceptedAt) > quietTime {
		c.inARow = 0
	}
	*c = oauthClient{
		digest: c.digest, users: c.users, readyToSend: c.readyToSend, inFlight: c.inFlight,
		acceptedAt: now, inARow: c.inARow + 1,
	}
}

// refuse records that the request that was sent at sentAt was refused. It returns the
// refusal with the time of the next attempt.
func (c *oauthClient) refuse(refusal *pipedream.Error, sentAt, now time.Time) *pipedream.Error {
	c.acceptedAt, c.inARow = time.Time{}, 0
	if c.refusal == nil || c.refusedAt.Before(sentAt) {
		// A request that was on its way at the last refusal says nothing new.
		c.refusals++
		c.triedAt, c.refusedAt = sentAt, now
		c.refusal = refusal.WithRetryAt(now.Add(retry.Doubled(firstRefusal, retry.LongestWait, c.refusals)))
	}
	return c.refusal
}
