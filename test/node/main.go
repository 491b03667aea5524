// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command node runs a Kubernetes cluster of one node on this machine. The whole cluster runs in its own namespaces and
// in its own cgroup, below one process. Its mounts, interfaces and firewall rules, and the actions of its pods, are
// invisible from outside, and end with that process. A veth pair connects the machine with the node, so that the
// machine can reach the API server.
//
// The script run in this folder builds the programs, and is the way to call them.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// node holds the folders of a node. All paths are absolute.
type node struct {
	// controlPlane and binaries hold programs. state holds all files that a running node writes.
	controlPlane, binaries, state string
	// messages receives messages for the user.
	messages io.Writer
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "node: %v\n", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	n := node{messages: os.Stderr}
	flags := flag.NewFlagSet("node", flag.ExitOnError)
	flags.StringVar(&n.controlPlane, "control-plane", "", "The folder of etcd, kube-apiserver, kube-controller-manager and kubectl.")
	flags.StringVar(&n.binaries, "binaries", "", "The folder with the node's binaries.")
	flags.StringVar(&n.state, "state", "", "The folder for the state of the running node. It is created and removed with the node.")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	for _, folder := range []*string{&n.controlPlane, &n.binaries, &n.state} {
		if *folder == "" {
			return errors.New("the flags --control-plane, --binaries and --state are required")
		}
		absolute, err := filepath.Abs(*folder)
		if err != nil {
			return err
		}
		*folder = absolute
	}
	commands := map[string]func([]string) error{
		"check":   func([]string) error { return n.check() },
		"up":      func([]string) error { return n.locked(n.up) },
		"down":    func([]string) error { return n.locked(n.down) },
		"load":    n.load,
		"restart": n.restart,
		"enter":   n.enter,
		// This program calls the commands below inside the node.
		join:      func([]string) error { return n.join() },
		supervise: func([]string) error { return n.supervise() },
		reach: func([]string) error {
			if !answers("tcp", apiServerAddress+":443") {
				return fmt.Errorf("%s does not answer", apiServerAddress)
			}
			return nil
		},
	}
	command, known := commands[flags.Arg(0)]
	if !known {
		return errors.New("check, up, down, load ARCHIVE..., restart COMPONENT, kill CONTAINER, etcd, or enter COMMAND... is required")
	}
	return command(flags.Args()[1:])
}

// printf prints a message for the user.
func (n node) printf(format string, a ...any) {
	_, _ = fmt.Fprintf(n.messages, format+"\n", a...)
}

// path returns the path of a file of the state.
func (n node) path(elements ...string) string {
	return filepath.Join(append([]string{n.state}, elements...)...)
}

// debian returns the path of a file of Debian's packages.
func (n node) debian(elements ...string) string {
	return filepath.Join(append([]string{n.binaries, "debian"}, elements...)...)
}

// programs are the folders of Debian's packages with programs. If a program is in two of them, the later one holds only
// a link.
var programs = []string{"usr/bin", "usr/sbin", "bin", "sbin"}

// environment returns variables by which Debian's programs and libraries are found before those of this machine.
func (n node) environment() []string {
	libraries, _ := filepath.Glob(n.debian("usr", "lib", "*-linux-gnu*"))
	more, _ := filepath.Glob(n.debian("lib", "*-linux-gnu*"))
	var folders []string
	for _, folder := range programs {
		folders = append(folders, n.debian(folder))
	}
	return []string{
		"PATH=" + strings.Join(folders, ":") + ":" + n.binaries + ":" + n.controlPlane + ":/usr/sbin:/usr/bin:/sbin:/bin",
		"LD_LIBRARY_PATH=" + strings.Join(append(libraries, more...), ":"),
		"TMPDIR=" + n.path("tmp"),
		"HOME=" + n.path("tmp"),
	}
}
