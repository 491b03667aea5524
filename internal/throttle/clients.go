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
// at most, and of their requests. A request that fails counts as refused.
const (
	mostRefused  = 1024
	mostAccepted = 8192
)

// clients holds what a Limiter remembers about OAuth clients and their requests. The key of
// a client is a digest of its credentials, and the key of a request is a digest of its
// client and scopes. Nobody can compute them after this process has ended.
type clients struct {
	key         []byte
	byDigest    map[[sha256.Size]byte]*oauthClient
	byReference map[string]*reference
	requests    map[[sha256.Size]byte]*request
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
	return clients{
		key:         []byte(rand.Text()),
		byDigest:    map[[sha256.Size]byte]*oauthClient{},
		byReference: map[string]*reference{},
		requests:    map[[sha256.Size]byte]*request{},
	}
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
	digest := c.digestOf(credentials.ClientID, credentials.ClientSecret.Reveal())
	if c.byDigest[digest] == nil {
		c.byDigest[digest] = &oauthClient{digest: digest}
	}
	return c.byDigest[digest]
}

func (c clients) digestOf(first, second string) [sha256.Size]byte {
	mac := hmac.New(sha256.New, c.key)
	_, _ = fmt.Fprintf(mac, "%d:%s%s", len(first), first, second)
	return [sha256.Size]byte(mac.Sum(nil))
}

// assign gives an entry its client, or none, and its request.
func (c clients) assign(e *entry, client *oauthClient) {
	if client != nil {
		client.users++
	}
	if before := e.client; before != nil {
		before.users--
		c.tidy(before)
	}
	e.client = client
	c.assignRequest(e)
}

// assignRequest gives an entry the request with its client and its scopes, or none if the
// client is not known. Without credentials, it is the request of the entry's group.
func (c clients) assignRequest(e *entry) {
	switch {
	case e.client == nil:
		c.setRequest(e, c.requestOf("", e.requester.Group))
	case e.client.isUnread:
		c.setRequest(e, nil)
	default:
		c.setRequest(e, c.requestOf(string(e.client.digest[:]), e.scopes))
	}
}

// requestOf returns the request with this client, or with none if that is empty.
func (c clients) requestOf(client, scopes string) *request {
	digest := c.digestOf(client, scopes)
	if c.requests[digest] == nil {
		c.requests[digest] = &request{digest: digest, isOfGroup: client == ""}
	}
	return c.requests[digest]
}

// forget takes the reference, the client and the request from an entry that is dropped.
func (c clients) forget(e *entry) {
	c.bind(e, "")
	c.assign(e, nil)
	c.setRequest(e, nil)
}

// setRequest gives an entry a request, or none.
func (c clients) setRequest(e *entry, next *request) {
	if next != nil {
		next.users++
	}
	if before := e.request; before != nil {
		before.users--
		c.tidyRequest(before)
	}
	e.request = next
}

// tidy forgets a client without users about which nothing is known.
func (c clients) tidy(client *oauthClient) {
	if client.users == 0 && client.refusal == nil && client.isUnproven() {
		delete(c.byDigest, client.digest)
	}
}

// tidyRequest forgets a request without users about which nothing is known.
func (c clients) tidyRequest(r *request) {
	if r.users == 0 && !r.isRemembered() {
		delete(c.requests, r.digest)
	}
}

// limitRefused and limitAccepted are called after each such answer. So there is at most
// one client too many, and one request.
func (c clients) limitRefused() {
	if client := oldest(c.byDigest, mostRefused, func(client *oauthClient) time.Time { return client.refusedAt }); client != nil {
		client.forget()
		c.tidy(client)
	}
	if r := oldest(c.requests, mostRefused, (*request).troubledAt); r != nil {
		r.forget()
		r.succeed()
		c.tidyRequest(r)
	}
}

func (c clients) limitAccepted() {
	if client := oldest(c.byDigest, mostAccepted, func(client *oauthClient) time.Time { return client.acceptedAt }); client != nil {
		client.forget()
		c.tidy(client)
	}
	if r := oldest(c.requests, mostAccepted, func(r *request) time.Time { return r.acceptedAt }); r != nil {
		r.forget()
		c.tidyRequest(r)
	}
}

// oldest returns the element with the oldest answer of some sort if more than the given
// number of elements have such an answer, and otherwise the zero value. The function
// answeredAt returns when an element got such an answer, and the zero time for any other.
func oldest[T any](elements map[[sha256.Size]byte]*T, most int, answeredAt func(*T) time.Time) *T {
	if len(elements) <= most {
		return nil
	}
	var count int
	var found *T
	for _, element := range elements {
		if answeredAt(element).IsZero() {
			continue
		}
		count++
		if found == nil || answeredAt(element).Before(answeredAt(found)) {
			found = element
		}
	}
	if count <= most {
		return nil
	}
	return found
}
