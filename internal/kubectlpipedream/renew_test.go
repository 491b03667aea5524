// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

func TestRenewAsksForANewToken(t *testing.T) {
	w := newWorld(t, "renew")
	w.issued("orders")
	w.issued("billing")
	old := w.heldToken("orders")
	w.wantGolden("renew", w.run("renew", "orders"))

	token := w.token("orders")
	if got, want := token.Annotations[v1alpha1.RenewRequestAnnotation], w.clock.Now().Format("2006-01-02T15:04:05Z"); got != want {
		t.Errorf("the annotation is %q, want %q", got, want)
	}
	managers := ""
	for _, entry := range token.ManagedFields {
		if strings.Contains(string(entry.FieldsV1.GetRawBytes()), v1alpha1.RenewRequestAnnotation) {
			managers += entry.Manager
		}
	}
	if managers != fieldManager {
		t.Errorf("the annotation is managed by %q, want %q", managers, fieldManager)
	}
	if got := w.token("billing").Annotations[v1alpha1.RenewRequestAnnotation]; got != "" {
		t.Errorf("a renewal of billing was requested (%q), and nobody has asked for it", got)
	}
	w.pass(10 * time.Second)
	w.visit("orders")
	if w.heldToken("orders") == old {
		t.Error("the operator has not issued a new token")
	}
}

func TestRenewWaitsForTheNewToken(t *testing.T) {
	w := newWorld(t, "renew-wait")
	for _, name := range []string{"billing", "orders"} {
		w.issued(name)
	}
	before := map[string]string{"billing": w.heldToken("billing"), "orders": w.heldToken("orders")}
	w.operate("billing", "orders")
	got := w.run("renew", "--all", "--wait")
	if got.code != 0 || strings.Count(got.out, " renewed, expires in ") != 2 || got.errOut != "" {
		t.Errorf("it says\n%v", got)
	}
	for name, token := range before {
		if w.heldToken(name) == token {
			t.Errorf("%s was called renewed, and holds the token that it held", name)
		}
		if request := w.secret(name).Annotations[v1alpha1.RenewRequestAnnotation]; request != w.token(name).Annotations[v1alpha1.RenewRequestAnnotation] {
			t.Errorf("the token of %s was issued for the request %q", name, request)
		}
	}
}

// TestRenewIsNotTakenInByAnotherRenewal is about a routine renewal between the request
// and the operator's seeing it.
func TestRenewIsNotTakenInByAnotherRenewal(t *testing.T) {
	w := newWorld(t, "renew-other")
	w.issued("orders")
	other := w.token("orders")
	other.Status.IssueTime = new(metav1.NewTime(w.clock.Now().Add(time.Second)))
	p := w.newPlugin()
	c, err := p.connect()
	harness.Must(t, err)
	r := &request{value: "now"}
	r.entry, err = c.get(t.Context(), tokenKind, w.namespace, "orders")
	harness.Must(t, err)
	r.now = r.entry
	harness.Must(t, admin.Status().Update(t.Context(), other))
	if isDone, err := (&renewal{plugin: p, cluster: c}).look(t.Context(), r); isDone || err != nil {
		t.Errorf("it is done: %v (%v), though the Secret's token is for another request", isDone, err)
	}
	change(w, w.secret("orders"), func(secret *corev1.Secret) { secret.Annotations[v1alpha1.RenewRequestAnnotation] = "now" })
	if isDone, err := (&renewal{plugin: p, cluster: c}).look(t.Context(), r); !isDone || err != nil {
		t.Errorf("it is done: %v (%v), though the Secret's token is for this request", isDone, err)
	}
}

func TestRenewSaysWhyThereIsNoNewToken(t *testing.T) {
	t.Run("credentials are rejected", func(t *testing.T) {
		w := newWorld(t, "renew-rejected")
		w.issued("orders")
		harness.Must(t, w.pipedream.SetClient(clientID, "rotated"))
		w.operate("orders")
		got := w.run("renew", "orders", "--wait")
		if got.code != exitNo || !strings.Contains(got.errOut, "orders not renewed: CredentialsRejected: Pipedream rejected the client credentials") {
			t.Errorf("it says\n%v", got)
		}
	})
	t.Run("it was hopeless before", func(t *testing.T) {
		w := newWorld(t, "renew-hopeless")
		w.createSecret("orders", map[string]string{"of": "somebody else"})
		w.create("orders")
		w.visit("orders")
		w.operate("orders")
		got := w.run("renew", "orders", "--wait")
		if got.code != exitNo || !strings.Contains(got.errOut, "orders not renewed: SecretNotOwned: ") {
			t.Errorf("it says\n%v", got)
		}
	})
	t.Run("nobody knows in time", func(t *testing.T) {
		w := newWorld(t, "renew-timeout")
		w.issued("orders")
		harness.Must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointToken, Status: http.StatusBadGateway}))
		w.operate("orders")
		got := w.run("renew", "orders", "--wait", "--timeout=2s")
		if got.code != exitUnknown || !strings.Contains(got.errOut, "orders not renewed within 2s: EndpointUnavailable: ") {
			t.Errorf("it says\n%v", got)
		}
	})
	t.Run("another tool removes the request", func(t *testing.T) {
		w := newWorld(t, "renew-removed")
		w.issued("orders")
		removed := make(chan struct{})
		go func() {
			defer close(removed)
			for w.token("orders").Annotations[v1alpha1.RenewRequestAnnotation] == "" {
				time.Sleep(10 * time.Millisecond)
			}
			change(w, w.token("orders"), func(token *v1alpha1.PipedreamToken) { token.Annotations = nil })
		}()
		got := w.run("renew", "orders", "--wait", "--timeout=3s")
		<-removed
		want := "orders not renewed within 3s: somebody has removed the annotation pipedream-operator.io/renew-request before "
		if got.code != exitUnknown || !strings.Contains(got.errOut, want) {
			t.Errorf("it says\n%v", got)
		}
	})
	t.Run("one of two is not there", func(t *testing.T) {
		w := newWorld(t, "renew-missing")
		w.issued("orders")
		w.wantGolden("renew-missing", w.run("renew", "orders", "order"))
	})
}
