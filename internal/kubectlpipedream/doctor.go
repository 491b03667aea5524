// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
)

// operatorLabels find the operator's Deployment, however it was installed.
const operatorLabels = "app.kubernetes.io/name=pipedream-operator"

// doctorOptions are the flags of doctor.
type doctorOptions struct {
	api               apiOptions
	operatorNamespace string
	operatorSelector  string
	allNamespaces     bool
}

func (p *plugin) doctorCommand() *cobra.Command {
	options := &doctorOptions{}
	command := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong: API, clock, CRD, permissions, operator, tokens",
		Long: "Look for what is wrong. Each check is ok, a warning, failed, or unknown where you lack the permission to look.\n\n" +
			"Nothing is changed, and no credentials are sent to Pipedream. Exits with 3 when a check has failed.\n" +
			"Tokens are looked at in all namespaces, if you may, unless you name one with --namespace.",
		Example: "  kubectl pipedream doctor\n" +
			"  kubectl pipedream doctor --namespace shop --operator-namespace pipedream-operator-system",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return p.doctor(command.Context(), options)
		},
	}
	options.api.register(command)
	flags := command.Flags()
	flags.StringVar(&options.operatorNamespace, "operator-namespace", "", "Where the operator runs. When absent, it is looked for in all namespaces.")
	flags.StringVar(&options.operatorSelector, "operator-selector", operatorLabels, "The labels of the operator's Deployment.")
	flags.BoolVarP(&options.allNamespaces, "all-namespaces", "A", false, "Look at the tokens of all namespaces, and at none if you may not.")
	return command
}

// state is the outcome of a check.
type state string

// The outcomes of a check.
const (
	stateOK      state = "ok"
	stateWarning state = "warning"
	stateFailed  state = "failed"
	stateUnknown state = "unknown"
)

// finding is what a check has found, and what to do about it.
type finding struct {
	state  state
	what   string
	advice string
}

func ok(format string, arguments ...any) finding {
	return finding{state: stateOK, what: fmt.Sprintf(format, arguments...)}
}

func failed(advice, format string, arguments ...any) finding {
	return finding{state: stateFailed, what: fmt.Sprintf(format, arguments...), advice: advice}
}

func warning(advice, format string, arguments ...any) finding {
	return finding{state: stateWarning, what: fmt.Sprintf(format, arguments...), advice: advice}
}

func unknown(advice, format string, arguments ...any) finding {
	return finding{state: stateUnknown, what: fmt.Sprintf(format, arguments...), advice: advice}
}

// examination is one run of doctor.
type examination struct {
	*plugin
	*cluster
	options *doctorOptions
	// skew is how much this machine's clock is ahead of the API's, as far as is known.
	skew time.Duration
	// picked is where tokens are looked at, if they may be.
	picked  selection
	mayList bool
	// deployment is the operator's; nil while it was not found.
	deployment *appsv1.Deployment
	hasFailed  bool
	err        error
}

func (p *plugin) doctor(ctx context.Context, options *doctorOptions) error {
	api, err := options.api.client(p)
	if err != nil {
		return err
	}
	c, err := p.connect()
	if err != nil {
		return err
	}
	e := &examination{plugin: p, cluster: c, options: options}
	e.check(ctx, "API", func(ctx context.Context) []finding { return e.checkAPI(ctx, api) })
	if e.check(ctx, "cluster", e.checkCluster) {
		e.check(ctx, "CRD", e.checkCRD)
		e.check(ctx, "you", e.checkUser)
		e.check(ctx, "operator", func(ctx context.Context) []finding { return e.checkOperator(ctx, api) })
		e.check(ctx, "leader", e.checkLeader)
		e.check(ctx, "permissions", e.checkPermissions)
		e.check(ctx, "tokens", e.checkTokens)
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case e.err != nil:
		return e.err
	case e.hasFailed:
		return &verdict{code: exitNo}
	}
	return nil
}

// now is the time by the API's clock if that is known, so that a wrong clock of this
// machine is one finding, and not many.
func (e *examination) now() time.Time { return e.Now().Add(-e.skew) }

// check looks at something, for a limited time, and tells whether nothing has failed.
// What it finds when it is interrupted is not shown.
func (e *examination) check(ctx context.Context, subject string, look func(context.Context) []finding) bool {
	limited, cancel := context.WithTimeout(ctx, e.CheckTimeout)
	defer cancel()
	findings := look(limited)
	return ctx.Err() == nil && e.report(subject, findings...)
}

// report writes findings, and tells whether none of them has failed.
func (e *examination) report(subject string, findings ...finding) bool {
	isGood := true
	for _, one := range findings {
		e.write(fmt.Sprintf("%-9s %-12s %s\n", one.state, subject, oneLine(one.what)))
		if one.advice != "" {
			e.write(fmt.Sprintf("%-9s %-12s -> %s\n", "", "", oneLine(one.advice)))
		}
		if one.state == stateFailed {
			isGood, e.hasFailed = false, true
		}
	}
	return isGood
}

func (e *examination) write(text string) {
	if e.err == nil {
		_, e.err = io.WriteString(e.Out, text)
	}
}
