// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
	"github.com/pipedream-operator/pipedream-operator/test/harness/controlplane"
)

const (
	systemNamespace = "pipedream-operator-system"
	shopNamespace   = "shop"
	tokenLifetime   = time.Minute
	// stopTimeout is how long a process may take to end before it is killed.
	stopTimeout = 35 * time.Second
	// tailBytes is how many bytes of the manager's log are shown when the demo fails.
	tailBytes = 8 << 10
)

// environment holds the processes of the demo: the control plane, the simulator and the manager.
type environment struct {
	out        io.Writer
	clock      clock.Clock
	began      time.Time
	binaries   string
	directory  string
	cluster    *controlplane.ControlPlane
	client     client.Client
	pipedream  simulator.Remote
	managerLog string
	processes  []*harness.Process
}

// setUp starts the control plane, the simulator and the manager.
func (e *environment) setUp(ctx context.Context) error {
	e.printf("starting etcd, kube-apiserver and kube-controller-manager")
	var err error
	if e.cluster, err = controlplane.Start(controlplane.Options{ControllerManager: true}); err != nil {
		return err
	}
	if e.directory, err = os.MkdirTemp("", "pipedream-demo-"); err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	e.client = e.cluster.Client
	if err := e.startSimulator(ctx); err != nil {
		return err
	}
	return e.startManager(ctx)
}

func (e *environment) startSimulator(ctx context.Context) error {
	e.printf("starting a simulator of Pipedream's API, whose tokens live %v", tokenLifetime)
	started, err := harness.StartSimulator(context.WithoutCancel(ctx), filepath.Join(e.binaries, "simulator"),
		"--token-lifetime="+tokenLifetime.String(), "--client="+clientID+":"+firstSecret, "--client="+accountClientID+":"+accountClientSecret)
	if err != nil {
		return err
	}
	e.processes = append(e.processes, started.Process)
	e.pipedream = simulator.Remote{Address: started.Address, Client: http.DefaultClient}
	return nil
}

func (e *environment) startManager(ctx context.Context) error {
	e.printf("installing the CRDs and the operator's permissions, and starting the manager with these and no others")
	if _, err := e.kubectl(ctx, "create", "namespace", systemNamespace); err != nil {
		return err
	}
	if _, err := e.kubectl(ctx, "apply", "--kustomize", "test/demo"); err != nil {
		return err
	}
	kubeconfig, err := e.cluster.AccountKubeconfig(ctx, systemNamespace, "pipedream-operator-manager")
	if err != nil {
		return err
	}
	e.managerLog = filepath.Join(e.directory, "manager.log")
	log, err := os.Create(e.managerLog)
	if err != nil {
		return fmt.Errorf("make the manager's log: %w", err)
	}
	defer func() { _ = log.Close() }()
	command := harness.Manager{
		Path: filepath.Join(e.binaries, "manager"), Kubeconfig: kubeconfig, Pipedream: e.pipedream.Address,
		Namespace: systemNamespace, Flags: []string{"--leader-elect"},
	}.Command()
	command.Output, command.OutlivesInterrupt = log, true
	started, err := command.Start(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	e.processes = append(e.processes, started)
	return nil
}

// tearDown ends the processes, the last one first, and removes all files.
func (e *environment) tearDown() error {
	var failed error
	for _, p := range slices.Backward(e.processes) {
		failed = errors.Join(failed, p.Stop(stopTimeout))
	}
	if e.cluster != nil {
		failed = errors.Join(failed, e.cluster.Stop())
	}
	return errors.Join(failed, os.RemoveAll(e.directory))
}

// kubectl runs kubectl as the administrator, and returns its output.
func (e *environment) kubectl(ctx context.Context, arguments ...string) (string, error) {
	return e.cluster.Kubectl().Run(ctx, arguments...)
}

// show runs kubectl, and prints the command and its output.
func (e *environment) show(ctx context.Context, arguments ...string) error {
	printed, err := e.kubectl(ctx, arguments...)
	if err != nil {
		return fmt.Errorf("kubectl %s: %w", strings.Join(arguments, " "), err)
	}
	var block strings.Builder
	_, _ = fmt.Fprintf(&block, "\n    $ kubectl %s\n", strings.Join(arguments, " "))
	for line := range strings.Lines(printed) {
		block.WriteString("    " + line)
	}
	_, _ = fmt.Fprintln(e.out, block.String())
	return nil
}

// printf prints a line that begins with the seconds since the start of the demo.
func (e *environment) printf(format string, arguments ...any) {
	_, _ = fmt.Fprint(e.out, e.line(format, arguments...))
}

// beginPart prints the title of a part of the scenario.
func (e *environment) beginPart(format string, arguments ...any) {
	_, _ = fmt.Fprint(e.out, "\n"+e.line(format, arguments...))
}

func (e *environment) line(format string, arguments ...any) string {
	return fmt.Sprintf("%7.1fs  %s\n", e.clock.Since(e.began).Seconds(), fmt.Sprintf(format, arguments...))
}

// lockedWriter lets the stories write at the same time. What is written at once stays together.
type lockedWriter struct {
	mu sync.Mutex
	to io.Writer
}

// Write implements io.Writer.
func (w *lockedWriter) Write(text []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(text)
}

// managerLogEnd returns the last tailBytes of the manager's log.
func (e *environment) managerLogEnd() string {
	content, err := os.ReadFile(e.managerLog)
	if err != nil {
		return ""
	}
	return string(content[max(0, len(content)-tailBytes):])
}
