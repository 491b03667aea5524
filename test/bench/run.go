// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// measurement is a case: what it is called, and what measures it.
type measurement struct {
	name    string
	measure func(*bench, context.Context) error
}

// measurements are all cases, in the order in which they are measured. The first ones
// find nothing else on the API server; the later ones have a namespace to themselves.
func measurements() []measurement {
	return []measurement{
		{"idle", (*bench).measureIdle},
		{"createmany", (*bench).measureCreateMany},
		{"restart", (*bench).measureRestart},
		{"scrape", (*bench).measureScrape},
		{"reworded", (*bench).measureReworded},
		{"create", (*bench).measureCreate},
		{"floor", (*bench).measureFloor},
		{"wave", (*bench).measureWave},
		{"accounts", (*bench).measureAccounts},
		// Tokens are held for long, while cases are measured in which time counts for little.
		{"growth", (*bench).beginHolding},
		{"badclient", (*bench).measureBadClient},
		{"badscope", (*bench).measureBadScope},
		{"latecache", (*bench).measureLateCache},
		{"neighbours", (*bench).measureNeighbours},
		{"junk", (*bench).measureJunk},
		{"growth", (*bench).measureGrowth},
	}
}

// chosen returns the cases that were asked for.
func chosen(only string) ([]measurement, error) {
	all := measurements()
	if only == "" {
		return all, nil
	}
	var names []string
	for _, m := range all {
		names = append(names, m.name)
	}
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	wanted := strings.Split(only, ",")
	for _, name := range wanted {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("there is no case %q, but %s", name, strings.Join(names, ", "))
		}
	}
	return slices.DeleteFunc(all, func(m measurement) bool { return !slices.Contains(wanted, m.name) }), nil
}

// run measures, prints the table and writes the JSON. It returns how many budgets were
// missed that are a count or a ratio.
func run(ctx context.Context, o options, out io.Writer) (missed int, err error) {
	cases, err := chosen(o.only)
	if err != nil {
		return 0, err
	}
	b := &bench{options: o, out: out, began: time.Now()}
	defer func() { err = errors.Join(err, b.tearDown()) }()
	if err := b.setUp(ctx); err != nil {
		return 0, err
	}
	var failed error
	for _, m := range cases {
		b.say("%s", m.name)
		if err := errors.Join(m.measure(b, ctx), b.stopManagers()); err != nil {
			b.say("failed: %v", err)
			failed = errors.Join(failed, fmt.Errorf("%s: %w", m.name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return b.report.missed(), errors.Join(failed, b.report.write(out, o.json, b.began))
}
