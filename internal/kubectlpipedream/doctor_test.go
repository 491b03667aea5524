// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// system is where config/default installs the operator.
const system = "pipedream-operator-system"

// install installs what config/default says, as a user would. No controllers run here,
// so that the test says how the Deployment does.
func install(t *testing.T) {
	t.Helper()
	kubectl(t, "apply", "--kustomize=config/default")
	ctx := context.WithoutCancel(t.Context())
	t.Cleanup(func() {
		// Nobody else looks for the rest.
		for _, left := range []client.Object{&appsv1.Deployment{}, &coordinationv1.Lease{}} {
			harness.Must(t, admin.DeleteAllOf(ctx, left, client.InNamespace(system)))
		}
	})
}

func kubectl(t *testing.T, arguments ...string) {
	t.Helper()
	harness.Kubectl{Kubeconfig: kubeconfig}.Must(t, arguments...)
}

var kubernetesVersion = regexp.MustCompile(`Kubernetes v[0-9.]+`)

// examine runs doctor. The plugin's clock is ahead of Pipedream's.
func (w *world) examine(golden string, ahead time.Duration, arguments ...string) {
	w.Helper()
	arguments = append([]string{"--kubeconfig=" + kubeconfig, "doctor", "--api-url=" + w.address, "--allow-insecure-api-url"}, arguments...)
	got := call(w.Context(), func() time.Time { return w.clock.Now().Add(ahead) }, &harness.Buffer{}, arguments...)
	for _, secret := range w.secrets() {
		if strings.Contains(got.out+got.errOut, secret) {
			w.Errorf("%v shows a secret", arguments)
		}
	}
	got.out = kubernetesVersion.ReplaceAllString(got.out, "Kubernetes VERSION")
	w.wantGolden(golden, got)
}

func (w *world) deployment() *appsv1.Deployment {
	w.Helper()
	deployment := &appsv1.Deployment{}
	harness.Must(w.T, admin.Get(w.Context(), types.NamespacedName{Namespace: system, Name: "pipedream-operator-manager"}, deployment))
	return deployment
}

func (w *world) setAvailable(replicas int32) {
	w.Helper()
	deployment := w.deployment()
	deployment.Status.Replicas, deployment.Status.ReadyReplicas, deployment.Status.AvailableReplicas = 2, replicas, replicas
	harness.Must(w.T, admin.Status().Update(w.Context(), deployment))
}

// sayTwoOperators records the events of an operator that has found another one.
func (w *world) sayTwoOperators(names ...string) {
	w.Helper()
	for _, name := range names {
		for reason, kind := range map[string]string{v1alpha1.EventTwoOperators: v1alpha1.KindPipedreamToken, v1alpha1.ReasonIssued: v1alpha1.KindPipedreamToken} {
			harness.Must(w.T, admin.Create(w.Context(), &eventsv1.Event{
				ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, GenerateName: name + "-"},
				EventTime:  metav1.NowMicro(), ReportingController: "pipedream-operator", ReportingInstance: "pipedream-operator-1",
				Type: corev1.EventTypeWarning, Reason: reason, Action: v1alpha1.ConditionRenewed,
				Regarding: corev1.ObjectReference{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: kind, Namespace: w.namespace, Name: name},
			}))
		}
	}
}

