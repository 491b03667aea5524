// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"cmp"
	"context"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// managerContainer is the operator's container.
	managerContainer = "manager"
	// componentLabel is the label that distinguishes the operator's Deployment from other Deployments that
	// the selector finds.
	componentLabel = "app.kubernetes.io/component"
)

// operatorCheck checks that the operator runs, and compares its version with the plugin's version.
type operatorCheck struct {
	plugin  *plugin
	cluster *cluster
	options *doctorOptions
	// address is the address of Pipedream's API that the plugin uses.
	address string
	// deployment is the operator's Deployment; nil until run has found it.
	deployment *appsv1.Deployment
}

func (c *operatorCheck) run(ctx context.Context) []finding {
	namespace := c.options.operatorNamespace
	found, err := c.cluster.kube.AppsV1().Deployments(namespace).List(ctx, metav1.ListOptions{LabelSelector: c.options.operatorSelector})
	switch {
	case apierrors.IsForbidden(err):
		return []finding{unknown("name the operator's namespace with --operator-namespace, or ask an administrator to run this",
			"you may not list deployments in %s", nameOf(namespace))}
	case err != nil:
		return []finding{unknown("", "%s", c.plugin.explain(err))}
	}
	found.Items = slices.DeleteFunc(found.Items, func(one appsv1.Deployment) bool {
		return one.Spec.Template.Labels[componentLabel] != managerContainer
	})
	if len(found.Items) == 0 {
		return []finding{failed("install the operator, or name its labels with --operator-selector",
			"there is no Deployment of it in %s (labels %s)", nameOf(namespace), c.options.operatorSelector)}
	}
	c.deployment = &found.Items[0]
	var findings []finding
	for i := range found.Items {
		findings = append(findings, c.checkDeployment(&found.Items[i])...)
	}
	if more := len(found.Items) - 1; more > 0 {
		findings = append(findings, warning("name the one you mean with --operator-namespace",
			"there are %d Deployments of it; leader and permissions are checked for the first", more+1))
	}
	if theirs := flagOf(c.deployment, "api-url"); theirs != "" && strings.TrimSuffix(theirs, "/") != c.address {
		findings = append(findings, warning("add --api-url="+theirs+" to look at that one from here, if you trust it", "it asks %s, and what is said of the API above is about %s", theirs, c.address))
	}
	return findings
}

func (c *operatorCheck) checkDeployment(deployment *appsv1.Deployment) []finding {
	name := deployment.Namespace + "/" + deployment.Name
	wanted := int32(1)
	if deployment.Spec.Replicas != nil {
		wanted = *deployment.Spec.Replicas
	}
	logs := "kubectl logs --namespace " + deployment.Namespace + " deployment/" + deployment.Name
	var findings []finding
	switch available := deployment.Status.AvailableReplicas; {
	case wanted == 0:
		findings = append(findings, failed("kubectl scale --replicas=2 --namespace "+deployment.Namespace+" deployment/"+deployment.Name,
			"%s is scaled to 0", name))
	case available == 0:
		findings = append(findings, failed(logs, "none of the %d replicas of %s is available", wanted, name))
	case available < wanted:
		findings = append(findings, warning(logs, "%d of %d replicas of %s are available", available, wanted, name))
	default:
		findings = append(findings, ok("%d of %d replicas of %s are available", available, wanted, name))
	}
	return append(findings, c.checkVersion(deployment))
}

// checkVersion compares the operator's version with the plugin's. Different versions are allowed, and cause a
// warning.
func (c *operatorCheck) checkVersion(deployment *appsv1.Deployment) finding {
	running := versionOf(deployment)
	switch {
	case running == "":
		return unknown("", "which version of it runs: the image has no tag")
	case c.plugin.Release != "" && c.plugin.Release != running:
		return warning("use the plugin of the operator's version if something here surprises you", "the operator is %s, this plugin %s", running, c.plugin.Release)
	}
	return ok("the operator is %s, this plugin %s", running, c.plugin.version())
}

// versionOf returns the tag of the operator's image. For an image without a tag it returns the Deployment's
// version label. It returns an empty text if both are missing.
func versionOf(deployment *appsv1.Deployment) string {
	container := managerIn(deployment)
	if container == nil {
		return ""
	}
	image, _, _ := strings.Cut(container.Image, "@")
	_, last, _ := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
	return cmp.Or(last, deployment.Labels["app.kubernetes.io/version"])
}

func managerIn(deployment *appsv1.Deployment) *corev1.Container {
	containers := deployment.Spec.Template.Spec.Containers
	i := slices.IndexFunc(containers, func(one corev1.Container) bool { return one.Name == managerContainer })
	if i < 0 {
		return nil
	}
	return &containers[i]
}

// flagOf returns the value of a flag of the operator; empty if the flag is not set.
func flagOf(deployment *appsv1.Deployment, name string) string {
	if deployment == nil || managerIn(deployment) == nil {
		return ""
	}
	container := managerIn(deployment)
	arguments := slices.Concat(container.Command, container.Args)
	for i, argument := range arguments {
		flag, value, hasValue := strings.Cut(argument, "=")
		if strings.TrimLeft(flag, "-") != name || !strings.HasPrefix(flag, "-") {
			continue
		}
		if !hasValue && i+1 < len(arguments) {
			return arguments[i+1]
		}
		return value
	}
	return ""
}
