// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command chaos runs the built manager and simulator on a real etcd and
// kube-apiserver, disturbs all of them at random, and checks all the time that the
// operator keeps what it promises. It exits with 0 only if it always did, with 1 if
// it did not or the run could not be ended, and with 2 when it was called wrongly.
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
	flag.DurationVar(&o.duration, "duration", 10*time.Minute, "How long to disturb and to watch, set-up and clean-up apart.")
	flag.Uint64Var(&o.seed, "seed", 0, "What the disturbances are drawn from; 0 takes any.")
	flag.StringVar(&o.binaries, "binaries", "bin", "The folder of the built manager and simulator.")
	flag.StringVar(&o.logs, "logs", "", "A folder to keep the managers' logs in. When absent, they are not kept.")
	flag.Parse()
	if flag.NArg() > 0 || o.duration < minDuration {
		_, _ = fmt.Fprintf(os.Stderr, "chaos: there are only flags, and --duration must be at least %v\n", minDuration)
		os.Exit(2)
	}
	for o.seed == 0 {
		o.seed = uint64(rand.Uint32()) //nolint:gosec // To be repeated, not to be secret.
	}
	// What the client libraries complain of is what this program does to them.
	klog.SetLogger(logr.Discard())
	log.SetLogger(logr.Discard())
	err := run(ctx, o, os.Stdout)
	stop()
	if err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "chaos: %v\n", err)
		os.Exit(1)
	}
}
