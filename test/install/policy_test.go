// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package install_test

import (
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

func TestThePolicyDemandsScopes(t *testing.T) {
	kubectl(t, "", "apply", "--kustomize=config/crd")
	kubectl(t, "", "wait", "--for=condition=Established", "crd/pipedreamtokens.pipedream-operator.io")
	t.Cleanup(func() { kubectl(t, "", "delete", "--kustomize=config/crd") })
	existing := tokenWith("existing")
	harness.Must(t, admin.Create(t.Context(), existing))

	kubectl(t, "", "apply", "--server-side", "--validate=strict", "--kustomize=config/policy")
	t.Cleanup(func() { kubectl(t, "", "delete", "--kustomize=config/policy") })
	// The API server hears of it a little later.
	harness.Eventually(t, "a token without scopes", func() string {
		err := admin.Create(t.Context(), tokenWith("full-access"), client.DryRunAll)
		if apierrors.IsInvalid(err) && strings.Contains(err.Error(), "spec.scopes must name what the token may do") {
			return ""
		}
		return fmt.Sprintf("%v, want it refused", err)
	})
	scoped := tokenWith("scoped", "connect:accounts:read")
	if err := admin.Create(t.Context(), scoped); err != nil {
		t.Errorf("a token with scopes: %v", err)
	}
	if err := admin.Create(t.Context(), tokenWith("plainly-all", "*"), client.DryRunAll); err != nil {
		t.Errorf("a token that says that it is for everything: %v", err)
	}
	scoped.Spec.Scopes = nil
	if err := admin.Update(t.Context(), scoped); !apierrors.IsInvalid(err) {
		t.Errorf("scopes taken away: %v, want it refused", err)
	}
	existing.Spec.RenewBeforeSeconds = 600
	if err := admin.Update(t.Context(), existing); err != nil {
		t.Errorf("one that had no scopes before there was the policy is changed: %v", err)
	}
}

// TestThePolicyOfTheChartIsForItsNamespaces installs it for the namespace shop.
func TestThePolicyOfTheChartIsForItsNamespaces(t *testing.T) {
	kubectl(t, "", "apply", "--kustomize=config/crd")
	kubectl(t, "", "wait", "--for=condition=Established", "crd/pipedreamtokens.pipedream-operator.io")
	t.Cleanup(func() { kubectl(t, "", "delete", "--kustomize=config/crd") })
	manifests := helm(t, "template", "mine", chart, "--set=policy.requireScopes=true,namespaces={shop}", "--show-only=templates/policy.yaml")
	kubectl(t, manifests, "apply", "--server-side", "--validate=strict", "--filename=-")
	t.Cleanup(func() { kubectl(t, manifests, "delete", "--filename=-") })
	harness.Eventually(t, "a token without scopes", func() string {
		if err := admin.Create(t.Context(), tokenWith("full-access"), client.DryRunAll); apierrors.IsInvalid(err) {
			return ""
		}
		return "it is not refused"
	})
	elsewhere := tokenWith("full-access")
	elsewhere.Namespace = "checkout"
	if err := admin.Create(t.Context(), elsewhere, client.DryRunAll); err != nil {
		t.Errorf("a token without scopes in another namespace: %v", err)
	}
}

// tokenWith returns a PipedreamToken with scopes.
func tokenWith(name string, scopes ...string) *v1alpha1.PipedreamToken {
	return &v1alpha1.PipedreamToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: shop, Name: name},
		Spec: v1alpha1.PipedreamTokenSpec{
			ClientSecretRef: v1alpha1.ClientSecretReference{Name: "pipedream-oauth-client"},
			Scopes:          scopes,
		},
	}
}
