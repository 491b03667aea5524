// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// waveRounds is how often the tokens are renewed.
const waveRounds = 3

// measureWave has tokens that were issued together, and live shortly, renewed a few
// times.
func (b *bench) measureWave(ctx context.Context) error {
	life := b.options.life
	if err := b.pipedream.setLife(ctx, life); err != nil {
		return err
	}
	defer func() { _ = b.pipedream.setLife(ctx, time.Hour) }()
	f, err := b.newFleet(ctx, "wave", rightClientSecret)
	if err != nil {
		return err
	}
	m, err := b.startManager(ctx, managerOptions{namespaces: []string{f.namespace}})
	if err != nil {
		return err
	}
	if err := errors.Join(f.add(ctx, b.options.objects), f.awaitReady(ctx, m)); err != nil {
		return err
	}
	before, err := b.use(ctx, m, f)
	if err != nil {
		return err
	}
	_, tokensBefore := f.issued(0)
	if err := f.awaitIssued(ctx, m, 1+waveRounds); err != nil {
		return err
	}
	if _, err := m.awaitQuiet(ctx); err != nil { // The last statuses.
		return err
	}
	used, err := b.useSince(ctx, m, f, before)
	if err != nil {
		return err
	}
	_, tokens := f.issued(0)
	renewals := float64(tokens - tokensBefore)
	of := fmt.Sprintf("wave of %d", f.size)
	b.report.add(of, fmt.Sprintf("renewals seen, in %d rounds; tokens live", waveRounds)+" "+life.String(), renewals, "", nil)
	b.report.add(of, "exchanges per renewal", float64(used.exchanges)/renewals, "", atMost(1))
	b.report.add(of, "requests per renewal", float64(used.requests.aboutObjects())/renewals, "", atMost(3))
	used.requests.addTo(&b.report, of, "renewal", renewals)
	b.report.add(of, "CPU of the manager per renewal", used.cpuPer(renewals), "ms", nil)
	for round := 1; round <= waveRounds; round++ {
		b.report.add(of, fmt.Sprintf("round %d: busiest second / mean of the jitter window", round), f.peakToMean(round, life), "", atMost(1.5))
	}
	b.report.add(of, "least life left that a token in a Secret ever had", f.leastLeft.Seconds(), "s", nil)
	return nil
}

// peakToMean returns how many renewals of a round the busiest second has, compared
// with as many in each second of the jitter window. That is a tenth of the life in the
// first round, and wider by as much in each later one.
func (f *fleet) peakToMean(round int, life time.Duration) float64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	bySecond := map[int64]int{}
	peak := 0
	for _, m := range f.members {
		if len(m.issued) > round {
			second := m.issued[round].Unix()
			bySecond[second]++
			peak = max(peak, bySecond[second])
		}
	}
	window := life.Seconds() / 10 * float64(round)
	return float64(peak) / (float64(len(f.members)) / window)
}
