// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command demo shows on one machine what the operator does: on a real
// kube-apiserver, with the built manager under its own ServiceAccount, against a
// simulator of Pipedream's API whose tokens live a minute. It exits with 0 only
// if all that it tells has happened.
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
	once := flag.Bool("once", false, "End after the story instead of staying up.")
	binaries := flag.String("binaries", "bin", "The folder of the built manager and simulator.")
	flag.Parse()
	err := run(ctx, *binaries, *once, os.Stdout)
	stop()
	if err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		os.Exit(1)
	}
}
