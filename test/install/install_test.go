// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package install_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

const image, version = "registry.example/operator", "v1.2.3"

// installation is one way to install the operator.
type installation struct {
	// render returns the manifests.
	render func(*testing.T) string
	// install and uninstall run the commands that a user would run.
	install, uninstall func(*testing.T)
	// namespaced says that the operator works in the namespace shop only, and has no permissions elsewhere.
	namespaced bool
	// keepsObjects says that the CRDs and the objects of the operator remain after uninstall.
	keepsObjects bool
}

// installations returns all ways to install the operator, by a description.
func installations(t *testing.T) map[string]installation {
	t.Helper()
	dist := t.TempDir()
	installer := filepath.Join(dist, "install.yaml")
	_, err := execute("make", "--no-print-directory", "installer", "IMAGE="+image, "VERSION="+version, "DIST="+dist)
	harness.Must(t, err)
	namespaced := filepath.Join("config", "namespaced")
	kustomizeForShop := withKubectl("--kustomize="+namespaced, func(t *testing.T) string {
		t.Helper()
		return kubectl(t, "", "kustomize", namespaced)
	})
	kustomizeForShop.namespaced = true
	chartForShop := withHelm("--set=namespaces={shop}")
	chartForShop.namespaced = true
	return map[string]installation{
		"the installer": withKubectl("--filename="+installer, func(t *testing.T) string {
			t.Helper()
			return string(harness.MustRead(t, installer))
		}),
		"kustomize for some namespaces": kustomizeForShop,
		"the chart":                     withHelm("--set=image.repository=" + image + ",image.tag=" + version),
		"the chart for some namespaces": chartForShop,
	}
}

// withKubectl returns the installation of manifests. The argument manifests is the flag of kubectl that names them.
func withKubectl(manifests string, render func(*testing.T) string) installation {
	return installation{
		render: render,
		install: func(t *testing.T) {
			t.Helper()
			kubectl(t, "", "apply", manifests)
		},
		uninstall: func(t *testing.T) {
			t.Helper()
			kubectl(t, "", "delete", manifests)
		},
	}
}

func TestInstallations(t *testing.T) {
	for name, in := range installations(t) {
		t.Run(name, func(t *testing.T) {
			in.install(t)
			manifests := in.render(t)
			objects := objectsOf(t, manifests)
			for _, object := range objects {
				found := object.DeepCopy()
				if err := admin.Get(t.Context(), client.ObjectKeyFromObject(found), found); err != nil {
					t.Errorf("%s %s is not installed: %v", object.GetKind(), object.GetName(), err)
				}
			}
			// With strict validation the API server refuses unknown fields.
			kubectl(t, manifests, "apply", "--server-side", "--force-conflicts", "--field-manager=strict", "--dry-run=server", "--validate=strict", "--filename=-")
			if in.namespaced {
				wantNothingForTheWholeCluster(t, objects)
			}
			deployment := one(t, objects, "Deployment")
			wantFlagsUnderstood(t, deployment)
			wantAdmittedWhereRestricted(t, deployment)
			wantWorking(t, deployment, objects, in.namespaced)
			in.uninstall(t)
			wantUninstalled(t, objects, in.keepsObjects)
		})
	}
}

// wantNothingForTheWholeCluster checks the objects of an installation for some namespaces: which of them are
// cluster-scoped, and in which namespaces they grant permissions.
func wantNothingForTheWholeCluster(t *testing.T, objects []*unstructured.Unstructured) {
	t.Helper()
	var granted []string
	for _, object := range objects {
		switch object.GetKind() {
		case "CustomResourceDefinition", "Namespace":
			continue
		case "RoleBinding":
			granted = append(granted, object.GetNamespace())
		}
		if object.GetNamespace() == "" {
			t.Errorf("the %s %s is cluster-scoped", object.GetKind(), object.GetName())
		}
	}
	slices.Sort(granted)
	if want := []string{system, shop}; !slices.Equal(granted, want) {
		t.Errorf("the RoleBindings are in the namespaces %q, want %q", granted, want)
	}
}

