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

// ErrStillRuns is the error for a process that did not end in time, and was killed.
var ErrStillRuns = errors.New("the process did not end in time and was killed")

// Command describes how to run a program.
type Command struct {
	// Path is the path of the program, or a name that is searched for in PATH.
	Path      string
	Arguments []string
	// Environment holds variables as NAME=value. They are added to the environment of this process.
	Environment []string
	// Folder is the working folder of the program. "" means the working folder of this process.
	Folder string
	// Stdin is the standard input of the program.
	Stdin string
	// Output receives stdout and stderr of a started program. With nil, the Log of the Process receives them.
	Output io.Writer
	// OutlivesInterrupt protects the program from Ctrl-C in the terminal, so that this process chooses the order
	// in which its processes end. Do not set it in a test: after Ctrl-C the program would run on.
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

// Run runs a program until it ends, and returns its stdout. If the program fails, the error holds its arguments and
// its stderr. Run kills the program when ctx ends.
func (c Command) Run(ctx context.Context) (stdout string, err error) {
	var out, stderr bytes.Buffer
	cmd := c.prepare(ctx)
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		call := strings.Join(append([]string{filepath.Base(c.Path)}, c.Arguments...), " ")
		return out.String(), fmt.Errorf("%s: %w: %s", call, err, strings.TrimSpace(stderr.String()))
	}
	return out.String(), nil
}

// Process is a started program. It is safe for concurrent use.
type Process struct {
	// Name is the file name of the program.
	Name string
	// Log holds the output of the program, unless its Command has an Output.
	Log *Buffer

	cmd   *exec.Cmd
	ended chan struct{}
	err   error // set before ended is closed
}

// Start starts a program, which is killed when ctx ends.
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

// MustStart starts a program, and kills it when the test ends. If the test fails, the test's log shows the last lines
// of the program's output.
func (c Command) MustStart(tb testing.TB) *Process {
	tb.Helper()
	p, err := c.Start(context.WithoutCancel(tb.Context()))
	Must(tb, err)
	tb.Cleanup(func() {
		p.Kill()
		if tb.Failed() {
			tb.Logf("the last lines of the output of %s:\n%s", p.Name, p.Log.Tail(15))
		}
	})
	return p
}

// Ended returns a channel that is closed when the program has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// HasEnded reports whether the program has ended.
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

// Status waits until the program ends, and returns the result, such as "exit status 1".
func (p *Process) Status() string {
	<-p.ended
	return p.cmd.ProcessState.String()
}

// ExitCode waits until the program ends, and returns the exit code, or -1 if a signal ended the program.
func (p *Process) ExitCode() int {
	<-p.ended
	return p.cmd.ProcessState.ExitCode()
}

// Signal sends a signal. It returns an error if the program has ended.
func (p *Process) Signal(signal os.Signal) error { return p.cmd.Process.Signal(signal) }

// Kill kills the program, and waits until it has ended.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // It fails when the program has ended.
	<-p.ended
}

// Wait waits until the program ends, and returns nil if its exit code is 0. After patience, Wait kills the program
// and returns ErrStillRuns.
func (p *Process) Wait(patience time.Duration) error {
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.Kill()
		return fmt.Errorf("%s: %w (%v)", p.Name, ErrStillRuns, patience)
	}
	if p.err != nil {
		return fmt.Errorf("%s ended with an error: %w", p.Name, p.err)
	}
	return nil
}

// Stop sends SIGTERM, as a kubelet does, and then waits like Wait.
func (p *Process) Stop(patience time.Duration) error {
	_ = p.Signal(syscall.SIGTERM) // It fails when the program has ended.
	return p.Wait(patience)
}

// AwaitLine waits until the Log has a complete line that contains a text. It returns the rest of the line after the
// text.
func (p *Process) AwaitLine(ctx context.Context, patience time.Duration, text string) (rest string, err error) {
	err = Wait{Patience: patience, Every: 10 * time.Millisecond, Process: p}.Until(ctx, "the line "+text, func() string {
		for line := range strings.Lines(p.Log.String()) {
			if _, after, found := strings.Cut(line, text); found && strings.HasSuffix(line, "\n") {
				rest = strings.TrimSpace(after)
				return ""
			}
		}
		return "the last line is " + p.Log.Tail(1)
	})
	return rest, err
}
