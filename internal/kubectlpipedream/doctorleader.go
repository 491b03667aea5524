// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// leaseName is the name of the Lease with which the operator's replicas elect a leader.
const leaseName = "pipedream-operator"

// electsLeader reports whether the operator's replicas elect a leader. They do unless the user has changed the
// Deployment's arguments.
func electsLeader(deployment *appsv1.Deployment) bool {
	container := managerIn(deployment)
	return container != nil && slices.ContainsFunc(container.Args, func(argument string) bool {
		return strings.TrimLeft(argument, "-") == "leader-elect" || strings.HasSuffix(argument, "leader-elect=true")
	})
}

// leaderCheck checks that one of the operator's replicas is the leader.
type leaderCheck struct {
	cluster    *cluster
	plugin     *plugin
	deployment *appsv1.Deployment
	now        func() time.Time
}

func (c *leaderCheck) run(ctx context.Context) []finding {
	if c.deployment == nil || !electsLeader(c.deployment) {
		return nil
	}
	namespace := c.deployment.Namespace
	lease, err := c.cluster.kube.CoordinationV1().Leases(namespace).Get(ctx, leaseName, metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err):
		return []finding{unknown("", "you may not get leases in namespace %s", namespace)}
	case apierrors.IsNotFound(err):
		return []finding{failed("look into the operator's log", "nobody has ever led in namespace %s: there is no Lease %s", namespace, leaseName)}
	case err != nil:
		return []finding{unknown("", "%s", c.plugin.explain(err))}
	}
	return []finding{evaluateLease(lease, c.now())}
}

// evaluateLease returns a finding that says whether a replica is the leader. The time in a Lease comes from
// the operator's clock.
func evaluateLease(lease *coordinationv1.Lease, now time.Time) finding {
	holder, renewed, seconds := lease.Spec.HolderIdentity, lease.Spec.RenewTime, lease.Spec.LeaseDurationSeconds
	if holder == nil || *holder == "" || renewed == nil || seconds == nil {
		return failed("look into the operator's log, if this stays for more than a minute", "nobody leads: the last leader has given up the Lease")
	}
	end := renewed.Add(time.Duration(*seconds) * time.Second)
	if now.After(end.Add(clockTolerance)) {
		return failed("look whether the operator's pods run, and into their logs",
			"%s has led, and was last heard of %s", *holder, ago(renewed.Time, now))
	}
	return ok("%s leads", *holder)
}
