// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"

	"github.com/spf13/cobra"
)

// operatorLabels select the operator's Deployment. Each way to install the operator sets them.
const operatorLabels = "app.kubernetes.io/name=pipedream-operator"

// doctorOptions are the flags of doctor.
type doctorOptions struct {
	api               apiOptions
	operatorNamespace string
	operatorSelector  string
	allNamespaces     bool
}

func newDoctorCommand(p *plugin) *cobra.Command {
	options := &doctorOptions{}
	command := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong: API, clock, CRDs, permissions, operator, tokens, accounts",
		Long: "Look for what is wrong. Each check is ok, a warning, failed, or unknown where you lack the permission to look.\n\n" +
			"Nothing is changed, and no credentials are sent to Pipedream. Exits with 3 when a check has failed.\n" +
			"Tokens and accounts are looked at in all namespaces, if you may, unless you name one with --namespace.",
		Example: "  kubectl pipedream doctor\n" +
			"  kubectl pipedream doctor --namespace shop --operator-namespace pipedream-operator-system",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return doctor(command.Context(), p, options)
		},
	}
	options.api.register(command)
	flags := command.Flags()
	flags.StringVar(&options.operatorNamespace, "operator-namespace", "", "Where the operator runs. When absent, it is looked for in all namespaces.")
	flags.StringVar(&options.operatorSelector, "operator-selector", operatorLabels, "The labels of the operator's Deployment.")
	flags.BoolVarP(&options.allNamespaces, "all-namespaces", "A", false, "Look at the tokens and accounts of all namespaces, and at none if you may not.")
	return command
}

func doctor(ctx context.Context, p *plugin, options *doctorOptions) error {
	client, err := options.api.client(p)
	if err != nil {
		return err
	}
	c, err := p.connect()
	if err != nil {
		return err
	}
	api := &apiCheck{plugin: p, api: client}
	user := &userCheck{plugin: p, cluster: c, allNamespaces: options.allNamespaces}
	operator := &operatorCheck{plugin: p, cluster: c, options: options, address: client.Address()}
	r := &report{out: p.Out, timeout: p.CheckTimeout}
	r.check(ctx, "API", api.run)
	if r.check(ctx, "cluster", (&clusterCheck{plugin: p, cluster: c}).run) {
		for _, k := range allKinds {
			r.check(ctx, "CRD", (&crdCheck{plugin: p, cluster: c, kind: k}).run)
		}
		r.check(ctx, "you", user.run)
		r.check(ctx, "operator", operator.run)
		r.check(ctx, "leader", (&leaderCheck{plugin: p, cluster: c, deployment: operator.deployment, now: api.now}).run)
		r.check(ctx, "permissions", (&permissionCheck{plugin: p, cluster: c, deployment: operator.deployment}).run)
		r.check(ctx, "operators", (&writersCheck{plugin: p, cluster: c, picked: user.picked[tokenKind]}).run)
		for _, k := range allKinds {
			r.check(ctx, k.words.objects, (&objectsCheck{plugin: p, cluster: c, picked: user.picked[k], now: api.now}).run)
		}
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case r.err != nil:
		return r.err
	case r.hasFailed:
		return &verdict{code: exitNo}
	}
	return nil
}
