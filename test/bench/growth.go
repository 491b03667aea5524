// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// measureGrowth has managers hold more and more PipedreamTokens, each in a namespace
// of its own, all at the same time. A held token is looked at every five minutes.
func (b *bench) measureGrowth(ctx context.Context) error {
	sizes := []int{0, b.options.objects / 10, b.options.objects, b.options.many}
	fleets := make([]*fleet, len(sizes))
	for i, size := range sizes {
		var err error
		if fleets[i], err = b.fleetOf(ctx, size, false); err != nil {
			return err
		}
	}
	for _, f := range fleets {
		if _, err := b.startManager(ctx, managerOptions{namespaces: []string{f.namespace}}); err != nil {
			return err
		}
	}
	before := make([]time.Duration, len(sizes))
	for i, m := range b.managers {
		_, quietErr := m.awaitQuiet(ctx)
		cpu, err := m.cpu()
		if err := errors.Join(quietErr, err, b.audit.skip()); err != nil {
			return err
		}
		before[i] = cpu
	}
	b.say("holding them for %v", b.options.hold)
	if err := pause(ctx, b.options.hold); err != nil {
		return err
	}
	requests, err := b.audit.take()
	if err != nil {
		return err
	}
	b.report.add("growth", "requests about objects, of all of them", float64(requests.aboutObjects()), "", atMost(0))
	return b.addGrowth(sizes, before)
}

// addGrowth adds what each manager has and uses, and how much that grows with each
// object more than the one before has.
func (b *bench) addGrowth(sizes []int, before []time.Duration) error {
	var fewer, lessMemory, lessLoad float64
	for i, m := range b.managers {
		memory, err := m.memory(resident)
		if err != nil {
			return err
		}
		cpu, err := m.cpu()
		if err != nil {
			return err
		}
		load := (cpu - before[i]).Seconds() / b.options.hold.Seconds() * 1000
		count := float64(sizes[i])
		holding := fmt.Sprintf("%d held: ", sizes[i])
		b.report.add("growth", holding+"resident memory", memory, "MiB", nil)
		b.report.add("growth", holding+"steady CPU", load, "thousandths of a core", nil)
		if i > 0 {
			more := fmt.Sprintf("%.0f to %.0f: ", fewer, count)
			b.report.add("growth", more+"resident memory per object", (memory-lessMemory)*1024/(count-fewer), "KiB", nil)
			b.report.add("growth", more+"steady CPU per 1,000 objects", (load-lessLoad)*1000/(count-fewer), "thousandths of a core", nil)
		}
		fewer, lessMemory, lessLoad = count, memory, load
	}
	return nil
}
