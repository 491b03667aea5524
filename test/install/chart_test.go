// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package install_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

const release = "pipedream-operator"

var (
	chart = filepath.Join("charts", "pipedream-operator")
	// allValues is a file that sets every value of the chart.
	allValues = filepath.Join("test", "install", "testdata", "all-values.yaml")
)

// tryHelm runs helm in the operator's namespace, and returns its output and error.
func tryHelm(arguments ...string) (string, error) {
	program := filepath.Join(harness.Root(), "bin", "helm")
	if _, err := os.Stat(program); err != nil {
		return "", fmt.Errorf("run `make bin/helm` first: %w", err)
	}
	return execute(program, append(arguments, "--namespace="+system)...)
}

// helm runs helm like tryHelm, and ends the test on an error.
func helm(t *testing.T, arguments ...string) string {
	t.Helper()
	output, err := tryHelm(arguments...)
	harness.Must(t, err)
	return output
}

// withHelm returns the installation of the chart with the given arguments of helm.
func withHelm(values ...string) installation {
	return installation{
		render: func(t *testing.T) string {
			t.Helper()
			return helm(t, append([]string{"template", release, chart}, values...)...)
		},
		install: func(t *testing.T) {
			t.Helper()
			ensureSystem(t)
			helm(t, append([]string{"install", release, chart, "--create-namespace"}, values...)...)
		},
		uninstall: func(t *testing.T) {
			t.Helper()
			helm(t, "uninstall", release)
		},
		keepsObjects: true,
	}
}

func TestHelmLintsTheChart(t *testing.T) {
	for name, values := range map[string][]string{
		"with the default values": nil,
		"for some namespaces":     {"--set=namespaces={shop,checkout}"},
		"with all values":         {"--values=" + allValues},
	} {
		t.Run(name, func(t *testing.T) {
			helm(t, append([]string{"lint", "--strict", chart}, values...)...)
		})
	}
}

func TestTheAPIServerAcceptsTheChartWithAllValues(t *testing.T) {
	ensureSystem(t)
	monitoring := filepath.Join("test", "install", "testdata", "monitoring.yaml")
	kubectl(t, "", "apply", "--server-side", "--filename="+monitoring)
	t.Cleanup(func() { kubectl(t, "", "delete", "--filename="+monitoring) })
	kubectl(t, "", "wait", "--for=condition=Established", "--filename="+monitoring)

	manifests := helm(t, "template", release, chart, "--values="+allValues)
	kubectl(t, manifests, "apply", "--server-side", "--dry-run=server", "--validate=strict", "--filename=-")
	objects := objectsOf(t, manifests)
	deployment := one(t, objects, "Deployment")
	wantAdmittedWhereRestricted(t, deployment)
	wantFlagsUnderstood(t, deployment)
	for _, kind := range []string{"ServiceMonitor", "PodMonitor", "PrometheusRule"} {
		one(t, objects, kind)
	}
	for _, object := range objects {
		if object.GetLabels()["team"] != "platform" {
			t.Errorf("the %s %s has no extra label", object.GetKind(), object.GetName())
		}
	}
	// Each value of the file must appear in the manifests.
	for _, want := range []string{
		"image: registry.example/operator@sha256:" + strings.Repeat("0", 64), "imagePullPolicy: Always", "- name: registry-credentials",
		"--namespaces=shop,checkout", "--token-requests-per-second=10", "- name: GOMEMLIMIT", `priorityClassName: "system-cluster-critical"`,
		`value: "http://proxy.example:3128"`, `value: "http://proxy.example:3129"`, `value: "$(KUBERNETES_SERVICE_HOST),10.0.0.0/8"`,
		"--api-ca-file=/etc/pipedream-operator/api-ca/bundle.pem", `name: "corporate-ca"`, "--metrics-cert-dir=/etc/pipedream-operator/metrics",
		"--per-object-metrics=false", "prometheus: three", "grafana: one",
		"secretName: metrics-certificate", "interval: 11s", "interval: 12s", "prometheus: one", "prometheus: two", "serverName: metrics.example",
		"name: scraper-token", "kubernetes.io/metadata.name: monitoring", "cidr: 10.1.0.0/16", "maxUnavailable: 50%", "replicas: 3",
		"policyName: other-require-scopes", "policyName: other-refuse-api-keys", `serviceAccountName: "somebody"`, "example.com/role: some-role", "memory: 1Gi", "pod: label", "pod: annotation", "disk: fast",
		"key: dedicated", "nodeAffinity:", "topologyKey: rack", "name: other-manager",
	} {
		if !strings.Contains(manifests, want) {
			t.Errorf("the manifests have no %q", want)
		}
	}
	if strings.Contains(manifests, "helm.sh/resource-policy: keep") {
		t.Error("the chart keeps a CRD although crds.keep is false")
	}
	if strings.Contains(manifests, "subPath:") {
		t.Error("a file is mounted with subPath: the kubelet would never update it")
	}
}

