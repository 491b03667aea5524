// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// measureRestart measures a manager that starts where many good tokens are held.
func (b *bench) measureRestart(ctx context.Context) error {
	f, err := b.fleetOf(ctx, b.options.many, true)
	if err != nil {
		return err
	}
	return b.restart(ctx, f)
}

// restart starts a manager, and measures what that costs where the Secrets of all members of a fleet
// hold what they should.
func (b *bench) restart(ctx context.Context, f *fleet) error {
	idle, err := b.idleMemory(ctx)
	if err != nil {
		return err
	}
	before, err := b.use(ctx, nil, f)
	if err != nil {
		return err
	}
	m, err := b.startManager(ctx, managerOptions{namespaces: b.namespacesFor(f)})
	if err != nil {
		return err
	}
	caughtUp, err := m.awaitQuiet(ctx)
	if err != nil {
		return err
	}
	cpu, err := m.cpu()
	if err != nil {
		return err
	}
	if err := harness.Pause(ctx, settling); err != nil {
		return err
	}
	used, err := b.useSince(ctx, m, f, before)
	if err != nil {
		return err
	}
	heap, err := m.heap(ctx)
	if err != nil {
		return err
	}
	of := f.kind.caseName("restart with", f.size)
	b.report.add(of, "exchanges", float64(used.exchanges), "", atMost(0))
	b.report.add(of, "requests for accounts at Pipedream", float64(used.fetches), "", atMost(0))
	b.report.add(of, "reads of Secrets", float64(used.requests.byCall[getSecrets]), "", atMost(0))
	b.report.add(of, "writes", float64(used.requests.writes()), "", atMost(0))
	b.report.add(of, "all requests about objects", float64(used.requests.aboutObjects()), "", nil)
	b.report.add(of, "from the start to /readyz", m.wasReady.Sub(m.started).Seconds(), "s", nil)
	b.report.add(of, "from the start until nothing is left to do", caughtUp.Sub(m.started).Seconds(), "s", nil)
	b.report.add(of, "CPU until then", cpu.Seconds(), "s", nil)
	b.report.add(of, "resident memory", used.memory, "MiB", nil)
	b.report.add(of, "resident memory at its peak", used.peak, "MiB", nil)
	b.report.add(of, "resident memory per object, above idle", (used.memory-idle)*1024/float64(f.size), "KiB", atMost(15).soft())
	b.report.add(of, "heap after a garbage collection, per object, above idle", (heap-b.idleHeap)*1024/float64(f.size), "KiB", nil)
	return b.stopManagers()
}

// namespacesFor returns the namespaces for a manager that is to see one fleet: all,
// when there is no other.
func (b *bench) namespacesFor(f *fleet) []string {
	if len(b.fleets) == 1 {
		return nil
	}
	return []string{f.namespace}
}
