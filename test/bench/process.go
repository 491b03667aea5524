// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

const (
	// stopTimeout is how long a process may take to end before it is killed.
	stopTimeout = 35 * time.Second
	// ticksPerSecond is the unit of the CPU times in /proc, on all of Linux.
	ticksPerSecond = 100
	// resident and peakResident are the fields of /proc/PID/status for the memory that
	// is resident now, and for the most that ever was.
	resident, peakResident = "VmRSS", "VmHWM"
)

// process is a started program, which is measured from outside.
type process struct{ *harness.Process }

// stop has the process end.
func (p *process) stop() error { return p.Stop(stopTimeout) }

// file reads a file of /proc about the process.
func (p *process) file(name string) (string, error) {
	content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.PID()), name)) //nolint:gosec // Of /proc.
	if err != nil {
		return "", fmt.Errorf("look at %s: %w", p.Name, err)
	}
	return string(content), nil
}

// cpu returns how much CPU time the process has used.
func (p *process) cpu() (time.Duration, error) {
	content, err := p.file("stat")
	if err != nil {
		return 0, err
	}
	// The name, in parentheses, may have spaces; the state after it is the third field.
	fields := strings.Fields(content[strings.LastIndex(content, ")")+1:])
	const user, system = 14 - 3, 15 - 3
	var ticks int64
	for _, field := range []int{user, system} {
		count, err := strconv.ParseInt(fields[field], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read the CPU time of %s: %w", p.Name, err)
		}
		ticks += count
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}

// memory returns one of these fields of /proc/PID/status, in MiB.
func (p *process) memory(field string) (mebibytes float64, err error) {
	content, err := p.file("status")
	if err != nil {
		return 0, err
	}
	kibibytes, err := statusField(content, field)
	return kibibytes / 1024, err
}

// statusField returns a number of a file whose lines are like "VmRSS:  1234 kB".
func statusField(content, field string) (float64, error) {
	for line := range strings.Lines(content) {
		if name, value, _ := strings.Cut(line, ":"); name == field {
			return strconv.ParseFloat(strings.Fields(value)[0], 64)
		}
	}
	return 0, fmt.Errorf("there is no %s", field)
}
