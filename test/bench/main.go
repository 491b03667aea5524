// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command bench measures from outside what the built manager costs, against a real
// etcd and kube-apiserver and a simulator of Pipedream's API, and compares that with
// what it may cost. It exits with 1 when a budget is missed that is a count or a ratio.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	binaries, only, json        string
	objects, many, neighbours   int
	life, minute, hold, latency time.Duration
	interval                    time.Duration
	keep                        bool
}

func main() {
	var o options
	flag.StringVar(&o.binaries, "binaries", "bin", "The folder of the built manager and simulator.")
	flag.StringVar(&o.only, "case", "", "The case to measure, or several separated by commas. All when empty.")
	flag.StringVar(&o.json, "json", "bin/bench.json", "Where the figures are written to as JSON.")
	flag.IntVar(&o.objects, "objects", 1000, "How many PipedreamTokens a case has.")
	flag.IntVar(&o.many, "many", 10000, "How many PipedreamTokens or PipedreamAccounts a case with many has.")
	flag.IntVar(&o.neighbours, "neighbours", 3000, "How many unrelated Secrets there are.")
	flag.DurationVar(&o.life, "life", time.Minute, "The life of tokens where renewals are measured; half of that where the cache is late.")
	flag.DurationVar(&o.minute, "minute", time.Minute, "How long refused credentials are observed.")
	flag.DurationVar(&o.hold, "hold", 305*time.Second, "How long objects are held where nothing is to be done; each is looked at every five minutes.")
	flag.DurationVar(&o.latency, "latency", 20*time.Millisecond, "What each answer of Pipedream takes.")
	flag.DurationVar(&o.interval, "interval", 2*time.Minute, "How often each PipedreamAccount is looked at where that is measured; 30s or more.")
	flag.BoolVar(&o.keep, "keep-logs", false, "Leave the folder with the logs, and say where it is.")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	missed, err := run(ctx, o, os.Stdout)
	stop()
	if err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "bench: %v\n", err)
	}
	if err != nil || missed > 0 {
		os.Exit(1)
	}
}
