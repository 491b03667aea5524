// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/controlplane"
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
	kubeconfig string
	cluster    *controlplane.ControlPlane
	client     client.Client
	pipedream  string
	managerLog string
	processes  []*process
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
	s.kubeconfig = filepath.Join(s.directory, "admin.kubeconfig")
	if err := os.WriteFile(s.kubeconfig, s.cluster.Kubeconfig, 0o600); err != nil {
		return fmt.Errorf("write the kubeconfig: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return fmt.Errorf("build the scheme: %w", err)
	}
	if s.client, err = client.New(s.cluster.Config, client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	if err := s.startSimulator(ctx); err != nil {
		return err
	}
	return s.startManager(ctx)
}

func (s *stage) startSimulator(ctx context.Context) error {
	s.say("starting a simulator of Pipedream's API, whose tokens live %v", tokenLifetime)
	reader, writer, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	defer func() { _ = reader.Close() }()
	err = s.start(ctx, nil, writer, "simulator", "--listen=127.0.0.1:0",
		"--token-lifetime="+tokenLifetime.String(), "--client="+clientID+":"+firstSecret)
	_ = writer.Close()
	if err != nil {
		return err
	}
	line, err := bufio.NewReader(reader).ReadString('\n')
	_, address, found := strings.Cut(strings.TrimSpace(line), "listening on ")
	if err != nil || !found {
		return fmt.Errorf("the simulator said %q instead of its address", line)
	}
	s.pipedream = address
	return nil
}

func (s *stage) startManager(ctx context.Context) error {
	s.say("installing the CRD and the operator's permissions, and starting the manager with these and no others")
	root := controlplane.Root()
	if err := s.kubectl(ctx, nil, "create", "namespace", systemNamespace); err != nil {
		return err
	}
	if err := s.kubectl(ctx, nil, "apply", "--kustomize", filepath.Join(root, "test", "demo")); err != nil {
		return err
	}
	token := &bytes.Buffer{}
	err := s.kubectl(ctx, token, "create", "token", "pipedream-operator-manager", "--namespace", systemNamespace, "--duration=240h")
	if err != nil {
		return err
	}
	content, err := s.cluster.KubeconfigOf(strings.TrimSpace(token.String()), systemNamespace)
	if err != nil {
		return err
	}
	kubeconfig := filepath.Join(s.directory, "manager.kubeconfig")
	if err := os.WriteFile(kubeconfig, content, 0o600); err != nil {
		return fmt.Errorf("write the manager's kubeconfig: %w", err)
	}
	s.managerLog = filepath.Join(s.directory, "manager.log")
	log, err := os.Create(s.managerLog)
	if err != nil {
		return fmt.Errorf("make the manager's log: %w", err)
	}
	defer func() { _ = log.Close() }()
	return s.start(ctx, []string{"POD_NAMESPACE=" + systemNamespace}, log, "manager",
		"--kubeconfig="+kubeconfig, "--api-url="+s.pipedream, "--allow-insecure-api-url",
		"--leader-elect", "--metrics-bind-address=0", "--health-probe-bind-address=0")
}

// process is a started program.
type process struct {
	name   string
	cmd    *exec.Cmd
	exited chan error
}

// start starts a built program, which ends in tearDown.
func (s *stage) start(ctx context.Context, environment []string, out io.Writer, name string, arguments ...string) error {
	cmd := exec.CommandContext(context.WithoutCancel(ctx), filepath.Join(s.binaries, name), arguments...) //nolint:gosec // Our own binaries.
	cmd.Env = append(os.Environ(), environment...)
	cmd.Stdout, cmd.Stderr = out, out
	// Ctrl-C goes to the whole process group of the terminal; the order in which
	// things end is for tearDown to choose.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s (run `make build` first): %w", name, err)
	}
	started := &process{name: name, cmd: cmd, exited: make(chan error, 1)}
	go func() { started.exited <- cmd.Wait() }()
	s.processes = append(s.processes, started)
	return nil
}

// tearDown ends the processes, the last first, and removes all files.
func (s *stage) tearDown() error {
	var failed error
	for _, p := range slices.Backward(s.processes) {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-p.exited:
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("%s ended badly: %w", p.name, err))
			}
		case <-s.clock.After(stopTimeout):
			_ = p.cmd.Process.Kill()
			failed = errors.Join(failed, fmt.Errorf("%s did not end when it was told to", p.name))
		}
	}
	if s.cluster != nil {
		failed = errors.Join(failed, s.cluster.Stop())
	}
	return errors.Join(failed, os.RemoveAll(s.directory))
}

// kubectl runs kubectl as the administrator. Its output goes to out, or is shown
// only if it fails.
func (s *stage) kubectl(ctx context.Context, out io.Writer, arguments ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(controlplane.Assets(), "kubectl"), arguments...) //nolint:gosec // Our own binary.
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.kubeconfig)
	cmd.Dir = controlplane.Root()
	problems := &bytes.Buffer{}
	if out == nil {
		out = io.Discard
	}
	cmd.Stdout, cmd.Stderr = out, problems
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("kubectl %s: %w: %s", strings.Join(arguments, " "), err, strings.TrimSpace(problems.String()))
	}
	return nil
}

// show runs kubectl, and shows the command and what it prints.
func (s *stage) show(ctx context.Context, arguments ...string) error {
	_, _ = fmt.Fprintf(s.out, "\n    $ kubectl %s\n", strings.Join(arguments, " "))
	printed := &bytes.Buffer{}
	if err := s.kubectl(ctx, printed, arguments...); err != nil {
		return err
	}
	for line := range strings.Lines(printed.String()) {
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
