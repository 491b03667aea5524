// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"cmp"
	"context"
	"path/filepath"
	"testing"
)

// Kubectl runs kubectl from the root of this repository.
type Kubectl struct {
	// Path is the program. "" is kubectl in the folder Assets.
	Path string
	// Kubeconfig is the path of a file. "" is the kubeconfig of the environment.
	Kubeconfig string
	// Stdin is for the argument --filename=-.
	Stdin string
}

// Command returns the call of kubectl. The caller may change it.
func (k Kubectl) Command(arguments ...string) Command {
	command := Command{
		Path:      cmp.Or(k.Path, filepath.Join(Assets(), "kubectl")),
		Arguments: arguments, Folder: Root(), Stdin: k.Stdin,
	}
	if k.Kubeconfig != "" {
		command.Environment = []string{"KUBECONFIG=" + k.Kubeconfig}
	}
	return command
}

// Run returns what kubectl printed to stdout. The error holds the arguments and what kubectl
// printed to stderr: no argument may be a secret that matters.
func (k Kubectl) Run(ctx context.Context, arguments ...string) (stdout string, err error) {
	return k.Command(arguments...).Run(ctx)
}

// Must does what Run does, and ends the test when kubectl fails.
func (k Kubectl) Must(tb testing.TB, arguments ...string) (stdout string) {
	tb.Helper()
	stdout, err := k.Run(context.WithoutCancel(tb.Context()), arguments...) // A clean-up may run it, too.
	Must(tb, err)
	return stdout
}
