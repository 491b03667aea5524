// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"cmp"
	"context"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The permissions that config/rbac gives the operator. It needs managerAbilities in each watched namespace,
// and leaderAbilities in its own namespace.
var (
	managerAbilities = []ability{
		{verb: "create", resource: "secrets"},
		{verb: "get", resource: "secrets"},
		{verb: "list", resource: "secrets"},
		{verb: "update", resource: "secrets"},
		{verb: "watch", resource: "secrets"},
		{verb: "create", group: "events.k8s.io", resource: "events"},
		tokenKind.ability("list"),
		tokenKind.ability("watch"),
		{verb: "patch", group: tokenKind.resource.Group, resource: tokenKind.resource.Resource, subresource: "status"},
		accountKind.ability("list"),
		accountKind.ability("watch"),
		{verb: "patch", group: accountKind.resource.Group, resource: accountKind.resource.Resource, subresource: "status"},
	}
	leaderAbilities = []ability{
		{verb: "create", resource: "events"},
		{verb: "create", group: "coordination.k8s.io", resource: "leases"},
		{verb: "get", group: "coordination.k8s.io", resource: "leases"},
		{verb: "update", group: "coordination.k8s.io", resource: "leases"},
	}
)

// permissionCheck asks the API server whether the operator's ServiceAccount has all permissions that it needs.
type permissionCheck struct {
	plugin     *plugin
	cluster    *cluster
	deployment *appsv1.Deployment
}

func (c *permissionCheck) run(ctx context.Context) []finding {
	if c.deployment == nil {
		return nil
	}
	namespaces := []string{""}
	if watched := flagOf(c.deployment, "namespaces"); watched != "" {
		namespaces = strings.Split(watched, ",")
	}
	account := "system:serviceaccount:" + c.deployment.Namespace + ":" + cmp.Or(c.deployment.Spec.Template.Spec.ServiceAccountName, "default")
	var findings []finding
	for _, namespace := range append(namespaces, c.deployment.Namespace) {
		wanted := managerAbilities
		if len(findings) == len(namespaces) {
			wanted = leaderAbilities // The last namespace is the operator's own.
		}
		found := c.checkAccount(ctx, account, strings.TrimSpace(namespace), wanted)
		if findings = append(findings, found); found.state == stateUnknown {
			return []finding{found}
		}
	}
	if bad := slices.DeleteFunc(slices.Clone(findings), func(one finding) bool { return one.state == stateOK }); len(bad) > 0 {
		return bad
	}
	where := everywhere
	if namespaces[0] != "" {
		where = strings.Join(namespaces, ", ")
	}
	return []finding{ok("%s may do in %s what the operator needs", account, where)}
}

func (c *permissionCheck) checkAccount(ctx context.Context, account, namespace string, wanted []ability) finding {
	var lacking []string
	for _, one := range wanted {
		answer, err := c.cluster.kube.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{
				User:               account,
				Groups:             []string{"system:serviceaccounts", "system:serviceaccounts:" + c.deployment.Namespace, "system:authenticated"},
				ResourceAttributes: one.attributes(namespace),
			},
		}, metav1.CreateOptions{})
		switch {
		case apierrors.IsForbidden(err):
			return unknown("ask an administrator to run this", "what the operator may do: you may not create subjectaccessreviews")
		case err != nil:
			return unknown("", "what the operator may do: %s", c.plugin.explain(err))
		case !answer.Status.Allowed:
			lacking = append(lacking, one.String())
		}
	}
	if len(lacking) == 0 {
		return ok("")
	}
	return failed("apply the roles and role bindings of the operator's version again",
		"%s may not, in %s: %s", account, nameOf(namespace), strings.Join(lacking, ", "))
}
