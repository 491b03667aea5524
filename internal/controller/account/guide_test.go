// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/yaml"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// accountsOf returns the PipedreamAccounts in a page of the documentation, by their names.
func accountsOf(t *testing.T, page ...string) map[string]*v1alpha1.PipedreamAccount {
	t.Helper()
	text := string(harness.MustRead(t, append([]string{"docs"}, page...)...))
	found := map[string]*v1alpha1.PipedreamAccount{}
	for _, block := range regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		if !strings.Contains(block[1], "\nkind: PipedreamAccount\n") {
			continue
		}
		account := &v1alpha1.PipedreamAccount{}
		must(t, yaml.UnmarshalStrict([]byte(block[1]), account))
		found[account.Name] = account
	}
	return found
}

// TestTheGuidesSecretsAreReadByTheirConsumers makes the Secrets of the guide, and calls the app with each.
func TestTheGuidesSecretsAreReadByTheirConsumers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	must(t, w.admin.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "pipedream-oauth-client"},
		StringData: map[string]string{"client_id": clientID, "client_secret": clientSecret},
	}))
	w.connect("apn_key", "never", func(a *simulator.Account) { a.App, a.AuthType = "openai", simulator.AuthKeys })
	// Each Secret has the key that the guide's program reads, and the text before the credential.
	consumers := map[string]struct{ app, key, prefix string }{
		"acme-slack":  {"slack", "token", ""},
		"acme-openai": {"openai", "authorization", "Authorization: Bearer "},
	}
	shown := accountsOf(t, "guides", "accounts.md")
	if len(shown) != len(consumers) {
		t.Errorf("the guide shows %d PipedreamAccounts, want %d", len(shown), len(consumers))
	}
	for name, consumer := range consumers {
		account := shown[name]
		if account == nil {
			t.Fatalf("the guide shows no PipedreamAccount %s", name)
		}
		account.Namespace = w.namespace
		must(t, w.admin.Create(t.Context(), account))
		_, err := w.reconciler.Reconcile(t.Context(), ctrl.Request{NamespacedName: w.key(name)})
		must(t, err)
		secret := &corev1.Secret{}
		must(t, w.admin.Get(t.Context(), w.key(name), secret))
		credential, isPrefixed := strings.CutPrefix(string(secret.Data[consumer.key]), consumer.prefix)
		if len(secret.Data) != 1 || !isPrefixed || !w.acceptsFor(consumer.app, credential) {
			t.Errorf("the Secret %s has %d keys, and the app does not accept what is under %s", name, len(secret.Data), consumer.key)
		}
	}
}
