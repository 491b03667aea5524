// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// everywhere is how a namespace is called that is all of them.
const everywhere = "all namespaces"

// ability is something that a command needs.
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

// userAbilities are what the commands need, besides the one to list.
var userAbilities = []struct {
	ability
	use string
}{
	{tokenKind.ability("watch"), "`kubectl pipedream status --watch` needs it"},
	{tokenKind.ability("patch"), "`kubectl pipedream renew` needs it"},
	{ability{verb: "get", resource: "secrets"}, "`kubectl pipedream verify` needs it, and `inspect` for the claims of the token"},
}

// userCheck looks at what the user may do who calls the plugin.
type userCheck struct {
	plugin        *plugin
	cluster       *cluster
	allNamespaces bool
	// picked is where the user may list tokens. It is nil until run has found that out, and when the user may not.
	picked *selection
}

// run fails only when the user may not list tokens.
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

// candidates returns the namespaces to look at, "" for all of them: without flags that
// of the context, where one may not look at all.
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