// wantUninstalled checks that no object is left, except the CRDs and the objects of the operator if keepsObjects is set.
func wantUninstalled(t *testing.T, objects []*unstructured.Unstructured, keepsObjects bool) {
	t.Helper()
	for _, object := range objects {
		if keepsObjects && object.GetKind() == "CustomResourceDefinition" {
			continue
		}
		harness.Eventually(t, "uninstall", func() string {
			found := object.DeepCopy()
			if err := admin.Get(t.Context(), client.ObjectKeyFromObject(found), found); apierrors.IsNotFound(err) {
				return ""
			}
			return object.GetKind() + " " + object.GetName() + " still exists"
		})
	}
	if keepsObjects {
		for name, kept := range map[string]client.Object{"orders": &v1alpha1.PipedreamToken{}, "team-slack": &v1alpha1.PipedreamAccount{}} {
			if err := admin.Get(t.Context(), client.ObjectKey{Namespace: shop, Name: name}, kept); err != nil {
				t.Errorf("uninstall deleted %s: %v", name, err)
			}
		}
		kubectlCRDs(t, "delete", "crd")
	}
	kubectl(t, "", "delete", "secrets,events,serviceaccounts", "--all", "--namespace="+shop)
}

// one returns the only object of a kind, and ends the test if there is none or more than one.
func one(t *testing.T, objects []*unstructured.Unstructured, kind string) *unstructured.Unstructured {
	t.Helper()
	isOfKind := func(object *unstructured.Unstructured) bool { return object.GetKind() == kind }
	at := slices.IndexFunc(objects, isOfKind)
	if at < 0 || slices.ContainsFunc(objects[at+1:], isOfKind) {
		t.Fatalf("there is not exactly one %s", kind)
	}
	return objects[at]
}

// ensureSystem creates the operator's namespace. It waits while the namespace of an earlier test is terminating.
func ensureSystem(t *testing.T) {
	t.Helper()
	harness.Eventually(t, "the namespace "+system, func() string {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: system}}
		if err := admin.Create(t.Context(), namespace); err != nil && !apierrors.IsAlreadyExists(err) {
			return err.Error()
		}
		harness.Must(t, admin.Get(t.Context(), client.ObjectKeyFromObject(namespace), namespace))
		if namespace.Status.Phase != corev1.NamespaceActive {
			return "the namespace is " + string(namespace.Status.Phase)
		}
		return ""
	})
}

func TestTheInstallerHasTheGivenImage(t *testing.T) {
	dist := t.TempDir()
	_, err := execute("make", "--no-print-directory", "installer", "DIST="+dist, "IMAGE=registry.example/operator", "VERSION=v1.2.3")
	harness.Must(t, err)
	manifests := string(harness.MustRead(t, filepath.Join(dist, "install.yaml")))
	container := containerOf(t, one(t, objectsOf(t, manifests), "Deployment"))
	if want := "registry.example/operator:v1.2.3"; container.Image != want {
		t.Errorf("the image is %s, want %s", container.Image, want)
	}
	if images := strings.Count(manifests, "image: "); images != 1 {
		t.Errorf("the installer has %d lines with an image, want 1", images)
	}
}

// TestComponents installs the kustomize components.
func TestComponents(t *testing.T) {
	manifests := kubectl(t, "", "kustomize", filepath.Join("test", "install", "testdata", "components"))
	ensureSystem(t)
	kubectl(t, manifests, "apply", "--server-side", "--dry-run=server", "--validate=strict", "--filename=-")
	objects := objectsOf(t, manifests)
	if class := templateOf(t, one(t, objects, "Deployment")).Spec.PriorityClassName; class != "system-cluster-critical" {
		t.Errorf("the priority class is %q", class)
	}
	types, _, err := unstructured.NestedStringSlice(one(t, objects, "NetworkPolicy").Object, "spec", "policyTypes")
	harness.Must(t, err)
	if want := []string{"Ingress", "Egress"}; !slices.Equal(types, want) {
		t.Errorf("the network policy is for %q, want %q", types, want)
	}
}
