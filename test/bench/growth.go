// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// holding are managers that hold more and more PipedreamTokens, each in a namespace of
// its own, all at the same time.
type holding struct {
	sizes    []int
	managers []*manager
	// since is when they began to have nothing to do, and used the CPU time of each
	// until then.
	since time.Time
	used  []time.Duration
}

// beginHolding has managers hold tokens until measureGrowth.
func (b *bench) beginHolding(ctx context.Context) error {
	h := &holding{sizes: []int{0, b.options.objects / 10, b.options.objects, b.options.many}}
	for _, size := range h.sizes {
		if _, err := b.fleetOf(ctx, size, false); err != nil {
			return err
		}
	}
	b.held = h
	for _, size := range h.sizes {
		m, err := b.startManager(ctx, managerOptions{namespaces: []string{fleetName(size)}, isHolding: true})
		h.managers, b.managers = append(h.managers, b.managers...), nil
		if err != nil {
			return err
		}
		if _, err := m.awaitQuiet(ctx); err != nil {
			return err
		}
	}
	for _, m := range h.managers {
		cpu, err := m.cpu()
		if err != nil {
			return err
		}
		h.used = append(h.used, cpu)
	}
	if err := b.audit.skip(); err != nil {
		return err
	}
	if len(b.audit.held.byCall) == 0 {
		return errors.New("the API server does not tell them from other managers")
	}
	b.audit.held = requests{}
	h.since = time.Now()
	return nil
}

// measureGrowth measures what holding tokens has cost. A current token is looked at every
// five minutes.
func (b *bench) measureGrowth(ctx context.Context) error {
	if b.held == nil || b.held.since.IsZero() {
		return errors.New("no tokens are held")
	}
	held := time.Since(b.held.since)
	if held < b.options.hold {
		b.say("holding them for another %v", (b.options.hold - held).Round(time.Second))
		if err := harness.Pause(ctx, b.options.hold-held); err != nil {
			return err
		}
	}
	if err := b.audit.skip(); err != nil {
		return err
	}
	requests := b.audit.held
	b.report.add("growth", "requests about objects, of all of them", float64(requests.aboutObjects()), "", atMost(0))
	return errors.Join(b.addGrowth(), b.stopHeld())
}

// addGrowth adds what each manager has and uses, and how much that grows with each
// object more than the one before has.
func (b *bench) addGrowth() error {
	var fewer, lessMemory, lessLoad float64
	period := time.Since(b.held.since).Seconds()
	for i, m := range b.held.managers {
		memory, err := m.memory(resident)
		if err != nil {
			return err
		}
		cpu, err := m.cpu()
		if err != nil {
			return err
		}
		load := (cpu - b.held.used[i]).Seconds() / period * 1000
		count := float64(b.held.sizes[i])
		name := fmt.Sprintf("%.0f held: ", count)
		b.report.add("growth", name+"resident memory", memory, "MiB", nil)
		b.report.add("growth", name+"steady CPU", load, "thousandths of a core", nil)
		if i > 0 {
			more := fmt.Sprintf("%.0f to %.0f: ", fewer, count)
			b.report.add("growth", more+"resident memory per object", (memory-lessMemory)*1024/(count-fewer), "KiB", nil)
			b.report.add("growth", more+"steady CPU per 1,000 objects", (load-lessLoad)*1000/(count-fewer), "thousandths of a core", nil)
		}
		fewer, lessMemory, lessLoad = count, memory, load
	}
	return nil
}

// stopHeld stops the managers that hold tokens, if there are any.
func (b *bench) stopHeld() (failed error) {
	if b.held == nil {
		return nil
	}
	for _, m := range b.held.managers {
		failed = errors.Join(failed, m.stop())
	}
	b.held = nil
	return failed
}
