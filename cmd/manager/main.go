// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command manager is the operator. It runs until it receives a signal to stop. Its exit code is
// 0 after such a signal, 1 after an error, and 2 if the flags are wrong.
package main

import (
	"os"

	ctrl "sigs.k8s.io/controller-runtime"
)

func main() {
	os.Exit(exitCode(run(ctrl.SetupSignalHandler(), os.Args[1:], os.Stdout), os.Stderr))
}
