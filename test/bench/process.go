// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
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

// process is a started program.
type process struct {
	name   string
	cmd    *exec.Cmd
	exited chan error
}

// start starts a built program.
func (b *bench) start(ctx context.Context, environment []string, out io.Writer, name string, arguments ...string) (*process, error) {
	cmd := exec.CommandContext(context.WithoutCancel(ctx), filepath.Join(b.options.binaries, name), arguments...) //nolint:gosec // Our own binaries.
	cmd.Env = append(os.Environ(), environment...)
	cmd.Stdout, cmd.Stderr = out, out
	// Ctrl-C goes to the whole process group of the terminal; tearDown decides when this ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s (run `make build` first): %w", name, err)
	}
	p := &process{name: name, cmd: cmd, exited: make(chan error, 1)}
	go func() { p.exited <- cmd.Wait() }()
	return p, nil
}

// stop has the process end.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-p.exited:
		if err != nil {
			return fmt.Errorf("%s ended badly: %w", p.name, err)
		}
		return nil
	case <-time.After(stopTimeout):
		_ = p.cmd.Process.Kill()
		return fmt.Errorf("%s did not end when it was told to", p.name)
	}
}

// file reads a file of /proc about the process.
func (p *process) file(name string) (string, error) {
	content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), name)) //nolint:gosec // Of /proc.
	if err != nil {
		return "", fmt.Errorf("look at %s: %w", p.name, err)
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
			return 0, fmt.Errorf("read the CPU time of %s: %w", p.name, err)
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
