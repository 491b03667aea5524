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

// group is the name of the node's cgroup, of which there is one on a machine.
const group = "pipedream-operator-node"

// hierarchy is a mounted cgroup hierarchy: one of several of version 1, or the one
// of version 2.
type hierarchy struct {
	path string
	// kind is that of the file system, and options are what it is mounted with.
	kind, options string
}

// own is the node's cgroup in it.
func (h hierarchy) own() string { return filepath.Join(h.path, group) }

// hierarchies returns those of version 1, if there are any, else that of version 2.
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

// controllers returns those of a mount's options that say which hierarchy it is.
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

// makeGroups makes the node's cgroups.
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
		// A new cgroup of version 1 has no processors and no memory to run on.
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

// delegate lets the cgroups below one of version 2 have controllers of their own.
func delegate(path string) error {
	available, err := os.ReadFile(filepath.Join(path, "cgroup.controllers"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // Version 1.
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

// mountGroups mounts the hierarchies anew, of which the node's cgroups are then
// the roots.
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

// mountGroup2 also moves this process out of the root, for who has processes of
// its own may not delegate.
func mountGroup2() error {
	const root = "/sys/fs/cgroup"
	if err := syscall.Mount("cgroup2", root, "cgroup2", 0, ""); err != nil {
		return err
	}
	leaf := filepath.Join(root, "components")
	return errors.Join(os.Mkdir(leaf, 0o755), os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte("0"), 0), delegate(root))
}

// running returns the first process of the node that is up, of whatever folder,
// and its state's folder. Without one, it returns 0.
func running() (pid int, state string, err error) {
	all, err := hierarchies()
	if err != nil {
		return 0, "", err
	}
	for _, pid := range processes(all[0].own()) {
		line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		if err != nil {
			continue // It has ended.
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

// processes returns those of a cgroup and all below it.
func processes(path string) []int {
	var found []int
	_ = filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return nil //nolint:nilerr // A cgroup that is gone has no processes.
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

// removeGroup removes a cgroup and all below it.
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
