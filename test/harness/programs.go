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

// BuildManager builds the manager from the source in a folder, such as Root, and writes it to path. It passes the
// flags to go build.
func BuildManager(ctx context.Context, source, path string, flags ...string) error {
	arguments := append(append([]string{"build"}, flags...), "-o", path, "./cmd/manager")
	if _, err := (Command{Path: "go", Arguments: arguments, Folder: source}).Run(ctx); err != nil {
		return fmt.Errorf("build the manager: %w", err)
	}
	return nil
}

// MustBuildManager is like BuildManager, and ends the test on an error.
func MustBuildManager(tb testing.TB, source, path string, flags ...string) {
	tb.Helper()
	Must(tb, BuildManager(tb.Context(), source, path, flags...))
}

// Manager describes how to run a built manager.
type Manager struct {
	// Path is the path of the built manager, and Kubeconfig the path of its kubeconfig.
	Path, Kubeconfig string
	// Pipedream is the URL of Pipedream's API. The scheme may be http.
	Pipedream string
	// Namespace is the manager's own namespace. It is optional.
	Namespace string
	// Probes and Metrics are the addresses of the health probes and of the metrics. "" disables them.
	Probes, Metrics string
	// Flags are additional flags of the manager.
	Flags []string
}

// Command returns the command that runs the manager. The caller may change it.
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

// Unready returns "" if a manager with an address for probes is ready. Otherwise it says why the manager is not
// ready. Use it with Wait.
func (m Manager) Unready(ctx context.Context) (problem string) {
	return Answers(ctx, "http://"+m.Probes+"/readyz", "", http.StatusOK)
}

// Simulator is a running process of the simulator of Pipedream's API.
type Simulator struct {
	*Process
	// Address is the URL of the simulator, such as http://127.0.0.1:40123.
	Address string
}

// StartSimulator starts a built simulator on a free port, and returns when it listens. The arguments are additional
// flags. The simulator is killed when ctx ends. Ctrl-C does not end it.
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
