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
	// Path is the path of kubectl. "" means kubectl in the folder Assets.
	Path string
	// Kubeconfig is the path of the kubeconfig. "" means the kubeconfig of the environment.
	Kubeconfig string
	// Stdin is the standard input, which kubectl reads for the argument --filename=-.
	Stdin string
}

// Command returns the command that runs kubectl. The caller may change it.
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

// Run runs kubectl and returns its stdout. The error holds the arguments and stderr, so the arguments must not hold
// a real secret.
func (k Kubectl) Run(ctx context.Context, arguments ...string) (stdout string, err error) {
	return k.Command(arguments...).Run(ctx)
}

// Must is like Run, and ends the test on an error.
func (k Kubectl) Must(tb testing.TB, arguments ...string) (stdout string) {
	tb.Helper()
	stdout, err := k.Run(context.WithoutCancel(tb.Context()), arguments...) // A clean-up function may run kubectl, too.
	Must(tb, err)
	return stdout
}
