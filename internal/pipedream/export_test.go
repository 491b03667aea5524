// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// RetryAt and ParseToken are what reads an answer.
var RetryAt = retryAt

func ParseToken(body []byte, asked time.Time) (Token, error) {
	return parseToken(answer{status: http.StatusOK, body: body}, asked)
}

// DialWith makes the client connect by another way than the network.
func (c *Client) DialWith(dial func(ctx context.Context, network, address string) (net.Conn, error)) {
	c.transport.DialContext = dial
}

// UseProxy makes the client use a proxy, also for addresses on this machine.
func (c *Client) UseProxy(proxy *url.URL) { c.transport.Proxy = http.ProxyURL(proxy) }

// Check returns an error when what a gate keeps of the same thing in several places
// differs.
func (g *Gate) Check() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	queued, promised := 0, 0
	users, promises := map[*oauthClient]int{}, map[*oauthClient]int{}
	for asker, p := range g.places {
		if p.asker != asker {
			return fmt.Errorf("the place of %v is one of %v", asker, p.asker)
		}
		if p.turn == noTurn {
			queued++
		}
		if p.turn == promisedTurn {
			promised++
			promises[p.client]++
		}
		if p.client == nil || !p.client.isUnread {
			users[p.client]++
		}
	}
	for _, p := range g.given {
		if g.places[p.asker] != p || p.turn == noTurn {
			return fmt.Errorf("%v is given a turn that it has not", p.asker)
		}
	}
	switch inQueue, err := g.queue.count(); {
	case err != nil:
		return err
	case inQueue != queued:
		return fmt.Errorf("%d are in the queue, and %d have no turn", inQueue, queued)
	case queued+len(g.given) != len(g.places):
		return fmt.Errorf("%d are in the queue, %d have a turn, and %d have a place", queued, len(g.given), len(g.places))
	case promised != g.promised:
		return fmt.Errorf("%d turns are promised, and %d are counted", promised, g.promised)
	}
	inFlight := 0
	for digest, client := range g.clients.byDigest {
		inFlight += client.inFlight
		if client.digest != digest || client.promised != promises[client] || client.users != users[client]+client.inFlight {
			return fmt.Errorf("of a client %d turns are promised, and it has %d users: %+v", promises[client], users[client], client)
		}
		if client.users == 0 && client.refusal == nil && client.isNew() {
			return errors.New("a client is remembered for nothing")
		}
		delete(users, client)
	}
	delete(users, nil)
	if len(users) > 0 {
		return fmt.Errorf("%d clients are waited for, and not remembered", len(users))
	}
	if err := g.checkSources(); err != nil {
		return err
	}
	if inFlight > g.inFlight || g.inFlight < 0 || g.inFlight > g.options.InFlight {
		return fmt.Errorf("%d requests are on their way, and %d for clients", g.inFlight, inFlight)
	}
	return nil
}

func (g *Gate) checkSources() error {
	places := map[*source]int{}
	for _, p := range g.places {
		if p.source != nil && p.turn == noTurn && p.client == nil {
			return fmt.Errorf("%v has a source and no client", p.asker)
		}
		places[p.source]++
	}
	delete(places, nil)
	inFlight := 0
	for name, s := range g.clients.byName {
		if s.name != name || s.users < max(1, places[s]) || s.client == nil {
			return fmt.Errorf("a source is remembered for %d users, and %d have a place: %+v", s.users, places[s], s)
		}
		inFlight += s.users - places[s]
		delete(places, s)
	}
	if len(places) > 0 || inFlight > g.inFlight {
		return fmt.Errorf("%d sources are not remembered; they have %d requests on their way of %d", len(places), inFlight, g.inFlight)
	}
	return nil
}

func (q *queue) count() (int, error) {
	count := 0
	for lane, groups := range q.lanes {
		for _, g := range groups {
			if len(g.places) == 0 || !slices.IsSortedFunc(g.places, func(a, b *place) int { return cmp.Compare(a.order, b.order) }) {
				return 0, fmt.Errorf("lane %d has group %s, which is empty or out of order", lane, g.name)
			}
			count += len(g.places)
		}
	}
	return count, nil
}

// Places returns how many have a place at the gate, InFlight how many requests are
// on their way, and Clients how many OAuth clients are remembered.
func (g *Gate) Places() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.places)
}

func (g *Gate) InFlight() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inFlight
}

func (g *Gate) Clients() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.clients.byDigest)
}
