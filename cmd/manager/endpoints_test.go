// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// freeAddress returns an address of this machine that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener := listen(t, "127.0.0.1:0")
	must(t, listener.Close())
	return listener.Addr().String()
}

// get returns status and body, or 0 if nobody answers.
func get(t *testing.T, url, token string) (status int, body string) {
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
		return 0, ""
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	must(t, err)
	return response.StatusCode, string(content)
}

// serviceAccountToken returns a token of a new ServiceAccount.
func serviceAccountToken(t *testing.T, admin client.Client, name string) string {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: name + "-"}}
	must(t, admin.Create(t.Context(), account))
	request := &authenticationv1.TokenRequest{}
	must(t, admin.SubResource("token").Create(t.Context(), account, request))
	if name == "scraper" {
		role := &rbacv1.ClusterRole{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "scraper-"},
			Rules:      []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}},
		}
		must(t, admin.Create(t.Context(), role))
		must(t, admin.Create(t.Context(), &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "scraper-"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: account.Namespace, Name: account.Name}},
		}))
	}
	return request.Status.Token
}

func TestProbesAndMetrics(t *testing.T) {
	known := runtime.NewScheme()
	must(t, scheme.AddToScheme(known))
	admin, err := client.New(cluster.Config, client.Options{Scheme: known})
	must(t, err)
	probes, metrics := freeAddress(t), freeAddress(t)
	manager := startManager(t, "--kubeconfig="+adminKubeconfig(t, ""), "--namespaces=default", "--health-probe-bind-address="+probes, "--metrics-bind-address="+metrics)

	url := "https://" + metrics + "/metrics"
	deadline := time.After(patience)
	for {
		ready, _ := get(t, "http://"+probes+"/readyz", "")
		if listens, _ := get(t, url, ""); ready == http.StatusOK && listens != 0 {
			break
		}
		select {
		case <-manager.ended:
			t.Fatalf("the manager ended:\n%s", manager.log)
		case <-deadline:
			t.Fatal("the manager does not become ready")
		case <-time.After(50 * time.Millisecond):
		}
	}
	if status, _ := get(t, "http://"+probes+"/healthz", ""); status != http.StatusOK {
		t.Errorf("/healthz answers %d, want 200", status)
	}

	if status, body := get(t, url, ""); status != http.StatusUnauthorized {
		t.Errorf("/metrics answers %d to nobody, want 401: %s", status, body)
	}
	if status, body := get(t, url, serviceAccountToken(t, admin, "stranger")); status != http.StatusForbidden {
		t.Errorf("/metrics answers %d to one who may not get it, want 403: %s", status, body)
	}
	status, body := get(t, url, serviceAccountToken(t, admin, "scraper"))
	if status != http.StatusOK || !strings.Contains(body, "# TYPE go_goroutines gauge") || !strings.Contains(body, "# TYPE pipedream_operator_build_info gauge") {
		t.Errorf("/metrics answers %d to one who may get it, want 200 and metrics: %.200s", status, body)
	}
	if status, _ := get(t, "http://"+metrics+"/metrics", ""); status == http.StatusOK {
		t.Error("/metrics is served in clear")
	}
}
