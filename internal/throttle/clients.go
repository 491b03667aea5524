// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// mostRefused and mostAccepted are the numbers of OAuth clients that a Limiter remembers
// at most.
const (
	mostRefused  = 1024
	mostAccepted = 8192
)

// clients holds what a Limiter remembers about OAuth clients. The key of a client is a
// digest of its credentials, which nobody can compute after this process has ended.
type clients struct {
	key         []byte
	byDigest    map[[sha256.Size]byte]*oauthClient
	byReference map[string]*reference
}

// reference is a credential reference. A Limiter knows it as long as an entry or a request
// on its way has it.
type reference struct {
	name string
	// client has the credentials that were last read by this reference. It is unread before
	// that.
	client *oauthClient
	// users counts the entries with this reference, and their requests on their way.
	users int
}

func newClients() clients {
	return clients{key: []byte(rand.Text()), byDigest: map[[sha256.Size]byte]*oauthClient{}, byReference: map[string]*reference{}}
}

// bind gives an entry the credential reference with this name, or none if the name is
// empty. An entry that has this reference already is left as it is.
func (c clients) bind(e *entry, name string) {
	if e.reference.is(name) {
		return
	}
	c.release(e.reference)
	e.reference, e.bypassesRefusals = nil, false
	if name == "" {
		c.assign(e, nil)
		return
	}
	if c.byReference[name] == nil {
		c.byReference[name] = &reference{name: name, client: &oauthClient{isUnread: true}}
	}
	e.reference = c.byReference[name].retain()
	c.assign(e, e.reference.client)
}

// is reports whether a reference has this name. A nil reference has the empty name.
func (r *reference) is(name string) bool { return r == nil && name == "" || r != nil && r.name == name }

// retain counts one more user of the reference, and returns it. Each call needs a call of
// release.
func (r *reference) retain() *reference {
	if r != nil {
		r.users++
	}
	return r
}

// release counts one user of the reference less, and forgets a reference without users.
func (c clients) release(r *reference) {
	if r == nil {
		return
	}
	if r.users--; r.users == 0 {
		delete(c.byReference, r.name)
	}
}

// of returns the client with these credentials.
func (c clients) of(credentials pipedream.Credentials) *oauthClient {
	mac := hmac.New(sha256.New, c.key)
	_, _ = fmt.Fprintf(mac, "%d:%s%s", len(credentials.ClientID), credentials.ClientID, credentials.ClientSecret.Reveal())
	digest := [sha256.Size]byte(mac.Sum(nil))
	if c.byDigest[digest] == nil {
		c.byDigest[digest] = &oauthClient{digest: digest}
	}
	return c.byDigest[digest]
}

// assign gives an entry its client, or none.
func (c clients) assign(e *entry, client *oauthClient) {
	if client != nil {
		client.users++
	}
	if before := e.client; before != nil {
		before.users--
		c.tidy(before)
	}
	e.client = client
}

// tidy forgets a client without users about which nothing is known.
func (c clients) tidy(client *oauthClient) {
	if client.users == 0 && client.refusal == nil && client.isUnproven() {
		delete(c.byDigest, client.digest)
	}
}

// limitRefused and limitAccepted are called after each such answer. So there is at most
// one client too many.
func (c clients) limitRefused() {
	c.forgetOldest(mostRefused, func(client *oauthClient) time.Time { return client.refusedAt })
}

func (c clients) limitAccepted() {
	c.forgetOldest(mostAccepted, func(client *oauthClient) time.Time { return client.acceptedAt })
}

// forgetOldest forgets the answer to the client with the oldest answer of some sort if
// more than the given number of clients have such an answer. The function answeredAt
// returns when a client got such an answer, and the zero time for any other client.
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
		*oldest = oauthClient{digest: oldest.digest, users: oldest.users, readyToSend: oldest.readyToSend, inFlight: oldest.inFlight}
		c.tidy(oldest)
	}
}
