// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// The label and the annotation by which Argo CD tracks the objects that it manages.
const (
	trackingLabel      = "app.kubernetes.io/instance"
	trackingAnnotation = "argocd.argoproj.io/tracking-id"
)

// Modes are the ways to apply manifests, and the flags of kubectl for each.
var Modes = map[string][]string{"client-side": nil, "server-side": {"--server-side", "--field-manager=argocd-controller"}}

// The values of the client credentials and of the API key in config/samples, and the workspace of its user.
const (
	SampleClientID     = "replace-me-with-the-client-id"
	SampleClientSecret = "replace-me-with-the-client-secret"
	SampleAPIKey       = "replace-me-with-the-api-key"
	SampleWorkspaceID  = "o_abc123"
)

// Drift applies all samples as GitOps tools do, has the samples of one kind work, and looks for a difference to the
// manifests that were applied.
type Drift struct {
	Namespace
	// Mode is one of Modes.
	Mode string
	// Kind is the kind of the objects that First and Later work on.
	Kind string
	// First has the operator write the Secret of each object for the first time, and Later has it write each Secret
	// again. They get the names of the objects.
	First, Later func(names []string)
	// TargetName returns the name of the Secret of an object.
	TargetName func(name string) string
}

// Test checks that kubectl detects no difference after First and after Later, and that the Secrets do not look as if
// Argo CD managed them. It records the objects for test/argocd.
func (d Drift) Test(t *testing.T) {
	t.Helper()
	samples := d.samples(t)
	var manifests, names []string
	for _, file := range slices.Sorted(maps.Keys(samples)) {
		content, err := yaml.Marshal(samples[file].Object)
		harness.Must(t, err)
		manifests = append(manifests, string(content))
		if samples[file].GetKind() == d.Kind {
			names = append(names, samples[file].GetName())
		}
	}
	if len(names) < 2 {
		t.Fatalf("there are only the samples %q of the kind %s", names, d.Kind)
	}
	manifest := strings.Join(manifests, "---\n")
	if code, printed := d.Run(t, manifest, append([]string{"apply", "--filename=-"}, Modes[d.Mode]...)...); code != 0 {
		t.Fatalf("kubectl apply ends with %d: %s", code, printed)
	}
	d.First(names)
	d.wantNoDiff(t, "after the first write", manifest)
	d.Later(names)
	d.wantNoDiff(t, "after the second write", manifest)
	if code, printed := d.Run(t, "", "wait", "--for=condition=Ready", "--timeout=30s", strings.ToLower(d.Kind), "--all"); code != 0 {
		t.Errorf("kubectl wait ends with %d: %s", code, printed)
	}
	for file, object := range samples {
		if object.GetKind() == d.Kind {
			folder := filepath.Join("test", "argocd", "testdata", d.Mode)
			live := d.AsRead(t, d.Kind, object.GetName())
			d.WantRecorded(t, live, filepath.Join(folder, "live", file))
			d.WantRecorded(t, d.predicted(t, object), filepath.Join(folder, "predicted", file))
			d.wantUntracked(t, live)
		}
	}
}

// AskAsArgoCD sets the annotation that asks for a new write, as Argo CD's action does.
func (d Drift) AskAsArgoCD(t *testing.T, name, value string) {
	t.Helper()
	object := d.AsRead(t, d.Kind, name)
	annotations := maps.Clone(object.GetAnnotations())
	annotations[v1alpha1.RenewRequestAnnotation] = value
	object.SetAnnotations(annotations)
	harness.Must(t, d.Admin.Update(t.Context(), object, client.FieldOwner("argocd-server")))
}

// samples returns the objects of config/samples by their files, as Argo CD applies them: with its marks of both kinds.
func (d Drift) samples(t *testing.T) map[string]*unstructured.Unstructured {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(harness.Root(), "config", "samples", "*.yaml"))
	harness.Must(t, err)
	samples := map[string]*unstructured.Unstructured{}
	for _, file := range files {
		content, err := os.ReadFile(file) //nolint:gosec // It is a file of this repository.
		harness.Must(t, err)
		object := &unstructured.Unstructured{}
		harness.Must(t, yaml.Unmarshal(content, object))
		if object.GetKind() == "Kustomization" {
			continue
		}
		object.SetNamespace(d.Name)
		object.SetLabels(map[string]string{trackingLabel: "shop"})
		object.SetAnnotations(map[string]string{
			trackingAnnotation: "shop:" + object.GroupVersionKind().GroupKind().String() + ":" + d.Name + "/" + object.GetName(),
		})
		samples[filepath.Base(file)] = object
	}
	return samples
}

// predicted returns what the API server would make of an object if Argo CD applied it again on the server's side.
func (d Drift) predicted(t *testing.T, object *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	content, err := yaml.Marshal(object.Object)
	harness.Must(t, err)
	code, printed := d.Run(t, string(content), "apply", "--filename=-", "--server-side", "--force-conflicts",
		"--field-manager=argocd-controller", "--dry-run=server", "--output=yaml", "--show-managed-fields")
	if code != 0 {
		t.Fatalf("kubectl apply ends with %d: %s", code, printed)
	}
	predicted := &unstructured.Unstructured{}
	harness.Must(t, yaml.Unmarshal([]byte(printed), predicted))
	return predicted
}

func (d Drift) wantNoDiff(t *testing.T, when, manifest string) {
	t.Helper()
	if code, printed := d.Run(t, manifest, append([]string{"diff", "--filename=-"}, Modes[d.Mode]...)...); code != 0 || printed != "" {
		t.Errorf("%s, kubectl diff ends with %d and prints %s", when, code, printed)
	}
}

// wantUntracked checks that the Secret of an object has no label and no annotation by which Argo CD would take the
// Secret for one of its own, which it would prune, and that the Secret is below the object in Argo CD's tree.
func (d Drift) wantUntracked(t *testing.T, owner *unstructured.Unstructured) {
	t.Helper()
	name := owner.GetName()
	secret := &corev1.Secret{}
	harness.Must(t, d.Admin.Get(t.Context(), client.ObjectKey{Namespace: d.Name, Name: d.TargetName(name)}, secret))
	desired := func(field string) map[string]string {
		texts, _, err := unstructured.NestedStringMap(owner.Object, "spec", "secret", field)
		harness.Must(t, err)
		return texts
	}
	labels, annotations := desired("labels"), desired("annotations")
	for label := range secret.Labels {
		if _, isDesired := labels[label]; !isDesired {
			t.Errorf("the Secret of %s has the label %s", name, label)
		}
	}
	for annotation := range secret.Annotations {
		if _, isDesired := annotations[annotation]; !isDesired && !strings.HasPrefix(annotation, "pipedream-operator.io/") {
			t.Errorf("the Secret of %s has the annotation %s", name, annotation)
		}
	}
	owners := secret.OwnerReferences
	if len(owners) != 1 || owners[0].UID != owner.GetUID() || owners[0].Kind != d.Kind || owners[0].APIVersion != v1alpha1.SchemeGroupVersion.String() {
		t.Errorf("the Secret of %s has the owners %+v, want the %s", name, owners, d.Kind)
	}
}
