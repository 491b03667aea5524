// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// patience bounds how long a test waits for what must come.
const patience = 30 * time.Second

// eventually waits until a condition holds.
func (w *world) eventually(what string, holds func() bool) {
	w.Helper()
	harness.Wait{
		Patience: patience, Every: 20 * time.Millisecond,
		Explain: func() string { return fmt.Sprintf("status: %+v", w.token().Status) },
	}.Eventually(w.T, what, harness.Holds(holds))
}

// startManager runs the reconciler in a manager with the product's caches and
// watches, as a user that may do what config/rbac says, and no more.
func (w *world) startManager(wrap func(http.RoundTripper) http.RoundTripper) {
	w.Helper()
	user := w.leastPrivilege()
	user.QPS = -1
	user.Wrap(w.wire.wrap)
	if wrap != nil {
		user.Wrap(wrap)
	}
	mgr, err := ctrl.NewManager(user, ctrl.Options{
		Scheme:   newScheme(w.T),
		Cache:    controller.CacheOptions(),
		NewCache: controller.NewCache([]string{w.namespace}),
		Client:   controller.ClientOptions(),
		Metrics:  metricsserver.Options{BindAddress: "0"},
		// The name is for metrics, and each test has a controller of its own.
		Controller: config.Controller{SkipNameValidation: new(true)},
	})
	must(w.T, err)
	w.reconciler.Cache, w.reconciler.Client = mgr.GetCache(), mgr.GetClient()
	w.reconciler.Events = mgr.GetEventRecorder("pipedream-operator")
	must(w.T, w.reconciler.SetupWithManager(w.Context(), mgr, w.dispatcher, 4))
	must(w.T, mgr.Add(w.dispatcher))
	ctx, stop := context.WithCancel(w.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- mgr.Start(ctx) }()
	w.Cleanup(func() {
		stop()
		if err := <-stopped; err != nil {
			w.Errorf("the manager ended with %v", err)
		}
	})
}

// leastPrivilege returns the configuration of a user with the generated rules.
func (w *world) leastPrivilege() *rest.Config {
	w.Helper()
	must(w.T, rbacv1.AddToScheme(w.admin.Scheme()))
	file, err := os.Open(filepath.Join(harness.Root(), "config", "rbac", "role.yaml"))
	must(w.T, err)
	defer func() { _ = file.Close() }()
	decoder := yaml.NewYAMLOrJSONDecoder(file, 4096)
	for {
		role := &rbacv1.ClusterRole{}
		if err := decoder.Decode(role); errors.Is(err, io.EOF) {
			w.Fatal("config/rbac/role.yaml has no ClusterRole manager")
		} else {
			must(w.T, err)
		}
		if role.Kind == "ClusterRole" && role.Name == "manager" {
			role.Name = w.namespace
			must(w.T, w.admin.Create(w.Context(), role))
			break
		}
	}
	must(w.T, w.admin.Create(w.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: w.namespace},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: w.namespace},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: w.namespace}},
	}))
	user, err := cluster.User(w.namespace)
	must(w.T, err)
	return user
}

func (w *world) isReady() bool {
	w.Helper()
	ready := w.condition(v1alpha1.ConditionReady)
	return ready != nil && ready.Status == metav1.ConditionTrue
}

func TestManagerReactsToItsWatches(t *testing.T) {
	w := newWorld(t)
	w.startManager(nil)
	w.create()
	w.eventually("CredentialsMissing", func() bool {
		renewed := w.condition(v1alpha1.ConditionRenewed)
		return renewed != nil && renewed.Reason == v1alpha1.ReasonCredentialsMissing
	})
	w.createCredentials()
	w.eventually("Ready", w.isReady)
	w.wantExchanges(1)
	w.wantAccepted()

	w.pass(time.Minute)
	first := w.target()
	must(t, w.admin.Delete(t.Context(), first))
	w.eventually("the Secret is back", w.hasTarget)
	w.wantExchanges(2)

	w.pass(time.Minute)
	change(w, w.token(), func(p *v1alpha1.PipedreamToken) {
		p.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "now"}
	})
	w.eventually("the request is answered", func() bool {
		return w.target().Annotations[v1alpha1.RenewRequestAnnotation] == "now"
	})
	w.wantExchanges(3)

	w.pass(time.Minute)
	must(t, w.pipedream.SetClient(clientID, "rotated"))
	change(w, w.secret("credentials"), func(s *corev1.Secret) { s.Data["client_secret"] = []byte("rotated") })
	w.eventually("the new client secret is used", func() bool { return w.exchanges() == 4 && w.isReady() })

	foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "unrelated"}}
	must(t, w.admin.Create(t.Context(), foreign))
	must(t, w.admin.Delete(t.Context(), foreign))
	w.wantExchanges(4)
}

func TestForeignSecretThatGoesAwayIsNoticed(t *testing.T) {
	w := newWorld(t)
	foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "orders-pipedream"}}
	must(t, w.admin.Create(t.Context(), foreign))
	w.createCredentials()
	w.create()
	w.startManager(nil)
	w.eventually("SecretNotOwned", func() bool {
		renewed := w.condition(v1alpha1.ConditionRenewed)
		return renewed != nil && renewed.Reason == v1alpha1.ReasonSecretNotOwned
	})
	must(t, w.admin.Delete(t.Context(), foreign))
	w.eventually("Ready", w.isReady)
}

