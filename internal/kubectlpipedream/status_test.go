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
		"no name":                   {"inspect", "pda/"},
		"an unknown kind":           {"status", "--kind=pdt,secret"},
		"no kind":                   {"renew", "--all", "--kind="},
		"an account to verify":      {"verify", "pda/acme"},
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

// watching is a `status --watch` that runs.
type watching struct {
	*world
	out       *harness.Buffer
	interrupt func()
	ended     chan said
}

func (w *world) watch(arguments ...string) *watching {
	w.Helper()
	ctx, interrupt := context.WithCancel(w.Context())
	x := &watching{world: w, out: &harness.Buffer{}, interrupt: interrupt, ended: make(chan said)}
	go func() { x.ended <- w.runWith(ctx, x.out, append([]string{"status", "--watch"}, arguments...)...) }()
	return x
}

// wantLines waits until there are that many lines, and the last one begins as given.
func (x *watching) wantLines(want int, last string) {
	x.Helper()
	harness.Eventually(x.T, "status --watch", func() string {
		lines := strings.Split(strings.TrimSuffix(x.out.String(), "\n"), "\n")
		if len(lines) < want || !strings.HasPrefix(lines[len(lines)-1], last) {
			return fmt.Sprintf("it has %d lines, want %d:\n%s", len(lines), want, x.out.String())
		}
		return ""
	})
}

// end interrupts the watch, and returns what it has said.
func (x *watching) end() said {
	x.interrupt()
	return <-x.ended
}

func TestWatchShowsEachChange(t *testing.T) {
	w := newWorld(t, "watch")
	w.issued("orders")
	x := w.watch()
	x.wantLines(2, "pdt/orders ") // The headers, and orders.
	w.create("stranded", withCredentials("nowhere"))
	x.wantLines(3, "pdt/stranded ")
	w.visit("stranded")
	x.wantLines(4, "pdt/stranded ")
	harness.Must(t, admin.Delete(t.Context(), w.token("stranded")))
	x.wantLines(5, "pdt/stranded ")
	w.wantGolden("status-watch", x.end())
}

// TestWatchShowsEachChangeOfBothKinds changes objects of both kinds.
func TestWatchShowsEachChangeOfBothKinds(t *testing.T) {
	w := newWorld(t, "watch-kinds")
	w.issued("orders")
	w.fetched("acme")
	x := w.watch()
	x.wantLines(3, "pdt/orders ") // The headers, and both objects.
	w.createAccount("lost")
	x.wantLines(4, "pda/lost ")
	w.create("stranded", withCredentials("nowhere"))
	x.wantLines(5, "pdt/stranded ")
	harness.Must(t, admin.Delete(t.Context(), w.account("lost")))
	x.wantLines(6, "pda/lost ")
	harness.Must(t, admin.Delete(t.Context(), w.token("stranded")))
	x.wantLines(7, "pdt/stranded ")
	w.wantGolden("status-watch-kinds", x.end())
}
