// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
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
	lifetime     = time.Hour

	// missingCredentialsGrace is how long credentials may be missing before condition
	// Stalled is True.
	missingCredentialsGrace = 2 * time.Minute
)

var cluster *controlplane.ControlPlane

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(controlplane.RunTests(m, controlplane.Options{ControllerManager: true, KillAfter: time.Minute}, func(started *controlplane.ControlPlane) error {
		cluster = started
		return nil
	}))
}

func newScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	must(t, corev1.AddToScheme(scheme))
	must(t, v1alpha1.AddToScheme(scheme))
	return scheme
}

// world is a namespace on the real API server, a Pipedream of its own, a clock
// that only the test moves, and a reconciler that only the test calls.
type world struct {
	*testing.T
	admin     client.Client
	namespace string
	clock     *clocktesting.FakePassiveClock
	pipedream *simulator.Simulator
	address   string
	// consumer makes the calls of who uses the token.
	consumer *http.Client
	api      PipedreamAPI
	wire     *wire
	events   *events.FakeRecorder
	log      *harness.Buffer
	// reconciler and dispatcher are replaced by restart.
	reconciler *Reconciler
	dispatcher *controller.Dispatcher
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, wire: &wire{}, log: &harness.Buffer{}, clock: clocktesting.NewFakePassiveClock(time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC))}
	var err error
	w.admin, err = client.New(cluster.Config, client.Options{Scheme: newScheme(t)})
	must(t, err)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	must(t, w.admin.Create(t.Context(), namespace))
	w.namespace = namespace.Name

	w.pipedream = simulator.New(simulator.Options{
		Now:           w.clock.Now,
		TokenLifetime: lifetime,
		Clients:       []simulator.Client{{ID: clientID, Secret: clientSecret}},
	})
	server := httptest.NewServer(w.pipedream)
	t.Cleanup(server.Close)
	w.address, w.consumer = server.URL, server.Client()
	w.api = w.apiAt(server.URL)
	w.restart()
	return w
}

func (w *world) apiAt(address string) PipedreamAPI {
	w.Helper()
	api, err := pipedream.NewClient(pipedream.Options{Address: address, AllowInsecure: true, Now: w.clock.Now})
	must(w.T, err)
	return api
}

// restart makes a new reconciler, which remembers nothing.
func (w *world) restart() {
	w.Helper()
	config := rest.CopyConfig(cluster.Config)
	config.QPS = -1
	config.Wrap(w.wire.wrap)
	options := client.Options{Scheme: newScheme(w.T), FieldOwner: ownedsecret.FieldOwner}
	live, err := client.New(config, options)
	must(w.T, err)
	w.events = events.NewFakeRecorder(1000)
	w.dispatcher = &controller.Dispatcher{}
	w.reconciler = &Reconciler{
		Cache:         cached{w.admin},
		Client:        live,
		Events:        w.events,
		Clock:         w.clock,
		Pipedream:     w.api,
		TokenRequests: w.dispatcher.NewLimiter(w.limit(100, 100)),
		Verifications: w.dispatcher.NewLimiter(w.limit(100, 100)),
	}
	w.reconciler.Metrics = w.newMetrics(true)
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

func (w *world) newMetrics(perObject bool) *Metrics {
	return NewMetrics(w.Context(), MetricsOptions{
		Cache:     client.NewNamespacedClient(w.admin, w.namespace),
		Clock:     w.clock,
		PerObject: perObject,
	})
}

// limit returns the options of a limiter by the clock of the world.
func (w *world) limit(perSecond float64, burst int) throttle.Options {
	return throttle.Options{PerSecond: perSecond, Burst: burst, InFlight: 4, Now: w.clock.Now}
}

// occupy makes the token requests so slow that one is sent in each interval, and has
// somebody else send one. It returns the reader of the turns.
func (w *world) occupy(interval time.Duration) *throttle.Ready {
	w.Helper()
	limiter, ready := throttle.NewLimiter(w.limit(1/interval.Seconds(), 1))
	w.reconciler.TokenRequests = limiter
	other := throttle.Requester{Group: "elsewhere", Name: "other"}
	limiter.Reserve(other, throttle.ReserveOptions{Lane: throttle.NearEnd})
	must(w.T, limiter.Do(other, throttle.DoOptions{}, func() error { return nil }))
	return ready
}

func (w *world) pass(duration time.Duration) { w.clock.SetTime(w.clock.Now().Add(duration)) }

func (w *world) passUntil(moment *metav1.Time) {
	w.Helper()
	if moment == nil {
		w.Fatal("there is no such time in the status")
	}
	w.clock.SetTime(moment.Time)
}

func (w *world) key(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: w.namespace, Name: name}
}

