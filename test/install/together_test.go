// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package install_test

import (
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestTheChartIsWhatKustomizeMakes compares the objects of the chart with those of kustomize, including their
// rules, flags and probes.
func TestTheChartIsWhatKustomizeMakes(t *testing.T) {
	for name, test := range map[string]struct {
		kustomize string
		chart     installation
	}{
		"for the whole cluster": {"default", withHelm()},
		"for some namespaces":   {"namespaced", withHelm("--set=namespaces={shop}")},
		"with Prometheus": {"../test/install/testdata/prometheus", withHelm(
			"--set=metrics.serviceMonitor.enabled=true,prometheusRule.enabled=true,dashboard.enabled=true")},
		"with the policy about scopes":   {"policy", withHelm("--set=policy.requireScopes=true", "--show-only=templates/policy.yaml")},
		"with the policy about API keys": {"policy/refuse-api-keys", withHelm("--set=policy.refuseAPIKeys=true", "--show-only=templates/policy.yaml")},
	} {
		t.Run(name, func(t *testing.T) {
			kustomize := similar(objectsOf(t, kubectl(t, "", "kustomize", filepath.Join("config", test.kustomize))))
			chart := similar(objectsOf(t, test.chart.render(t)))
			if len(kustomize) < 2 {
				t.Fatalf("kustomize makes only %d objects", len(kustomize))
			}
			if diff := cmp.Diff(kustomize, chart); diff != "" {
				t.Errorf("the objects differ (-kustomize +chart):\n%s", diff)
			}
		})
	}
}

// similar returns the parts of the objects that must be equal. It ignores the namespace and the labels, which Helm
// sets in its own way, and the annotation by which Helm keeps the CRD.
func similar(objects []*unstructured.Unstructured) map[string]any {
	result := map[string]any{}
	for _, object := range objects {
		if object.GetKind() == "Namespace" {
			continue
		}
		labels := object.GetLabels()
		maps.DeleteFunc(labels, func(key, _ string) bool {
			return !strings.HasPrefix(key, "rbac.authorization.k8s.io/") && key != "grafana_dashboard"
		})
		if len(labels) == 0 {
			labels = nil
		}
		object.SetLabels(labels)
		annotations := object.GetAnnotations()
		delete(annotations, "helm.sh/resource-policy")
		object.SetAnnotations(annotations)
		forget(object.Object, "app.kubernetes.io/instance")
		forget(object.Object, "imagePullPolicy")
		result[strings.Join([]string{object.GetKind(), object.GetNamespace(), object.GetName()}, " ")] = object.Object
	}
	return result
}

// forget removes a key from all maps in a value.
func forget(value any, key string) {
	switch value := value.(type) {
	case map[string]any:
		delete(value, key)
		for _, nested := range value {
			forget(nested, key)
		}
	case []any:
		for _, nested := range value {
			forget(nested, key)
		}
	}
}
