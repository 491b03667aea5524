// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// completionTimeout is the maximum time that a shell waits for a completion.
const completionTimeout = 3 * time.Second

// completion completes arguments and flags in the user's shell.
type completion struct{ plugin *plugin }

// register adds the completion of the values of --namespace and --context.
func (c completion) register(root *cobra.Command) {
	for flag, complete := range map[string]cobra.CompletionFunc{
		"namespace": c.namespaces,
		"context":   c.contexts,
	} {
		if err := root.RegisterFlagCompletionFunc(flag, complete); err != nil {
			panic(err) // The flag does not exist, or it already has a completion.
		}
	}
}

// names returns the names of the objects of all kinds that are not yet among the arguments.
func (c completion) names(command *cobra.Command, arguments []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return c.namesOf(command, arguments, allKinds)
}

// namesOf returns the names of objects that are not yet among the arguments. A kind that can't be read has none.
func (c completion) namesOf(command *cobra.Command, arguments []string, kinds []*kind) ([]cobra.Completion, cobra.ShellCompDirective) {
	cluster, err := c.plugin.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	ctx, cancel := context.WithTimeout(command.Context(), completionTimeout)
	defer cancel()
	named, _ := referencesIn(arguments, allKinds[0]) // The command says what is wrong with them.
	var names []cobra.Completion
	directive := cobra.ShellCompDirectiveError
	for _, k := range kinds {
		found, _, err := cluster.list(ctx, selection{kind: k, namespace: cluster.namespace})
		if err != nil {
			continue
		}
		directive = cobra.ShellCompDirectiveNoFileComp
		for _, one := range found {
			if !slices.Contains(named, reference{kind: k, name: one.GetName()}) {
				names = append(names, one.argument())
			}
		}
	}
	return names, directive
}

// name returns the names of the objects of all kinds if there is no argument yet.
func (c completion) name(command *cobra.Command, arguments []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(arguments) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return c.names(command, arguments, begun)
}

// token returns the names of the PipedreamTokens if there is no argument yet.
func (c completion) token(command *cobra.Command, arguments []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(arguments) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return c.namesOf(command, arguments, []*kind{tokenKind})
}

// kinds returns the short names of the kinds.
func (c completion) kinds(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var names []cobra.Completion
	for _, k := range allKinds {
		names = append(names, k.short)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// secrets returns the names of the Secrets in the namespace. It reads none of their data.
func (c completion) secrets(command *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	cluster, err := c.plugin.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	ctx, cancel := context.WithTimeout(command.Context(), completionTimeout)
	defer cancel()
	found, err := cluster.metadata.Resource(secretResource).Namespace(cluster.namespace).List(ctx, metav1.ListOptions{Limit: pageSize})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names := make([]cobra.Completion, 0, len(found.Items))
	for i := range found.Items {
		names = append(names, found.Items[i].Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (c completion) namespaces(command *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	cluster, err := c.plugin.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	ctx, cancel := context.WithTimeout(command.Context(), completionTimeout)
	defer cancel()
	namespaces, err := cluster.kube.CoreV1().Namespaces().List(ctx, metav1.ListOptions{Limit: pageSize})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names := make([]cobra.Completion, 0, len(namespaces.Items))
	for i := range namespaces.Items {
		names = append(names, namespaces.Items[i].Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (c completion) contexts(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	config, err := c.plugin.config.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []cobra.Completion
	for name := range config.Contexts {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, cobra.ShellCompDirectiveNoFileComp
}