func TestDoctor(t *testing.T) {
	w := newWorld(t, "doctor")
	here := "--namespace=doctor"
	w.letLook()
	w.examine("doctor-not-installed", 0, here)
	install(t)
	w.issued("orders")
	w.examine("doctor-never-ran", 0, here)

	w.setAvailable(2)
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: leaseName},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: new("manager-1"), LeaseDurationSeconds: new(int32(15)), RenewTime: new(metav1.NewMicroTime(w.clock.Now())),
		},
	}
	harness.Must(t, admin.Create(t.Context(), lease))
	w.examine("doctor-healthy", 0, here)
	w.examine("doctor-may-look", 0, here, "--as=looker", "--operator-namespace="+system)
	w.examine("doctor-may-nought", 0, here, "--as=nobody")
	w.examine("doctor-may-not-list-all", 0, "--all-namespaces", "--as=looker")
	w.examine("doctor-clock", time.Minute, here)

	w.sayTwoOperators("orders", "orders", "billing")
	w.examine("doctor-two-operators", 0, here)

	// All goes wrong at once.
	w.createSecret("other-credentials", map[string]string{"client_id": clientID, "client_secret": "mistyped"})
	for i := range 7 {
		w.create(fmt.Sprintf("stranded-%d", i), withCredentials("nowhere"))
		w.visit(fmt.Sprintf("stranded-%d", i))
	}
	change(w, w.token("orders"), func(token *v1alpha1.PipedreamToken) { token.Spec.ClientSecretRef.Name = "other-credentials" })
	w.visit("orders")
	w.setAvailable(1)
	change(w, w.deployment(), func(deployment *appsv1.Deployment) {
		container := &deployment.Spec.Template.Spec.Containers[0]
		container.Image = "registry.example:5000/pipedream-operator:v1.0.0@sha256:" + strings.Repeat("0", 64)
		container.Args = append(container.Args, "--namespaces=doctor,shop", "--api-url=https://api.example")
	})
	change(w, lease, func(lease *coordinationv1.Lease) { lease.Spec.RenewTime.Time = w.clock.Now().Add(-time.Hour) })
	harness.Must(t, admin.Delete(t.Context(), &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "pipedream-operator-manager"}}))
	w.examine("doctor-sick", 10*time.Minute, here)
	change(w, lease, func(lease *coordinationv1.Lease) { lease.Spec.HolderIdentity = new("") })
	w.setAvailable(0)
	w.address = "http://127.0.0.1:1"
	w.examine("doctor-released", 0, here, "--operator-namespace="+system)
	w.examine("doctor-out-of-reach", 0, here, "--server=https://127.0.0.1:1")
}

// TestDoctorKnowsWhatTheOperatorMayDo compares its list with the generated rules.
func TestDoctorKnowsWhatTheOperatorMayDo(t *testing.T) {
	file, err := os.Open(filepath.Join(harness.Root(), "config", "rbac", "role.yaml"))
	harness.Must(t, err)
	defer func() { _ = file.Close() }()
	want := map[string][]string{}
	for decoder := yaml.NewYAMLOrJSONDecoder(file, 4096); ; {
		role := &rbacv1.ClusterRole{} // A Role looks the same.
		if err := decoder.Decode(role); errors.Is(err, io.EOF) {
			break
		} else if harness.Must(t, err); role.Name == "metrics-auth" {
			continue
		}
		for _, rule := range role.Rules {
			for _, verb := range rule.Verbs {
				for _, resource := range rule.Resources {
					want[role.Name] = append(want[role.Name], verb+" "+resource+" "+rule.APIGroups[0])
				}
			}
		}
	}
	got := map[string][]string{}
	for role, abilities := range map[string][]ability{"manager": managerAbilities, "leader-election": leaderAbilities} {
		for _, one := range abilities {
			got[role] = append(got[role], one.String()+" "+one.group)
		}
	}
	for role := range want {
		slices.Sort(want[role])
		slices.Sort(got[role])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("doctor asks for other permissions than the operator has (-role.yaml +doctor):\n%s", diff)
	}
}

// crdOf returns the CRD of a kind.
func crdOf(t *testing.T, k *kind) *unstructured.Unstructured {
	t.Helper()
	found := &unstructured.Unstructured{}
	found.SetAPIVersion("apiextensions.k8s.io/v1")
	found.SetKind("CustomResourceDefinition")
	harness.Must(t, admin.Get(t.Context(), types.NamespacedName{Name: k.resource.GroupResource().String()}, found))
	return found
}

