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
	star            = "storefront"
	starSecret      = "storefront-pipedream"
	tokenLifetime   = time.Minute
	// stopTimeout is how long a process may take to end before it is killed.
	stopTimeout = 35 * time.Second
	// tailBytes is how much of the manager's log is shown when something fails.
	tailBytes = 8 << 10
)

// stage is all that runs for the demo.
type stage struct {
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
func (s *stage) setUp(ctx context.Context) error {
	s.say("starting etcd, kube-apiserver and kube-controller-manager")
	var err error
	if s.cluster, err = controlplane.Start(controlplane.Options{ControllerManager: true}); err != nil {
		return err
	}
	if s.directory, err = os.MkdirTemp("", "pipedream-demo-"); err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	s.client = s.cluster.Client
	if err := s.startSimulator(ctx); err != nil {
		return err
	}
	return s.startManager(ctx)
}

func (s *stage) startSimulator(ctx context.Context) error {
	s.say("starting a simulator of Pipedream's API, whose tokens live %v", tokenLifetime)
	started, err := harness.StartSimulator(context.WithoutCancel(ctx), filepath.Join(s.binaries, "simulator"),
		"--token-lifetime="+tokenLifetime.String(), "--client="+clientID+":"+firstSecret)
	if err != nil {
		return err
	}
	s.processes = append(s.processes, started.Process)
	s.pipedream = simulator.Remote{Address: started.Address, Client: http.DefaultClient}
	return nil
}

func (s *stage) startManager(ctx context.Context) error {
	s.say("installing the CRD and the operator's permissions, and starting the manager with these and no others")
	if _, err := s.kubectl(ctx, "create", "namespace", systemNamespace); err != nil {
		return err
	}
	if _, err := s.kubectl(ctx, "apply", "--kustomize", "test/demo"); err != nil {
		return err
	}
	kubeconfig, err := s.cluster.AccountKubeconfig(ctx, systemNamespace, "pipedream-operator-manager")
	if err != nil {
		return err
	}
	s.managerLog = filepath.Join(s.directory, "manager.log")
	log, err := os.Create(s.managerLog)
	if err != nil {
		return fmt.Errorf("make the manager's log: %w", err)
	}
	defer func() { _ = log.Close() }()
	command := harness.Manager{
		Path: filepath.Join(s.binaries, "manager"), Kubeconfig: kubeconfig, Pipedream: s.pipedream.Address,
		Namespace: systemNamespace, Flags: []string{"--leader-elect"},
	}.Command()
	command.Output, command.OutlivesInterrupt = log, true
	started, err := command.Start(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	s.processes = append(s.processes, started)
	return nil
}

// tearDown ends the processes, the last first, and removes all files.
func (s *stage) tearDown() error {
	var failed error
	for _, p := range slices.Backward(s.processes) {
		failed = errors.Join(failed, p.Stop(stopTimeout))
	}
	if s.cluster != nil {
		failed = errors.Join(failed, s.cluster.Stop())
	}
	return errors.Join(failed, os.RemoveAll(s.directory))
}

// kubectl runs kubectl as the administrator, and returns what it prints.
func (s *stage) kubectl(ctx context.Context, arguments ...string) (string, error) {
	return s.cluster.Kubectl().Run(ctx, arguments...)
}

// show runs kubectl, and shows the command and what it prints.
func (s *stage) show(ctx context.Context, arguments ...string) error {
	_, _ = fmt.Fprintf(s.out, "\n    $ kubectl %s\n", strings.Join(arguments, " "))
	printed, err := s.kubectl(ctx, arguments...)
	if err != nil {
		return err
	}
	for line := range strings.Lines(printed) {
		_, _ = fmt.Fprintf(s.out, "    %s", line)
	}
	_, _ = fmt.Fprintln(s.out)
	return nil
}

// say tells what happens, and when.
func (s *stage) say(format string, arguments ...any) {
	_, _ = fmt.Fprintf(s.out, "%7.1fs  %s\n", s.clock.Since(s.began).Seconds(), fmt.Sprintf(format, arguments...))
}

// chapter begins a part of the story.
func (s *stage) chapter(format string, arguments ...any) {
	_, _ = fmt.Fprintln(s.out)
	s.say(format, arguments...)
}

// managerLogEnd returns the end of what the manager has logged.
func (s *stage) managerLogEnd() string {
	content, err := os.ReadFile(s.managerLog)
	if err != nil {
		return ""
	}
	return string(content[max(0, len(content)-tailBytes):])
}
