// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command node runs a whole Kubernetes of one node on this machine. All of it is
// in namespaces and a cgroup of its own, below one process: what it mounts, which
// interfaces and firewall rules it makes, and what its pods do, is not seen from
// outside, and ends with that process. The machine has one end of a virtual cable
// to it, to reach the API server.
//
// The script run, in this folder, makes what it needs, and is how to call it.
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

// node is where things are. All paths are absolute.
type node struct {
	// controlPlane and binaries hold programs; state, all that a running node writes.
	controlPlane, binaries, state string
	// says gets what people may want to know.
	says io.Writer
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "node: %v\n", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	n := node{says: os.Stderr}
	flags := flag.NewFlagSet("node", flag.ExitOnError)
	flags.StringVar(&n.controlPlane, "control-plane", "", "The folder of etcd, kube-apiserver, kube-controller-manager and kubectl.")
	flags.StringVar(&n.binaries, "binaries", "", "The folder of the node's binaries.")
	flags.StringVar(&n.state, "state", "", "The folder that is made for the running node, and removed with it.")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	for _, folder := range []*string{&n.controlPlane, &n.binaries, &n.state} {
		if *folder == "" {
			return errors.New("--control-plane, --binaries and --state are needed")
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
		// Those below are for the node itself.
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
		return errors.New("check, up, down, load ARCHIVE..., restart COMPONENT, kill CONTAINER, etcd, or enter COMMAND... is needed")
	}
	return command(flags.Args()[1:])
}

// say tells people what happens.
func (n node) say(format string, a ...any) {
	_, _ = fmt.Fprintf(n.says, format+"\n", a...)
}

// path is that of a file of the state.
func (n node) path(elements ...string) string {
	return filepath.Join(append([]string{n.state}, elements...)...)
}

// debian is the path of a file of Debian's packages.
func (n node) debian(elements ...string) string {
	return filepath.Join(append([]string{n.binaries, "debian"}, elements...)...)
}

// programs are the folders of Debian's packages that have some: where one is in two of
// them, the latter has a link only.
var programs = []string{"usr/bin", "usr/sbin", "bin", "sbin"}

// environment finds Debian's programs and their libraries before those of this machine.
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
