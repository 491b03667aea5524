// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"fmt"

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

// userAbilities are the permissions that the commands need, besides the permission to list PipedreamTokens.
var userAbilities = []struct {
	ability
	use string
}{
	{tokenKind.ability("watch"), "`kubectl pipedream status --watch` needs it"},
	{tokenKind.ability("patch"), "`kubectl pipedream renew` needs it"},
	{ability{verb: "get", resource: "secrets"}, "`kubectl pipedream verify` needs it, and `inspect` for the claims of the token"},
}

// userCheck checks the permissions of the user who calls the plugin.
type userCheck struct {
	plugin        *plugin
	cluster       *cluster
	allNamespaces bool
	// picked selects the PipedreamTokens that the user may list. It is nil before run, and if the user may
	// list none.
	picked *selection
}

// run returns a failed finding only if the user may not list PipedreamTokens.
func (c *userCheck) run(ctx context.Context) []finding {
	list := tokenKind.ability("list")
	namespace, mayList := "", false
	for _, namespace = range c.candidates() {
		may, err := c.mayI(ctx, list, namespace)
		if err != nil {
			return []finding{unknown("", "%s", c.plugin.explain(err))}
		}
		if mayList = may; may {
			break
		}
	}
	if !mayList {
		return []finding{failed("ask an administrator for the role view there, or name another namespace with --namespace",
			"you may not list %s in %s", tokenKind.resource.Resource, nameOf(namespace))}
	}
	c.picked = &selection{kind: tokenKind, namespace: namespace}
	findings := []finding{ok("you may list %s in %s", tokenKind.resource.Resource, nameOf(namespace))}
	for _, one := range userAbilities {
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
