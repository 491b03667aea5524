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

// measureIdle measures a manager that has nothing to do.
func (b *bench) measureIdle(ctx context.Context) error {
	idle, err := b.idleMemory(ctx)
	if err != nil {
		return err
	}
	b.report.add("idle", "resident memory, no PipedreamToken", idle, "MiB", atMost(60).soft())
	return nil
}

// idleMemory returns the resident memory of a manager that has nothing to do. Its heap is
// in idleHeap then.
func (b *bench) idleMemory(ctx context.Context) (mebibytes float64, err error) {
	if b.idle > 0 {
		return b.idle, nil
	}
	// All else that may be there is in other namespaces.
	m, err := b.startManager(ctx, managerOptions{namespaces: []string{systemNamespace}})
	if err != nil {
		return 0, err
	}
	if err := harness.Pause(ctx, settling); err != nil {
		return 0, err
	}
	if b.idle, err = m.memory(resident); err != nil {
		return 0, err
	}
	if b.idleHeap, err = m.heap(ctx); err != nil {
		return 0, err
	}
	return b.idle, b.stopManagers()
}

// measureCreateMany measures what it costs to create very many PipedreamTokens at once,
// beside a manager that watches all namespaces.
func (b *bench) measureCreateMany(ctx context.Context) error {
	_, err := b.fleetOf(ctx, b.options.many, true)
	return err
}

// measureCreate measures what it costs to create many PipedreamTokens at once.
func (b *bench) measureCreate(ctx context.Context) error {
	_, err := b.fleetOf(ctx, b.options.objects, false)
	return err
}

// fleetOf returns the fleet of that size. If there is none it is created, and that is
// measured. It leaves no manager running.
func (b *bench) fleetOf(ctx context.Context, size int, inAllNamespaces bool) (*fleet, error) {
	namespace := fleetName(size)
	if f := b.fleets[namespace]; f != nil {
		return f, nil
	}
	f, err := b.newFleet(ctx, namespace, rightClientSecret)
	if err != nil {
		return nil, err
	}
	var options managerOptions
	if !inAllNamespaces {
		options.namespaces = []string{namespace}
	}
	isMeasured := size == b.options.many || size == b.options.objects
	return f, b.fill(ctx, f, size, options, isMeasured)
}

// fill creates the members of a fleet beside a manager, and returns when all are Ready. It
// leaves no manager running.
func (b *bench) fill(ctx context.Context, f *fleet, size int, options managerOptions, isMeasured bool) error {
	b.say("creating %d objects of kind %s", size, f.kind.name)
	m, err := b.startManager(ctx, options)
	if err != nil {
		return err
	}
	if _, err := m.awaitQuiet(ctx); err != nil {
		return err
	}
	if isMeasured {
		err = b.create(ctx, f, m, size)
	} else {
		err = errors.Join(f.add(ctx, size), f.awaitReady(ctx, m))
	}
	if err != nil {
		return err
	}
	return errors.Join(f.check(ctx), b.stopManagers())
}

// fleetName is the namespace of a fleet of that size.
func fleetName(size int) string { return fmt.Sprintf("fleet-%d", size) }

// create creates the members of a fleet, and measures until all are Ready.
func (b *bench) create(ctx context.Context, f *fleet, m *manager, size int) error {
	before, err := b.use(ctx, m, f)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := f.add(ctx, size); err != nil {
		return err
	}
	created := time.Since(began)
	if err := f.awaitReady(ctx, m); err != nil {
		return err
	}
	took := time.Since(began)
	if _, err := m.awaitQuiet(ctx); err != nil {
		return err
	}
	used, err := b.useSince(ctx, m, f, before)
	if err != nil {
		return err
	}
	of, count, waits := f.kind.caseName("create", size), float64(size), f.waits()
	b.report.add(of, "creating the objects took", created.Seconds(), "s", nil)
	b.report.add(of, "throughput, from the first creation until all are Ready", count/took.Seconds(), "/s", nil)
	b.report.add(of, "creation to "+f.kind.content+" in the Secret, p50", percentile(waits, 50).Seconds(), "s", nil)
	b.report.add(of, "creation to "+f.kind.content+" in the Secret, p99", percentile(waits, 99).Seconds(), "s", nil)
	// Who waits for more than ten seconds is told so, in a status more.
	queued := f.countQueued()
	f.kind.addCreation(&b.report, of, f, used, queued)
	b.report.add(of, "statuses seen that say Queued, per object", float64(queued)/count, "", nil)
	used.requests.addTo(&b.report, of, "object", count)
	b.report.add(of, "CPU of the manager per object", used.cpuPer(count), "ms", nil)
	return b.addMemory(ctx, m, of)
}

// addMemory adds what memory a manager has after a while, and had at most.
func (b *bench) addMemory(ctx context.Context, m *manager, of string) error {
	if err := harness.Pause(ctx, settling); err != nil {
		return err
	}
	memory, err := m.memory(resident)
	if err != nil {
		return err
	}
	peak, err := m.memory(peakResident)
	if err != nil {
		return err
	}
	b.report.add(of, "resident memory afterwards", memory, "MiB", nil)
	b.report.add(of, "resident memory at its peak", peak, "MiB", nil)
	return nil
}
