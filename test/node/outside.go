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

// The names of the two ends of the veth pair.
const (
	hostInterface = "pipedream-node"
	nodeInterface = "machine"
)

// Timeouts, for a busy machine.
const (
	readyWithin = 3 * time.Minute
	goneWithin  = 30 * time.Second
	// While a client has an open watch, the API server would take a minute to end.
	endsWithin = 10 * time.Second
)

// locked runs a function while no other call of up or down runs. Processes that the function starts do not keep the
// lock.
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

// up starts the node, unless it is up, and returns when pods can run. After an error or a signal it removes what it
// has started.
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
		n.printf("The node is up already.")
		err = n.connect(pid) // An earlier start may have been killed before it connected the node.
	}
	if err == nil {
		err = n.ready(ctx)
	}
	switch {
	case err != nil && pid != 0:
		return errors.Join(err, n.explain())
	case ctx.Err() != nil && pid == 0:
		n.printf("Received a signal: removing what was started.")
		return errors.Join(errors.New("the node was not started"), n.down())
	case err != nil:
		return errors.Join(err, n.explain(), n.down())
	}
	n.printf("The node is ready (%s).", time.Since(began).Round(time.Second))
	_, err = fmt.Fprintln(os.Stdout, n.path("credentials", "admin.kubeconfig"))
	return err
}

// check returns an error if a node cannot run on this machine.
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
		return errors.New("must run as root: a node mounts file systems and creates networks")
	}
	return nil
}

// checkFolders returns an error if the node could not see its folders.
func (n node) checkFolders() error {
	for _, folder := range []string{"/var", "/run", "/sys", "/proc"} {
		for _, path := range []string{n.state, n.binaries, n.controlPlane} {
			resolved, err := filepath.EvalSymlinks(path)
			if err != nil {
				resolved = path
			}
			if strings.HasPrefix(resolved, folder+"/") {
				return fmt.Errorf("%s is below %s, which the node replaces by a folder of its own: move this folder elsewhere", resolved, folder)
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
		return errors.New("this kernel does not support tmpfs")
	}
	return nil
}

// checkAlone returns an error if the node of another folder is up.
func (n node) checkAlone() error {
	pid, state, err := running()
	if err != nil || pid == 0 || state == n.state {
		return err
	}
	if isGone(state) {
		return fmt.Errorf("a node is up (process %d) whose folder %s no longer exists, and a machine can run only one node: take it down first, from here", pid, state)
	}
	return fmt.Errorf("the node of %s is up (process %d), and a machine can run only one node: take that node down first", state, pid)
}

// isGone reports whether the folder of a node was moved or removed.
func isGone(state string) bool {
	_, err := os.Stat(state)
	return errors.Is(err, fs.ErrNotExist)
}

// namespaces are the namespaces of a node, except the cgroup namespace, which join creates.
const namespaces = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS

// checkNamespaces returns an error if namespaces cannot be created.
func checkNamespaces() error {
	try := exec.CommandContext(context.Background(), "true")
	try.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces | syscall.CLONE_NEWCGROUP}
	if err := try.Run(); err != nil {
		return fmt.Errorf("this machine does not allow new namespaces: %w", err)
	}
	return nil
}

// checkAddress returns an error if this machine already uses the addresses of the veth pair.
func checkAddress() error {
	interfaces, err := net.Interfaces()
	if err != nil {
		return err
	}
	_, pair, err := net.ParseCIDR(nodeAddress + "/30")
	if err != nil {
		return err
	}
	for _, i := range interfaces {
		addresses, err := i.Addrs()
		if err != nil || i.Name == hostInterface {
			continue
		}
		for _, address := range addresses {
			if _, network, err := net.ParseCIDR(address.String()); err == nil && (network.Contains(pair.IP) || pair.Contains(network.IP)) {
				return fmt.Errorf("the network interface %s uses %s, which overlaps the addresses of the node", i.Name, address)
			}
		}
	}
	return nil
}

// create starts the node's first process, and connects the machine with it.
func (n node) create() error {
	if err := n.down(); err != nil { // Remove the remains of a crash.
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
	return errors.Join(n.connect(first.Process.Pid), first.Process.Release())
}

// connect creates the missing parts of the veth pair between the machine and the node's first process.
func (n node) connect(pid int) error {
	if _, err := net.InterfaceByName(hostInterface); err != nil {
		if err := n.ip("link", "add", hostInterface, "type", "veth", "peer", "name", nodeInterface, "netns", strconv.Itoa(pid)); err != nil {
			return err
		}
	}
	return errors.Join(
		n.ip("address", "replace", hostAddress+"/30", "dev", hostInterface),
		n.ip("link", "set", hostInterface, "up"),
	)
}

// commandLine returns the command line of this program with another command.
func (n node) commandLine(program, command string) []string {
	return []string{program, "--control-plane=" + n.controlPlane, "--binaries=" + n.binaries, "--state=" + n.state, command}
}

// ready waits until pods can run.
func (n node) ready(ctx context.Context) error {
	until := time.Now().Add(readyWithin)
	for _, step := range []struct {
		name string
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
				return fmt.Errorf("%s is not ready after %s: %w", step.name, readyWithin, err)
			}
			time.Sleep(200 * time.Millisecond)
		}
	}
	return nil
}

// reachService connects to a Service from inside the node.
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

// kubectl runs kubectl as an administrator.
func (n node) kubectl(arguments ...string) error {
	return n.execute(filepath.Join(n.controlPlane, "kubectl"), append([]string{"--kubeconfig=" + n.path("credentials", "admin.kubeconfig"), "--request-timeout=10s"}, arguments...)...)
}

// explain returns an error with the last lines of each log.
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

// down ends the node, and removes everything that it has created.
func (n node) down() error {
	pid, state, err := running()
	if err != nil {
		return err
	}
	if pid != 0 && state != n.state && !isGone(state) {
		return fmt.Errorf("the running node (process %d) belongs to %s", pid, state)
	}
	if pid != 0 {
		// The kernel kills all other processes of the namespace, too.
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return err
		}
	}
	until := time.Now().Add(goneWithin)
	if err := removeGroups(until); err != nil {
		return err
	}
	for {
		if _, err := net.InterfaceByName(hostInterface); err != nil {
			return os.RemoveAll(n.state)
		}
		// If the namespace no longer exists, the kernel removes the interface soon.
		if time.Now().After(until) {
			return errors.Join(n.ip("link", "delete", hostInterface), os.RemoveAll(n.state))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// here returns the ID of the first process of this node.
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

// load loads images into the container runtime.
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

// enter replaces this process by a program in the node's namespaces.
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

// restart ends a component, and returns when the component works again.
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
		return fmt.Errorf("the component %q does not exist; the components are %s", name, strings.Join(names, ", "))
	}
	before, err := os.ReadFile(n.path("run", name))
	if err != nil {
		return fmt.Errorf("%s has not been started yet: %w", name, err)
	}
	began := time.Now()
	if err := errors.Join(n.end(name, string(before)), n.ready(context.Background())); err != nil {
		return err
	}
	n.printf("%s works again (%s).", name, time.Since(began).Round(100*time.Millisecond))
	return nil
}

// end ends a component, given its process ID inside the node, and waits until the supervisor has started it again.
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
