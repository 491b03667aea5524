// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// writersCheck looks for PipedreamTokens whose Secrets two operators write. The operator records an event each
// hour while it finds this, and the API server keeps events for an hour.
type writersCheck struct {
	plugin  *plugin
	cluster *cluster
	// picked is nil when the user may not list PipedreamTokens.
	picked *selection
}

func (c *writersCheck) run(ctx context.Context) []finding {
	if c.picked == nil {
		return nil
	}
	found, err := c.list(ctx)
	switch {
	case apierrors.IsForbidden(err):
		return []finding{unknown("", "you may not list events in %s, which say whether two operators write the same Secrets", nameOf(c.picked.namespace))}
	case err != nil:
		return []finding{unknown("", "%s", c.plugin.explain(err))}
	case len(found) == 0:
		return nil
	}
	advice := "uninstall one of them, or give each of them other namespaces with --namespaces; condition Renewed of " + found[0] + " names both"
	return []finding{warning(advice, "two operators write the same Secrets: the ones of %d PipedreamTokens in %s, such as %s",
		len(found), nameOf(c.picked.namespace), found[0])}
}

// list returns the namespaces and the names of the PipedreamTokens that such an event is about.
func (c *writersCheck) list(ctx context.Context) ([]string, error) {
	options := metav1.ListOptions{Limit: pageSize, FieldSelector: fields.OneTermEqualSelector("reason", v1alpha1.EventTwoOperators).String()}
	var found []string
	for {
		page, err := c.cluster.kube.EventsV1().Events(c.picked.namespace).List(ctx, options)
		if err != nil {
			return nil, err
		}
		for i := range page.Items {
			if regarding := page.Items[i].Regarding; regarding.Kind == v1alpha1.KindPipedreamToken {
				found = append(found, regarding.Namespace+"/"+regarding.Name)
			}
		}
		if options.Continue = page.Continue; options.Continue == "" {
			slices.Sort(found)
			return slices.Compact(found), nil
		}
	}
}
