// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/zap/zapcore"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/bearer"
	"github.com/pipedream-operator/pipedream-operator/internal/controller"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
	"github.com/pipedream-operator/pipedream-operator/test/harness/controlplane"
)

const (
	clientID     = "client-one"
	clientSecret = "the-client-secret-that-must-never-be-seen"
	projectID    = "proj_abc123"
	accountID    = "apn_WYhMlrz"
)

var cluster *controlplane.ControlPlane

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(controlplane.RunTests(m, controlplane.Options{ControllerManager: true, KillAfter: time.Minute}, func(started *controlplane.ControlPlane) error {
		cluster = started
		return nil
	}))
}

var must = harness.Must

func newScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	must(t, corev1.AddToScheme(scheme))
	must(t, v1alpha1.AddToScheme(scheme))
	return scheme
}

// world is a namespace on the real API server, a Pipedream of its own with one connected account, a clock
// that only the test moves, and a reconciler that only the test calls.
type world struct {
	*testing.T
	admin     client.Client
	namespace string
	clock     *clocktesting.FakePassiveClock
	pipedream *simulator.Simulator
	address   string
	// consumer makes the calls of the program that uses the credentials.
	consumer *http.Client
	api      PipedreamAPI
	issue    *pipedream.Client
	wire     *harness.Wire
	events   *events.FakeRecorder
	log      *harness.Buffer
	// These are replaced by restart.
	reconciler    *Reconciler
	tokenRequests *throttle.Limiter
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, wire: &harness.Wire{}, log: &harness.Buffer{}, clock: clocktesting.NewFakePassiveClock(time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC))}
	var err error
	w.admin, err = client.New(cluster.Config, client.Options{Scheme: newScheme(t)})
	must(t, err)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	must(t, w.admin.Create(t.Context(), namespace))
	w.namespace = namespace.Name
	w.pipedream = simulator.New(simulator.Options{
		Now: w.clock.Now, TokenLifetime: time.Hour, Clients: []simulator.Client{{ID: clientID, Secret: clientSecret}},
	})
	w.connect(accountID, "lead:20m")
	server := httptest.NewServer(w.pipedream)
	t.Cleanup(server.Close)
	w.address, w.consumer = server.URL, server.Client()
	w.issue, err = pipedream.NewClient(pipedream.Options{Address: server.URL, AllowInsecure: true, Now: w.clock.Now})
	must(t, err)
	w.api = w.issue
	w.restart()
	return w
}

// connect connects an account of the app slack, whose credentials live an hour.
func (w *world) connect(id, refresh string, changes ...func(*simulator.Account)) {
	w.Helper()
	connected := simulator.NewAccount(projectID, "acme-prod", "slack")
	connected.Refresh = refresh
	for _, change := range changes {
		change(&connected)
	}
	must(w.T, w.pipedream.Accounts.Set(id, connected))
}

// changeAccount changes the account at Pipedream.
func (w *world) changeAccount(change func(*simulator.Account)) {
	w.Helper()
	must(w.T, w.pipedream.Accounts.Change(accountID, change))
}

// restart makes a new reconciler, which remembers nothing.
func (w *world) restart() {
	w.Helper()
	config := rest.CopyConfig(cluster.Config)
	config.QPS = -1
	config.Wrap(w.wire.Wrap)
	live, err := client.New(config, client.Options{Scheme: newScheme(w.T), FieldOwner: ownedsecret.FieldOwner})
	must(w.T, err)
	w.events = events.NewFakeRecorder(1000)
	dispatcher := &controller.Dispatcher{}
	w.tokenRequests = dispatcher.NewLimiter(throttle.Options{PerSecond: 100, Burst: 100, InFlight: 4, Now: w.clock.Now})
	w.reconciler = &Reconciler{
		Cache:     cached{w.admin},
		Client:    live,
		Events:    w.events,
		Clock:     w.clock,
		Pipedream: w.api,
		Requests:  dispatcher.NewProjects(throttle.ProjectsOptions{PerSecond: 100, Burst: 100, InFlight: 4, Now: w.clock.Now}),
		Bearers: dispatcher.NewBearers(bearer.Options{
			Limiter: w.tokenRequests, Issue: w.issue.Issue, Scopes: []string{"connect:accounts:read"}, Now: w.clock.Now,
		}),
		Metrics: NewMetrics(w.Context(), MetricsOptions{Cache: client.NewNamespacedClient(w.admin, w.namespace), Clock: w.clock, PerObject: true}),
	}
}

// cached shows objects as the product's cache has them, and never lags behind.
type cached struct{ client.Reader }