func (w *world) tryReconcile() (ctrl.Result, error) {
	w.Helper()
	logger := zap.New(zap.WriteTo(w.log), zap.Level(zapcore.Level(-7)))
	return w.reconciler.Reconcile(log.IntoContext(w.Context(), logger), requestFor(w))
}

func (w *world) reconcile() ctrl.Result {
	w.Helper()
	result, err := w.tryReconcile()
	must(w.T, err)
	if result.RequeueAfter <= 0 {
		w.Errorf("the visit ends with RequeueAfter %v, and nothing would bring the operator back", result.RequeueAfter)
	}
	w.wantRealTimes("orders")
	return result
}

// wantRealTimes checks that no condition that the operator has written has the time of the schema's
// default.
func (w *world) wantRealTimes(name string) {
	w.Helper()
	token := &v1alpha1.PipedreamToken{}
	if err := w.admin.Get(w.Context(), w.key(name), token); err != nil || token.Status.ObservedGeneration == 0 {
		must(w.T, client.IgnoreNotFound(err))
		return
	}
	for _, condition := range token.Status.Conditions {
		if condition.LastTransitionTime.Year() < 2000 {
			w.Errorf("condition %s %s %s is said to be so since %s", condition.Type, condition.Status, condition.Reason, condition.LastTransitionTime)
		}
	}
}

// create creates the PipedreamToken orders, as changed by the given functions.
func (w *world) create(changes ...func(*v1alpha1.PipedreamToken)) {
	w.Helper()
	token := &v1alpha1.PipedreamToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "orders"},
		Spec: v1alpha1.PipedreamTokenSpec{
			ClientSecretRef: v1alpha1.ClientSecretReference{Name: "credentials"},
			Scopes:          []string{"connect:accounts:read"},
			ProjectID:       "proj_abc123",
			Secret:          v1alpha1.SecretTemplate{Name: "orders-pipedream"},
		},
	}
	for _, change := range changes {
		change(token)
	}
	must(w.T, w.admin.Create(w.Context(), token))
}

func withVerification(token *v1alpha1.PipedreamToken) {
	token.Spec.Verification = v1alpha1.Verification{IntervalSeconds: 60}
}

func (w *world) createCredentials() {
	w.Helper()
	must(w.T, w.admin.Create(w.Context(), credentialsNamed(w, "credentials")))
}

func credentialsNamed(w *world, name string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name},
		StringData: map[string]string{"client_id": clientID, "client_secret": clientSecret},
	}
}

// issued creates the credentials and the PipedreamToken, and has a token issued.
func (w *world) issued(changes ...func(*v1alpha1.PipedreamToken)) {
	w.Helper()
	w.createCredentials()
	w.create(changes...)
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	w.wire.reset()
}

func (w *world) token() *v1alpha1.PipedreamToken {
	w.Helper()
	token := &v1alpha1.PipedreamToken{}
	must(w.T, w.admin.Get(w.Context(), w.key("orders"), token))
	return token
}

func (w *world) secret(name string) *corev1.Secret {
	w.Helper()
	secret := &corev1.Secret{}
	must(w.T, w.admin.Get(w.Context(), w.key(name), secret))
	return secret
}

func (w *world) target() *corev1.Secret {
	w.Helper()
	return w.secret("orders-pipedream")
}

func (w *world) hasTarget() bool {
	w.Helper()
	err := w.admin.Get(w.Context(), w.key("orders-pipedream"), &corev1.Secret{})
	must(w.T, client.IgnoreNotFound(err))
	return !apierrors.IsNotFound(err)
}

// change updates an object after fn has changed it. A running manager may write it
// at the same time.
func change[T client.Object](w *world, object T, fn func(T)) {
	w.Helper()
	fn(object)
	err := w.admin.Update(w.Context(), object)
	for apierrors.IsConflict(err) {
		must(w.T, w.admin.Get(w.Context(), client.ObjectKeyFromObject(object), object))
		fn(object)
		err = w.admin.Update(w.Context(), object)
	}
	must(w.T, err)
}

