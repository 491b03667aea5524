// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

const (
	// patience bounds how long something may take that must come.
	patience = 10 * time.Minute
	// settling is how long a manager is left alone before its memory is looked at.
	settling = 10 * time.Second
)

// unpaced are the flags that let a manager ask for tokens and for accounts as fast as it can.
var unpaced = []string{"--token-requests-per-second=1000", "--token-request-burst=1000", "--account-requests-per-second=1000"}

// manager is a running one.
type manager struct {
	*process
	// started is when it was started, and wasReady when it knew the cluster.
	started, wasReady time.Time
	// profiles is where it serves Go's profiles.
	profiles string
}

// managerOptions say how a manager is started. All may be left out.
type managerOptions struct {
	// namespaces are those to watch.
	namespaces []string
	// server is where it finds the API server, if not at its own address.
	server string
	// environment is added to ours.
	environment []string
	// metrics is where it serves metrics, if that matters, and flags are more flags.
	metrics string
	flags   []string
	// isHolding tells that it holds tokens beside other cases.
	isHolding bool
}

// startManager starts a manager, and returns when it knows the cluster.
func (b *bench) startManager(ctx context.Context, o managerOptions) (*manager, error) {
	prefix := filepath.Join(b.directory, fmt.Sprintf("manager-%d-%d", len(b.managers), time.Now().UnixMilli()))
	kubeconfig := string(b.managerKubeconfig)
	if o.isHolding {
		kubeconfig = string(b.heldKubeconfig)
	}
	if o.server != "" {
		kubeconfig = strings.ReplaceAll(kubeconfig, b.managerConfig.Host, o.server)
	}
	if err := os.WriteFile(prefix+".kubeconfig", []byte(kubeconfig), 0o600); err != nil {
		return nil, fmt.Errorf("write the manager's kubeconfig: %w", err)
	}
	log, err := os.Create(prefix + ".log") //nolint:gosec // In our own folder.
	if err != nil {
		return nil, fmt.Errorf("make the manager's log: %w", err)
	}
	defer func() { _ = log.Close() }()
	probes, probesErr := harness.FreeAddress(ctx)
	profiles, profilesErr := harness.FreeAddress(ctx)
	if err := errors.Join(probesErr, profilesErr); err != nil {
		return nil, err
	}
	if len(o.namespaces) > 0 {
		o.flags = append([]string{"--namespaces=" + strings.Join(o.namespaces, ",")}, o.flags...)
	}
	called := harness.Manager{
		Path: filepath.Join(b.options.binaries, "manager"), Kubeconfig: prefix + ".kubeconfig", Pipedream: b.pipedream.Address,
		Probes: probes, Metrics: cmp.Or(o.metrics, "127.0.0.1:0"), Flags: slices.Concat(unpaced, []string{"--pprof-bind-address=" + profiles}, o.flags),
	}
	command := called.Command()
	command.Environment, command.Output, command.OutlivesInterrupt = o.environment, log, true
	m := &manager{process: &process{}, started: time.Now(), profiles: profiles}
	if m.Process, err = command.Start(context.WithoutCancel(ctx)); err != nil {
		return nil, err
	}
	b.managers = append(b.managers, m)
	err = m.wait().Until(ctx, "the manager to be ready", func() string { return called.Unready(ctx) })
	m.wasReady = time.Now()
	return m, err
}

// wait returns how to wait for a manager.
func (m *manager) wait() harness.Wait {
	return harness.Wait{
		Patience: patience, Every: 20 * time.Millisecond, Process: m.Process,
		Explain: func() string { return "see the manager's log with --keep-logs" },
	}
}

// await returns when something holds. It fails when the manager ends, or after too long.
func (m *manager) await(ctx context.Context, what string, holds func() bool) error {
	return m.wait().Until(ctx, what, harness.Holds(holds))
}

// awaitQuiet returns when the manager was last busy: it has then used next to no CPU
// time for a second.
func (m *manager) awaitQuiet(ctx context.Context) (time.Time, error) {
	const quiet, most = time.Second, 20 * time.Millisecond
	var failed error
	busy := time.Now()
	before, failed := m.cpu()
	err := m.await(ctx, "the manager has nothing to do", func() bool {
		now, err := m.cpu()
		if err != nil {
			failed = err
			return true
		}
		if now-before > most {
			before, busy = now, time.Now()
		}
		return time.Since(busy) > quiet
	})
	return busy, errors.Join(err, failed)
}

// heap returns how much is on the heap after a garbage collection, in MiB.
func (m *manager) heap(ctx context.Context) (mebibytes float64, err error) {
	bytes, err := harness.CollectGarbage(ctx, m.profiles)
	return float64(bytes) / (1 << 20), err
}

// stopManagers stops all managers.
func (b *bench) stopManagers() (failed error) {
	for _, m := range b.managers {
		failed = errors.Join(failed, m.stop())
	}
	b.managers = nil
	return failed
}
