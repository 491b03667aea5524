// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

const (
	// stopTimeout is how long a manager may take to end after a signal.
	stopTimeout = 30 * time.Second
	// restartDelay is how long supervise waits before it starts a manager again that ended unexpectedly. A
	// kubelet waits too.
	restartDelay = time.Second
	// tailLines is how many of a manager's last log lines are kept, to show them when it ends unexpectedly.
	tailLines = 5
)

// manager is one replica of the operator. supervise starts it again whenever it ends.
type manager struct {
	name     string
	call     harness.Manager
	logs     string
	leaks    *leaks
	reporter *reporter

	mu      sync.Mutex
	current *harness.Process
	leads   bool
	starts  int
	tail    []string
	// away is how long the manager stays stopped after it ends. stopRequested is set before stop ends it.
	away          time.Duration
	stopRequested bool
	// unexpectedExits counts how often the manager ended although stop was not called.
	unexpectedExits int
}

// supervise starts the manager again whenever it ends, until ctx ends. It leaves the last process running.
func (m *manager) supervise(ctx context.Context) {
	for ctx.Err() == nil {
		running := m.running()
		if running == nil {
			if err := m.start(); err != nil {
				m.reporter.printf("%v", err)
				return
			}
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-running.Ended():
		}
		select {
		case <-ctx.Done():
		case <-time.After(m.ended()):
		}
	}
}

func (m *manager) running() *harness.Process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.current
}

func (m *manager) start() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.starts++
	m.leads = false
	out, err := m.log()
	if err != nil {
		return err
	}
	command := m.call.Command()
	command.Output, command.OutlivesInterrupt = out, true
	m.current, err = command.Start(context.Background()) // stop ends it.
	return err
}

// log returns the writer for the log of the next process.
func (m *manager) log() (*lines, error) {
	kept := io.Discard
	if m.logs != "" {
		file, err := os.Create(filepath.Join(m.logs, fmt.Sprintf("manager-%s-%d.log", m.name, m.starts)))
		if err != nil {
			return nil, fmt.Errorf("keep a log: %w", err)
		}
		kept = file // The few files stay open until the program ends.
	}
	start := m.starts
	return &lines{handle: func(line string) {
		m.leaks.add("log", line, time.Now())
		_, _ = fmt.Fprintln(kept, line)
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.tail = append(m.tail, line); len(m.tail) > tailLines {
			m.tail = m.tail[1:]
		}
		if start == m.starts && strings.Contains(strings.ToLower(line), "successfully acquired lease") {
			m.leads = true
		}
	}}, nil
}

// ended records that the process has ended, and returns how long the manager stays stopped.
func (m *manager) ended() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.stopRequested {
		m.unexpectedExits++
		m.reporter.printf("manager %s ended unexpectedly (%v): %s", m.name, m.current.Status(), last(m.tail))
		m.away = restartDelay
	}
	m.current, m.leads, m.stopRequested = nil, false, false
	return m.away
}

func last(tail []string) string {
	if len(tail) == 0 {
		return "its log is empty"
	}
	return tail[len(tail)-1]
}

// stop ends the process with a signal. supervise starts it again after the duration away.
func (m *manager) stop(signal syscall.Signal, away time.Duration) (took time.Duration, err error) {
	m.mu.Lock()
	running := m.current
	m.stopRequested, m.away, m.leads = running != nil, away, false
	m.mu.Unlock()
	if running == nil {
		return 0, nil
	}
	began := time.Now()
	_ = running.Signal(signal)
	err = running.Wait(stopTimeout)
	return time.Since(began), err
}

func (m *manager) isLeader() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.leads && m.current != nil
}

// leader returns the leading manager, or nil when no manager leads.
func leader(managers []*manager) *manager {
	for _, m := range managers {
		if m.isLeader() {
			return m
		}
	}
	return nil
}

// standby returns a manager that does not lead, or nil when every manager leads.
func standby(managers []*manager) *manager {
	i := slices.IndexFunc(managers, func(m *manager) bool { return !m.isLeader() })
	if i < 0 {
		return nil
	}
	return managers[i]
}
