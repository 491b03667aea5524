// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// fleet makes PipedreamTokens in various states.
func fleet(t *testing.T, namespace string) *world {
	t.Helper()
	w := newWorld(t, namespace)
	w.createSecret("other-credentials", map[string]string{"client_id": clientID, "client_secret": clientSecret})
	w.issued("orders")
	w.pass(10 * time.Minute)
	w.issued("billing", withCredentials("other-credentials"))
	w.pass(10 * time.Minute)
	w.issued("audit", func(token *v1alpha1.PipedreamToken) {
		token.Spec.Scopes = nil
		token.Spec.Verification.IntervalSeconds = 300
		token.Spec.Secret.Name = "audit-pipedream"
		token.Labels["team"] = "audit"
		token.Spec.Secret.Data = map[string]v1alpha1.ValueTemplate{"access_token": "{{ .AccessToken }}"}
	})
	w.create("stranded", withCredentials("nowhere"))
	w.visit("stranded")
	w.create("unseen")
	// Somebody rotates the client secret of billing, and mistypes it.
	change(w, w.secret("other-credentials"), func(secret *corev1.Secret) { secret.Data["client_secret"] = []byte("mistyped") })
	w.visit("billing")
	return w
}

func TestStatusShowsTheNearestExpiryFirst(t *testing.T) {
	w := fleet(t, "status")
	for name, arguments := range map[string][]string{
		"status":                 nil,
		"status-wide":            {"--output=wide"},
		"status-all-namespaces":  {"--all-namespaces", "--selector=test=status"},
		"status-selector":        {"--selector=team=audit", "--no-headers"},
		"status-names":           {"orders", "pdt/billing", "orders"},
		"status-name":            {"--output=name"},
		"status-yaml":            {"orders", "--output=yaml"},
		"status-jsonpath":        {"--output=jsonpath={.items[*].metadata.name}"},
		"status-nothing":         {"--selector=team=none"},
		"status-not-found":       {"orders", "order"},
		"status-exit-code-ready": {"orders", "billing", "--exit-code"},
		"status-exit-code":       {"--exit-code"},
		"status-exit-code-none":  {"--exit-code", "--selector=team=none"},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			w.wantGolden(name, w.run(append([]string{"status"}, arguments...)...))
		})
	}
	// The operator has died: its statuses stay, and are not true any more.
	w.pass(time.Hour)
	w.wantGolden("status-outdated", w.run("status", "orders", "billing", "--output=wide", "--exit-code"))
}

func TestStatusIsRefusedWhenTheCallIsWrong(t *testing.T) {
	w := newWorld(t, "status-usage")
	for name, arguments := range map[string][]string{
		"a name and all namespaces": {"status", "orders", "--all-namespaces"},
		"a name and a selector":     {"status", "orders", "--selector=a=b"},
		"a watch with an exit code": {"status", "--watch", "--exit-code"},
		"an unknown format":         {"status", "--output=csv"},
		"a bad template":            {"status", "--output=jsonpath={bad"},
		"a bad selector":            {"status", "--selector=a==b=="},
		"a bad selector to renew":   {"renew", "--selector=a==b=="},
		"another kind":              {"status", "secret/orders"},
		"an unknown flag":           {"status", "--colour"},
		"a log level":               {"status", "-v=9"},
		"a log level at first":      {"-v=9", "status"},
		"an unknown command":        {"show"},
		"nothing to renew":          {"renew"},
		"all and a name to renew":   {"renew", "--all", "orders"},
		"no time to wait":           {"renew", "--all", "--wait", "--timeout=0s"},
		"nothing to inspect":        {"inspect"},
		"two names to verify":       {"verify", "orders", "billing"},
		"an address without TLS":    {"verify", "orders", "--api-url=http://pipedream.test"},
		"no certificates":           {"doctor", "--api-ca-file=" + kubeconfig + ".none"},
	} {
		t.Run(name, func(t *testing.T) {
			got := w.in(t).run(arguments...)
			if got.code != exitUsage || got.out != "" || !strings.HasSuffix(got.errOut, "see kubectl pipedream --help\n") {
				t.Errorf("it says\n%v\nwant exit code %d, and how to get help", got, exitUsage)
			}
		})
	}
}

func TestWatchShowsEachChange(t *testing.T) {
	w := newWorld(t, "watch")
	w.issued("orders")
	ctx, interrupt := context.WithCancel(t.Context())
	out := &harness.Buffer{}
	ended := make(chan said)
	go func() { ended <- w.runWith(ctx, out, "status", "--watch") }()
	wantLines := func(want int) {
		t.Helper()
		harness.Eventually(t, "status --watch", func() string {
			if got := strings.Count(out.String(), "\n"); got < want {
				return fmt.Sprintf("it has %d lines, want %d:\n%s", got, want, out.String())
			}
			return ""
		})
	}
	wantLines(2) // The headers, and orders.
	w.create("stranded", withCredentials("nowhere"))
	wantLines(3)
	w.visit("stranded")
	wantLines(4)
	harness.Must(t, admin.Delete(t.Context(), w.token("stranded")))
	wantLines(5)
	interrupt()
	w.wantGolden("status-watch", <-ended)
}