// TestTheSchemaKnowsEveryValue checks that values.schema.json has the same values as values.yaml and as the file
// of the test above.
func TestTheSchemaKnowsEveryValue(t *testing.T) {
	var schema map[string]any
	harness.Must(t, json.Unmarshal(harness.MustRead(t, chart, "values.schema.json"), &schema))
	known := map[string]bool{}
	properties(schema, "", known)
	for path := range known {
		// In helm, null removes a default. The schema must then refuse the missing value.
		nullable := []string{"global", "metrics.enabled", "topologySpreadConstraints"}
		if isRequired(schema, strings.Split(path, ".")) == slices.Contains(nullable, path) {
			t.Errorf("%s must be either required or nullable, and not both", path)
		}
	}
	delete(known, "global") // Helm defines it.
	for _, file := range []string{filepath.Join(chart, "values.yaml"), allValues} {
		var values map[string]any
		harness.Must(t, yaml.Unmarshal(harness.MustRead(t, file), &values))
		var missing []string
		for _, path := range slices.Sorted(maps.Keys(known)) {
			if !has(values, strings.Split(path, ".")) {
				missing = append(missing, path)
			}
		}
		// These values exclude others.
		if diff := cmp.Diff(map[bool][]string{true: {"apiCA.secret", "nameOverride"}}[file == allValues], missing); diff != "" {
			t.Errorf("missing values in %s (-want +got):\n%s", file, diff)
		}
	}
}

// properties collects the paths of a schema's properties.
func properties(schema map[string]any, prefix string, into map[string]bool) {
	nested, _ := schema["properties"].(map[string]any)
	for name, property := range nested {
		into[prefix+name] = true
		properties(property.(map[string]any), prefix+name+".", into)
	}
}

func isRequired(schema map[string]any, path []string) bool {
	for _, name := range path[:len(path)-1] {
		schema = schema["properties"].(map[string]any)[name].(map[string]any)
	}
	required, _ := schema["required"].([]any)
	return slices.Contains(required, any(path[len(path)-1]))
}

func has(values map[string]any, path []string) bool {
	value, found := values[path[0]]
	if !found || len(path) == 1 {
		return found
	}
	nested, _ := value.(map[string]any)
	return has(nested, path[1:])
}

func TestTheChartRefusesBadValues(t *testing.T) {
	for name, test := range map[string]struct{ set, want string }{
		"an unknown value":                   {"replica=3", "additional properties 'replica' not allowed"},
		"an unknown nested value":            {"metrics.port=9", "additional properties 'port' not allowed"},
		"namespaces that are not a list":     {"namespaces=shop", "at '/namespaces': got string, want array"},
		"an invalid name of a namespace":     {"namespaces={Shop}", "at '/namespaces/0': 'Shop' does not match pattern"},
		"a namespace twice":                  {"namespaces={shop,shop}", "at '/namespaces': items at 0 and 1 are equal"},
		"an invalid digest":                  {"image.digest=latest", "at '/image/digest'"},
		"an unknown pull policy":             {"image.pullPolicy=Sometimes", "at '/image/pullPolicy': value must be one of"},
		"replicas that are not a number":     {"replicas=two", "at '/replicas': got string, want integer"},
		"an argument that is not a flag":     {"extraArgs={verbose}", "at '/extraArgs/0'"},
		"an interval without a unit":         {"metrics.serviceMonitor.interval=30", "at '/metrics/serviceMonitor/interval'"},
		"a PodMonitor without authorization": {"metrics.podMonitor.enabled=true", "at '/metrics/podMonitor/authorization'"},
		"two places for the CA certificates": {"apiCA.configMap=a,apiCA.secret=b", "set configMap or secret, not both"},
		"a budget without a value":           {"podDisruptionBudget.maxUnavailable=null", "at '/podDisruptionBudget': missing property 'maxUnavailable'"},
		"labels that are null":               {"extraLabels=null", "missing property 'extraLabels'"},
		"a monitor without metrics":          {"metrics.serviceMonitor.enabled=true,namespaces={shop}", "need metrics.enabled"},
		"alerts without metrics":             {"prometheusRule.enabled=true,namespaces={shop}", "need metrics.enabled"},
		"a dashboard without metrics":        {"dashboard.enabled=true,metrics.enabled=false", "need metrics.enabled"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tryHelm("template", release, chart, "--set="+test.set)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("helm returned %v, want %q", err, test.want)
			}
		})
	}
}

