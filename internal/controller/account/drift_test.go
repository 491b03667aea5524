// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/test/harness/gitops"
)

// TestNoDrift applies all samples as GitOps tools do, has their accounts fetched twice, and looks for a
// difference to the manifests: kubectl must detect none, and test/argocd looks at the recorded objects with
// Argo CD's own code.
func TestNoDrift(t *testing.T) {
	t.Parallel()
	for mode := range gitops.Modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			must(t, w.pipedream.SetClient(gitops.SampleClientID, gitops.SampleClientSecret))
			must(t, w.pipedream.Users.Set(keyUser, simulator.User{APIKey: gitops.SampleAPIKey, Workspaces: []string{gitops.SampleWorkspaceID}}))
			w.changeAccount(func(account *simulator.Account) {
				account.UserID, account.WorkspaceID = keyUser, gitops.SampleWorkspaceID
			})
			drift := gitops.Drift{
				Namespace: w.inNamespace("drift-" + mode), Mode: mode, Kind: kind,
				TargetName: func(name string) string { return w.accountNamed(name).TargetName() },
			}
			drift.First = func(names []string) { w.visitReady(names...) }
			drift.Later = func(names []string) {
				w.pass(30 * time.Minute)
				must(t, w.pipedream.Accounts.Refresh(accountID))
				drift.AskAsArgoCD(t, "team-slack", "2026-01-02T03:34:05Z")
				w.visitReady("team-slack")
				w.pass(25 * time.Minute)
				w.visitReady(names...)
				// All samples are about the same account. The minimal one is fetched for the request, and is not
				// due again.
				w.wantFetches(2 * len(names))
				for _, name := range names {
					if at := w.accountNamed(name).Status.FetchTime; at.Before(timestamp(w.clock.Now().Add(-26 * time.Minute))) {
						t.Errorf("the credentials of %s are the ones that were fetched at %s, before Pipedream's refresh", name, at)
					}
				}
			}
			drift.Test(t)
		})
	}
}

func (w *world) accountNamed(name string) *v1alpha1.PipedreamAccount {
	w.Helper()
	account := &v1alpha1.PipedreamAccount{}
	must(w.T, w.admin.Get(w.Context(), w.key(name), account))
	return account
}

// visitReady reconciles objects, and checks that they are Ready then.
func (w *world) visitReady(names ...string) {
	w.Helper()
	for _, name := range names {
		_, err := w.reconciler.Reconcile(w.Context(), ctrl.Request{NamespacedName: w.key(name)})
		must(w.T, err)
		if status := w.accountNamed(name).Status; !meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady) {
			w.Fatalf("%s is not Ready: %+v", name, status)
		}
	}
}
