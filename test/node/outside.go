// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The two ends of the cable.
const (
	hostCable   = "pipedream-node"
	insideCable = "machine"
)

// How long things may take on a busy machine.
const (
	readyWithin = 3 * time.Minute
	goneWithin  = 30 * time.Second
	// The API server would take a minute while somebody watches.
	endsWithin = 10 * time.Second
)

// locked does something while no other up or down does. What it starts does not
// hold the lock.
func (n node) locked(do func() error) error {
	if err := os.MkdirAll(filepath.Dir(n.state), 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(n.state+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	return do()
}

// up starts the node, unless it is up, and returns when pods can run. What it has
// begun it takes down when it fails or is told to end.
func (n node) up() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := n.check(); err != nil {
		return err
	}
	pid, _, err := running()
	if err != nil {
		return err
	}
	began := time.Now()
	if pid == 0 {
		err = n.create()
	} else {
		n.say("The node is up already.")
		err = n.plug(pid) // Whoever started it may have been killed before.
	}
	if err == nil {
		err = n.ready(ctx)
	}
	switch {
	case err != nil && pid != 0:
		return errors.Join(err, n.explain())
	case ctx.Err() != nil && pid == 0:
		n.say("Told to end: what was begun is taken down.")
		return errors.Join(errors.New("the node was not started"), n.down())
	case err != nil:
		return errors.Join(err, n.explain(), n.down())
	}
	n.say("The node is ready (%s).", time.Since(began).Round(time.Second))
	_, err = fmt.Fprintln(os.Stdout, n.path("credentials", "admin.kubeconfig"))
	return err
}

// check refuses machines on which a node can't run.
func (n node) check() error {
	for _, check := range []func() error{checkRoot, n.checkFolders, checkKernel, n.checkAlone, checkAddress, checkNamespaces} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func checkRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("this must run as root: a node mounts, and makes networks")
	}
	return nil
}

// checkFolders refuses those that a node can't see.
func (n node) checkFolders() error {
	for _, folder := range []string{"/var", "/run", "/sys", "/proc"} {
		for _, path := range []string{n.state, n.binaries, n.controlPlane} {
			resolved, err := filepath.EvalSymlinks(path)
			if err != nil {
				resolved = path
			}
			if strings.HasPrefix(resolved, folder+"/") {
				return fmt.Errorf("%s is below %s, which a node has its own of: move this folder elsewhere", resolved, folder)
			}
		}
	}
	return nil
}

func checkKernel() error {
	if _, err := hierarchies(); err != nil {
		return err
	}
	kinds, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return err
	}
	if !strings.Contains(string(kinds), "tmpfs") {
		return errors.New("this kernel has no tmpfs")
	}
	return nil
}

// checkAlone refuses a machine on which another folder's node is up.
func (n node) checkAlone() error {
	pid, state, err := running()
	if err != nil || pid == 0 || state == n.state {
		return err
	}
	if isGone(state) {
		return fmt.Errorf("a node is up (process %d) whose folder %s is gone, and a machine has room for one: take it down first, from here", pid, state)
	}
	return fmt.Errorf("the node of %s is up (process %d), and a machine has room for one: take that one down first", state, pid)
}

// isGone is whether a node's folder was moved or removed.
func isGone(state string) bool {
	_, err := os.Stat(state)
	return errors.Is(err, fs.ErrNotExist)
}

// namespaces are those of a node but for that of cgroups, which begins later.
const namespaces = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS

// checkNamespaces makes some.
func checkNamespaces() error {
	try := exec.CommandContext(context.Background(), "true")
	try.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces | syscall.CLONE_NEWCGROUP}
	if err := try.Run(); err != nil {
		return fmt.Errorf("make namespaces, which this machine does not allow: %w", err)
	}
	return nil
}

