// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

const (
	// managerContainer is the operator's container.
	managerContainer = "manager"
	// componentLabel tells the operator's Deployment from others of the same name.
	componentLabel = "app.kubernetes.io/component"
	// leaseName is the one that the operator's replicas elect a leader by.
	leaseName = "pipedream-operator"
)

// What a clock may be off by.
const (
	smallSkew = 30 * time.Second
	bigSkew   = 5 * time.Minute
)

func (e *examination) checkOperator(ctx context.Context, api *pipedream.Client) []finding {
	namespace := e.options.operatorNamespace
	found, err := e.kube.AppsV1().Deployments(namespace).List(ctx, metav1.ListOptions{LabelSelector: e.options.operatorSelector})
	switch {
	case apierrors.IsForbidden(err):
		return []finding{unknown("name the operator's namespace with --operator-namespace, or ask an administrator to run this",
			"you may not list deployments in %s", nameOf(namespace))}
	case err != nil:
		return []finding{unknown("", "%s", e.explain(err))}
	}
	found.Items = slices.DeleteFunc(found.Items, func(one appsv1.Deployment) bool {
		return one.Spec.Template.Labels[componentLabel] != managerContainer
	})
	if len(found.Items) == 0 {
		return []finding{failed("install the operator, or name its labels with --operator-selector",
			"there is no Deployment of it in %s (labels %s)", nameOf(namespace), e.options.operatorSelector)}
	}
	e.deployment = &found.Items[0]
	var findings []finding
	for i := range found.Items {
		findings = append(findings, e.checkDeployment(&found.Items[i])...)
	}
	if more := len(found.Items) - 1; more > 0 {
		findings = append(findings, warning("name the one you mean with --operator-namespace",
			"there are %d Deployments of it; leader and permissions are checked for the first", more+1))
	}
	if theirs := flagOf(e.deployment, "api-url"); theirs != "" && strings.TrimSuffix(theirs, "/") != api.Address() {
		findings = append(findings, warning("add --api-url="+theirs+" to look at that one from here, if you trust it", "it asks %s, and what is said of the API above is about %s", theirs, api.Address()))
	}
	return findings
}

func (e *examination) checkDeployment(deployment *appsv1.Deployment) []finding {
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
	return append(findings, e.checkVersion(deployment))
}

// checkVersion compares versions. They need not be the same, but it helps.
func (e *examination) checkVersion(deployment *appsv1.Deployment) finding {
	running := versionOf(deployment)
	switch {
	case running == "":
		return unknown("", "which version of it runs: the image has no tag")
	case e.Release != "" && e.Release != running:
		return warning("use the plugin of the operator's version if something here surprises you", "the operator is %s, this plugin %s", running, e.Release)
	}
	return ok("the operator is %s, this plugin %s", running, e.version())
}

// versionOf returns the tag of the operator's image; nothing when it has none.
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

// flagOf returns the value of a flag of the operator; nothing when it has none.
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

// electsLeader tells whether the operator's replicas elect a leader, as they do unless
// somebody has changed that.
func electsLeader(deployment *appsv1.Deployment) bool {
	container := managerIn(deployment)
	return container != nil && slices.ContainsFunc(container.Args, func(argument string) bool {
		return strings.TrimLeft(argument, "-") == "leader-elect" || strings.HasSuffix(argument, "leader-elect=true")
	})
}

func (e *examination) checkLeader(ctx context.Context) []finding {
	if e.deployment == nil || !electsLeader(e.deployment) {
		return nil
	}
	namespace := e.deployment.Namespace
	lease, err := e.kube.CoordinationV1().Leases(namespace).Get(ctx, leaseName, metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err):
		return []finding{unknown("", "you may not get leases in namespace %s", namespace)}
	case apierrors.IsNotFound(err):
		return []finding{failed("look into the operator's log", "nobody has ever led in namespace %s: there is no Lease %s", namespace, leaseName)}
	case err != nil:
		return []finding{unknown("", "%s", e.explain(err))}
	}
	return []finding{judgeLease(lease, e.now())}
}

