// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package argocd tests the health, the actions and the differences of the operator's objects with Argo CD's own code:
// its parser of argocd-cm, its Lua engine with the libraries that a script may use, and its rules for differences. The
// objects were recorded on a real API server. The tests of internal/controller/token and internal/controller/account
// check that the operator still writes them in this form.
package argocd

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/health"
	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	argodiff "github.com/argoproj/argo-cd/v3/util/argo/diff"
	"github.com/argoproj/argo-cd/v3/util/argo/normalizers"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/argo-cd/v3/util/settings"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write config/argocd/argocd-cm.yaml again, from the scripts")

const (
	config       = "../../config/argocd"
	group        = "pipedream-operator.io"
	renewRequest = "pipedream-operator.io/renew-request"
)

// kinds are the kinds of the operator, the action of each, and fields of each spec with another value than the samples
// have. Each sample has at least one of the fields.
var kinds = map[string]struct {
	action string
	others map[string]any
}{
	"PipedreamToken":   {"renew", map[string]any{"scopes": []any{"other"}}},
	"PipedreamAccount": {"fetch", map[string]any{"projectID": "proj_other1", "workspaceID": "o_other"}},
}

// customizationOf returns the folder with the scripts for a kind, and with their tests.
func customizationOf(kind string) string {
	return filepath.Join(config, "resource_customizations", group, kind)
}

