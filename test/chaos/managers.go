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
	// stopTimeout is how long a manager may take to end when it is told to.
	stopTimeout = 30 * time.Second
	// restartDelay is how long a manager stays away that ended by itself, as a kubelet
	// would have it.
	restartDelay = time.Second
	// tailLines is how much of a manager's log is shown when it ends by itself.
	tailLines = 5
)

// manager is one replica of the operator. It is started again whenever it ends.
type manager struct {
	name  string
	call  harness.Manager
	logs  string
	leaks *leaks
	diary *diary

	mu      sync.Mutex
	current *harness.Process
	leads   bool
	starts  int
	tail    []string
	// away is how long it stays away when it next ends; told is set when it is meant to end.
	away time.Duration
	told bool
	// byItself counts how often it ended without being told to.
	byItself int
}

// supervise runs the manager until ctx ends. It does not end the last one.
func (m *manager) supervise(ctx context.Context) {
	for ctx.Err() == nil {
		running := m.running()
		if running == nil {
			if err := m.start(); err != nil {
				m.diary.say("%v", err)
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
	m.current, err = command.Start(context.Background()) // It ends when it is told to.
	return err
}

// log returns where the next process writes to.
func (m *manager) log() (*lines, error) {
	kept := io.Discard
	if m.logs != "" {
		file, err := os.Create(filepath.Join(m.logs, fmt.Sprintf("manager-%s-%d.log", m.name, m.starts)))
		if err != nil {
			return nil, fmt.Errorf("keep a log: %w", err)
		}
		kept = file // Few, and open until the end.
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

// ended notes that the process is gone, and returns how long it stays away.
func (m *manager) ended() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.told {
		m.byItself++
		m.diary.say("manager %s ended by itself (%v): %s", m.name, m.current.Status(), last(m.tail))
		m.away = restartDelay
	}
	m.current, m.leads, m.told = nil, false, false
	return m.away
}

func last(tail []string) string {
	if len(tail) == 0 {
		return "it said nothing"
	}
	return tail[len(tail)-1]
}

// stop ends the process, which is started again after away.
func (m *manager) stop(signal syscall.Signal, away time.Duration) (took time.Duration, err error) {
	m.mu.Lock()
	running := m.current
	m.told, m.away, m.leads = running != nil, away, false
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

// leader returns the leading manager, or nil.
func leader(managers []*manager) *manager {
	for _, m := range managers {
		if m.isLeader() {
			return m
		}
	}
	return nil
}

// standby returns the one that does not lead.
func standby(managers []*manager) *manager {
	i := slices.IndexFunc(managers, func(m *manager) bool { return !m.isLeader() })
	if i < 0 {
		return nil
	}
	return managers[i]
}
