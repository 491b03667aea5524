// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// get returns status and body, or 0 if nobody answers.
func get(t *testing.T, url, token string) (status int, body string) {
	t.Helper()
	status, body, err := harness.Get(t.Context(), url, token)
	if status == 0 {
		return 0, ""
	}
	harness.Must(t, err)
	return status, body
}

// serviceAccountToken returns a token of a new ServiceAccount.
func serviceAccountToken(t *testing.T, name string) string {
	t.Helper()
	admin := cluster.Client
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: name + "-"}}
	harness.Must(t, admin.Create(t.Context(), account))
	if name == "scraper" {
		role := &rbacv1.ClusterRole{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "scraper-"},
			Rules:      []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}},
		}
		harness.Must(t, admin.Create(t.Context(), role))
		harness.Must(t, admin.Create(t.Context(), &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "scraper-"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: account.Namespace, Name: account.Name}},
		}))
	}
	return cluster.MustToken(t, account.Namespace, account.Name)
}

func TestProbesAndMetrics(t *testing.T) {
	probes, metrics := harness.MustFreeAddress(t), harness.MustFreeAddress(t)
	manager := startManager(t, "--kubeconfig="+adminKubeconfig(t, ""), "--namespaces=default", "--health-probe-bind-address="+probes, "--metrics-bind-address="+metrics)

	url := "https://" + metrics + "/metrics"
	harness.Wait{Process: manager.Process}.Eventually(t, "the manager to be ready", func() string {
		if listens, _ := get(t, url, ""); listens == 0 {
			return "/metrics does not answer"
		}
		return harness.Answers(t.Context(), "http://"+probes+"/readyz", "", http.StatusOK)
	})
	if status, _ := get(t, "http://"+probes+"/healthz", ""); status != http.StatusOK {
		t.Errorf("/healthz answers %d, want 200", status)
	}

	if status, body := get(t, url, ""); status != http.StatusUnauthorized {
		t.Errorf("/metrics answers %d to nobody, want 401: %s", status, body)
	}
	if status, body := get(t, url, serviceAccountToken(t, "stranger")); status != http.StatusForbidden {
		t.Errorf("/metrics answers %d to one who may not get it, want 403: %s", status, body)
	}
	status, body := get(t, url, serviceAccountToken(t, "scraper"))
	if status != http.StatusOK || !strings.Contains(body, "# TYPE go_goroutines gauge") || !strings.Contains(body, "# TYPE pipedream_operator_build_info gauge") {
		t.Errorf("/metrics answers %d to one who may get it, want 200 and metrics: %.200s", status, body)
	}
	wantDocumented(t, body)
	if status, _ := get(t, "http://"+metrics+"/metrics", ""); status == http.StatusOK {
		t.Error("/metrics is served in clear")
	}
}

var (
	documentedMetric = regexp.MustCompile("(?m)^\\| `(pipedream_\\w+)` \\|")
	servedMetric     = regexp.MustCompile(`(?m)^# TYPE (pipedream_\w+) `)
	// ofObjects matches the metrics that are not there while there are no objects, and no files that flags name.
	ofObjects = regexp.MustCompile(`_timestamp_seconds$|_condition$|_file_valid$`)
)

// wantDocumented checks that the operator's own metrics, without any object, are the ones that docs/metrics.md lists.
func wantDocumented(t *testing.T, served string) {
	t.Helper()
	names := func(in string, of *regexp.Regexp) []string {
		var found []string
		for _, match := range of.FindAllStringSubmatch(in, -1) {
			if !ofObjects.MatchString(match[1]) {
				found = append(found, match[1])
			}
		}
		slices.Sort(found)
		return found
	}
	want := names(string(harness.MustRead(t, "docs", "metrics.md")), documentedMetric)
	if diff := cmp.Diff(want, names(served, servedMetric)); diff != "" {
		t.Errorf("the metrics of a manager (-in docs/metrics.md +served):\n%s", diff)
	}
}

// TestProfiles gets a profile of a running manager. Profiles are served at their own address only.
func TestProfiles(t *testing.T) {
	probes, metrics, profiles := harness.MustFreeAddress(t), harness.MustFreeAddress(t), harness.MustFreeAddress(t)
	manager := startManager(t, "--kubeconfig="+adminKubeconfig(t, ""), "--namespaces=default",
		"--health-probe-bind-address="+probes, "--metrics-bind-address="+metrics, "--pprof-bind-address="+profiles)
	harness.Wait{Process: manager.Process}.Eventually(t, "the manager to be ready", func() string {
		if listens, _ := get(t, "https://"+metrics+"/metrics", ""); listens == 0 {
			return "/metrics does not answer"
		}
		return harness.Answers(t.Context(), "http://"+probes+"/readyz", "", http.StatusOK)
	})
	const path = "/debug/pprof/goroutine?debug=1"
	if status, body := get(t, "http://"+profiles+path, ""); status != http.StatusOK || !strings.HasPrefix(body, "goroutine profile:") {
		t.Errorf("%s answers %d, want 200 and a profile: %.200s", path, status, body)
	}
	for name, url := range map[string]string{"the probes": "http://" + probes, "the metrics": "https://" + metrics} {
		if status, _ := get(t, url+path, ""); status != http.StatusNotFound {
			t.Errorf("%s answers %d at the address of %s, want 404", path, status, name)
		}
	}
	if status, _ := get(t, "http://"+profiles+"/metrics", ""); status != http.StatusNotFound {
		t.Errorf("/metrics answers %d at the address of the profiles, want 404", status)
	}
	manager.stop(t)
}
