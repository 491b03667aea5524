// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package install_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// wantFlagsUnderstood has the manager itself look at the Deployment's flags. Files
// that only pods have are left out.
func wantFlagsUnderstood(t *testing.T, deployment *unstructured.Unstructured) {
	t.Helper()
	arguments := slices.DeleteFunc(slices.Clone(containerOf(t, deployment).Args), func(argument string) bool {
		return strings.Contains(argument, "=/etc/pipedream-operator/")
	})
	if _, err := execute("", filepath.Join(folder, "manager"), append(arguments, "--version")...); err != nil {
		t.Errorf("the manager does not understand its flags: %v", err)
	}
}

// wantWorking does for the Deployment what a node would: it runs its container's
// command as its ServiceAccount. Then it follows the README.
func wantWorking(t *testing.T, deployment *unstructured.Unstructured, objects []*unstructured.Unstructured, namespaced bool) {
	t.Helper()
	probes, metrics := freeAddress(t), freeAddress(t)
	stop := startManager(t, deployment, namespaced, probes, metrics)
	container := containerOf(t, deployment)
	for _, probe := range []*corev1.Probe{container.ReadinessProbe, container.LivenessProbe} {
		eventually(t, probe.HTTPGet.Path, func() string { return get(t, "http://"+probes+probe.HTTPGet.Path, "", http.StatusOK) })
	}

	kubectl(t, "", "create", "secret", "generic", "pipedream-oauth-client", "--namespace="+shop,
		"--from-literal=client_id=an-id", "--from-literal=client_secret=a-secret")
	kubectl(t, "", "apply", "--namespace="+shop, "--filename=config/samples/pipedreamtoken-minimal.yaml")
	kubectl(t, "", "wait", "--namespace="+shop, "--for=condition=Ready", "--timeout="+patience.String(), "pipedreamtoken/orders")
	if kubectl(t, "", "get", "secret", "orders", "--namespace="+shop, "--output=jsonpath={.data.access_token}") == "" {
		t.Error("the Secret has no token")
	}
	// Events are written with rights of their own, and late.
	eventually(t, "an event about the token", func() string {
		if kubectl(t, "", "get", "events", "--namespace="+shop, "--field-selector=reason=Issued", "--output=name") == "" {
			return "there is none"
		}
		return ""
	})
	if !namespaced {
		scraper := scraperToken(t, objects)
		eventually(t, "metrics", func() string { return get(t, "https://"+metrics+"/metrics", scraper, http.StatusOK) })
		if problem := get(t, "https://"+metrics+"/metrics", "", http.StatusUnauthorized); problem != "" {
			t.Errorf("metrics without a token: %s", problem)
		}
	}
	stop()
}

// startManager runs what the Deployment would run, save for what differs outside of
// a pod: addresses, and where the API servers are.
func startManager(t *testing.T, deployment *unstructured.Unstructured, namespaced bool, probes, metrics string) (stop func()) {
	t.Helper()
	pipedream := httptest.NewServer(simulator.New(simulator.Options{Now: time.Now, Clients: []simulator.Client{
		{ID: "an-id", Secret: "a-secret"}, {ID: "YOUR_CLIENT_ID", Secret: "YOUR_CLIENT_SECRET"},
	}}))
	t.Cleanup(pipedream.Close)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Namespace: deployment.GetNamespace(), Name: templateOf(t, deployment).Spec.ServiceAccountName,
	}}
	request := &authenticationv1.TokenRequest{}
	must(t, admin.SubResource("token").Create(t.Context(), account, request))
	content, err := cluster.KubeconfigOf(request.Status.Token, deployment.GetNamespace())
	must(t, err)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	must(t, os.WriteFile(kubeconfig, content, 0o600))

	arguments := append(slices.Clone(containerOf(t, deployment).Args), "--kubeconfig="+kubeconfig,
		"--api-url="+pipedream.URL, "--allow-insecure-api-url", "--health-probe-bind-address="+probes)
	if !namespaced {
		arguments = append(arguments, "--metrics-bind-address="+metrics)
	}
	log := &bytes.Buffer{}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), filepath.Join(folder, "manager"), arguments...)
	cmd.Env = append(os.Environ(), "POD_NAMESPACE="+deployment.GetNamespace())
	cmd.Stdout, cmd.Stderr = log, log
	must(t, cmd.Start())
	stop = once(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		killer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		defer killer.Stop()
		if err := cmd.Wait(); err != nil || strings.Contains(log.String(), "forbidden") {
			t.Errorf("the manager ended with %v, or may not do what it must:\n%s", err, log)
		}
	})
	t.Cleanup(stop)
	return stop
}

// once returns a function that does something the first time that it is called.
func once(do func()) func() {
	done := false
	return func() {
		if !done {
			done = true
			do()
		}
	}
}

// scraperToken returns the token of a ServiceAccount that may read metrics, by the
// role that the installation brings for it.
func scraperToken(t *testing.T, objects []*unstructured.Unstructured) string {
	t.Helper()
	at := slices.IndexFunc(objects, func(object *unstructured.Unstructured) bool {
		return object.GetKind() == "ClusterRole" && strings.HasSuffix(object.GetName(), "-metrics-reader")
	})
	if at < 0 {
		t.Fatal("there is no role for those who read metrics")
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: shop, Name: "prometheus"}}
	must(t, admin.Create(t.Context(), account))
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "prometheus-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: objects[at].GetName()},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: account.Namespace, Name: account.Name}},
	}
	must(t, admin.Create(t.Context(), binding))
	t.Cleanup(func() { must(t, admin.Delete(context.WithoutCancel(t.Context()), binding)) })
	request := &authenticationv1.TokenRequest{}
	must(t, admin.SubResource("token").Create(t.Context(), account, request))
	return request.Status.Token
}

// get tells how an answer differs from the one that is wanted.
func get(t *testing.T, url, token string, want int) (problem string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	must(t, err)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // The certificate is self-signed.
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err.Error()
	}
	_ = response.Body.Close()
	if response.StatusCode != want {
		return fmt.Sprintf("%s answers %s, want %d", url, response.Status, want)
	}
	return ""
}
