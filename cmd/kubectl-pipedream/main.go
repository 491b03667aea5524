// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kubectl-pipedream is a plugin of kubectl: in a folder of the PATH, it is
// called by `kubectl pipedream`. It shows, renews, explains and tries the tokens of
// PipedreamTokens, and looks for what is wrong with the operator.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/klog/v2"

	"github.com/pipedream-operator/pipedream-operator/internal/kubectlpipedream"
)

// release is the version that the linker is told of when a release is built.
var release string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	klog.SetLogger(logr.Discard()) // What libraries log is no business of the user's.
	context.AfterFunc(ctx, stop)   // A second signal ends it at once.
	code := kubectlpipedream.Run(ctx, os.Args[1:], kubectlpipedream.Options{
		IOStreams: genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr},
		Now:       time.Now,
		Release:   release,
	})
	stop()
	os.Exit(code)
}
