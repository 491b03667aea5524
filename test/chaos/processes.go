// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a started program.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // once ended
}

// start starts a built program, whose output goes to out.
func start(environment []string, out io.Writer, path string, arguments ...string) (*process, error) {
	cmd := exec.CommandContext(context.Background(), path, arguments...) //nolint:gosec // Our own binary, which lives until it is ended.
	cmd.Env = append(os.Environ(), environment...)
	cmd.Stdout, cmd.Stderr = out, out
	// Ctrl-C goes to the whole process group of the terminal; the order in which
	// things end is chosen here.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s (run `make build` first): %w", path, err)
	}
	p := &process{cmd: cmd, ended: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// end sends a signal and waits until the process has ended; one that takes too long
// is killed. It returns how long it took.
func (p *process) end(signal syscall.Signal, patience time.Duration) (took time.Duration, err error) {
	began := time.Now()
	_ = p.cmd.Process.Signal(signal)
	select {
	case <-p.ended:
		return time.Since(began), p.err
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.ended
		return time.Since(began), fmt.Errorf("it did not end within %v", patience)
	}
}

// startSimulator starts the simulator, and returns its address. It writes its first CA to a
// file.
func startSimulator(binaries, caFile string, secrets []string) (*process, string, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, "", fmt.Errorf("make a pipe: %w", err)
	}
	arguments := []string{"--listen=127.0.0.1:0", "--tls", "--tls-ca-file=" + caFile, "--token-lifetime=" + tokenLifetime.String()}
	for i, secret := range secrets {
		arguments = append(arguments, "--client="+clientID(i)+":"+secret)
	}
	started, err := start(nil, writer, filepath.Join(binaries, "simulator"), arguments...)
	_ = writer.Close()
	if err != nil {
		_ = reader.Close()
		return nil, "", err
	}
	said := bufio.NewReader(reader)
	line, err := said.ReadString('\n')
	go func() { // It says more when a client does not trust in it.
		_, _ = io.Copy(io.Discard, said)
		_ = reader.Close()
	}()
	_, address, found := strings.Cut(strings.TrimSpace(line), "listening on ")
	if err != nil || !found {
		_, _ = started.end(syscall.SIGKILL, time.Second)
		return nil, "", fmt.Errorf("the simulator said %q instead of its address", line)
	}
	return started, address, nil
}

// freeAddress returns an address of this machine that nobody listens on.
func freeAddress() (string, error) {
	var config net.ListenConfig
	listener, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}

// lines hands on what is written to it line by line.
type lines struct {
	mu     sync.Mutex
	rest   []byte
	handle func(line string)
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		line, rest, complete := bytes.Cut(l.rest, []byte("\n"))
		if !complete {
			return len(p), nil
		}
		l.handle(string(line))
		l.rest = rest
	}
}
