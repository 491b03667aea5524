// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// BuildManager builds the manager into the file path, from the source in a folder, such as
// Root. The flags are for go build.
func BuildManager(ctx context.Context, source, path string, flags ...string) error {
	arguments := append(append([]string{"build"}, flags...), "-o", path, "./cmd/manager")
	if _, err := (Command{Path: "go", Arguments: arguments, Folder: source}).Run(ctx); err != nil {
		return fmt.Errorf("build the manager: %w", err)
	}
	return nil
}

// MustBuildManager does what BuildManager does, and ends the test when it fails.
func MustBuildManager(tb testing.TB, source, path string, flags ...string) {
	tb.Helper()
	Must(tb, BuildManager(tb.Context(), source, path, flags...))
}

// Manager says how to call a built manager.
type Manager struct {
	// Path is the built program, and Kubeconfig is the path of its kubeconfig.
	Path, Kubeconfig string
	// Pipedream is the address of Pipedream's API. An address with http is allowed.
	Pipedream string
	// Namespace is the namespace that the manager takes for its own. Optional.
	Namespace string
	// Probes and Metrics are the addresses to serve them at. "" serves none.
	Probes, Metrics string
	// Flags are more flags.
	Flags []string
}

// Command returns the call of the manager. The caller may change it before it starts it.
func (m Manager) Command() Command {
	command := Command{Path: m.Path, Arguments: []string{
		"--kubeconfig=" + m.Kubeconfig, "--api-url=" + m.Pipedream,
		"--metrics-bind-address=" + cmp.Or(m.Metrics, "0"), "--health-probe-bind-address=" + cmp.Or(m.Probes, "0"),
	}}
	if strings.HasPrefix(m.Pipedream, "http://") {
		command.Arguments = append(command.Arguments, "--allow-insecure-api-url")
	}
	command.Arguments = append(command.Arguments, m.Flags...)
	if m.Namespace != "" {
		command.Environment = []string{"POD_NAMESPACE=" + m.Namespace}
	}
	return command
}

// Unready returns why a manager that serves its probes is not ready, and "" if it is. It is
// for Wait.
func (m Manager) Unready(ctx context.Context) (problem string) {
	return Answers(ctx, "http://"+m.Probes+"/readyz", "", http.StatusOK)
}

// Simulator is a simulator of Pipedream's API in a process of its own.
type Simulator struct {
	*Process
	// Address is where it listens, such as http://127.0.0.1:40123.
	Address string
}

// StartSimulator starts a built simulator at a free port, and returns when it listens. The
// arguments are more flags. It is killed when ctx ends, and outlives an interrupt.
func StartSimulator(ctx context.Context, path string, arguments ...string) (*Simulator, error) {
	p, err := Command{Path: path, Arguments: append([]string{"--listen=127.0.0.1:0"}, arguments...), OutlivesInterrupt: true}.Start(ctx)
	if err != nil {
		return nil, err
	}
	address, err := p.AwaitLine(ctx, 30*time.Second, "listening on ")
	if err != nil {
		p.Kill()
		return nil, err
	}
	return &Simulator{Process: p, Address: address}, nil
}
