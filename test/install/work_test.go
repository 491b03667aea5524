// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package install_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// wantFlagsUnderstood runs the manager with the Deployment's flags, except flags that name files in the pod.
func wantFlagsUnderstood(t *testing.T, deployment *unstructured.Unstructured) {
	t.Helper()
	arguments := slices.DeleteFunc(slices.Clone(containerOf(t, deployment).Args), func(argument string) bool {
		return strings.Contains(argument, "=/etc/pipedream-operator/")
	})
	if _, err := execute(manager, append(arguments, "--version")...); err != nil {
		t.Errorf("the manager does not accept its flags: %v", err)
	}
}

// wantWorking does the work of a node: it runs the container's command under the Deployment's ServiceAccount. Then
// it follows the README.
func wantWorking(t *testing.T, deployment *unstructured.Unstructured, objects []*unstructured.Unstructured, namespaced bool) {
	t.Helper()
	probes, metrics := harness.MustFreeAddress(t), harness.MustFreeAddress(t)
	stop := startManager(t, deployment, namespaced, probes, metrics)
	container := containerOf(t, deployment)
	for _, probe := range []*corev1.Probe{container.ReadinessProbe, container.LivenessProbe} {
		harness.Eventually(t, probe.HTTPGet.Path, func() string {
			return harness.Answers(t.Context(), "http://"+probes+probe.HTTPGet.Path, "", http.StatusOK)
		})
	}

	kubectl(t, "", "create", "secret", "generic", "pipedream-oauth-client", "--namespace="+shop,
		"--from-literal=client_id=an-id", "--from-literal=client_secret=a-secret")
	for _, sample := range []struct{ file, object, secret, key, event string }{
		{"pipedreamtoken-minimal.yaml", "pipedreamtoken/orders", "orders", "access_token", "Issued"},
		{"pipedreamaccount-minimal.yaml", "pipedreamaccount/team-slack", "team-slack", "oauth_access_token", "AccountFetched"},
	} {
		kubectl(t, "", "apply", "--namespace="+shop, "--filename=config/samples/"+sample.file)
		kubectl(t, "", "wait", "--namespace="+shop, "--for=condition=Ready", "--timeout="+patience.String(), sample.object)
		if kubectl(t, "", "get", "secret", sample.secret, "--namespace="+shop, "--output=jsonpath={.data."+sample.key+"}") == "" {
			t.Errorf("the Secret of %s has no %s", sample.object, sample.key)
		}
		// The manager needs separate permissions for Events, and writes them after the Secret.
		harness.Eventually(t, "an event about "+sample.object, func() string {
			if kubectl(t, "", "get", "events", "--namespace="+shop, "--field-selector=reason="+sample.event, "--output=name") == "" {
				return "there is no event"
			}
			return ""
		})
	}
	if !namespaced {
		scraper := scraperToken(t, objects)
		harness.Eventually(t, "metrics", func() string {
			return harness.Answers(t.Context(), "https://"+metrics+"/metrics", scraper, http.StatusOK)
		})
		if problem := harness.Answers(t.Context(), "https://"+metrics+"/metrics", "", http.StatusUnauthorized); problem != "" {
			t.Errorf("metrics without a token: %s", problem)
		}
	}
	stop()
}

// startManager runs the Deployment's command. It changes only the flags for addresses and for the API servers,
// which differ outside of a pod.
func startManager(t *testing.T, deployment *unstructured.Unstructured, namespaced bool, probes, metrics string) (stop func()) {
	t.Helper()
	simulated := simulator.New(simulator.Options{Now: time.Now, Clients: []simulator.Client{
		{ID: "an-id", Secret: "a-secret"}, {ID: "YOUR_CLIENT_ID", Secret: "YOUR_CLIENT_SECRET"},
	}})
	harness.Must(t, simulated.Accounts.Set("apn_WYhMlrz", simulator.NewAccount("proj_abc123", "acme-prod", "slack")))
	pipedream := harness.MustServe(t, simulated)
	kubeconfig := cluster.MustAccountKubeconfig(t, deployment.GetNamespace(), templateOf(t, deployment).Spec.ServiceAccountName)

	arguments := append(slices.Clone(containerOf(t, deployment).Args), "--kubeconfig="+kubeconfig,
		"--api-url="+pipedream, "--allow-insecure-api-url", "--health-probe-bind-address="+probes)
	if !namespaced {
		arguments = append(arguments, "--metrics-bind-address="+metrics)
	}
	started := harness.Command{
		Path: manager, Arguments: arguments, Environment: []string{"POD_NAMESPACE=" + deployment.GetNamespace()},
	}.MustStart(t)
	stop = sync.OnceFunc(func() {
		if err := started.Stop(patience); err != nil || strings.Contains(started.Log.String(), "forbidden") {
			t.Errorf("the manager ended with %v, or the API server refused a request of the manager:\n%s", err, started.Log)
		}
	})
	t.Cleanup(stop)
	return stop
}

// scraperToken returns the token of a ServiceAccount that may read metrics, through the role of the installation.
func scraperToken(t *testing.T, objects []*unstructured.Unstructured) string {
	t.Helper()
	at := slices.IndexFunc(objects, func(object *unstructured.Unstructured) bool {
		return object.GetKind() == "ClusterRole" && strings.HasSuffix(object.GetName(), "-metrics-reader")
	})
	if at < 0 {
		t.Fatal("the installation has no role for readers of metrics")
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: shop, Name: "prometheus"}}
	harness.Must(t, admin.Create(t.Context(), account))
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "prometheus-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: objects[at].GetName()},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: account.Namespace, Name: account.Name}},
	}
	harness.Must(t, admin.Create(t.Context(), binding))
	t.Cleanup(func() { harness.Must(t, admin.Delete(context.WithoutCancel(t.Context()), binding)) })
	return cluster.MustToken(t, account.Namespace, account.Name)
}
