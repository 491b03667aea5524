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

func TestThePolicyRequiresScopes(t *testing.T) {
	kubectl(t, "", "apply", "--kustomize=config/crd")
	kubectl(t, "", "wait", "--for=condition=Established", "crd/pipedreamtokens.pipedream-operator.io")
	t.Cleanup(func() { kubectl(t, "", "delete", "--kustomize=config/crd") })
	existing := tokenWith("existing")
	harness.Must(t, admin.Create(t.Context(), existing))

	kubectl(t, "", "apply", "--server-side", "--validate=strict", "--kustomize=config/policy")
	t.Cleanup(func() { kubectl(t, "", "delete", "--kustomize=config/policy") })
	// The API server enforces a new policy only after a short time.
	harness.Eventually(t, "a token without scopes", func() string {
		err := admin.Create(t.Context(), tokenWith("full-access"), client.DryRunAll)
		if apierrors.IsInvalid(err) && strings.Contains(err.Error(), "spec.scopes must name what the token may do") {
			return ""
		}
		return fmt.Sprintf("%v, want a refusal", err)
	})
	scoped := tokenWith("scoped", "connect:accounts:read")
	if err := admin.Create(t.Context(), scoped); err != nil {
		t.Errorf("creating a token with scopes returned %v", err)
	}
	if err := admin.Create(t.Context(), tokenWith("explicit-all", "*"), client.DryRunAll); err != nil {
		t.Errorf("creating a token with the scope * returned %v", err)
	}
	scoped.Spec.Scopes = nil
	if err := admin.Update(t.Context(), scoped); !apierrors.IsInvalid(err) {
		t.Errorf("scopes taken away: %v, want a refusal", err)
	}
	existing.Spec.RenewBeforeSeconds = 600
	if err := admin.Update(t.Context(), existing); err != nil {
		t.Errorf("changing a token without scopes that is older than the policy returned %v", err)
	}
}

// TestThePolicyOfTheChartIsForItsNamespaces installs the policy for the namespace shop only.
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
		return "the API server accepts it"
	})
	elsewhere := tokenWith("full-access")
	elsewhere.Namespace = "checkout"
	if err := admin.Create(t.Context(), elsewhere, client.DryRunAll); err != nil {
		t.Errorf("creating a token without scopes in another namespace returned %v", err)
	}
}

// TestThePolicyRefusesAPIKeys is about the policy of kustomize.
func TestThePolicyRefusesAPIKeys(t *testing.T) {
	kubectl(t, "", "apply", "--kustomize=config/crd")
	kubectl(t, "", "wait", "--for=condition=Established", "crd/pipedreamaccounts.pipedream-operator.io")
	t.Cleanup(func() { kubectl(t, "", "delete", "--kustomize=config/crd") })
	existing := accountWithKey("existing")
	harness.Must(t, admin.Create(t.Context(), existing))

	kubectl(t, "", "apply", "--server-side", "--validate=strict", "--kustomize=config/policy/refuse-api-keys")
	t.Cleanup(func() { kubectl(t, "", "delete", "--kustomize=config/policy/refuse-api-keys") })
	wantAPIKeysRefused(t)
	asClient := accountWithKey("client")
	toClient(asClient)
	if err := admin.Create(t.Context(), asClient); err != nil {
		t.Errorf("creating an account with an OAuth client returned %v", err)
	}
	asClient.Spec = accountWithKey("client").Spec
	if err := admin.Update(t.Context(), asClient); !apierrors.IsInvalid(err) {
		t.Errorf("an API key in place of the OAuth client: %v, want a refusal", err)
	}
	existing.Spec.FetchIntervalSeconds = 600
	if err := admin.Update(t.Context(), existing); err != nil {
		t.Errorf("changing an account with an API key that is older than the policy returned %v", err)
	}
	toClient(existing)
	if err := admin.Update(t.Context(), existing); err != nil {
		t.Errorf("an OAuth client in place of the API key: %v", err)
	}
}

// TestThePolicyOfTheChartRefusesAPIKeysInItsNamespaces installs the policy for the namespace shop only.
func TestThePolicyOfTheChartRefusesAPIKeysInItsNamespaces(t *testing.T) {
	kubectl(t, "", "apply", "--kustomize=config/crd")
	kubectl(t, "", "wait", "--for=condition=Established", "crd/pipedreamaccounts.pipedream-operator.io")
	t.Cleanup(func() { kubectl(t, "", "delete", "--kustomize=config/crd") })
	manifests := helm(t, "template", "mine", chart, "--set=policy.refuseAPIKeys=true,namespaces={shop}", "--show-only=templates/policy.yaml")
	kubectl(t, manifests, "apply", "--server-side", "--validate=strict", "--filename=-")
	t.Cleanup(func() { kubectl(t, manifests, "delete", "--filename=-") })
	wantAPIKeysRefused(t)
	elsewhere := accountWithKey("api-key")
	elsewhere.Namespace = "checkout"
	if err := admin.Create(t.Context(), elsewhere, client.DryRunAll); err != nil {
		t.Errorf("creating an account with an API key in another namespace returned %v", err)
	}
}

// wantAPIKeysRefused waits until the API server refuses accounts with API keys, which it does only a short time after it
// has a new policy.
func wantAPIKeysRefused(t *testing.T) {
	t.Helper()
	harness.Eventually(t, "an account with an API key", func() string {
		err := admin.Create(t.Context(), accountWithKey("new"), client.DryRunAll)
		if apierrors.IsInvalid(err) && strings.Contains(err.Error(), "spec.apiKeyRef is refused in this cluster") {
			return ""
		}
		return fmt.Sprintf("%v, want a refusal", err)
	})
}

// accountWithKey returns a PipedreamAccount that uses the API key of a user.
func accountWithKey(name string) *v1alpha1.PipedreamAccount {
	return &v1alpha1.PipedreamAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: shop, Name: name},
		Spec:       v1alpha1.PipedreamAccountSpec{APIKeyRef: v1alpha1.APIKeyReference{Name: "pipedream-api-key"}, AccountID: "apn_WYhMlrz"},
	}
}

// toClient has a PipedreamAccount use an OAuth client.
func toClient(account *v1alpha1.PipedreamAccount) {
	account.Spec.APIKeyRef = v1alpha1.APIKeyReference{}
	account.Spec.ClientSecretRef.Name, account.Spec.ProjectID = "pipedream-oauth-client", "proj_abc123"
}

// tokenWith returns a PipedreamToken with the given name and scopes.
func tokenWith(name string, scopes ...string) *v1alpha1.PipedreamToken {
	return &v1alpha1.PipedreamToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: shop, Name: name},
		Spec: v1alpha1.PipedreamTokenSpec{
			ClientSecretRef: v1alpha1.ClientSecretReference{Name: "pipedream-oauth-client"},
			Scopes:          scopes,
		},
	}
}