// forEachKind runs a test for each kind.
func forEachKind(t *testing.T, test func(t *testing.T, kind string)) {
	t.Helper()
	for kind := range kinds {
		t.Run(kind, func(t *testing.T) { test(t, kind) })
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// read reads a YAML file.
func read(t *testing.T, path string, into any) {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	if err := yaml.UnmarshalStrict(content, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func object(t *testing.T, path string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	read(t, path, &o.Object)
	return o
}

// configMap is argocd-cm, for users who cannot add the scripts to Argo CD itself. For scripts under these keys,
// Argo CD loads only its own safe libraries, and none of Lua's.
var configMap = template.Must(template.New("").Funcs(template.FuncMap{
	"script": func(indent int, path ...string) (string, error) {
		content, err := os.ReadFile(filepath.Join(customizationOf(path[0]), filepath.Join(path[1:]...)))
		lines := strings.Split(strings.TrimSpace(string(content)), "\n")
		for i := range lines {
			if lines[i] != "" {
				lines[i] = strings.Repeat(" ", indent) + lines[i]
			}
		}
		return strings.Join(lines, "\n"), err
	},
}).Parse(`# Argo CD's health checks and actions for PipedreamTokens and PipedreamAccounts: merge the data into your argocd-cm.
#
#   kubectl patch configmap argocd-cm --namespace argocd --patch-file config/argocd/argocd-cm.yaml
#
# The test in test/argocd makes this file from the scripts in resource_customizations. Do not edit it.
apiVersion: v1
kind: ConfigMap
metadata:
  name: argocd-cm
  labels:
    app.kubernetes.io/name: argocd-cm
    app.kubernetes.io/part-of: argocd
data:
{{- range $kind, $action := .}}
  resource.customizations.health.pipedream-operator.io_{{$kind}}: |
{{script 4 $kind "health.lua"}}
  resource.customizations.actions.pipedream-operator.io_{{$kind}}: |
    discovery.lua: |
{{script 6 $kind "actions" "discovery.lua"}}
    definitions:
    - name: {{$action}}
      action.lua: |
{{script 8 $kind "actions" $action "action.lua"}}
{{- end}}
`))

func TestConfigMapHoldsTheScripts(t *testing.T) {
	actions := map[string]string{}
	for kind, about := range kinds {
		actions[kind] = about.action
	}
	want := &bytes.Buffer{}
	must(t, configMap.Execute(want, actions))
	path := config + "/argocd-cm.yaml"
	if *update {
		must(t, os.WriteFile(path, want.Bytes(), 0o644)) //nolint:gosec // The file is public.
	}
	got, err := os.ReadFile(path)
	must(t, err)
	if diff := cmp.Diff(want.String(), string(got)); diff != "" {
		t.Errorf("%s does not hold the scripts; write it again with -update (-want +got):\n%s", path, diff)
	}
}

// overrides returns the customizations that Argo CD reads from the argocd-cm of this repository.
func overrides(t *testing.T) map[string]v1alpha1.ResourceOverride {
	t.Helper()
	cm := &corev1.ConfigMap{}
	read(t, config+"/argocd-cm.yaml", cm)
	cm.Namespace = "argocd"
	secret := &corev1.Secret{}
	secret.Name, secret.Namespace, secret.Labels = "argocd-secret", "argocd", cm.Labels
	manager := settings.NewSettingsManager(t.Context(), fake.NewClientset(cm, secret), "argocd")
	overrides, err := manager.GetResourceOverrides()
	must(t, err)
	for kind := range kinds {
		if override := overrides[group+"/"+kind]; override.HealthLua == "" || override.Actions == "" || override.UseOpenLibs {
			t.Fatalf("Argo CD reads the customization of %s as %+v", kind, override)
		}
	}
	return overrides
}

func TestHealth(t *testing.T) { forEachKind(t, testHealth) }

// testHealth reads its cases from a file with the layout of Argo CD's own test of all customizations.
func testHealth(t *testing.T, kind string) {
	t.Helper()
	customization := customizationOf(kind)
	var tests struct {
		Tests []struct {
			InputPath    string               `json:"inputPath"`
			HealthStatus *health.HealthStatus `json:"healthStatus"`
		} `json:"tests"`
	}
	read(t, customization+"/health_test.yaml", &tests)
	overrides := lua.ResourceHealthOverrides(overrides(t))
	tested := map[string]bool{}
	for _, test := range tests.Tests {
		tested[filepath.Base(test.InputPath)] = true
		live := object(t, filepath.Join(customization, test.InputPath))
		got, err := health.GetResourceHealth(live, overrides)
		must(t, err)
		if diff := cmp.Diff(test.HealthStatus, got); diff != "" {
			t.Errorf("%s (-want +got): %s", test.InputPath, diff)
		}
		if status, _, _ := strings.Cut(filepath.Base(test.InputPath), "-"); strings.TrimSuffix(status, ".yaml") != strings.ToLower(string(got.Status)) {
			t.Errorf("the health of %s is %s, but its name says otherwise", test.InputPath, got.Status)
		}
		expires, found, _ := unstructured.NestedString(live.Object, "status", "expirationTime")
		if found && !strings.Contains(got.Message, expires) && got.Status == health.HealthStatusDegraded && isReady(live) {
			t.Errorf("%s: the message does not say when the current token expires: %s", test.InputPath, got.Message)
		}
	}
	recorded, err := filepath.Glob(customization + "/testdata/*.yaml")
	must(t, err)
	for _, path := range recorded {
		if !tested[filepath.Base(path)] {
			t.Errorf("health_test.yaml has no case for %s", filepath.Base(path))
		}
	}
}

func isReady(live *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(live.Object, "status", "conditions")
	for _, condition := range conditions {
		if condition := condition.(map[string]any); condition["type"] == "Ready" {
			return condition["status"] == "True"
		}
	}
	return false
}

func TestActions(t *testing.T) { forEachKind(t, testActions) }

// testActions reads its cases from a file with the layout of Argo CD's own test, too.
func testActions(t *testing.T, kind string) {
	t.Helper()
	var tests struct {
		DiscoveryTests []struct {
			InputPath string                    `json:"inputPath"`
			Result    []v1alpha1.ResourceAction `json:"result"`
		} `json:"discoveryTests"`
		ActionTests []struct {
			Action             string `json:"action"`
			InputPath          string `json:"inputPath"`
			ExpectedOutputPath string `json:"expectedOutputPath"`
		} `json:"actionTests"`
	}
	folder := customizationOf(kind) + "/actions"
	read(t, folder+"/action_test.yaml", &tests)
	vm := lua.VM{ResourceOverrides: overrides(t)}
	for _, test := range tests.DiscoveryTests {
		live := object(t, filepath.Join(folder, test.InputPath))
		scripts, err := vm.GetResourceActionDiscovery(live)
		must(t, err)
		got, err := vm.ExecuteResourceActionDiscovery(live, scripts)
		must(t, err)
		if diff := cmp.Diff(test.Result, got); diff != "" {
			t.Errorf("the actions for %s (-want +got): %s", test.InputPath, diff)
		}
	}
	for _, test := range tests.ActionTests {
		live := object(t, filepath.Join(folder, test.InputPath))
		action, err := vm.GetResourceAction(live, test.Action)
		must(t, err)
		begin := time.Now().UTC().Truncate(time.Second)
		impacted, err := vm.ExecuteResourceAction(live, action.ActionLua, nil)
		must(t, err)
		if len(impacted) != 1 || impacted[0].K8SOperation != lua.PatchOperation {
			t.Fatalf("the action is %+v, want a patch", impacted)
		}
		got := impacted[0].UnstructuredObj
		value := got.GetAnnotations()[renewRequest]
		if at, err := time.Parse(time.RFC3339, value); err != nil || at.Before(begin) || at.After(time.Now()) {
			t.Errorf("the request is %q, want the current time in RFC 3339", value)
		}
		want := object(t, filepath.Join(folder, test.ExpectedOutputPath))
		annotations := got.GetAnnotations()
		annotations[renewRequest] = want.GetAnnotations()[renewRequest]
		got.SetAnnotations(annotations)
		if diff := cmp.Diff(asJSON(t, want), asJSON(t, got)); diff != "" {
			t.Errorf("the action changes more than the annotation (-want +got): %s", diff)
		}
	}
	if len(tests.DiscoveryTests) == 0 || len(tests.ActionTests) == 0 {
		t.Error("there are no tests")
	}
}

// asJSON marshals an object, so that integers equal the floating-point numbers that Lua makes of them.
func asJSON(t *testing.T, o *unstructured.Unstructured) string {
	t.Helper()
	content, err := yaml.Marshal(o.Object)
	must(t, err)
	return string(content)
}

// dryRunner answers a server-side dry run with the recorded result of a real dry run.
type dryRunner struct{ predicted *unstructured.Unstructured }

// Run implements diff.ServerSideDryRunner.
func (d dryRunner) Run(context.Context, *unstructured.Unstructured, string) (string, error) {
	content, err := d.predicted.MarshalJSON()
	return string(content), err
}

// TestNoDrift compares the samples with the recorded objects after their Secrets were written a second time, by each of
// Argo CD's rules for differences.
func TestNoDrift(t *testing.T) {
	overrides := overrides(t)
	want := samples(t)
	for _, applied := range []string{"client-side", "server-side"} {
		files, err := filepath.Glob("testdata/" + applied + "/live/*.yaml")
		must(t, err)
		var recorded []string
		for _, file := range files {
			recorded = append(recorded, filepath.Base(file))
			testNoDrift(t, overrides, applied, filepath.Base(file))
		}
		if diff := cmp.Diff(want, recorded); diff != "" {
			t.Errorf("applied %s, the recorded objects are not the samples (-samples +recorded):\n%s", applied, diff)
		}
	}
}

// samples returns the files in config/samples that hold objects of the operator, in the order of their names.
func samples(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../config/samples/*.yaml")
	must(t, err)
	var found []string
	for _, file := range files {
		if _, isOurs := kinds[object(t, file).GetKind()]; isOurs {
			found = append(found, filepath.Base(file))
		}
	}
	if len(found) < 5 {
		t.Fatalf("there are only the samples %q", found)
	}
	return found
}

func testNoDrift(t *testing.T, overrides map[string]v1alpha1.ResourceOverride, applied, file string) {
	t.Helper()
	live := object(t, filepath.Join("testdata", applied, "live", file))
	predicted := object(t, filepath.Join("testdata", applied, "predicted", file))
	desired := object(t, filepath.Join("../../config/samples", file))
	desired.SetNamespace(live.GetNamespace())
	desired.SetLabels(live.GetLabels()) // Argo CD tracks the object by these labels.
	desired.SetAnnotations(map[string]string{"argocd.argoproj.io/tracking-id": live.GetAnnotations()["argocd.argoproj.io/tracking-id"]})
	drifted := live.DeepCopy()
	changes := 0
	for field, other := range kinds[live.GetKind()].others {
		if _, has, _ := unstructured.NestedFieldNoCopy(desired.Object, "spec", field); has {
			must(t, unstructured.SetNestedField(drifted.Object, other, "spec", field))
			changes++
		}
	}
	if changes == 0 {
		t.Fatalf("%s has none of the fields that the test changes", file)
	}
	for rule, builder := range map[string]*argodiff.DiffConfigBuilder{
		"three-way": argodiff.NewDiffConfigBuilder(),
		"server-side": argodiff.NewDiffConfigBuilder().WithServerSideDiff(true).
			WithServerSideDryRunner(dryRunner{predicted}).WithManager("argocd-controller").WithIgnoreMutationWebhook(false),
	} {
		builder = builder.WithDiffSettings(nil, overrides, false, normalizers.IgnoreNormalizerOpts{}).
			WithTracking("app.kubernetes.io/instance", string(v1alpha1.TrackingMethodAnnotation)).WithNoCache()
		rules, err := builder.Build()
		must(t, err)
		result, err := argodiff.StateDiff(live.DeepCopy(), desired.DeepCopy(), rules)
		must(t, err)
		if result.Modified {
			t.Errorf("%s, applied %s: by its rule %s Argo CD detects a difference:\n%s", file, applied, rule,
				cmp.Diff(string(result.PredictedLive), string(result.NormalizedLive)))
		}
		// Prove that the rule detects a change of the spec.
		result, err = argodiff.StateDiff(drifted.DeepCopy(), desired.DeepCopy(), rules)
		must(t, err)
		if !result.Modified {
			t.Errorf("%s, applied %s: by its rule %s Argo CD does not detect a change of the spec", file, applied, rule)
		}
	}
}
