// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

func TestVerifyTriesTheHeldToken(t *testing.T) {
	w := newWorld(t, "verify")
	w.letLook()
	w.issued("orders")
	w.issued("anywhere", func(token *v1alpha1.PipedreamToken) { token.Spec.ProjectID = "" })
	w.issued("projects", func(token *v1alpha1.PipedreamToken) {
		token.Spec.ProjectID, token.Spec.Scopes = "", []string{"connect:projects:read"}
	})
	w.issued("users", func(token *v1alpha1.PipedreamToken) { token.Spec.Scopes = []string{"connect:users:read"} })
	w.issued("hidden", func(token *v1alpha1.PipedreamToken) {
		token.Spec.Secret.Data = map[string]v1alpha1.ValueTemplate{"token": "Bearer {{ .AccessToken }}"}
	})
	w.create("unseen")
	w.issued("revoked")
	w.pipedream.RevokeToken(w.heldToken("revoked"))
	w.issued("revoked-users", func(token *v1alpha1.PipedreamToken) { token.Spec.Scopes = []string{"connect:users:read"} })
	w.pipedream.RevokeToken(w.heldToken("revoked-users"))
	there := []string{"--api-url=" + w.address, "--allow-insecure-api-url"}
	for name, arguments := range map[string][]string{
		"verify-accepted":      {"orders"},
		"verify-projects":      {"projects"},
		"verify-refused":       {"revoked"},
		"verify-inconclusive":  {"users"},
		"verify-cannot-list":   {"revoked-users"},
		"verify-hidden":        {"hidden"},
		"verify-without-token": {"unseen"},
		"verify-no-project":    {"anywhere"},
		"verify-a-project":     {"anywhere", "--project-id=proj_other1"},
		"verify-may-not-read":  {"orders", "--as=looker"},
		"verify-not-found":     {"order"},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			w.wantGolden(name, w.run(append(append([]string{"verify"}, arguments...), there...)...))
		})
	}
	harness.Must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAccounts, Status: http.StatusBadGateway}))
	w.wantGolden("verify-out-of-order", w.run(append([]string{"verify", "orders"}, there...)...))
}

// TestVerifySendsTheTokenNowhereElse is about a Secret that names a host of somebody
// else's, or that is somebody else's.
func TestVerifySendsTheTokenNowhereElse(t *testing.T) {
	w := newWorld(t, "verify-elsewhere")
	w.issued("orders")
	var asked atomic.Int64
	evil := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(evil.Close)
	change(w, w.secret("orders"), func(secret *corev1.Secret) { secret.Annotations[v1alpha1.APIAnnotation] = evil.URL + "\x1b[2J" })
	before := w.pipedream.Counters()
	got := w.run("verify", "orders")
	got.errOut = strings.ReplaceAll(got.errOut, evil.URL, "https://evil.test")
	w.wantGolden("verify-elsewhere", got)

	change(w, w.secret("orders"), func(secret *corev1.Secret) { secret.Annotations[v1alpha1.OwnerAnnotation] = "somebody" })
	w.wantGolden("verify-not-owned", w.run("verify", "orders", "--api-url="+w.address, "--allow-insecure-api-url"))
	if asked.Load() != 0 {
		t.Error("the host that the Secret names was asked")
	}
	if after := w.pipedream.Counters(); after.Calls[simulator.EndpointAccounts] != before.Calls[simulator.EndpointAccounts] {
		t.Error("the token was sent")
	}
}