func (w *world) exchanges() int {
	total := 0
	for _, count := range w.pipedream.Counters().Exchanges {
		total += count.Total
	}
	return total
}

func (w *world) wantExchanges(want int) {
	w.Helper()
	if got := w.exchanges(); got != want {
		w.Errorf("Pipedream was asked for %d tokens, want %d", got, want)
	}
}

func (w *world) condition(kind string) *metav1.Condition {
	w.Helper()
	return meta.FindStatusCondition(w.token().Status.Conditions, kind)
}

func (w *world) wantCondition(kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
	w.Helper()
	token := w.token()
	got := meta.FindStatusCondition(token.Status.Conditions, kind)
	if got == nil {
		w.Fatalf("there is no condition %s, want %s %s; conditions: %+v", kind, status, reason, token.Status.Conditions)
	}
	if got.Status != status || got.Reason != reason {
		w.Fatalf("condition %s is %s %s (%s), want %s %s", kind, got.Status, got.Reason, got.Message, status, reason)
	}
	// Verified is about the generation for which a token was verified last, if any.
	if got.ObservedGeneration != token.Generation && kind != v1alpha1.ConditionVerified {
		w.Errorf("condition %s is about generation %d, want %d", kind, got.ObservedGeneration, token.Generation)
	}
	return *got
}

func (w *world) wantNoCondition(kind string) {
	w.Helper()
	if got := w.condition(kind); got != nil {
		w.Errorf("condition %s is %s %s, want none", kind, got.Status, got.Reason)
	}
}

// poll has a consumer use the token in the Secret, and tells whether it is accepted.
func (w *world) poll() bool {
	w.Helper()
	request, err := http.NewRequestWithContext(w.Context(), http.MethodGet, w.address+"/v1/connect/proj_abc123/accounts", nil)
	must(w.T, err)
	request.Header.Set("Authorization", "Bearer "+string(w.target().Data["access_token"]))
	request.Header.Set("X-Pd-Environment", "production")
	response, err := w.consumer.Do(request)
	must(w.T, err)
	must(w.T, response.Body.Close())
	return response.StatusCode == http.StatusOK
}

// wantAccepted checks that Pipedream accepts the token in the Secret.
func (w *world) wantAccepted() {
	w.Helper()
	if !w.poll() {
		w.Error("Pipedream refuses the token in the Secret")
	}
}

// must ends the test if err is not nil.
var must = harness.Must

// wire is the reconciler's way to the API server: it counts what passes, and cuts
// what a test wants to be cut.
type wire struct {
	mu       sync.Mutex
	requests map[string]int
	// fail, if set, may answer in place of the API server, or lose its answer.
	fail func(call string, forward func() (*http.Response, error)) (*http.Response, error)
	// answer, if set, may answer a request in place of the API server.
	answer answer
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

func (l *wire) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		call := request.Method + " " + resourceOf(request.URL.Path)
		l.mu.Lock()
		if l.requests == nil {
			l.requests = map[string]int{}
		}
		if call != "GET discovery" {
			l.requests[call]++
		}
		fail, answer := l.fail, l.answer
		l.mu.Unlock()
		if answer != nil {
			if response, err := answer(request); response != nil || err != nil {
				return response, err
			}
		}
		forward := func() (*http.Response, error) { return next.RoundTrip(request) }
		if fail == nil {
			return forward()
		}
		return fail(call, forward)
	})
}

// resourceOf returns the resource and subresource of a path of the API server.
func resourceOf(path string) string {
	_, rest, ok := strings.Cut(path, "/namespaces/")
	if !ok {
		return "discovery"
	}
	parts := strings.Split(rest, "/")
	if len(parts) == 4 {
		return parts[1] + "/" + parts[3]
	}
	return parts[min(1, len(parts)-1)]
}

func (l *wire) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests = map[string]int{}
}

func (l *wire) cut(fail func(call string, forward func() (*http.Response, error)) (*http.Response, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = fail
}

// answerWith has some requests answered in place of the API server; nil for none.
func (l *wire) answerWith(answer answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answer = answer
}

func (w *world) wantRequests(want map[string]int) {
	w.Helper()
	w.wire.mu.Lock()
	defer w.wire.mu.Unlock()
	got := w.wire.requests
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.Errorf("the API server got %v, want %v", got, want)
	}
}

func requestFor(w *world) ctrl.Request {
	return ctrl.Request{NamespacedName: w.key("orders")}
}