// checkAddress refuses a machine on which the cable's addresses are somebody else's.
func checkAddress() error {
	interfaces, err := net.Interfaces()
	if err != nil {
		return err
	}
	_, cable, err := net.ParseCIDR(nodeAddress + "/30")
	if err != nil {
		return err
	}
	for _, i := range interfaces {
		addresses, err := i.Addrs()
		if err != nil || i.Name == hostCable {
			continue
		}
		for _, address := range addresses {
			if _, network, err := net.ParseCIDR(address.String()); err == nil && (network.Contains(cable.IP) || cable.Contains(network.IP)) {
				return fmt.Errorf("the network interface %s has %s, which the node needs for itself", i.Name, address)
			}
		}
	}
	return nil
}

// create starts the node's first process, and plugs in the cable.
func (n node) create() error {
	if err := n.down(); err != nil { // What a crash may have left.
		return err
	}
	for _, folder := range []string{"credentials", "config", "logs", "run", "tmp", "var/lib", "var/log", "var/tmp"} {
		if err := os.MkdirAll(n.path(folder), 0o700); err != nil {
			return err
		}
	}
	if err := errors.Join(os.Symlink("/run", n.path("var", "run")), n.credentials(), n.configuration(), makeGroups()); err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.Create(n.path("logs", "node.log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	first := exec.CommandContext(context.Background(), program)
	first.Args = n.commandLine(program, join)
	first.Env, first.Dir, first.Stdout, first.Stderr = n.environment(), "/", log, log
	first.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: namespaces}
	if err := first.Start(); err != nil {
		return fmt.Errorf("start the node's first process: %w", err)
	}
	return errors.Join(n.plug(first.Process.Pid), first.Process.Release())
}

// plug makes the cable to a node's first process, or what of it is missing.
func (n node) plug(pid int) error {
	if _, err := net.InterfaceByName(hostCable); err != nil {
		if err := n.ip("link", "add", hostCable, "type", "veth", "peer", "name", insideCable, "netns", strconv.Itoa(pid)); err != nil {
			return err
		}
	}
	return errors.Join(
		n.ip("address", "replace", hostAddress+"/30", "dev", hostCable),
		n.ip("link", "set", hostCable, "up"),
	)
}

// commandLine is that of this program with another command.
func (n node) commandLine(program, command string) []string {
	return []string{program, "--control-plane=" + n.controlPlane, "--binaries=" + n.binaries, "--state=" + n.state, command}
}

// ready waits until pods can run.
func (n node) ready(ctx context.Context) error {
	until := time.Now().Add(readyWithin)
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"the image of paused pods", func() error { return n.load([]string{filepath.Join(n.binaries, "pause.tar")}) }},
		{"the API server", func() error { return n.kubectl("get", "--raw=/readyz") }},
		{"the node", func() error { return n.kubectl("wait", "--for=condition=Ready", "node/"+nodeName, "--timeout=5s") }},
		{"the kubelet", func() error { return n.kubectl("get", "--raw=/api/v1/nodes/"+nodeName+"/proxy/healthz") }},
		{"accounts for pods", func() error { return n.kubectl("get", "serviceaccount", "default") }},
		{"the API server's Service", n.reachService},
	} {
		for {
			err := step.do()
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if time.Now().After(until) {
				return fmt.Errorf("%s is not ready after %s: %w", step.what, readyWithin, err)
			}
			time.Sleep(200 * time.Millisecond)
		}
	}
	return nil
}

// reachService connects to a Service from inside.
func (n node) reachService() error {
	pid, err := n.here()
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	return n.execute("nsenter", append([]string{"--target=" + pid, "--net"}, n.commandLine(program, reach)...)...)
}

// kubectl runs as an administrator.
func (n node) kubectl(arguments ...string) error {
	return n.execute(filepath.Join(n.controlPlane, "kubectl"), append([]string{"--kubeconfig=" + n.path("credentials", "admin.kubeconfig"), "--request-timeout=10s"}, arguments...)...)
}

