// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Check returns an error if two parts of the Limiter that describe the same thing differ.
func (l *Limiter) Check() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.schedule.check()
}

func (s *schedule) check() error {
	queued, ready := 0, 0
	users, readyToSendWith := map[*oauthClient]int{}, map[*oauthClient]int{}
	for requester, e := range s.entries {
		if e.requester != requester {
			return fmt.Errorf("the entry of %v is one of %v", requester, e.requester)
		}
		if e.state == waiting {
			queued++
		}
		if e.state == readyToSend {
			ready++
			readyToSendWith[e.client]++
		}
		if e.client == nil || !e.client.isUnread {
			users[e.client]++
		}
	}
	for _, e := range s.turns.given {
		if s.entries[e.requester] != e || e.state == waiting {
			return fmt.Errorf("%v is given a turn that it has not", e.requester)
		}
	}
	switch inQueue, err := s.queue.count(); {
	case err != nil:
		return err
	case inQueue != queued:
		return fmt.Errorf("%d are in the queue, and %d have no turn", inQueue, queued)
	case queued+len(s.turns.given) != len(s.entries):
		return fmt.Errorf("%d are in the queue, %d have a turn, and %d have a ticket", queued, len(s.turns.given), len(s.entries))
	case ready != s.turns.readyToSend:
		return fmt.Errorf("%d are ready to send, and %d are counted", ready, s.turns.readyToSend)
	}
	if err := s.checkClients(users, readyToSendWith); err != nil {
		return err
	}
	if err := s.checkRequests(); err != nil {
		return err
	}
	return s.checkReferences()
}

func (s *schedule) checkClients(users, readyToSend map[*oauthClient]int) error {
	inFlight := 0
	for digest, client := range s.clients.byDigest {
		inFlight += client.inFlight
		if client.digest != digest || client.readyToSend != readyToSend[client] || client.users != users[client]+client.inFlight {
			return fmt.Errorf("%d are ready to send with a client, and it has %d users: %+v", readyToSend[client], users[client], client)
		}
		if client.users == 0 && client.refusal == nil && client.isUnproven() {
			return errors.New("a client is remembered for nothing")
		}
		delete(users, client)
	}
	delete(users, nil)
	if len(users) > 0 {
		return fmt.Errorf("%d clients are waited for, and not remembered", len(users))
	}
	if inFlight > len(s.flights) || len(s.flights) > s.options.InFlight {
		return fmt.Errorf("%d requests are on their way, and %d for clients", len(s.flights), inFlight)
	}
	return nil
}

func (s *schedule) checkRequests() error {
	users, ready := map[*request]int{}, map[*request]int{}
	for _, e := range s.entries {
		if (e.request != nil) != (e.client == nil || !e.client.isUnread) {
			return fmt.Errorf("%v has the client %v and the request %v", e.requester, e.client, e.request)
		}
		users[e.request]++
		if e.state == readyToSend {
			ready[e.request]++
		}
	}
	for _, f := range s.flights {
		users[f.request]++
	}
	delete(users, nil)
	troubled := 0
	for digest, r := range s.clients.requests {
		if r.digest != digest || r.users != users[r] || r.readyToSend != ready[r] {
			return fmt.Errorf("%d send a request, and it has %d users: %+v", users[r], r.users, r)
		}
		if r.users == 0 && !r.isRemembered() {
			return errors.New("a request is remembered for nothing")
		}
		if !r.troubledAt().IsZero() {
			troubled++
		}
		delete(users, r)
	}
	if len(users) > 0 || troubled > mostRefused {
		return fmt.Errorf("%d requests are not remembered, and %d are in trouble", len(users), troubled)
	}
	return nil
}

func (s *schedule) checkReferences() error {
	entries := map[*reference]int{}
	for _, e := range s.entries {
		if e.reference != nil && e.state == waiting && e.client == nil {
			return fmt.Errorf("%v has a reference and no client", e.requester)
		}
		entries[e.reference]++
	}
	delete(entries, nil)
	inFlight := 0
	for name, r := range s.clients.byReference {
		if r.name != name || r.users < max(1, entries[r]) || r.client == nil {
			return fmt.Errorf("a reference is remembered for %d users, and %d have a ticket: %+v", r.users, entries[r], r)
		}
		inFlight += r.users - entries[r]
		delete(entries, r)
	}
	if len(entries) > 0 || inFlight > len(s.flights) {
		return fmt.Errorf("%d references are not remembered; they have %d requests on their way of %d", len(entries), inFlight, len(s.flights))
	}
	return nil
}

func (q *queue) count() (int, error) {
	count := 0
	for row, groups := range q.rows {
		if len(groups.inOrder) != len(groups.byName) || !slices.IsSortedFunc(groups.inOrder, func(a, b *group) int { return cmp.Compare(a.turn, b.turn) }) {
			return 0, fmt.Errorf("row %d has groups out of order, or %d of them by name", row, len(groups.byName))
		}
		for _, g := range groups.inOrder {
			if len(g.lines) == 0 || groups.byName[g.name] != g {
				return 0, fmt.Errorf("row %d has group %s, which is empty or has another name", row, g.name)
			}
			for sender, l := range g.lines {
				if l.group != g || l.sender != sender || len(l.entries) == 0 ||
					!slices.IsSortedFunc(l.entries, func(a, b *entry) int { return cmp.Compare(a.order, b.order) }) {
					return 0, fmt.Errorf("row %d has group %s, with a line that is empty or out of order", row, g.name)
				}
				for _, e := range l.entries {
					if e.line != l || e.sender() != sender || e.requester.Group != g.name || int(e.row) != row {
						return 0, fmt.Errorf("%v waits in a line that is not its own", e.requester)
					}
				}
				count += len(l.entries)
			}
		}
	}
	return count, nil
}

// Tickets returns how many requesters have a ticket.
func (l *Limiter) Tickets() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.schedule.entries)
}

// InFlight returns how many requests are on their way.
func (l *Limiter) InFlight() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.schedule.flights)
}

// Clients returns how many OAuth clients are remembered.
func (l *Limiter) Clients() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.schedule.clients.byDigest)
}

// Requests returns how many requests with the same credentials and scopes are remembered.
func (l *Limiter) Requests() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.schedule.clients.requests)
}

// Count returns how many projects have a limiter of their own.
func (p *Projects) Count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.projects)
}
