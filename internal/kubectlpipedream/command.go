// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kubectlpipedream is the plugin `kubectl pipedream`. It sends requests to the cluster as the user
// who calls it. It shows no token and no client secret.
package kubectlpipedream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
)

// The exit codes. They are documented, and users' scripts depend on them.
const (
	exitError   = 1 // The command failed.
	exitUsage   = 2 // The arguments or flags are wrong.
	exitNo      = 3 // The command succeeded, and the answer is No.
	exitUnknown = 4 // The command succeeded, and the answer is unknown.
)

// defaultPollInterval is the time between two requests while a command waits for an object to change.
const defaultPollInterval = 500 * time.Millisecond

// defaultCheckTimeout is the maximum time of one check of doctor.
const defaultCheckTimeout = 10 * time.Second

// The client's rate limits. They are high, as in kubectl, because a command sends few requests and soon ends.
const (
	queriesPerSecond = 50
	queryBurst       = 300
)

// Options are the inputs of the plugin that its main function sets.
type Options struct {
	genericiooptions.IOStreams
	// Now returns the current time.
	Now func() time.Time
	// Release is the version of a released binary; empty for a binary that was not released.
	Release string
	// PollInterval is the time between two requests while a command waits for an object to change. Optional.
	PollInterval time.Duration
	// CheckTimeout is the maximum time of each check of doctor. Optional.
	CheckTimeout time.Duration
	// Sleep waits for a duration, or until ctx ends. It then returns the error of ctx. Optional.
	Sleep func(ctx context.Context, duration time.Duration) error
}

// plugin is one call of the plugin. It has the parts that all commands share. Each command has its own type.
type plugin struct {
	Options
	config *genericclioptions.ConfigFlags
	// isRunning is set after cobra has accepted the arguments and flags.
	isRunning bool
	// isGuess is set when neither a kubeconfig nor a flag names a cluster, so that client-go's default
	// address is used.
	isGuess bool
}

// Run runs the command that the arguments name, and returns the exit code.
func Run(ctx context.Context, arguments []string, options Options) int {
	p := newPlugin(options)
	root := p.rootCommand()
	root.SetArgs(arguments)
	return p.exitCode(root.ExecuteContext(ctx))
}

func newPlugin(options Options) *plugin {
	p := &plugin{Options: options, config: genericclioptions.NewConfigFlags(true)}
	p.PollInterval = cmp.Or(p.PollInterval, defaultPollInterval)
	p.CheckTimeout = cmp.Or(p.CheckTimeout, defaultCheckTimeout)
	p.config.CacheDir, p.config.DisableCompression = nil, nil
	p.config.WrapConfigFn = func(config *rest.Config) *rest.Config {
		config.QPS, config.Burst = queriesPerSecond, queryBurst
		config.UserAgent = "kubectl-pipedream/" + p.version()
		config.WarningHandler = rest.NewWarningWriter(p.ErrOut, rest.WarningWriterOptions{Deduplicate: true})
		return config
	}
	return p
}

func (p *plugin) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "kubectl-pipedream",
		Short: "Show, renew and explain the Secrets of PipedreamTokens and PipedreamAccounts",
		Long: "Show, renew and explain the Secrets of PipedreamTokens and PipedreamAccounts, and try tokens.\n\n" +
			"NAME is a PipedreamToken. Write pda/NAME for a PipedreamAccount, as `status` shows it.\n\n" +
			"No command shows a token, the credentials of an account or a client secret.\n\n" +
			"Exit codes: 0 done; 1 it could not be done; 2 the call is wrong; 3 the answer is No; 4 there is no answer.",
		Annotations:       map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl pipedream"},
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRun:  func(*cobra.Command, []string) { p.isRunning = true },
		Version:           p.version(),
		DisableAutoGenTag: true,
	}
	root.SetVersionTemplate("{{ .Version }}\n")
	root.SetIn(p.In)
	root.SetOut(p.Out)
	root.SetErr(p.ErrOut)
	root.Flags().Bool("version", false, "Print the version of the plugin.") // Not -v, which is kubectl's log level.
	p.config.AddFlags(root.PersistentFlags())
	completion{plugin: p}.register(root)
	root.AddCommand(newStatusCommand(p), newRenewCommand(p), newInspectCommand(p), newVerifyCommand(p), newDoctorCommand(p),
		newProbeCommand(p), newVersionCommand(p))
	return root
}

func newVersionCommand(p *plugin) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of the plugin",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(p.Out, p.version())
			return err
		},
	}
}

// sleep waits for a duration, or until ctx ends. It then returns the error of ctx.
func (p *plugin) sleep(ctx context.Context, duration time.Duration) error {
	if p.Sleep != nil {
		return p.Sleep(ctx, duration)
	}
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// version returns the release of the binary. For a binary that was not released, it returns the version of
// the module.
func (p *plugin) version() string {
	if p.Release != "" {
		return p.Release
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// usageError is an error in the arguments or flags.
type usageError struct{ cause error }

func (e *usageError) Error() string { return e.cause.Error() }
func (e *usageError) Unwrap() error { return e.cause }

func usage(format string, arguments ...any) error {
	return &usageError{cause: fmt.Errorf(format, arguments...)}
}

// verdict is an outcome with its own exit code. The command has already printed the message.
type verdict struct{ code int }

func (v *verdict) Error() string { return fmt.Sprintf("exit code %d", v.code) }

// exitCode prints the error with advice, and returns the exit code.
func (p *plugin) exitCode(err error) int {
	if err == nil {
		return 0
	}
	if outcome, ok := errors.AsType[*verdict](err); ok {
		return outcome.code
	}
	_, isUsage := errors.AsType[*usageError](err)
	if isUsage || !p.isRunning {
		p.printError(err.Error())
		p.printError("see kubectl pipedream --help")
		return exitUsage
	}
	for _, one := range each(err) {
		p.printError(p.explain(one))
	}
	return exitError
}

// each returns the errors that errors.Join has joined in err, or err alone.
func each(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, one := range joined.Unwrap() {
		all = append(all, each(one)...)
	}
	return all
}

// print writes a line to stdout.
func (p *plugin) print(format string, arguments ...any) {
	_, _ = fmt.Fprintln(p.Out, clean(fmt.Sprintf(format, arguments...)))
}

// printError writes a line to stderr.
func (p *plugin) printError(text string) {
	_, _ = fmt.Fprintln(p.ErrOut, "kubectl pipedream: "+oneLine(text))
}
