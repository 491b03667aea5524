// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kubectl-pipedream is a kubectl plugin: if it is in a folder of the PATH, `kubectl
// pipedream` runs it. It shows, renews and explains the tokens of PipedreamTokens and the
// credentials of PipedreamAccounts, verifies tokens, and looks for problems with the operator.
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

// release is the version of a release. The linker sets it when the release is built.
var release string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	klog.SetLogger(logr.Discard()) // The user does not need the logs of the libraries.
	context.AfterFunc(ctx, stop)   // A second signal ends the program at once.
	code := kubectlpipedream.Run(ctx, os.Args[1:], kubectlpipedream.Options{
		IOStreams: genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr},
		Now:       time.Now,
		Release:   release,
	})
	stop()
	os.Exit(code)
}
