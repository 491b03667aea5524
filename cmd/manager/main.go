// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command manager is the operator. It runs until it is told to stop, and exits
// with 0 then, with 1 when it can't go on, and with 2 when it was called wrongly.
package main

import (
	"os"

	ctrl "sigs.k8s.io/controller-runtime"
)

func main() {
	os.Exit(exitCode(run(ctrl.SetupSignalHandler(), os.Args[1:], os.Stdout), os.Stderr))
}
