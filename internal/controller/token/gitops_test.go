// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"flag"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	corev1 "k8s.io/api/core/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/test/harness/gitops"
)

// update records the live objects that test/argocd judges with Argo CD's own code:
//
//	go test ./internal/controller/token -run 'TestLifeAsGitOps|TestNoDrift' -update
var update = flag.Bool("update", false, "record the live objects for Argo CD's tests again")

// inNamespace moves a world to a namespace whose name is always the same: renewal
// times depend on it, and are recorded.
func (w *world) inNamespace(name string) gitops.Namespace {
	w.Helper()
	namespace := gitops.Namespace{Name: name, Admin: w.admin, Kubectl: cluster.Kubectl(), Update: *update}
	namespace.Prepare(w.T)
	w.namespace = name
	return namespace
}

// unavailable lets Pipedream answer 503 to all token requests.
func (w *world) unavailable() {
	w.Helper()
	must(w.T, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointToken, Status: http.StatusServiceUnavailable}))
}

// enter puts the client secret of an object.
func (w *world) enterClientSecret(secret string) {
	w.Helper()
	change(w, w.secret("credentials"), func(s *corev1.Secret) { s.Data["client_secret"] = []byte(secret) })
}

// stage is a part of the life of an object.
type stage struct {
	// name is that of the file it is recorded in.
	name string
	// come brings the object there.
	come func(*world)
	// want is what kstatus computes.
	want kstatus.Status
}

// life is a whole one, as those see it who wait for an object: Flux, kpt and Helm by
// kstatus, and Argo CD by its health check. What the latter says is beside the
// recorded objects, in health_test.yaml.
var life = []stage{
	{"progressing-unseen", func(w *world) { w.create(withVerification) }, kstatus.InProgressStatus},
	{"progressing-credentials-not-delivered-yet", func(w *world) { w.reconcile() }, kstatus.InProgressStatus},
	{"degraded-credentials-missing", func(w *world) {
		w.pass(2 * time.Minute)
		w.reconcile()
	}, kstatus.FailedStatus},
	{"progressing-first-token-delayed", func(w *world) {
		w.unavailable()
		w.createCredentials()
		w.reconcile()
	}, kstatus.InProgressStatus},
	{"healthy", func(w *world) {
		w.pipedream.ClearFaults()
		w.pass(time.Minute)
		w.reconcile()
	}, kstatus.CurrentStatus},
	{"progressing-new-generation", func(w *world) {
		change(w, w.token(), func(token *v1alpha1.PipedreamToken) { token.Spec.Environment = "production" })
	}, kstatus.InProgressStatus},
	{"healthy-new-generation", func(w *world) { w.reconcile() }, kstatus.CurrentStatus},
	{"healthy-renewal-delayed", func(w *world) {
		w.unavailable()
		w.passUntil(w.token().Status.RenewalTime)
		w.reconcile()
	}, kstatus.CurrentStatus},
	{"degraded-expired", func(w *world) {
		w.passUntil(w.token().Status.ExpirationTime)
		w.reconcile()
	}, kstatus.InProgressStatus},
	{"healthy-after-an-outage", func(w *world) {
		w.pipedream.ClearFaults()
		w.pass(5 * time.Minute)
		w.reconcile()
	}, kstatus.CurrentStatus},
	{"degraded-stalled-while-the-token-lives", func(w *world) {
		w.pass(time.Minute)
		w.enterClientSecret("mistyped")
		w.reconcile()
	}, kstatus.FailedStatus},
	{"degraded-stalled-and-expired", func(w *world) {
		w.passUntil(w.token().Status.ExpirationTime)
		w.reconcile()
	}, kstatus.FailedStatus},
	{"healthy-credentials-mended", func(w *world) {
		w.enterClientSecret(clientSecret)
		w.reconcile()
	}, kstatus.CurrentStatus},
	{"progressing-scopes-changed", func(w *world) {
		w.pass(time.Second) // The next token is not issued before ten have passed.
		change(w, w.token(), func(token *v1alpha1.PipedreamToken) {
			token.Spec.Scopes = []string{"connect:accounts:read", "connect:accounts:write"}
		})
		w.reconcile()
	}, kstatus.InProgressStatus},
	{"degraded-scopes-changed-in-an-outage", func(w *world) {
		w.unavailable()
		w.pass(time.Minute)
		w.reconcile()
	}, kstatus.InProgressStatus},
	{"healthy-scopes-changed", func(w *world) {
		w.pipedream.ClearFaults()
		w.pass(time.Minute)
		w.reconcile()
	}, kstatus.CurrentStatus},
	{"degraded-revoked", func(w *world) {
		w.unavailable()
		w.pipedream.RevokeAll()
		w.pass(time.Minute)
		w.reconcile()
	}, kstatus.InProgressStatus},
	{"suspended", func(w *world) {
		w.pipedream.ClearFaults()
		w.pass(time.Minute)
		w.reconcile()
		w.suspend(true)
	}, kstatus.CurrentStatus},
	{"suspended-and-expired", func(w *world) {
		w.passUntil(w.token().Status.ExpirationTime)
		w.reconcile()
	}, kstatus.InProgressStatus},
	{"healthy-resumed", func(w *world) { w.suspend(false) }, kstatus.CurrentStatus},
}

// customization is the folder of Argo CD's health check and action.
const customization = "config/argocd/resource_customizations/pipedream-operator.io/PipedreamToken"

func TestLifeAsGitOpsToolsSeeIt(t *testing.T) {
	w := newWorld(t)
	namespace := w.inNamespace("shop")
	for _, stage := range life {
		stage.come(w)
		object := namespace.AsRead(t, "PipedreamToken", "orders")
		object.SetManagedFields(nil) // Argo CD strips them too.
		result, err := kstatus.Compute(object)
		must(t, err)
		if result.Status != stage.want {
			t.Errorf("%s: kstatus computes %s (%s), want %s", stage.name, result.Status, result.Message, stage.want)
		}
		namespace.WantRecorded(t, object, filepath.Join(customization, "testdata", stage.name+".yaml"))
		if stage.name == "healthy" {
			// What the action is tried on, and what is wanted of it.
			namespace.WantRecorded(t, object, filepath.Join(customization, "actions", "testdata", "pipedreamtoken.yaml"))
			object.SetAnnotations(map[string]string{v1alpha1.RenewRequestAnnotation: "0001-01-01T00:00:00Z"})
			namespace.WantRecorded(t, object, filepath.Join(customization, "actions", "testdata", "pipedreamtoken-renew.yaml"))
		}
	}
}
