// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// group is the name of the node's cgroup. A machine has at most one.
const group = "pipedream-operator-node"

// hierarchy is a mounted cgroup hierarchy. Version 1 has one hierarchy for each group of controllers, and version 2
// has one in all.
type hierarchy struct {
	path string
	// kind is the type of the file system, and options are its mount options.
	kind, options string
}

// own returns the path of the node's cgroup in the hierarchy.
func (h hierarchy) own() string { return filepath.Join(h.path, group) }

// hierarchies returns the hierarchies of version 1. If there are none, it returns the hierarchy of version 2.
func hierarchies() ([]hierarchy, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	found := map[string][]hierarchy{}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[1], "/sys/fs/cgroup") {
			continue
		}
		kind := fields[2]
		found[kind] = append(found[kind], hierarchy{fields[1], kind, controllers(fields[3])})
	}
	if first := found["cgroup"]; len(first) > 0 {
		return first, nil
	}
	if second := found["cgroup2"]; len(second) > 0 {
		return second[:1], nil
	}
	return nil, errors.New("there are no cgroups below /sys/fs/cgroup")
}

// controllers returns the mount options that identify a hierarchy of version 1: the names of its controllers.
func controllers(options string) string {
	var kept []string
	for option := range strings.SplitSeq(options, ",") {
		switch {
		case strings.HasPrefix(option, "name="):
			kept = append(kept, "none", option)
		case slices.Contains([]string{"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "net_cls", "blkio", "perf_event", "net_prio", "hugetlb", "pids", "rdma", "misc"}, option):
			kept = append(kept, option)
		}
	}
	return strings.Join(kept, ",")
}

// makeGroups creates the node's cgroups.
func makeGroups() error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		if err := delegate(h.path); err != nil {
			return err
		}
		if err := os.MkdirAll(h.own(), 0o755); err != nil {
			return err
		}
		// A new cgroup of version 1 has no processors and no memory, so no process can run in it.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			content, err := os.ReadFile(filepath.Join(h.path, file))
			if errors.Is(err, fs.ErrNotExist) || h.kind == "cgroup2" {
				continue
			}
			if err := errors.Join(err, os.WriteFile(filepath.Join(h.own(), file), content, 0)); err != nil {
				return err
			}
		}
	}
	return nil
}

// delegate allows the cgroups below a cgroup of version 2 to use controllers.
func delegate(path string) error {
	available, err := os.ReadFile(filepath.Join(path, "cgroup.controllers"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // The cgroup is of version 1.
	}
	if err != nil {
		return err
	}
	file := filepath.Join(path, "cgroup.subtree_control")
	delegated, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, name := range []string{"cpu", "cpuset", "memory", "pids"} {
		if slices.Contains(strings.Fields(string(delegated)), name) {
			continue
		}
		if !slices.Contains(strings.Fields(string(available)), name) {
			return fmt.Errorf("containers need the cgroup controller %s, which %s does not have", name, path)
		}
		if err := os.WriteFile(file, []byte("+"+name), 0); err != nil {
			return fmt.Errorf("delegate %s: %w", name, err)
		}
	}
	return nil
}

// enterGroups moves this process into the node's cgroups.
func enterGroups() error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		if err := os.WriteFile(filepath.Join(h.own(), "cgroup.procs"), []byte("0"), 0); err != nil {
			return err
		}
	}
	return nil
}

// mountGroups mounts the hierarchies again, so that the node's cgroups are their roots.
func mountGroups(all []hierarchy) error {
	if all[0].kind == "cgroup2" {
		return mountGroup2()
	}
	if err := syscall.Mount("tmpfs", "/sys/fs/cgroup", "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	for _, h := range all {
		if err := errors.Join(os.Mkdir(h.path, 0o755), syscall.Mount("cgroup", h.path, "cgroup", 0, h.options)); err != nil {
			return fmt.Errorf("mount %s: %w", h.path, err)
		}
	}
	return nil
}

// mountGroup2 mounts the hierarchy of version 2. It moves this process out of the root, because a cgroup that has
// processes cannot delegate controllers.
func mountGroup2() error {
	const root = "/sys/fs/cgroup"
	if err := syscall.Mount("cgroup2", root, "cgroup2", 0, ""); err != nil {
		return err
	}
	leaf := filepath.Join(root, "components")
	return errors.Join(os.Mkdir(leaf, 0o755), os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte("0"), 0), delegate(root))
}

// running returns the ID of the node's first process and the folder of the node's state, also if the node was started
// from another folder. It returns 0 if no node is up.
func running() (pid int, state string, err error) {
	all, err := hierarchies()
	if err != nil {
		return 0, "", err
	}
	for _, pid := range processes(all[0].own()) {
		line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		if err != nil {
			continue // The process has ended.
		}
		arguments := strings.Split(string(bytes.TrimRight(line, "\x00")), "\x00")
		if arguments[len(arguments)-1] != supervise {
			continue
		}
		for _, argument := range arguments {
			if state, is := strings.CutPrefix(argument, "--state="); is {
				return pid, state, nil
			}
		}
	}
	return 0, "", nil
}

// processes returns the processes in a cgroup and in all cgroups below it.
func processes(path string) []int {
	var found []int
	_ = filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return nil //nolint:nilerr // A removed cgroup has no processes.
		}
		content, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for field := range strings.FieldsSeq(string(content)) {
			if pid, err := strconv.Atoi(field); err == nil {
				found = append(found, pid)
			}
		}
		return nil
	})
	return found
}

// removeGroups removes the node's cgroups, once they are empty.
func removeGroups(until time.Time) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		for {
			err := removeGroup(h.own())
			if err == nil {
				break
			}
			if time.Now().After(until) {
				return err
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	return nil
}

// removeGroup removes a cgroup and all cgroups below it.
func removeGroup(path string) error {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeGroup(filepath.Join(path, entry.Name())); err != nil {
				return err
			}
		}
	}
	return os.Remove(path)
}
