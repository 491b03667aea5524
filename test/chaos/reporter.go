// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"
)

// invariant is a promise of the operator that the run checks.
type invariant int

// The invariants, in the order of docs/development.md.
const (
	liveToken invariant = iota + 1
	trueStatus
	boundedExchanges
	noLeak
	oneSecret
	finalState
)

var invariants = map[invariant]string{
	liveToken:        "each Secret holds a live token or live credentials",
	trueStatus:       "Ready is true to the Secret",
	boundedExchanges: "exchanges and fetches are within their bound",
	noLeak:           "nothing secret is written",
	oneSecret:        "one Secret each, and none left over",
	finalState:       "all is well in the end",
}

// shownBreaches is how many breaches of each invariant are printed. Later ones are only counted.
const shownBreaches = 20

// reporter prints and counts disturbances and breaches.
type reporter struct {
	mu           sync.Mutex
	out          io.Writer
	began        time.Time
	breaches     map[invariant]int
	open         map[string]bool
	disturbances map[kind]int
	notes        []string
}

func newReporter(out io.Writer) *reporter {
	return &reporter{
		out: out, began: time.Now(), breaches: map[invariant]int{}, open: map[string]bool{}, disturbances: map[kind]int{},
	}
}

// printf prints a line that begins with the time of day and the seconds since the start of the run.
func (r *reporter) printf(format string, arguments ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.write(fmt.Sprintf(format, arguments...))
}

func (r *reporter) write(text string) {
	since := time.Since(r.began).Round(100 * time.Millisecond)
	_, _ = fmt.Fprintf(r.out, "%s %6.1fs  %s\n", time.Now().UTC().Format(time.TimeOnly), since.Seconds(), text)
}

// recordDisturbance counts and prints a disturbance.
func (r *reporter) recordDisturbance(a action) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.disturbances[a.kind]++
	r.write(a.String())
}

// setBreach records that a breach began (broken) or ended. A breach that goes on is counted and printed once.
// The invariant, the object and the description together identify the breach.
func (r *reporter) setBreach(broken bool, of invariant, object, description, detail string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := fmt.Sprint(of, object, description)
	if !broken {
		delete(r.open, key)
		return
	}
	if r.open[key] {
		return
	}
	r.open[key] = true
	r.breaches[of]++
	text := fmt.Sprintf("BREACH of %d (%s): %s: %s", of, invariants[of], object, description)
	if detail != "" {
		text += ": " + detail
	}
	if r.breaches[of] <= shownBreaches {
		r.write(text)
		r.notes = append(r.notes, text)
	}
}

// breachCount returns the number of breaches of all invariants.
func (r *reporter) breachCount() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	sum := 0
	for _, count := range r.breaches {
		sum += count
	}
	return sum
}

// disturbanceCounts returns the kinds of disturbances in alphabetical order, and how often each happened.
func (r *reporter) disturbanceCounts() (kinds []kind, counts map[kind]int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.disturbances)), maps.Clone(r.disturbances)
}
