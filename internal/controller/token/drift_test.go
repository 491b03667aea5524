// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// kubectl runs the real one as administrator, and returns its exit code and what it
// prints.
func (w *world) kubectl(stdin string, arguments ...string) (code int, printed string) {
	w.Helper()
	kubectl := cluster.Kubectl()
	kubectl.Stdin = stdin
	called, err := kubectl.Command(append(arguments, "--namespace="+w.namespace)...).Start(w.Context())
	must(w.T, err)
	return called.ExitCode(), called.Log.String()
}

// The label and the annotation by which Argo CD tracks what it manages.
const (
	trackingLabel      = "app.kubernetes.io/instance"
	trackingAnnotation = "argocd.argoproj.io/tracking-id"
)

// tracked returns the objects of config/samples by their files, as Argo CD applies
// them: with its marks of both kinds.
func tracked(t *testing.T, namespace string) map[string]*unstructured.Unstructured {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(harness.Root(), "config", "samples", "*.yaml"))
	must(t, err)
	samples := map[string]*unstructured.Unstructured{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		must(t, err)
		object := &unstructured.Unstructured{}
		must(t, yaml.Unmarshal(content, object))
		if object.GetKind() == "Kustomization" {
			continue
		}
		object.SetNamespace(namespace)
		object.SetLabels(map[string]string{trackingLabel: "shop"})
		object.SetAnnotations(map[string]string{
			trackingAnnotation: "shop:" + object.GroupVersionKind().GroupKind().String() + ":" + namespace + "/" + object.GetName(),
		})
		samples[filepath.Base(file)] = object
	}
	return samples
}

// TestNoDrift applies all samples as GitOps tools do, lets their tokens live, and
// looks for a difference to what was applied: kubectl must see none, and test/argocd
// looks at what is recorded here with Argo CD's own code.
func TestNoDrift(t *testing.T) {
	modes := map[string][]string{"client-side": nil, "server-side": {"--server-side", "--field-manager=argocd-controller"}}
	for mode, flags := range modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.inNamespace("drift-" + mode)
			must(t, w.pipedream.SetClient("replace-me-with-the-client-id", "replace-me-with-the-client-secret"))
			samples := tracked(t, w.namespace)
			var manifests []string
			var tokens []*unstructured.Unstructured
			for _, name := range slices.Sorted(maps.Keys(samples)) {
				content, err := yaml.Marshal(samples[name].Object)
				must(t, err)
				manifests = append(manifests, string(content))
				if samples[name].GetKind() == "PipedreamToken" {
					tokens = append(tokens, samples[name])
				}
			}
			manifest := strings.Join(manifests, "---\n")
			apply := append([]string{"apply", "--filename=-"}, flags...)
			diff := append([]string{"diff", "--filename=-"}, flags...)
			if code, printed := w.kubectl(manifest, apply...); code != 0 {
				t.Fatalf("kubectl apply ends with %d: %s", code, printed)
			}
			for _, token := range tokens {
				w.visit(token.GetName())
			}
			w.wantNoDiff("after the first tokens", manifest, diff)

			// A renewal of each, one of them asked for as Argo CD's action does.
			w.pass(30 * time.Minute)
			minimal := w.asRead("orders")
			minimal.SetAnnotations(mergedWith(minimal.GetAnnotations(), v1alpha1.RenewRequestAnnotation, "2026-01-02T03:34:05Z"))
			must(t, w.admin.Update(t.Context(), minimal, client.FieldOwner("argocd-server")))
			w.visit("orders")
			w.pass(25 * time.Minute)
			for _, token := range tokens {
				w.visit(token.GetName())
			}
			w.wantExchanges(2 * len(tokens))
			w.wantNoDiff("after renewals", manifest, diff)
			if code, printed := w.kubectl("", "wait", "--for=condition=Ready", "--timeout=30s", "pipedreamtokens", "--all"); code != 0 {
				t.Errorf("kubectl wait ends with %d: %s", code, printed)
			}
			for file, object := range samples {
				if object.GetKind() == "PipedreamToken" {
					folder := filepath.Join("test", "argocd", "testdata", mode)
					wantRecorded(t, w.asRead(object.GetName()), filepath.Join(folder, "live", file))
					wantRecorded(t, w.predicted(object), filepath.Join(folder, "predicted", file))
					w.wantUntracked(object.GetName())
				}
			}
		})
	}
}

// predicted returns what the API server would make of an object if Argo CD applied it
// again on the server's side.
func (w *world) predicted(object *unstructured.Unstructured) *unstructured.Unstructured {
	w.Helper()
	content, err := yaml.Marshal(object.Object)
	must(w.T, err)
	code, printed := w.kubectl(string(content), "apply", "--filename=-", "--server-side", "--force-conflicts",
		"--field-manager=argocd-controller", "--dry-run=server", "--output=yaml", "--show-managed-fields")
	if code != 0 {
		w.Fatalf("kubectl apply ends with %d: %s", code, printed)
	}
	predicted := &unstructured.Unstructured{}
	must(w.T, yaml.Unmarshal([]byte(printed), predicted))
	return predicted
}

func mergedWith(annotations map[string]string, key, value string) map[string]string {
	merged := maps.Clone(annotations)
	merged[key] = value
	return merged
}

// visit has the reconciler visit an object.
func (w *world) visit(name string) {
	w.Helper()
	_, err := w.reconciler.Reconcile(w.Context(), ctrl.Request{NamespacedName: w.key(name)})
	must(w.T, err)
	token := &v1alpha1.PipedreamToken{}
	must(w.T, w.admin.Get(w.Context(), w.key(name), token))
	if !meta.IsStatusConditionTrue(token.Status.Conditions, v1alpha1.ConditionReady) {
		w.Fatalf("%s is not Ready: %+v", name, token.Status)
	}
}

func (w *world) wantNoDiff(when, manifest string, diff []string) {
	w.Helper()
	if code, printed := w.kubectl(manifest, diff...); code != 0 || printed != "" {
		w.Errorf("%s, kubectl diff ends with %d and prints %s", when, code, printed)
	}
}

// wantUntracked checks that the Secret of a PipedreamToken has nothing that Argo CD
// would know it by as one of its own, which it would prune, and hangs below the
// PipedreamToken in its tree.
func (w *world) wantUntracked(name string) {
	w.Helper()
	token := &v1alpha1.PipedreamToken{}
	must(w.T, w.admin.Get(w.Context(), w.key(name), token))
	secret := w.secret(token.TargetName())
	for label := range secret.Labels {
		if _, isWanted := token.Spec.Secret.Labels[label]; !isWanted {
			w.Errorf("the Secret of %s has the label %s", name, label)
		}
	}
	for annotation := range secret.Annotations {
		_, isWanted := token.Spec.Secret.Annotations[annotation]
		if !isWanted && !strings.HasPrefix(annotation, "pipedream-operator.io/") {
			w.Errorf("the Secret of %s has the annotation %s", name, annotation)
		}
	}
	owners := secret.OwnerReferences
	if len(owners) != 1 || owners[0].UID != token.UID || owners[0].Kind != "PipedreamToken" || owners[0].APIVersion != v1alpha1.SchemeGroupVersion.String() {
		w.Errorf("the Secret of %s has the owners %+v, want the PipedreamToken", name, owners)
	}
}
