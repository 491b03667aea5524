// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// triggeredLooks is how many looks a change by a user may cost: the cache may lag behind after the first one.
const triggeredLooks = 2

// looks are looks at the accounts of a project, or looks that something allows.
type looks struct {
	at      time.Time
	project int
	count   int
}

// fetchBudget bounds how often the operator looks at the accounts of each project in a minute, and how many tokens of
// its own it needs for that.
type fetchBudget struct {
	reporter *reporter

	mu sync.Mutex
	// counted is how often each account was looked at, by its ID at Pipedream.
	counted map[string]int
	made    []looks
	// allowed are looks that something else than time asks for.
	allowed []looks
	// most is the largest number of looks in a minute in each project, and total the number of all looks.
	most  [projectCount]int
	total int
	// failures is how many calls for accounts may be answered by a fault.
	failures float64
	// fresh is how many tokens of its own the operator may need beside the renewals, and refused how many of its requests
	// for them may fail, for each OAuth client.
	fresh   int
	refused float64
}

func newFetchBudget(r *reporter) *fetchBudget {
	return &fetchBudget{reporter: r, counted: map[string]int{}}
}

// trigger allows the looks at an account that a change by a user asks for.
func (b *fetchBudget) trigger(account int, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.allowed = append(b.allowed, looks{now, projectOf(account), triggeredLooks})
}

// allowAll allows more looks at each account: after the end of a process or an outage.
func (b *fetchBudget) allowAll(each int, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for project := range projectCount {
		b.allowed = append(b.allowed, looks{now, project, each * accountCount / projectCount})
	}
}

// allowFault allows that calls for accounts fail for a time. Twice as many accounts as are due on average in that time
// fail. Each of them is tried again after one second, and then with a wait that doubles. calls is how many calls an
// attempt may make.
func (b *fetchBudget) allowFault(lasted time.Duration, calls int) {
	seconds := lasted.Seconds()
	due := accountCount * min(1, 2*seconds/watchInterval.Seconds())
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures += math.Ceil(due * float64(calls) * (2 + math.Log2(1+seconds)))
}

// allowBearers allows more tokens of the operator's own, and more failed requests for them, for each OAuth client.
func (b *fetchBudget) allowBearers(fresh int, refused float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fresh += fresh
	b.refused += refused
}

// observe counts the looks since the last call, and checks how many there were in the last minute.
func (b *fetchBudget) observe(counters simulator.AccountCounters, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	made := [projectCount]int{}
	for id, count := range counters.Accounts {
		account, connection := 0, 0
		if n, _ := fmt.Sscanf(id, "apn_chaos%d_%d", &account, &connection); n != 2 || account >= accountCount {
			continue
		}
		more := count.Fetches - b.counted[id]
		if more < 0 {
			more = count.Fetches // The account was deleted and connected again.
		}
		b.counted[id] = count.Fetches
		made[projectOf(account)] += more
	}
	for project, count := range made {
		b.total += count
		b.made = append(b.made, looks{now, project, count})
	}
	b.check(now)
}

// check compares the looks of the last minute with the bound of each project. A look that something asks for may come
// settleTime later.
func (b *fetchBudget) check(now time.Time) {
	isOld := func(age time.Duration) func(looks) bool {
		return func(l looks) bool { return now.Sub(l.at) >= age }
	}
	b.made = slices.DeleteFunc(b.made, isOld(time.Minute))
	b.allowed = slices.DeleteFunc(b.allowed, isOld(time.Minute+settleTime))
	for project := range projectCount {
		count, most := countOf(b.made, project), mostLooksOf(project)+countOf(b.allowed, project)
		b.most[project] = max(b.most[project], count)
		b.reporter.setBreach(count > most, boundedExchanges, projectID(project), "too many looks at its accounts in a minute", fmt.Sprintf("%d, at most %d", count, most))
	}
}

func countOf(all []looks, project int) (count int) {
	for _, l := range all {
		if l.project == project {
			count += l.count
		}
	}
	return count
}

// mostLooksOf returns how often the operator looks at the accounts of a project in any minute at most, unless
// something else than time asks for a look.
func mostLooksOf(project int) (most int) {
	for i := range accountCount {
		if projectOf(i) == project {
			most += mostLooks(i)
		}
	}
	return most
}

// bearers returns how many tokens of its own the operator may have needed for an OAuth client, and how many requests
// for them may have failed. Each process needs a first one, and replaces it after two thirds of its life.
func (b *fetchBudget) bearers(lasted time.Duration, crashes int) (issued, failed float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	renewals := slack * lasted.Seconds() / (bearerLifetime * 2 / 3).Seconds()
	return math.Ceil(renewals) + float64(1+crashes+b.fresh), math.Ceil(b.refused)
}