// chartWithOneCRD returns a chart from before there were PipedreamAccounts: it holds one CRD, in another file, with
// another short name.
func chartWithOneCRD(t *testing.T) string {
	t.Helper()
	older := filepath.Join(t.TempDir(), "pipedream-operator")
	harness.Must(t, os.CopyFS(older, os.DirFS(filepath.Join(harness.Root(), chart))))
	folder := filepath.Join(older, "files", "crds")
	crd := string(harness.MustRead(t, folder, "pipedream-operator.io_pipedreamtokens.yaml"))
	harness.Must(t, os.RemoveAll(folder))
	harness.Must(t, os.WriteFile(filepath.Join(older, "files", "crd.yaml"), []byte(strings.Replace(crd, "- pdt\n", "- older\n", 1)), 0o600))
	template := filepath.Join(older, "templates", "crd.yaml")
	harness.Must(t, os.WriteFile(template, []byte(strings.ReplaceAll(string(harness.MustRead(t, template)), "files/crds/*.yaml", "files/crd.yaml")), 0o600))
	return older
}

// TestTheChartUpgrades upgrades from a chart with one CRD, as after a release that changes the CRD and adds another.
func TestTheChartUpgrades(t *testing.T) {
	ensureSystem(t)
	helm(t, "install", release, chartWithOneCRD(t))
	t.Cleanup(func() { kubectlCRDs(t, "delete", "crd", "--ignore-not-found") })
	shortNames := func() []string {
		return strings.Fields(kubectl(t, "", "get", "crds", "--output=jsonpath={.items[*].spec.names.shortNames[0]}"))
	}
	if diff := cmp.Diff([]string{"older"}, shortNames()); diff != "" {
		t.Fatalf("the short names of the older CRDs (-want +got):\n%s", diff)
	}
	kubectl(t, "", "wait", "--for=condition=Established", "crd/pipedreamtokens.pipedream-operator.io")
	token := tokenWith("orders", "connect:accounts:read")
	harness.Must(t, admin.Create(t.Context(), token))

	helm(t, "upgrade", release, chart)
	if diff := cmp.Diff([]string{"pda", "pdt"}, shortNames()); diff != "" {
		t.Errorf("the short names of the CRDs after the upgrade (-want +got):\n%s", diff)
	}
	kubectlCRDs(t, "wait", "--for=condition=Established", "crd")
	kubectl(t, "", "apply", "--namespace="+shop, "--filename=config/samples/pipedreamaccount-minimal.yaml")
	account := &v1alpha1.PipedreamAccount{}
	harness.Must(t, admin.Get(t.Context(), client.ObjectKey{Namespace: shop, Name: "team-slack"}, account))
	// After the change from the whole cluster to one namespace, the permissions in the whole cluster must be gone.
	helm(t, "upgrade", release, chart, "--set=namespaces={shop}")
	binding := &unstructured.Unstructured{}
	binding.SetAPIVersion("rbac.authorization.k8s.io/v1")
	binding.SetKind("ClusterRoleBinding")
	if err := admin.Get(t.Context(), client.ObjectKey{Name: "pipedream-operator-manager"}, binding); !apierrors.IsNotFound(err) {
		t.Errorf("getting the ClusterRoleBinding returned %v, want NotFound", err)
	}
	helm(t, "uninstall", release)
	wantKept(t, token, account)
	helm(t, "install", release, chart)
	wantKept(t, token, account)
	helm(t, "uninstall", release)
}

// TestTheChartRollsBack goes back to the chart with one CRD. Helm must keep the other CRD and its objects.
func TestTheChartRollsBack(t *testing.T) {
	ensureSystem(t)
	older := chartWithOneCRD(t)
	helm(t, "install", release, chart)
	t.Cleanup(func() { kubectlCRDs(t, "delete", "crd", "--ignore-not-found") })
	kubectlCRDs(t, "wait", "--for=condition=Established", "crd")
	kubectl(t, "", "apply", "--namespace="+shop, "--filename=config/samples/pipedreamaccount-minimal.yaml")
	account := &v1alpha1.PipedreamAccount{}
	harness.Must(t, admin.Get(t.Context(), client.ObjectKey{Namespace: shop, Name: "team-slack"}, account))
	helm(t, "upgrade", release, older)
	wantKept(t, account)
	helm(t, "upgrade", release, chart)
	wantKept(t, account)
	helm(t, "uninstall", release)
}

// wantKept checks that objects were neither deleted nor replaced.
func wantKept(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, object := range objects {
		kept := object.DeepCopyObject().(client.Object)
		harness.Must(t, admin.Get(t.Context(), client.ObjectKeyFromObject(object), kept))
		if kept.GetUID() != object.GetUID() {
			t.Errorf("another object has replaced %s", object.GetName())
		}
	}
}