// removeCRD deletes the CRD of a kind, and creates it as given when the test ends.
func removeCRD(t *testing.T, k *kind, asItWas *unstructured.Unstructured) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	list := func() error {
		objects := &unstructured.UnstructuredList{}
		objects.SetGroupVersionKind(v1alpha1.SchemeGroupVersion.WithKind(k.name + "List"))
		return admin.List(ctx, objects)
	}
	isThere := func(attempt func() error) func() string {
		return func() string {
			if err := attempt(); err != nil {
				return err.Error()
			}
			return ""
		}
	}
	harness.Must(t, admin.Delete(ctx, crdOf(t, k)))
	t.Cleanup(func() {
		fresh := &unstructured.Unstructured{Object: map[string]any{"spec": asItWas.Object["spec"]}}
		fresh.SetGroupVersionKind(asItWas.GroupVersionKind())
		fresh.SetName(asItWas.GetName())
		harness.Eventually(t, "the CRD", isThere(func() error { return admin.Create(ctx, fresh) }))
		harness.Eventually(t, "the CRD", isThere(list))
	})
	harness.Eventually(t, "the CRD that was deleted", func() string {
		if list() == nil {
			return "it is still there"
		}
		return ""
	})
}

// TestAClusterWithAnotherCRD takes the CRD away, and puts it back.
func TestAClusterWithAnotherCRD(t *testing.T) {
	w := newWorld(t, "crd")
	w.letLook()
	asItWas := crdOf(t, tokenKind)
	path := []string{"schema", "openAPIV3Schema", "properties", "spec", "properties"}
	change(w, crdOf(t, tokenKind), func(crd *unstructured.Unstructured) {
		versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
		version, _ := versions[0].(map[string]any)
		unstructured.RemoveNestedField(version, append(path, "renewBeforeSeconds")...)
		unstructured.RemoveNestedField(version, append(path, "verification", "properties", "intervalSeconds")...)
		unstructured.RemoveNestedField(version, append(path, "verification", "required")...)
		harness.Must(t, unstructured.SetNestedSlice(crd.Object, versions, "spec", "versions"))
	})
	w.examine("doctor-old-crd", 0, "--namespace=crd")

	removeCRD(t, tokenKind, asItWas)
	w.examine("doctor-without-crd", 0, "--namespace=crd")
	w.examine("doctor-without-crd-may-look", 0, "--namespace=crd", "--as=looker")
	for _, arguments := range [][]string{{"status", "orders"}, {"inspect", "orders"}, {"renew", "orders"}, {"status", "--kind=pdt"}} {
		if got := w.run(arguments...); got.code != exitError || !strings.Contains(got.errOut, "the cluster knows no PipedreamTokens") {
			t.Errorf("%v says\n%v\nwant that there is no such kind", arguments, got)
		}
	}
	w.fetched("acme")
	w.wantGolden("status-without-tokens", w.run("status"))
	w.wantOneKind("the cluster knows no PipedreamTokens", "pda/acme")

	removeCRD(t, accountKind, crdOf(t, accountKind))
	for _, arguments := range [][]string{{"status"}, {"status", "--watch"}} {
		got := w.run(arguments...)
		if got.code != exitError || !strings.Contains(got.errOut, "the cluster knows no PipedreamTokens") || !strings.Contains(got.errOut, "the cluster knows no PipedreamAccounts") {
			t.Errorf("%v says\n%v\nwant that there is neither kind", arguments, got)
		}
	}
}

// TestAClusterWithoutAccounts is about an operator from before the kind PipedreamAccount.
func TestAClusterWithoutAccounts(t *testing.T) {
	w := newWorld(t, "no-accounts")
	w.letLook()
	w.issued("orders")
	removeCRD(t, accountKind, crdOf(t, accountKind))
	w.wantGolden("status-without-accounts", w.run("status", "--exit-code"))
	w.wantOneKind("PipedreamAccounts are not shown: the server could not find the requested resource: the cluster knows no PipedreamAccounts", "pdt/orders")
	w.examine("doctor-without-accounts", 0, "--namespace=no-accounts", "--as=looker")
	for _, arguments := range [][]string{{"status", "pda/acme"}, {"inspect", "pda/acme"}, {"renew", "pda/acme"}, {"renew", "--all", "--kind=pda"}, {"status", "--watch", "--kind=pda"}} {
		if got := w.run(arguments...); got.code != exitError || got.out != "" || !strings.Contains(got.errOut, "the cluster knows no PipedreamAccounts") {
			t.Errorf("%v says\n%v\nwant that there is no such kind", arguments, got)
		}
	}
	// Only the error about a missing PipedreamToken would look for a PipedreamAccount of its name.
	if got := w.run("inspect", "lost"); got.code != exitError || !strings.Contains(got.errOut, `"lost" not found: name its namespace`) || strings.Count(got.errOut, "\n") != 1 {
		t.Errorf("inspect says\n%v", got)
	}
}

