// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Commands that this program runs inside the node. join and supervise are for the node's first process, which starts
// in new namespaces without a cgroup of its own. reach tests the network.
const (
	join      = "join"
	supervise = "supervise"
	reach     = "reach"
)

// join enters the node's cgroups, makes them the roots of the cgroups that it sees, and becomes the supervisor.
func (n node) join() error {
	if err := enterGroups(); err != nil {
		return fmt.Errorf("enter the cgroups: %w", err)
	}
	// The new namespace belongs to this thread only. exec leaves no other thread.
	runtime.LockOSThread()
	if err := syscall.Unshare(syscall.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("make a namespace of cgroups: %w", err)
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(program, n.commandLine(program, supervise), os.Environ())
}

// supervise starts all components, and restarts them for ever.
func (n node) supervise() error {
	if err := n.mount(); err != nil {
		return err
	}
	if err := n.network(); err != nil {
		return err
	}
	s := &supervisor{node: n, running: map[int]component{}}
	go s.start()
	return s.reap()
}

// mount hides from the components the folders of this machine that they write to or change. In other namespaces the
// mounts are not visible.
func (n node) mount() error {
	groups, err := hierarchies()
	if err != nil {
		return err
	}
	steps := []struct {
		source, target, kind string
		flags                uintptr
		options              string
	}{
		// Mounts inside the node do not propagate to the machine. Containers receive later mounts.
		{"", "/", "", syscall.MS_REC | syscall.MS_PRIVATE, ""},
		{"", "/", "", syscall.MS_REC | syscall.MS_SHARED, ""},
		{"proc", "/proc", "proc", 0, ""},
		{"sysfs", "/sys", "sysfs", 0, ""},
		{"tmpfs", "/run", "tmpfs", 0, "mode=755"},
		{n.path("var"), "/var", "", syscall.MS_BIND, ""},
		// The machine's root is read-only, except the folder of the state. Other file systems of the machine stay
		// as they are.
		{n.state, n.state, "", syscall.MS_BIND, ""},
		{"", "/", "", syscall.MS_REMOUNT | syscall.MS_BIND | syscall.MS_RDONLY, ""},
	}
	for _, step := range steps {
		if err := syscall.Mount(step.source, step.target, step.kind, step.flags, step.options); err != nil {
			return fmt.Errorf("mount %s: %w", step.target, err)
		}
	}
	return errors.Join(mountGroups(groups), n.mountSettings())
}

// mountSettings shows the kubelet the kernel settings that it requires, without changing them for this machine.
func (n node) mountSettings() error {
	for setting, value := range map[string]int{
		"vm/overcommit_memory":      1,
		"vm/panic_on_oom":           0,
		"kernel/panic":              10,
		"kernel/panic_on_oops":      1,
		"kernel/keys/root_maxkeys":  1_000_000,
		"kernel/keys/root_maxbytes": 25_000_000,
	} {
		source, target := n.path("config", filepath.Base(setting)), filepath.Join("/proc/sys", setting)
		if _, err := os.Stat(target); err != nil {
			continue // The kernel does not have the setting.
		}
		if err := errors.Join(
			os.WriteFile(source, []byte(strconv.Itoa(value)+"\n"), 0o600),
			syscall.Mount(source, target, "", syscall.MS_BIND, ""),
		); err != nil {
			return fmt.Errorf("mount %s: %w", target, err)
		}
	}
	return nil
}

// network waits for the node's end of the veth pair, and configures it.
func (n node) network() error {
	until := time.Now().Add(30 * time.Second)
	for {
		if _, err := net.InterfaceByName(nodeInterface); err == nil {
			break
		}
		if time.Now().After(until) {
			return errors.New("there is no network interface to the machine")
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.Join(
		n.ip("link", "set", "lo", "up"),
		n.ip("address", "add", nodeAddress+"/30", "dev", nodeInterface),
		n.ip("link", "set", nodeInterface, "up"),
		// With this route, processes of the node reach Services, too. kube-proxy redirects the packets.
		n.ip("route", "add", services, "dev", nodeInterface),
		os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0),
	)
}

// ip runs the program ip.
func (n node) ip(arguments ...string) error {
	return n.execute("ip", arguments...)
}

// execute runs a program. The error holds the program's output.
func (n node) execute(name string, arguments ...string) error {
	path := n.find(name)
	command := exec.CommandContext(context.Background(), path, arguments...)
	command.Env = n.environment()
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w: %s", name, arguments, err, output)
	}
	return nil
}

// find returns the path of a program from Debian's packages. If the packages do not have it, it returns the name, for a
// program of this machine.
func (n node) find(name string) string {
	for _, folder := range programs {
		if path := n.debian(folder, name); isFile(path) {
			return path
		}
	}
	return name
}

// isFile reports whether a path is a regular file. Links do not count, because a link in a package may point to a file
// of this machine.
func isFile(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular()
}

// supervisor runs the components. It is process 1 of its namespace, so the kernel makes it the parent of all orphaned
// processes, above all of the containers' shims.
type supervisor struct {
	node    node
	mu      sync.Mutex
	running map[int]component
}

// start starts each component as soon as the address that the component needs answers.
func (s *supervisor) start() {
	for _, c := range s.node.components() {
		for c.after[0] != "" && !answers(c.after[0], c.after[1]) {
			time.Sleep(50 * time.Millisecond)
		}
		s.launch(c)
	}
}

func answers(network, address string) bool {
	dialer := net.Dialer{Timeout: time.Second}
	connection, err := dialer.DialContext(context.Background(), network, address)
	if err != nil {
		return false
	}
	_ = connection.Close()
	return true
}

// launch starts a component, and writes its process ID to run/NAME.
func (s *supervisor) launch(c component) {
	log, err := os.OpenFile(s.node.path("logs", c.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.node.printf("%s: %v", c.name, err)
		return
	}
	defer func() { _ = log.Close() }()
	s.mu.Lock() // reap must wait until s.running has the ID.
	defer s.mu.Unlock()
	pid, err := syscall.ForkExec(c.path, append([]string{c.path}, c.arguments...), &syscall.ProcAttr{
		Dir:   "/",
		Env:   s.node.environment(),
		Files: []uintptr{0, log.Fd(), log.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		s.node.printf("start %s: %v", c.name, err)
		return
	}
	s.running[pid] = c
	s.node.printf("%s is process %d", c.name, pid)
	if err := os.WriteFile(s.node.path("run", c.name), []byte(strconv.Itoa(pid)), 0o600); err != nil {
		s.node.printf("%s: %v", c.name, err)
	}
}

// reap waits for processes that end, and starts components again.
func (s *supervisor) reap() error {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.ECHILD):
			time.Sleep(50 * time.Millisecond)
			continue
		case err != nil && !errors.Is(err, syscall.EINTR):
			return err
		}
		s.mu.Lock()
		c, ours := s.running[pid]
		delete(s.running, pid)
		s.mu.Unlock()
		if ours {
			s.node.printf("%s ended with the exit code %d (signal %d)", c.name, status.ExitStatus(), status.Signal())
			time.AfterFunc(time.Second, func() { s.launch(c) })
		}
	}
}
