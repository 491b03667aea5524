// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness/gitops"
)

// TestNoDrift applies all samples as GitOps tools do, has their tokens renewed, and
// looks for a difference to the manifests: kubectl must detect none, and test/argocd
// looks at the recorded objects with Argo CD's own code.
func TestNoDrift(t *testing.T) {
	for mode := range gitops.Modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			must(t, w.pipedream.SetClient(gitops.SampleClientID, gitops.SampleClientSecret))
			drift := gitops.Drift{
				Namespace: w.inNamespace("drift-" + mode), Mode: mode, Kind: "PipedreamToken",
				TargetName: func(name string) string { return w.tokenNamed(name).TargetName() },
			}
			drift.First = func(names []string) { w.visitReady(names...) }
			drift.Later = func(names []string) {
				w.pass(30 * time.Minute)
				drift.AskAsArgoCD(t, "orders", "2026-01-02T03:34:05Z")
				w.visitReady("orders")
				w.pass(25 * time.Minute)
				w.visitReady(names...)
				w.wantExchanges(2 * len(names))
			}
			drift.Test(t)
		})
	}
}

func (w *world) tokenNamed(name string) *v1alpha1.PipedreamToken {
	w.Helper()
	token := &v1alpha1.PipedreamToken{}
	must(w.T, w.admin.Get(w.Context(), w.key(name), token))
	return token
}

// visitReady reconciles objects, and checks that they are Ready then.
func (w *world) visitReady(names ...string) {
	w.Helper()
	for _, name := range names {
		_, err := w.reconciler.Reconcile(w.Context(), ctrl.Request{NamespacedName: w.key(name)})
		must(w.T, err)
		if status := w.tokenNamed(name).Status; !meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady) {
			w.Fatalf("%s is not Ready: %+v", name, status)
		}
	}
}