func (c cached) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	if err := c.Reader.Get(ctx, key, object, options...); err != nil {
		return err
	}
	transform := controller.CacheOptions().DefaultTransform
	if object.GetObjectKind().GroupVersionKind().Kind == "Secret" {
		for _, secrets := range controller.CacheOptions().ByObject {
			transform = secrets.Transform
		}
	}
	_, err := transform(object)
	return err
}

// deletingAPI does something after each answer about an account.
type deletingAPI struct {
	PipedreamAPI
	then func()
}

func (d deletingAPI) Account(ctx context.Context, token pipedream.Sensitive, query pipedream.AccountQuery) (pipedream.Account, error) {
	defer d.then()
	return d.PipedreamAPI.Account(ctx, token, query)
}

func (w *world) pass(duration time.Duration) { w.clock.SetTime(w.clock.Now().Add(duration)) }

func (w *world) key(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: w.namespace, Name: name}
}

func (w *world) tryReconcile() (ctrl.Result, error) {
	w.Helper()
	logger := zap.New(zap.WriteTo(w.log), zap.Level(zapcore.Level(-7)))
	return w.reconciler.Reconcile(log.IntoContext(w.Context(), logger), ctrl.Request{NamespacedName: w.key("slack")})
}

func (w *world) reconcile() ctrl.Result {
	w.Helper()
	result, err := w.tryReconcile()
	must(w.T, err)
	if result.RequeueAfter <= 0 {
		w.Errorf("the reconcile ends with RequeueAfter %v, and nothing would bring the operator back", result.RequeueAfter)
	}
	return result
}

// live lets time pass as the manager would: it reconciles whenever the reconciler has asked for it.
func (w *world) live(duration time.Duration) {
	w.Helper()
	for end := w.clock.Now().Add(duration); ; {
		sleep := w.reconcile().RequeueAfter
		if next := w.clock.Now().Add(sleep); next.Before(end) {
			w.clock.SetTime(next)
			continue
		}
		w.clock.SetTime(end)
		return
	}
}

// create creates the PipedreamAccount slack, as changed by the given functions.
func (w *world) create(changes ...func(*v1alpha1.PipedreamAccount)) {
	w.Helper()
	account := &v1alpha1.PipedreamAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "slack"},
		Spec: v1alpha1.PipedreamAccountSpec{
			ClientSecretRef: v1alpha1.ClientSecretReference{Name: "credentials"},
			ProjectID:       projectID,
			AccountID:       accountID,
			Secret:          v1alpha1.AccountSecretTemplate{Name: "slack-credentials"},
		},
	}
	for _, change := range changes {
		change(account)
	}
	must(w.T, w.admin.Create(w.Context(), account))
}

func byUser(account *v1alpha1.PipedreamAccount) {
	account.Spec.AccountID, account.Spec.ExternalUserID, account.Spec.App = "", "acme-prod", "slack"
}

func (w *world) createCredentials() {
	w.Helper()
	must(w.T, w.admin.Create(w.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "credentials"},
		StringData: map[string]string{"client_id": clientID, "client_secret": clientSecret},
	}))
}

// fetched creates the client credentials and the PipedreamAccount, and has the account fetched.
func (w *world) fetched(changes ...func(*v1alpha1.PipedreamAccount)) {
	w.Helper()
	w.createCredentials()
	w.create(changes...)
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonCredentialsValid)
	w.wire.Reset()
}

func (w *world) account() *v1alpha1.PipedreamAccount {
	w.Helper()
	account := &v1alpha1.PipedreamAccount{}
	must(w.T, w.admin.Get(w.Context(), w.key("slack"), account))
	return account
}

func (w *world) secret(name string) *corev1.Secret {
	w.Helper()
	secret := &corev1.Secret{}
	must(w.T, w.admin.Get(w.Context(), w.key(name), secret))
	return secret
}

func (w *world) target() *corev1.Secret {
	w.Helper()
	return w.secret("slack-credentials")
}

func (w *world) hasTarget() bool {
	w.Helper()
	err := w.admin.Get(w.Context(), w.key("slack-credentials"), &corev1.Secret{})
	must(w.T, client.IgnoreNotFound(err))
	return !apierrors.IsNotFound(err)
}

// change updates an object after fn has changed it.
func change[T client.Object](w *world, object T, fn func(T)) {
	w.Helper()
	fn(object)
	must(w.T, w.admin.Update(w.Context(), object))
}

func (w *world) exchanges() int {
	total := 0
	for _, count := range w.pipedream.Counters().Exchanges {
		total += count.Total
	}
	return total
}

// fetches returns how often Pipedream was asked for accounts.
func (w *world) fetches() int {
	calls := w.pipedream.Counters().Calls
	total := 0
	for _, endpoint := range []simulator.Endpoint{simulator.EndpointAccount, simulator.EndpointAccounts, simulator.EndpointRESTAccount} {
		total += calls[endpoint].Total
	}
	return total
}