// judgeLease tells whether somebody leads. The time in a Lease is by the operator's
// clock.
func judgeLease(lease *coordinationv1.Lease, now time.Time) finding {
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

// managerAbilities are those of config/rbac: in each watched namespace, and in its own.
var (
	managerAbilities = []ability{
		{verb: "create", resource: "secrets"},
		{verb: "get", resource: "secrets"},
		{verb: "list", resource: "secrets"},
		{verb: "update", resource: "secrets"},
		{verb: "watch", resource: "secrets"},
		{verb: "create", group: "events.k8s.io", resource: "events"},
		{verb: "list", group: tokenResource.Group, resource: resource},
		{verb: "watch", group: tokenResource.Group, resource: resource},
		{verb: "patch", group: tokenResource.Group, resource: resource, subresource: "status"},
	}
	leaderAbilities = []ability{
		{verb: "create", resource: "events"},
		{verb: "create", group: "coordination.k8s.io", resource: "leases"},
		{verb: "get", group: "coordination.k8s.io", resource: "leases"},
		{verb: "update", group: "coordination.k8s.io", resource: "leases"},
	}
)

// checkPermissions asks the API server what the operator's ServiceAccount may do.
func (e *examination) checkPermissions(ctx context.Context) []finding {
	if e.deployment == nil {
		return nil
	}
	namespaces := []string{""}
	if watched := flagOf(e.deployment, "namespaces"); watched != "" {
		namespaces = strings.Split(watched, ",")
	}
	account := "system:serviceaccount:" + e.deployment.Namespace + ":" + cmp.Or(e.deployment.Spec.Template.Spec.ServiceAccountName, "default")
	var findings []finding
	for _, namespace := range append(namespaces, e.deployment.Namespace) {
		wanted := managerAbilities
		if len(findings) == len(namespaces) {
			wanted = leaderAbilities // The last one is its own.
		}
		found := e.checkAccount(ctx, account, strings.TrimSpace(namespace), wanted)
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

func (e *examination) checkAccount(ctx context.Context, account, namespace string, wanted []ability) finding {
	var lacking []string
	for _, one := range wanted {
		answer, err := e.kube.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{
				User:               account,
				Groups:             []string{"system:serviceaccounts", "system:serviceaccounts:" + e.deployment.Namespace, "system:authenticated"},
				ResourceAttributes: one.attributes(namespace),
			},
		}, metav1.CreateOptions{})
		switch {
		case apierrors.IsForbidden(err):
			return unknown("ask an administrator to run this", "what the operator may do: you may not create subjectaccessreviews")
		case err != nil:
			return unknown("", "what the operator may do: %s", e.explain(err))
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

// checkAPI tries to reach the API from here, and compares the clocks.
func (e *examination) checkAPI(ctx context.Context, api *pipedream.Client) []finding {
	before := e.Now()
	status, date, err := api.Reach(ctx)
	if err != nil {
		return []finding{failed("check network, DNS, firewall and proxy of this machine; the operator's own way may be another",
			"%s can't be reached from here: %v", api.Address(), err)}
	}
	findings := []finding{ok("%s answers (from here; the operator's own way may be another)", api.Address())}
	if status >= http.StatusInternalServerError {
		findings[0] = warning("look whether Pipedream, or a proxy in between, is out of order", "%s answers with HTTP status %d", api.Address(), status)
	}
	if date.IsZero() {
		return append(findings, unknown("", "whether this machine's clock is right: the answer has no date"))
	}
	e.skew = skewOf(before, e.Now(), date)
	return append(findings, judgeClock(e.skew))
}

// skewOf compares a date, which was read between two times of this machine's clock.
func skewOf(before, after, date time.Time) time.Duration {
	return before.Add(after.Sub(before) / 2).Sub(date).Round(time.Second)
}

func judgeClock(skew time.Duration) finding {
	advice := "set the clock by NTP; expiry times are compared with it, on the operator's nodes too"
	switch {
	case skew.Abs() > bigSkew:
		return failed(advice, "this machine's clock is off by %v", skew)
	case skew.Abs() > smallSkew:
		return warning(advice, "this machine's clock is off by %v", skew)
	}
	return ok("this machine's clock is right")
}
