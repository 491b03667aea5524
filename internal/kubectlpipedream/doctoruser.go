// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"fmt"
	"slices"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// everywhere is the text for all namespaces.
const everywhere = "all namespaces"

// ability is a permission that a command or the operator needs.
type ability struct {
	verb, group, resource, subresource string
}

func (a ability) attributes(namespace string) *authorizationv1.ResourceAttributes {
	return &authorizationv1.ResourceAttributes{
		Namespace: namespace, Verb: a.verb, Group: a.group, Resource: a.resource, Subresource: a.subresource,
	}
}

func (a ability) String() string {
	if a.subresource != "" {
		return a.verb + " " + a.resource + "/" + a.subresource
	}
	return a.verb + " " + a.resource
}

// userAbility is a permission, and the commands that need it.
type userAbility struct {
	ability
	use string
}

// userAbilities returns the permissions that the commands need for a kind, besides the permission to list it.
func userAbilities(k *kind) []userAbility {
	return []userAbility{
		{k.ability("watch"), "`kubectl pipedream status --watch` needs it"},
		{k.ability("patch"), "`kubectl pipedream renew` needs it"},
	}
}

// secretAbility is the permission that the commands need for Secrets.
var secretAbility = userAbility{
	ability{verb: "get", resource: "secrets"}, "`kubectl pipedream verify` needs it, and `inspect` for the claims of a token and the keys of an account's Secret",
}

// userCheck checks the permissions of the user who calls the plugin.
type userCheck struct {
	plugin        *plugin
	cluster       *cluster
	allNamespaces bool
	// picked selects the objects that the user may list, by their kind. It has no entry for a kind that the user
	// may not list.
	picked map[*kind]*selection
}

// run returns a failed finding only if the user may list no kind.
func (c *userCheck) run(ctx context.Context) []finding {
	c.picked = map[*kind]*selection{}
	var lists, others []finding
	namespace := ""
	for _, k := range allKinds {
		found, err := c.checkList(ctx, k)
		if err != nil {
			return []finding{unknown("", "%s", c.plugin.explain(err))}
		}
		lists = append(lists, found)
		if picked := c.picked[k]; picked != nil {
			namespace = picked.namespace
			others = append(others, c.checkAbilities(ctx, namespace, userAbilities(k)...)...)
		}
	}
	if len(c.picked) == 0 {
		return lists
	}
	for i := range lists {
		if lists[i].state == stateFailed {
			lists[i].state = stateWarning
		}
	}
	return slices.Concat(lists, others, c.checkAbilities(ctx, namespace, secretAbility))
}

// checkList looks for the namespaces in which the user may list a kind, and picks its objects there.
func (c *userCheck) checkList(ctx context.Context, k *kind) (finding, error) {
	namespace, name := "", k.resource.Resource
	for _, namespace = range c.candidates() {
		may, err := c.mayI(ctx, k.ability("list"), namespace)
		if err != nil {
			return finding{}, err
		}
		if may {
			c.picked[k] = &selection{kind: k, namespace: namespace}
			return ok("you may list %s in %s", name, nameOf(namespace)), nil
		}
	}
	return failed("ask an administrator for the role view there, or name another namespace with --namespace",
		"you may not list %s in %s", name, nameOf(namespace)), nil
}

// checkAbilities returns a warning for each permission that the user does not have.
func (c *userCheck) checkAbilities(ctx context.Context, namespace string, wanted ...userAbility) []finding {
	var findings []finding
	for _, one := range wanted {
		may, err := c.mayI(ctx, one.ability, namespace)
		if err != nil || !may {
			findings = append(findings, warning(one.use, "you may not %s in %s", one.ability, nameOf(namespace)))
		}
	}
	return findings
}

func nameOf(namespace string) string {
	if namespace == "" {
		return everywhere
	}
	return "namespace " + namespace
}

// candidates returns the namespaces to try, in this order. An empty name means all namespaces. Without flags,
// run tries all namespaces first, and then the namespace of the kubeconfig's context.
func (c *userCheck) candidates() []string {
	switch {
	case c.allNamespaces:
		return []string{""}
	case *c.plugin.config.Namespace != "":
		return []string{*c.plugin.config.Namespace}
	}
	return []string{"", c.cluster.namespace}
}

func (c *userCheck) mayI(ctx context.Context, wanted ability, namespace string) (bool, error) {
	answer, err := c.cluster.kube.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: wanted.attributes(namespace)},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("ask what you may do: %w", err)
	}
	return answer.Status.Allowed, nil
}
