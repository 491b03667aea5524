// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ErrStillRuns is in the error of a process that had to be killed.
var ErrStillRuns = errors.New("it did not end in time and was killed")

// Command is a program, and how to call it.
type Command struct {
	// Path is a file, or a name to look for in PATH.
	Path      string
	Arguments []string
	// Environment is added to the environment of this process, as NAME=value.
	Environment []string
	// Folder is where the program runs. "" is the folder of this process.
	Folder string
	// Stdin is what the program can read.
	Stdin string
	// Output gets all that a started program prints. nil is the Log of the Process.
	Output io.Writer
	// OutlivesInterrupt keeps Ctrl-C in a terminal from the program, so that this process
	// chooses the order in which its processes end. A test does not want that: nobody
	// would end the program after Ctrl-C.
	OutlivesInterrupt bool
}

func (c Command) prepare(ctx context.Context) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.Path, c.Arguments...) //nolint:gosec // Tests start the programs of this repository.
	cmd.Env = append(os.Environ(), c.Environment...)
	cmd.Dir = c.Folder
	if c.Stdin != "" {
		cmd.Stdin = strings.NewReader(c.Stdin)
	}
	if c.OutlivesInterrupt {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	}
	return cmd
}

// Run runs a program to its end, and returns what it printed to stdout. If the program
// fails, the error holds its call and what it printed to stderr. It is killed when ctx ends.
func (c Command) Run(ctx context.Context) (stdout string, err error) {
	var out, problems bytes.Buffer
	cmd := c.prepare(ctx)
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		call := strings.Join(append([]string{filepath.Base(c.Path)}, c.Arguments...), " ")
		return out.String(), fmt.Errorf("%s: %w: %s", call, err, strings.TrimSpace(problems.String()))
	}
	return out.String(), nil
}

// Process is a started program. It is safe for concurrent use.
type Process struct {
	// Name is the name of the program's file.
	Name string
	// Log is what the program printed, unless its Command has an Output.
	Log *Buffer

	cmd   *exec.Cmd
	ended chan struct{}
	err   error // once ended
}

// Start starts a program. It is killed when ctx ends.
func (c Command) Start(ctx context.Context) (*Process, error) {
	p := &Process{Name: filepath.Base(c.Path), Log: &Buffer{}, cmd: c.prepare(ctx), ended: make(chan struct{})}
	if c.Output == nil {
		c.Output = p.Log
	}
	p.cmd.Stdout, p.cmd.Stderr = c.Output, c.Output
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s (is it built? `make build` builds programs of this repository): %w", c.Path, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// MustStart starts a program that is killed when the test ends. When the test has failed,
// the end of the program's log is in the test's log.
func (c Command) MustStart(tb testing.TB) *Process {
	tb.Helper()
	p, err := c.Start(context.WithoutCancel(tb.Context()))
	Must(tb, err)
	tb.Cleanup(func() {
		p.Kill()
		if tb.Failed() {
			tb.Logf("the last lines that %s printed:\n%s", p.Name, p.Log.Tail(15))
		}
	})
	return p
}

// Ended returns a channel that is closed when the program has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// HasEnded tells whether the program has ended.
func (p *Process) HasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// PID returns the ID of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Status says how the program ended, such as "exit status 1". It waits until then.
func (p *Process) Status() string {
	<-p.ended
	return p.cmd.ProcessState.String()
}

// ExitCode returns the exit code, or -1 if a signal ended the program. It waits for the end.
func (p *Process) ExitCode() int {
	<-p.ended
	return p.cmd.ProcessState.ExitCode()
}

// Signal sends a signal. It fails when the program has ended.
func (p *Process) Signal(signal os.Signal) error { return p.cmd.Process.Signal(signal) }

// Kill kills the program, and returns when it has ended.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // It fails when the program has ended.
	<-p.ended
}

// Wait waits until the program ends, and returns nil if its exit code is 0. After patience
// the program is killed, and the error is ErrStillRuns.
func (p *Process) Wait(patience time.Duration) error {
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.Kill()
		return fmt.Errorf("%s: %w (%v)", p.Name, ErrStillRuns, patience)
	}
	if p.err != nil {
		return fmt.Errorf("%s ended badly: %w", p.Name, p.err)
	}
	return nil
}

// Stop sends SIGTERM, as a kubelet does, and waits as Wait does.
func (p *Process) Stop(patience time.Duration) error {
	_ = p.Signal(syscall.SIGTERM) // It fails when the program has ended.
	return p.Wait(patience)
}

// AwaitLine waits until the Log has a whole line with a text, and returns the rest of that
// line behind the text.
func (p *Process) AwaitLine(ctx context.Context, patience time.Duration, text string) (rest string, err error) {
	err = Wait{Patience: patience, Every: 10 * time.Millisecond, Process: p}.Until(ctx, "the line "+text, func() string {
		for line := range strings.Lines(p.Log.String()) {
			if _, after, found := strings.Cut(line, text); found && strings.HasSuffix(line, "\n") {
				rest = strings.TrimSpace(after)
				return ""
			}
		}
		return "it printed " + p.Log.Tail(1)
	})
	return rest, err
}