// TestTheChartWithoutItsCRDs renders the chart with and without the values for the CRDs.
func TestTheChartWithoutItsCRDs(t *testing.T) {
	for name, test := range map[string]struct {
		set        string
		want, kept []string
	}{
		"by default":          {"crds.keep=true", crds, crds},
		"crds.keep=false":     {"crds.keep=false", crds, nil},
		"crds.enabled=false":  {"crds.enabled=false", nil, nil},
		"for some namespaces": {"namespaces={shop}", crds, crds},
	} {
		t.Run(name, func(t *testing.T) {
			var rendered, kept []string
			for _, object := range objectsOf(t, helm(t, "template", release, chart, "--set="+test.set)) {
				if object.GetKind() != "CustomResourceDefinition" {
					continue
				}
				rendered = append(rendered, object.GetName())
				if object.GetAnnotations()["helm.sh/resource-policy"] == "keep" {
					kept = append(kept, object.GetName())
				}
				if object.GetLabels()["app.kubernetes.io/instance"] != release {
					t.Errorf("%s has the labels %v", object.GetName(), object.GetLabels())
				}
			}
			slices.Sort(rendered)
			slices.Sort(kept)
			if !slices.Equal(rendered, test.want) || !slices.Equal(kept, test.kept) {
				t.Errorf("the chart has the CRDs %q, and keeps %q; want %q and %q", rendered, kept, test.want, test.kept)
			}
		})
	}
}

// TestNamesThatLookLikeSomethingElse uses a release name that YAML reads as a boolean, a namespace that it reads as
// a number, and a label that the chart also sets.
func TestNamesThatLookLikeSomethingElse(t *testing.T) {
	program := filepath.Join(harness.Root(), "bin", "helm")
	manifests, err := execute(program, "template", "on", chart, "--namespace=123", "--values="+allValues, "--set-string=fullnameOverride=,extraLabels.app\\.kubernetes\\.io/name=true")
	harness.Must(t, err)
	objects := objectsOf(t, manifests)
	for _, object := range objects {
		if _, _, err := unstructured.NestedString(object.Object, "metadata", "namespace"); err != nil {
			t.Errorf("%s %s: %v", object.GetKind(), object.GetName(), err)
		}
		labels, _, err := unstructured.NestedStringMap(object.Object, "metadata", "labels")
		if err != nil || labels["app.kubernetes.io/name"] != release || labels["app.kubernetes.io/instance"] != "on" {
			t.Errorf("%s %s has the labels %v: %v", object.GetKind(), object.GetName(), labels, err)
		}
	}
	templateOf(t, one(t, objects, "Deployment")) // templateOf decodes strictly.
}

func TestHostsWithoutAProxyOfTheChart(t *testing.T) {
	container := containerOf(t, one(t, objectsOf(t, helm(t, "template", release, chart, "--set=proxy.none=10.0.0.0/8")), "Deployment"))
	want := []corev1.EnvVar{{Name: "NO_PROXY", Value: "$(KUBERNETES_SERVICE_HOST),10.0.0.0/8"}}
	if diff := cmp.Diff(want, container.Env); diff != "" {
		t.Errorf("the environment (-want +got):\n%s", diff)
	}
}

// TestTheChartWithCRDsOfSomebodyElse installs the chart in a cluster where `kubectl apply` has created the CRDs, and
// where a PipedreamToken exists.
func TestTheChartWithCRDsOfSomebodyElse(t *testing.T) {
	ensureSystem(t)
	kubectl(t, "", "apply", "--kustomize=config/crd")
	t.Cleanup(func() { kubectl(t, "", "delete", "--kustomize=config/crd") })
	kubectlCRDs(t, "wait", "--for=condition=Established", "crd")
	token := tokenWith("orders", "connect:accounts:read")
	harness.Must(t, admin.Create(t.Context(), token))
	owners := func() []string {
		return kubectlCRDs(t, "get", "crd", "--output=jsonpath={range .items[*]}{.metadata.annotations.meta\\.helm\\.sh/release-name} {end}")
	}

	if _, err := tryHelm("install", release, chart); err == nil || !strings.Contains(err.Error(), "invalid ownership metadata") {
		t.Errorf("helm returned %v, want a refusal to take over the CRDs", err)
	}
	helm(t, "install", release, chart, "--set=crds.enabled=false")
	if got := owners(); len(got) != 0 {
		t.Errorf("with crds.enabled=false the CRDs belong to the releases %q", got)
	}
	helm(t, "uninstall", release)
	helm(t, "install", release, chart, "--take-ownership")
	if got := owners(); !slices.Equal(got, []string{release, release}) {
		t.Errorf("with --take-ownership the CRDs belong to the releases %q", got)
	}
	helm(t, "uninstall", release)
	wantKept(t, token)
}