func TestLeaseAndClock(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	lease := func(renewed time.Duration) *coordinationv1.Lease {
		return &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{
			HolderIdentity: new("one"), LeaseDurationSeconds: new(int32(15)), RenewTime: new(metav1.NewMicroTime(now.Add(renewed))),
		}}
	}
	for name, test := range map[string]struct {
		found finding
		want  state
	}{
		"a fresh lease":                {evaluateLease(lease(-time.Second), now), stateOK},
		"a lease by another clock":     {evaluateLease(lease(-44*time.Second), now), stateOK},
		"a lease of the future":        {evaluateLease(lease(time.Hour), now), stateOK},
		"a lease that has ended":       {evaluateLease(lease(-46*time.Second), now), stateFailed},
		"a lease of nobody":            {evaluateLease(&coordinationv1.Lease{}, now), stateFailed},
		"a clock that is right":        {evaluateSkew(skewOf(now, now.Add(2*time.Second), now)), stateOK},
		"a clock that is a bit behind": {evaluateSkew(skewOf(now, now, now.Add(31*time.Second))), stateWarning},
		"a clock that is a bit ahead":  {evaluateSkew(skewOf(now, now, now.Add(-31*time.Second))), stateWarning},
		"a clock that is far behind":   {evaluateSkew(skewOf(now, now, now.Add(301*time.Second))), stateFailed},
		"a slow answer":                {evaluateSkew(skewOf(now, now.Add(40*time.Second), now.Add(20*time.Second))), stateOK},
	} {
		t.Run(name, func(t *testing.T) {
			if test.found.state != test.want {
				t.Errorf("it is %s (%s), want %s", test.found.state, test.found.what, test.want)
			}
		})
	}
}

func TestWhatADeploymentSays(t *testing.T) {
	for name, test := range map[string]struct {
		image       string
		arguments   []string
		wantVersion string
		wantURL     string
	}{
		"a tag":                     {image: "registry.example/a/b:v1.2.3", wantVersion: "v1.2.3"},
		"a tag and a digest":        {image: "registry.example:5000/b:v1.2.3@sha256:00", wantVersion: "v1.2.3"},
		"a digest":                  {image: "registry.example:5000/b@sha256:00", wantVersion: "v9"},
		"a flag with an equal sign": {arguments: []string{"--leader-elect", "--api-url=https://a"}, wantVersion: "v9", wantURL: "https://a"},
		"a flag with one dash":      {arguments: []string{"-api-url=https://a"}, wantVersion: "v9", wantURL: "https://a"},
		"a flag in two parts":       {arguments: []string{"--api-url", "https://a", "--leader-elect"}, wantVersion: "v9", wantURL: "https://a"},
		"another flag":              {arguments: []string{"--api-url-of=https://a", "api-url=https://b"}, wantVersion: "v9"},
	} {
		t.Run(name, func(t *testing.T) {
			deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app.kubernetes.io/version": "v9"}}}
			deployment.Spec.Template.Spec.Containers = []corev1.Container{{Name: "sidecar"}, {Name: "manager", Image: test.image, Args: test.arguments}}
			if got := versionOf(deployment); got != test.wantVersion {
				t.Errorf("the version is %q, want %q", got, test.wantVersion)
			}
			if got := flagOf(deployment, "api-url"); got != test.wantURL {
				t.Errorf("the address is %q, want %q", got, test.wantURL)
			}
		})
	}
}