func (w *world) wantFetches(want int) {
	w.Helper()
	if got := w.fetches(); got != want {
		w.Errorf("Pipedream was asked %d times for accounts, want %d", got, want)
	}
}

func (w *world) wantExchanges(want int) {
	w.Helper()
	if got := w.exchanges(); got != want {
		w.Errorf("Pipedream was asked for %d tokens, want %d", got, want)
	}
}

func (w *world) wantRequests(want map[string]int) {
	w.Helper()
	if got := w.wire.Requests(); fmt.Sprint(got) != fmt.Sprint(want) {
		w.Errorf("the API server got %v, want %v", got, want)
	}
}

func (w *world) condition(kind string) *metav1.Condition {
	w.Helper()
	return meta.FindStatusCondition(w.account().Status.Conditions, kind)
}

func (w *world) wantCondition(kind string, status metav1.ConditionStatus, reason string) {
	w.Helper()
	account := w.account()
	got := meta.FindStatusCondition(account.Status.Conditions, kind)
	if got == nil {
		w.Fatalf("there is no condition %s, want %s %s; conditions: %+v", kind, status, reason, account.Status.Conditions)
	}
	if got.Status != status || got.Reason != reason {
		w.Fatalf("condition %s is %s %s (%s), want %s %s", kind, got.Status, got.Reason, got.Message, status, reason)
	}
	if got.ObservedGeneration != account.Generation {
		w.Errorf("condition %s is about generation %d, want %d", kind, got.ObservedGeneration, account.Generation)
	}
}

// wantReasons checks conditions Fetched and Ready by their reasons. Each reason has one status.
func (w *world) wantReasons(fetched, ready string) {
	w.Helper()
	for kind, reason := range map[string]string{v1alpha1.ConditionFetched: fetched, v1alpha1.ConditionReady: ready} {
		condition := w.condition(kind)
		if condition == nil || condition.Reason != reason {
			w.Fatalf("condition %s is %+v, want reason %s", kind, condition, reason)
		}
		if place := placeOf(kind, reason); place != string(condition.Status) {
			w.Errorf("condition %s is %s with reason %s, want %s", kind, condition.Status, reason, place)
		}
	}
}

// placeOf returns the status of a condition with a reason, as the rows say.
func placeOf(kind, reason string) string {
	for _, place := range rows.Of(reason).Places {
		if place.Condition == kind {
			return string(place.Status)
		}
	}
	return "no status: the reason has no such place"
}

func (w *world) wantStalled(want bool) {
	w.Helper()
	if got := w.condition(v1alpha1.ConditionStalled) != nil; got != want {
		w.Errorf("Stalled is there: %v, want %v", got, want)
	}
}

// accepted reports whether the app accepts the access token in the Secret.
func (w *world) accepted() bool {
	w.Helper()
	return w.accepts(string(w.target().Data["oauth_access_token"]))
}

// accepts reports whether the app slack accepts an access token.
func (w *world) accepts(token string) bool { return w.acceptsFor("slack", token) }

// acceptsFor reports whether an app accepts an access token or an API key.
func (w *world) acceptsFor(app, token string) bool {
	w.Helper()
	request, err := http.NewRequestWithContext(w.Context(), http.MethodGet, w.address+"/_app/"+app+"/me", http.NoBody)
	must(w.T, err)
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := w.consumer.Do(request)
	must(w.T, err)
	must(w.T, response.Body.Close())
	return response.StatusCode == http.StatusOK
}

// wantNoSecretSeen checks that the client secret, the user and the credentials of the account are in no log
// line, event or status.
func (w *world) wantNoSecretSeen() {
	w.Helper()
	seen := []string{w.log.String()}
	for len(w.events.Events) > 0 {
		seen = append(seen, <-w.events.Events)
	}
	seen = append(seen, fmt.Sprintf("%+v", w.account().Status))
	secrets := []string{clientSecret, apiKey, newAPIKey, "acme-prod"}
	if w.hasTarget() {
		for key, value := range w.target().Data {
			if key != keyExpiresAt && len(value) > 8 {
				secrets = append(secrets, string(value))
			}
		}
	}
	for _, text := range seen {
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				w.Errorf("%q is seen in %.300q", secret, text)
			}
		}
	}
}

// refuse answers one call in place of the API server, and lets all others pass.
func refuse(call string, code int, reason metav1.StatusReason) harness.Responder {
	return func(got string, _ *http.Request, forward func() (*http.Response, error)) (*http.Response, error) {
		if got != call {
			return forward()
		}
		body := fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","code":%d,"reason":%q,"message":%q}`, code, reason, apiServersText)
		return &http.Response{
			StatusCode: code, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)),
		}, nil
	}
}
