// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"slices"
	"time"
)

const (
	// shortSickness bounds how long an account is dead or deleted in the last burst. longSicknessEnd is how long before
	// the end of any other cycle it is connected again: the run then evaluates in the calm what the status says.
	shortSickness   = 8 * time.Second
	longSicknessEnd = 5 * time.Second
	// longLockEnd is how long before that end an API key is replaced: in the calm the run then evaluates, too, whether the
	// operator uses the new key at once.
	longLockEnd = keyDelay + 2*tolerance
	// shapeCount is the number of shapes in accountShapes.
	shapeCount = 4
)

// fetches draws faults that affect PipedreamAccounts only.
func (d *draw) fetches(from, until time.Duration) {
	for at := from + d.between(0, 2*time.Second); ; {
		a := action{at: at, kind: d.next("fetches", fetchKinds), variant: d.random.IntN(shapeCount)}
		switch a.kind {
		case bearersRevoked, answersReshaped:
		case fetchesTooSlow:
			a.last = d.between(4*time.Second, 6*time.Second)
		default:
			a.last = d.between(1500*time.Millisecond, 4*time.Second)
		}
		switch a.kind {
		case fetchesThrottled:
			a.retryAfter = 1 + d.random.IntN(4)
		case bearersRefused, bearersRevoked:
			a.client = d.random.IntN(readerCount)
		}
		if at += a.last + d.between(500*time.Millisecond, 2*time.Second); at > until {
			d.putBack("fetches", a.kind)
			return
		}
		d.actions = append(d.actions, a)
	}
}

// accounts draws actions of users with accounts, in a burst of a cycle that ends later. isLast says whether it is the
// last cycle, in which all accounts must be well for the whole calm.
func (d *draw) accounts(from, until, cycleEnd time.Duration, isLast bool) {
	for at := from + d.between(0, 2*time.Second); at < until; at += d.between(1500*time.Millisecond, 4*time.Second) {
		a := action{at: at, kind: d.next("accounts", accountKinds), variant: d.random.IntN(2)}
		count := 2 + d.random.IntN(3)
		switch a.kind {
		case accountDied, accountDeleted, keyReplaced:
			end := longSicknessEnd
			if a.kind == keyReplaced {
				end = longLockEnd
			}
			if a.last = cycleEnd - end - at; isLast {
				a.last = d.between(shortSickness/2, shortSickness)
			}
		case accountSuspended:
			a.last = d.between(2*time.Second, 5*time.Second)
		}
		if a.kind == keyReplaced {
			if a.client, a.objects = d.pickKey(a); a.client == none {
				d.decks["accounts"] = append(d.decks["accounts"], a.kind) // Drawn later.
			}
		} else {
			a.objects = d.pickAccounts(count, a)
		}
		if len(a.objects) > 0 {
			d.actions = append(d.actions, a)
		}
	}
}

// pickAccounts returns some of the accounts that no action disturbs at that time, in ascending order. It takes the
// accounts with the fewest actions.
func (d *draw) pickAccounts(count int, a action) []int {
	accounts := slices.DeleteFunc(d.random.Perm(accountCount), func(i int) bool { return d.busyUntil[i] > a.at })
	slices.SortStableFunc(accounts, func(a, b int) int { return cmp.Compare(d.looks[a], d.looks[b]) })
	accounts = accounts[:min(count, len(accounts))]
	d.occupy(accounts, a)
	slices.Sort(accounts)
	return accounts
}

// pickKey returns an API key, and the accounts that are read with it, none of which an action disturbs at that time. The
// key is none if there is no such key.
func (d *draw) pickKey(a action) (key int, accounts []int) {
	for _, key := range d.random.Perm(keyCount) {
		accounts := keyedBy(key)
		if !slices.ContainsFunc(accounts, func(i int) bool { return d.busyUntil[i] > a.at }) {
			d.occupy(accounts, a)
			return key, accounts
		}
	}
	return none, nil
}

// occupy records that an action disturbs accounts.
func (d *draw) occupy(accounts []int, a action) {
	for _, i := range accounts {
		d.looks[i]++
		d.busyUntil[i] = a.at + a.last + settleTime
	}
}
