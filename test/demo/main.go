// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command demo shows on one machine what the operator does: the story of a PipedreamToken and, at the same time, the
// story of a PipedreamAccount. It uses a real kube-apiserver, the built manager under its own ServiceAccount, and a
// simulator of Pipedream's API whose tokens live for a minute. It exits with 0 only if every part of both stories
// succeeded.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	once := flag.Bool("once", false, "End after the last part of the demo, instead of leaving all processes running.")
	binaries := flag.String("binaries", "bin", "The folder with the built manager and simulator.")
	flag.Parse()
	err := run(ctx, *binaries, *once, os.Stdout)
	stop()
	if err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		os.Exit(1)
	}
}
