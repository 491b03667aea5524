// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package harness holds the helpers of all tests and test programs. It starts and ends processes, runs kubectl,
// starts the manager and the simulator, and waits for conditions. The package controlplane starts etcd and
// kube-apiserver.
//
// A function that takes a context returns an error, so that programs without a testing.TB can use it. A function
// that takes a testing.TB ends the test at once when it fails. The package imports only the standard library.
package harness

import (
	"os"
	"path/filepath"
)

// Root returns the folder of this repository: the nearest folder above the working
// folder that has a PROJECT file, or the working folder if there is none.
func Root() string {
	working, err := os.Getwd()
	if err != nil {
		return "."
	}
	for folder := working; ; folder = filepath.Dir(folder) {
		if _, err := os.Stat(filepath.Join(folder, "PROJECT")); err == nil {
			return folder
		}
		if folder == filepath.Dir(folder) {
			return working
		}
	}
}

// Assets returns the folder of the control plane's binaries: KUBEBUILDER_ASSETS if it is set, or else the folder
// into which `make control-plane` downloads them.
func Assets() string {
	if assets := os.Getenv("KUBEBUILDER_ASSETS"); assets != "" {
		return assets
	}
	return filepath.Join(Root(), "bin", "k8s")
}
