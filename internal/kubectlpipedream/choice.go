// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
)

// choiceOptions are the flags and arguments with which a user chooses objects of one or more kinds.
type choiceOptions struct {
	kinds         string
	selector      string
	allNamespaces bool
}

// register adds --kind. The usage says which kinds are chosen without it.
func (o *choiceOptions) register(command *cobra.Command, complete completion, usage string) {
	command.Flags().StringVar(&o.kinds, "kind", o.kinds, usage)
	if err := command.RegisterFlagCompletionFunc("kind", complete.kinds); err != nil {
		panic(err) // The flag does not exist.
	}
}

// parse returns the kinds that the flags choose, and the objects that the arguments name. An argument without
// a kind is of the first one.
func (o *choiceOptions) parse(arguments []string) (choice, error) {
	kinds, err := kindsOf(o.kinds)
	if err != nil {
		return choice{}, err
	}
	named, err := referencesIn(arguments, kinds[0])
	if err != nil {
		return choice{}, err
	}
	if len(named) > 0 && o.allNamespaces {
		return choice{}, usage("a %s can't be named across all namespaces: leave out its name, or --all-namespaces", named[0].kind.name)
	}
	return choice{kinds: kinds, named: named}, checkSelector(o.selector)
}

// choice are the objects that a user has chosen.
type choice struct {
	kinds []*kind
	// named are the objects that the user has named; nil for all objects of the kinds.
	named []reference
}

// selections returns what a command reads of each kind.
func (o *choiceOptions) selections(chosen choice, namespace string) []selection {
	if o.allNamespaces {
		namespace = ""
	}
	var picked []selection
	if len(chosen.named) == 0 {
		for _, k := range chosen.kinds {
			picked = append(picked, selection{kind: k, namespace: namespace, selector: o.selector})
		}
		return picked
	}
	for _, k := range allKinds {
		one := selection{kind: k, namespace: namespace}
		for _, named := range chosen.named {
			if named.kind == k {
				one.names = append(one.names, named.name)
			}
		}
		if len(one.names) > 0 {
			picked = append(picked, one)
		}
	}
	return picked
}

// pickAll returns the objects of all selections. If the user has named no objects and one kind can't be read, it
// says so to the user, and returns the objects of the others. The error is about the objects that are missing.
func (p *plugin) pickAll(ctx context.Context, c *cluster, picked []selection) (found []entry, missing error) {
	unread := &unreadKinds{plugin: p, chosen: len(picked)}
	for _, one := range picked {
		some, err := c.pick(ctx, one)
		found = append(found, some...)
		switch {
		case err == nil:
		case len(one.names) == 0 && isOfKind(err):
			unread.add(one.kind, err)
		case isMissing(err):
			missing = errors.Join(missing, err)
		default:
			return found, errors.Join(missing, err)
		}
	}
	return found, errors.Join(missing, unread.finish())
}

// unreadKinds are the kinds that a command could not read.
type unreadKinds struct {
	plugin *plugin
	// chosen is the number of kinds that the user wants to see.
	chosen int
	kinds  []*kind
	errs   []error
}

func (u *unreadKinds) add(k *kind, err error) {
	u.kinds, u.errs = append(u.kinds, k), append(u.errs, err)
}

// finish tells the user which kinds are not shown. It returns the errors if no kind is shown.
func (u *unreadKinds) finish() error {
	if len(u.kinds) == u.chosen {
		return errors.Join(u.errs...)
	}
	for i, k := range u.kinds {
		u.plugin.printError(k.plural() + " are not shown: " + u.plugin.explain(u.errs[i]))
	}
	return nil
}