func TestDeletedObjectTakesItsSecretAlong(t *testing.T) {
	w := newWorld(t)
	w.startManager(nil)
	w.createCredentials()
	w.create()
	w.eventually("Ready", w.isReady)
	must(t, w.admin.Delete(t.Context(), w.token()))
	harness.Wait{Patience: patience}.Eventually(t, "the Secret to go with its PipedreamToken", harness.Holds(func() bool { return !w.hasTarget() }))
	err := w.admin.Get(t.Context(), w.key("orders"), &v1alpha1.PipedreamToken{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("the PipedreamToken is still there: %v", err)
	}
	w.secret("credentials")
	w.wantExchanges(1)
}

// The manager's clock stands still, so that it waits for the garbage collector for as
// long as that takes.
func TestObjectThatIsMadeAnewDoesNotWriteToASecretThatIsBeingCollected(t *testing.T) {
	w := newWorld(t)
	w.startManager(nil)
	w.createCredentials()
	w.create()
	w.eventually("Ready", w.isReady)
	old := w.target()
	w.pass(time.Minute)
	must(t, w.admin.Delete(t.Context(), w.token()))
	w.create()
	w.eventually("Ready again", w.isReady)
	if got := w.target(); got.UID == old.UID || !metav1.IsControlledBy(got, w.token()) {
		t.Errorf("the Secret is %s, controlled by %v; want another than %s, of the new PipedreamToken", got.UID, got.OwnerReferences, old.UID)
	}
	w.wantExchanges(2)
	w.wantAccepted()
}

func TestSecretOfAPredecessorIsInheritedWhenItIsNotCollected(t *testing.T) {
	token := &v1alpha1.PipedreamToken{ObjectMeta: metav1.ObjectMeta{Name: "orders", UID: "new", CreationTimestamp: metav1.Unix(1000, 0)}}
	target := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Annotations: map[string]string{v1alpha1.OwnerAnnotation: "orders"},
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "PipedreamToken", Name: "orders", UID: "old", Controller: new(true),
		}},
	}}
	tests := map[string]struct {
		now, firstSeen int64
		want           renewal.Target
	}{
		"not at once":                              {now: 1009, firstSeen: 1001, want: renewal.Terminating},
		"after ten seconds":                        {now: 1010, firstSeen: 1001, want: renewal.Owned},
		"by one that has started since":            {now: 5000, firstSeen: 5000, want: renewal.Owned},
		"by a clock that is behind, after as long": {now: 510, firstSeen: 500, want: renewal.Owned},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := snapshot{token: token, target: target, now: time.Unix(test.now, 0), firstSeen: time.Unix(test.firstSeen, 0)}
			if got := s.targetState(); got != test.want {
				t.Errorf("the Secret is %s, want %s", got, test.want)
			}
		})
	}
}

// delayedWatch delays what the watch on Secrets tells.
type delayedWatch struct {
	io.ReadCloser
	by time.Duration
}

func (d delayedWatch) Read(buffer []byte) (int, error) {
	n, err := d.ReadCloser.Read(buffer)
	<-time.After(d.by)
	return n, err
}

func TestLateCacheCostsNoExchange(t *testing.T) {
	const delay = 100 * time.Millisecond
	w := newWorld(t)
	var pokes atomic.Int32
	poke := func() {
		count := pokes.Add(1)
		if w.Context().Err() != nil {
			return // The manager may write while it is being stopped.
		}
		token := w.token()
		token.Annotations = map[string]string{"example.com/poke": strconv.Itoa(int(count))}
		// A change of the spec, which no predicate holds back.
		token.Spec.RenewBeforeSeconds = 2001 - token.Spec.RenewBeforeSeconds
		if err := w.admin.Update(w.Context(), token); client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) && w.Context().Err() == nil {
			w.Error(err)
		}
	}
	w.startManager(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(request *http.Request) (*http.Response, error) {
			response, err := next.RoundTrip(request)
			isSecret := strings.HasSuffix(request.URL.Path, "/secrets") || strings.Contains(request.URL.Path, "/secrets/")
			switch {
			case err != nil || !isSecret:
			case request.URL.Query().Get("watch") == "true":
				response.Body = delayedWatch{ReadCloser: response.Body, by: delay}
			case request.Method == http.MethodPut || request.Method == http.MethodPost:
				// Longer than the tokens of one object are apart, so that the spacing does
				// not hide what the late cache leads to.
				w.pass(11 * time.Second)
				poke()
			}
			return response, err
		})
	})
	w.createCredentials()
	w.create(func(p *v1alpha1.PipedreamToken) { p.Spec.RenewBeforeSeconds = 1000 })
	const renewals = 10
	for want := 1; want <= renewals; want++ {
		w.eventually("token "+strconv.Itoa(want), func() bool { return w.exchanges() >= want && w.isReady() })
		// The cache has caught up, and whatever it made the operator do is done, when
		// the status speaks of the last write.
		w.eventually("the status is up to date", func() bool {
			token := w.token()
			return token.Status.Secret.ResourceVersion == w.target().ResourceVersion &&
				token.Status.ObservedGeneration == token.Generation
		})
		<-time.After(2 * delay)
		w.wantExchanges(want)
		w.passUntil(w.token().Status.RenewalTime)
		w.pass(time.Second) // The poke may move the renewal by a second.
		poke()
	}
	if got := pokes.Load(); got < 2*renewals-1 {
		t.Errorf("only %d pokes were made", got)
	}
}
