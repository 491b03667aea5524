// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command chaos runs the built manager and simulator on a real etcd and kube-apiserver, disturbs all of them at
// random, and checks all the time that the operator keeps its promises. It exits with 0 only if there was no
// breach, with 1 if there was one or the run could not be finished, and with 2 when its flags are wrong.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	o := options{}
	flag.DurationVar(&o.duration, "duration", 10*time.Minute, "How long to disturb and observe, not counting set-up and clean-up.")
	flag.Uint64Var(&o.seed, "seed", 0, "The seed from which the disturbances are drawn. With 0 the program chooses one.")
	flag.StringVar(&o.binaries, "binaries", "bin", "The folder with the built manager and simulator.")
	flag.StringVar(&o.logs, "logs", "", "The folder for the managers' logs. Without it, the logs are not kept.")
	flag.Parse()
	if flag.NArg() > 0 || o.duration < minDuration {
		_, _ = fmt.Fprintf(os.Stderr, "chaos: the program takes flags only, and --duration must be at least %v\n", minDuration)
		os.Exit(2)
	}
	for o.seed == 0 {
		o.seed = uint64(rand.Uint32()) //nolint:gosec // The plan must be repeatable, not secret.
	}
	// This program causes the errors that the client libraries would log.
	klog.SetLogger(logr.Discard())
	log.SetLogger(logr.Discard())
	err := run(ctx, o, os.Stdout)
	stop()
	if err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "chaos: %v\n", err)
		os.Exit(1)
	}
}
