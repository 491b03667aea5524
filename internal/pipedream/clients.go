// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"time"
)

const (
	// mostRefused and mostAccepted bound how many OAuth clients are remembered.
	mostRefused  = 1024
	mostAccepted = 8192
	// quietTime is how long ago an acceptance may be to be worth anything for more
	// than one request.
	quietTime = 5 * time.Second
	// minRefusal and maxRefusal bound how long refused credentials are not tried
	// again, and minInsistence how long they are not even when somebody insists.
	minRefusal    = time.Minute
	maxRefusal    = 15 * time.Minute
	minInsistence = 10 * time.Second
	maxInsistence = 5 * time.Minute
)

// oauthClient is what is remembered of one pair of client ID and client secret. A
// nil one is that of a request without credentials, or of which nothing is known.
type oauthClient struct {
	digest [sha256.Size]byte
	// isUnread tells that its credentials were not read yet, so that it may turn out to
	// be any.
	isUnread bool
	// users counts the places of those who are known to ask with it, and its requests
	// on their way.
	users int
	// promised counts the turns given to send a request with it, and inFlight the
	// requests on their way.
	promised, inFlight int
	// acceptedAt is when it was last accepted, unless it was refused since; inARow
	// counts how often it was, without a quiet time between.
	acceptedAt time.Time
	inARow     int
	// refusal is the last answer, if that was one; it came at refusedAt to a request
	// that was sent at triedAt, after as many others in a row.
	refusal            *Error
	triedAt, refusedAt time.Time
	refusals           int
}

// isNew tells whether it was never accepted, or is not any more.
func (c *oauthClient) isNew() bool { return c != nil && !c.isUnread && c.acceptedAt.IsZero() }

func (c *oauthClient) promise(turns int) {
	if c != nil {
		c.promised += turns
	}
}

// mayBegin tells whether another request may be on its way now. After a quiet time
// one goes alone, and then there may be one more with each that was accepted: of
// credentials that have become bad, few requests find that out.
func (c *oauthClient) mayBegin(now time.Time) bool {
	if c == nil {
		return true
	}
	if c.refusal != nil && now.Before(c.refusedAt.Add(doubled(minInsistence, c.refusals-1, maxInsistence))) {
		return false
	}
	busy := c.promised + c.inFlight
	return busy == 0 || busy <= c.inARow && now.Sub(c.acceptedAt) <= quietTime
}

// refusalFor returns the refusal if it answers the one at this place, so that there
// is nothing to send; else nil. Who insists wants one of an attempt made after it came.
func (c *oauthClient) refusalFor(p *place, now time.Time) *Error {
	if c.refusal == nil || !now.Before(c.refusal.RetryAt) || p.insists && c.triedAt.Before(p.since) {
		return nil
	}
	return c.refusal
}

// accept takes note that a request which was sent at some time was accepted.
func (c *oauthClient) accept(sentAt, now time.Time) {
	if sentAt.Sub(c.acceptedAt) > quietTime {
		c.inARow = 0
	}
	*c = oauthClient{
		digest: c.digest, users: c.users, promised: c.promised, inFlight: c.inFlight,
		acceptedAt: now, inARow: c.inARow + 1,
	}
}

// refuse takes note of a refusal of a request that was sent at some time, and returns
// it with the time to try again.
func (c *oauthClient) refuse(refusal *Error, sentAt, now time.Time) *Error {
	c.acceptedAt, c.inARow = time.Time{}, 0
	if c.refusal == nil || c.refusedAt.Before(sentAt) {
		// Else it was on its way when another was refused, and tells nothing new.
		c.refusals++
		c.triedAt, c.refusedAt = sentAt, now
		c.refusal = refusal.retriedAt(now.Add(doubled(minRefusal, c.refusals-1, maxRefusal)))
	}
	return c.refusal
}

// clients is what is remembered of OAuth clients, by a digest of their credentials.
type clients struct {
	key      []byte
	byDigest map[[sha256.Size]byte]*oauthClient
	byName   map[string]*source
}

// source is where credentials come from, as long as anybody has a place for it, or a
// request on its way.
type source struct {
	name string
	// client is that of the credentials which were read there last, or unread.
	client *oauthClient
	// users counts the places of those whose credentials come from here, and their
	// requests on their way.
	users int
}

func newClients() clients {
	return clients{key: []byte(rand.Text()), byDigest: map[[sha256.Size]byte]*oauthClient{}, byName: map[string]*source{}}
}

// bind makes a place one of a source, or of none, if it is not yet.
func (c clients) bind(p *place, name string) {
	if p.source.is(name) {
		return
	}
	c.release(p.source)
	p.source, p.insists = nil, false
	if name == "" {
		c.assign(p, nil)
		return
	}
	if c.byName[name] == nil {
		c.byName[name] = &source{name: name, client: &oauthClient{isUnread: true}}
	}
	p.source = c.byName[name].retain()
	c.assign(p, p.source.client)
}

// is tells whether a source has this name; none has the empty one.
func (s *source) is(name string) bool { return s == nil && name == "" || s != nil && s.name == name }

// retain returns the source with one more user; release ends that.
func (s *source) retain() *source {
	if s != nil {
		s.users++
	}
	return s
}

func (c clients) release(s *source) {
	if s == nil {
		return
	}
	if s.users--; s.users == 0 {
		delete(c.byName, s.name)
	}
}

// of returns the client of these credentials.
func (c clients) of(credentials Credentials) *oauthClient {
	mac := hmac.New(sha256.New, c.key)
	_, _ = fmt.Fprintf(mac, "%d:%s%s", len(credentials.ClientID), credentials.ClientID, credentials.ClientSecret.Reveal())
	digest := [sha256.Size]byte(mac.Sum(nil))
	if c.byDigest[digest] == nil {
		c.byDigest[digest] = &oauthClient{digest: digest}
	}
	return c.byDigest[digest]
}

// assign makes a place one of a client, or of none.
func (c clients) assign(p *place, client *oauthClient) {
	if client != nil {
		client.users++
	}
	if before := p.client; before != nil {
		before.users--
		c.tidy(before)
	}
	p.client = client
}

// tidy forgets a client that nobody uses, and that there is nothing to know of.
func (c clients) tidy(client *oauthClient) {
	if client.users == 0 && client.refusal == nil && client.isNew() {
		delete(c.byDigest, client.digest)
	}
}

// boundRefused and boundAccepted are called with each such answer, and so have one
// client to forget at the most.
func (c clients) boundRefused() {
	c.forgetOldest(mostRefused, func(client *oauthClient) time.Time { return client.refusedAt })
}

func (c clients) boundAccepted() {
	c.forgetOldest(mostAccepted, func(client *oauthClient) time.Time { return client.acceptedAt })
}

// forgetOldest forgets of the client with the oldest answer of a sort what is known
// of it, when more than most have one. The others have it at no time (zero).
func (c clients) forgetOldest(most int, answeredAt func(*oauthClient) time.Time) {
	if len(c.byDigest) <= most {
		return
	}
	var count int
	var oldest *oauthClient
	for _, client := range c.byDigest {
		if answeredAt(client).IsZero() {
			continue
		}
		count++
		if oldest == nil || answeredAt(client).Before(answeredAt(oldest)) {
			oldest = client
		}
	}
	if count > most {
		*oldest = oauthClient{digest: oldest.digest, users: oldest.users, promised: oldest.promised, inFlight: oldest.inFlight}
		c.tidy(oldest)
	}
}
