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

// invariant is a promise of the operator that is checked.
type invariant int

// The invariants, in the order of docs/development.md.
const (
	liveToken invariant = iota + 1
	trueStatus
	fewExchanges
	nothingSecret
	oneSecret
	goodEnd
)

var invariants = map[invariant]string{
	liveToken:     "each Secret holds a live token",
	trueStatus:    "Ready is true to the Secret",
	fewExchanges:  "exchanges are within their bound",
	nothingSecret: "nothing secret is written",
	oneSecret:     "one Secret each, and none left over",
	goodEnd:       "all is well in the end",
}

// shownBreaches is how many breaches of an invariant are told one by one.
const shownBreaches = 20

// diary tells what happens, and counts it.
type diary struct {
	mu           sync.Mutex
	out          io.Writer
	began        time.Time
	breaches     map[invariant]int
	open         map[string]bool
	disturbances map[kind]int
	notes        []string
}

func newDiary(out io.Writer) *diary {
	return &diary{
		out: out, began: time.Now(), breaches: map[invariant]int{}, open: map[string]bool{}, disturbances: map[kind]int{},
	}
}

// say tells something, with the time since the beginning.
func (d *diary) say(format string, arguments ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.write(fmt.Sprintf(format, arguments...))
}

func (d *diary) write(text string) {
	since := time.Since(d.began).Round(100 * time.Millisecond)
	_, _ = fmt.Fprintf(d.out, "%s %6.1fs  %s\n", time.Now().UTC().Format(time.TimeOnly), since.Seconds(), text)
}

// did counts and tells a disturbance.
func (d *diary) did(a action) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.disturbances[a.kind]++
	d.write(a.String())
}

// judge records a breach, once for as long as it goes on. What says which of the
// breaches of that invariant it is.
func (d *diary) judge(broken bool, of invariant, who, what, detail string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := fmt.Sprint(of, who, what)
	if !broken {
		delete(d.open, key)
		return
	}
	if d.open[key] {
		return
	}
	d.open[key] = true
	d.breaches[of]++
	text := fmt.Sprintf("BREACH of %d (%s): %s: %s", of, invariants[of], who, what)
	if detail != "" {
		text += ": " + detail
	}
	if d.breaches[of] <= shownBreaches {
		d.write(text)
		d.notes = append(d.notes, text)
	}
}

// breached returns how many breaches there were.
func (d *diary) breached() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	sum := 0
	for _, count := range d.breaches {
		sum += count
	}
	return sum
}

// counts returns lines with the disturbances by kind.
func (d *diary) counts() (kinds []kind, counts map[kind]int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.disturbances)), maps.Clone(d.disturbances)
}
