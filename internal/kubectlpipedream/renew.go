// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// fieldManager is the field manager that the annotation gets in metadata.managedFields.
const fieldManager = "kubectl-pipedream"

// defaultRenewTimeout is longer than two waits together: the longest wait for the operator's rate limit that the
// conditions do not show, and a slow answer from Pipedream.
const defaultRenewTimeout = time.Minute

// renewOptions are the flags of renew.
type renewOptions struct {
	choiceOptions
	all     bool
	wait    bool
	timeout time.Duration
}

func newRenewCommand(p *plugin) *cobra.Command {
	options := &renewOptions{}
	options.kinds = tokenKind.short
	command := &cobra.Command{
		Use:   "renew (NAME... | pda/NAME... | --selector=... | --all)",
		Short: "Ask the operator for new tokens, or to fetch accounts, now",
		Long: "Ask the operator for new tokens, or to fetch accounts, now.\n\n" +
			"This sets the annotation " + v1alpha1.RenewRequestAnnotation + " to the time. The operator paces its requests:\n" +
			"the attempts for one object are at least ten seconds apart. The old token stays in the Secret until there is a\n" +
			"new one, and is not revoked. Pipedream decides when it refreshes the credentials of an account: a fetch may\n" +
			"bring the same ones again.",
		Example: "  kubectl pipedream renew orders --wait\n" +
			"  kubectl pipedream renew pda/acme-slack --wait\n" +
			"  kubectl pipedream renew --all\n" +
			"  kubectl pipedream renew --all --kind pda",
		ValidArgsFunction: completion{plugin: p}.names,
		RunE: func(command *cobra.Command, arguments []string) error {
			return renew(command.Context(), p, options, arguments)
		},
	}
	options.register(command, completion{plugin: p}, "The kinds that --all and --selector choose from, separated by commas: pdt, pda. A name without a kind is of the first one.")
	flags := command.Flags()
	flags.StringVarP(&options.selector, "selector", "l", "", "Renew those whose labels match.")
	flags.BoolVar(&options.all, "all", false, "Renew all in the namespace.")
	flags.BoolVarP(&options.allNamespaces, "all-namespaces", "A", false, "With --all or --selector: in all namespaces.")
	flags.BoolVar(&options.wait, "wait", false, "Wait until the Secrets hold the new tokens and the fetched credentials. Exit with 3 when they can't be had, and with 4 when it is not known in time.")
	flags.DurationVar(&options.timeout, "timeout", defaultRenewTimeout, "How long to wait with --wait.")
	return command
}

func (o *renewOptions) validate(chosen choice) error {
	ways := 0
	for _, used := range []bool{len(chosen.named) > 0, o.selector != "", o.all} {
		if used {
			ways++
		}
	}
	switch {
	case ways == 0:
		return usage("name the objects to renew, such as %s, or select them by --selector, or renew all of the namespace with --all", prefixedNames())
	case ways > 1:
		return usage("name objects, or use --selector, or --all, and not two of these")
	case o.timeout <= 0:
		return usage("--timeout must be above 0, such as 2m")
	}
	return nil
}

// renewal is one call of renew.
type renewal struct {
	plugin  *plugin
	cluster *cluster
}

func renew(ctx context.Context, p *plugin, options *renewOptions, arguments []string) error {
	chosen, err := options.parse(arguments)
	if err != nil {
		return err
	}
	if err := options.validate(chosen); err != nil {
		return err
	}
	c, err := p.connect()
	if err != nil {
		return err
	}
	picked := options.selections(chosen, c.namespace)
	found, missing := p.pickAll(ctx, c, picked)
	if len(found) == 0 && missing == nil {
		p.printError(nothingIn(picked))
		return nil
	}
	r := &renewal{plugin: p, cluster: c}
	requests, refused := r.request(ctx, found)
	var outcome error
	if options.wait {
		outcome = r.await(ctx, requests, options.timeout)
	}
	return firstOf(missing, refused, outcome)
}

// request requests an attempt for each object. If one request fails, request still sends the others.
func (r *renewal) request(ctx context.Context, found []entry) (requests []*request, refused error) {
	value := r.plugin.Now().UTC().Format(time.RFC3339Nano)
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"annotations": map[string]string{v1alpha1.RenewRequestAnnotation: value},
	}})
	if err != nil {
		return nil, err
	}
	for _, one := range found {
		patched, err := r.cluster.patch(ctx, one, patch)
		switch {
		case ctx.Err() != nil:
			return requests, ctx.Err()
		case err != nil:
			r.plugin.printError(fmt.Sprintf("%s %s not requested: %s", one.fullName(), one.kind.words.attempt, r.plugin.explain(err)))
			refused = &verdict{code: exitError}
			continue
		}
		requests = append(requests, &request{entry: patched, value: value, now: patched})
		r.plugin.print("%s %s requested", patched.fullName(), patched.kind.words.attempt)
	}
	return requests, refused
}

// patch changes an object with a merge patch. Server-side apply would create the object again if somebody had
// deleted it meanwhile.
func (c *cluster) patch(ctx context.Context, one entry, patch []byte) (entry, error) {
	object, err := c.dynamic.Resource(one.kind.resource).Namespace(one.GetNamespace()).
		Patch(ctx, one.GetName(), types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	if err != nil {
		return entry{}, err
	}
	return newEntry(one.kind, object)
}