// explain returns the ends of the logs.
func (n node) explain() error {
	logs, err := filepath.Glob(n.path("logs", "*.log"))
	if err != nil {
		return err
	}
	slices.Sort(logs)
	var ends []error
	for _, log := range logs {
		content, err := os.ReadFile(log)
		if err != nil {
			return err
		}
		lines := strings.Split(strings.TrimSpace(string(content)), "\n")
		ends = append(ends, fmt.Errorf("the end of %s:\n%s", filepath.Base(log), strings.Join(lines[max(0, len(lines)-10):], "\n")))
	}
	return errors.Join(ends...)
}

// down ends the node, and leaves nothing of it.
func (n node) down() error {
	pid, state, err := running()
	if err != nil {
		return err
	}
	if pid != 0 && state != n.state && !isGone(state) {
		return fmt.Errorf("the node that is up (process %d) is that of %s", pid, state)
	}
	if pid != 0 {
		// With the first process of their namespace, all others are killed.
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return err
		}
	}
	until := time.Now().Add(goneWithin)
	if err := removeGroups(until); err != nil {
		return err
	}
	for {
		if _, err := net.InterfaceByName(hostCable); err != nil {
			return os.RemoveAll(n.state)
		}
		// Where the namespace is there no longer, the kernel is about to remove it.
		if time.Now().After(until) {
			return errors.Join(n.ip("link", "delete", hostCable), os.RemoveAll(n.state))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// here returns the first process of this node.
func (n node) here() (string, error) {
	pid, state, err := running()
	if err != nil {
		return "", err
	}
	if pid == 0 || state != n.state {
		return "", errors.New("the node is not up")
	}
	return strconv.Itoa(pid), nil
}

// load hands images to the container runtime.
func (n node) load(archives []string) error {
	pid, err := n.here()
	if err != nil {
		return err
	}
	for _, archive := range archives {
		absolute, err := filepath.Abs(archive)
		if err != nil {
			return err
		}
		if err := n.execute("nsenter", "--target="+pid, "--mount", n.find("ctr"), "--address="+containerd, "--namespace=k8s.io", "images", "import", "--snapshotter=native", absolute); err != nil {
			return err
		}
	}
	return nil
}

// enter becomes a program in the node's namespaces.
func (n node) enter(arguments []string) error {
	pid, err := n.here()
	if err != nil {
		return err
	}
	path, err := exec.LookPath("nsenter")
	if err != nil {
		return err
	}
	return syscall.Exec(path, append([]string{"nsenter", "--target=" + pid, "--all", "--"}, arguments...), n.environment())
}

// restart ends a component, and returns when it works again.
func (n node) restart(arguments []string) error {
	if len(arguments) != 1 {
		return errors.New("restart takes the name of a component")
	}
	if _, err := n.here(); err != nil {
		return err
	}
	name := arguments[0]
	var names []string
	for _, c := range n.components() {
		names = append(names, c.name)
	}
	if !slices.Contains(names, name) {
		return fmt.Errorf("there is no component %q, but %s", name, strings.Join(names, ", "))
	}
	before, err := os.ReadFile(n.path("run", name))
	if err != nil {
		return fmt.Errorf("%s has not been started yet: %w", name, err)
	}
	began := time.Now()
	if err := errors.Join(n.end(name, string(before)), n.ready(context.Background())); err != nil {
		return err
	}
	n.say("%s works again (%s).", name, time.Since(began).Round(100*time.Millisecond))
	return nil
}

// end ends a component that is the process of that ID inside, and waits until it is
// another one.
func (n node) end(name, process string) error {
	first, err := n.here()
	if err != nil {
		return err
	}
	kill := func(signal string) error {
		return n.execute("nsenter", "--target="+first, "--pid", "--mount", "sh", "-c", "kill -"+signal+" "+process)
	}
	if err := kill("TERM"); err != nil {
		return err
	}
	killed := time.AfterFunc(endsWithin, func() { _ = kill("KILL") })
	defer killed.Stop()
	for until := time.Now().Add(goneWithin); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		if now, err := os.ReadFile(n.path("run", name)); err == nil && string(now) != process {
			return nil
		}
	}
	return fmt.Errorf("%s was not started again within %s", name, goneWithin)
}
