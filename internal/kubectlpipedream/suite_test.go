// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/bearer"
	"github.com/pipedream-operator/pipedream-operator/internal/controller"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/account"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/token"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
	"github.com/pipedream-operator/pipedream-operator/test/harness/controlplane"
)

var update = flag.Bool("update", false, "write what the commands say now to testdata")

const (
	clientID     = "client-one"
	clientSecret = "the-client-secret-that-must-never-be-seen"
	// patience bounds how long a test waits for what must come.
	patience = time.Minute
	// inFuture is how far the tests' clock is ahead, so that all objects are of the same age.
	inFuture = 400*24*time.Hour + time.Hour
)

// What all tests share. They change the same cluster, so none of them is parallel.
var (
	plane      *controlplane.ControlPlane
	admin      client.Client
	kubeconfig string
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(controlplane.RunTests(m, controlplane.Options{}, func(started *controlplane.ControlPlane) (err error) {
		ctrl.SetLogger(logr.Discard())
		plane, kubeconfig = started, started.KubeconfigFile
		// What a developer has set must not matter.
		if err := errors.Join(os.Unsetenv("KUBECONFIG"), v1alpha1.AddToScheme(scheme.Scheme)); err != nil {
			return err
		}
		admin, err = client.New(plane.Config, client.Options{FieldOwner: ownedsecret.FieldOwner})
		return err
	}))
}

// world is a namespace, a Pipedream, a clock, and an operator that works only when the
// test says so.
type world struct {
	*testing.T
	namespace  string
	began      time.Time
	clock      *clocktesting.FakePassiveClock
	pipedream  *simulator.Simulator
	address    string
	reconciler *token.Reconciler
	accounts   *account.Reconciler
}

func newWorld(t *testing.T, namespace string) *world {
	t.Helper()
	w := &world{T: t, namespace: namespace, began: time.Now().Add(inFuture).UTC().Truncate(time.Second)}
	w.clock = clocktesting.NewFakePassiveClock(w.began)
	harness.Must(t, admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}))
	w.pipedream = simulator.New(simulator.Options{
		Now: w.clock.Now, TokenLifetime: time.Hour,
		Clients: []simulator.Client{{ID: clientID, Secret: clientSecret}},
	})
	w.address = harness.MustServe(t, http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		answer.Header().Set("Date", w.clock.Now().UTC().Format(http.TimeFormat))
		w.pipedream.ServeHTTP(answer, request)
	}))
	api, err := pipedream.NewClient(pipedream.Options{Address: w.address, AllowInsecure: true, Now: w.clock.Now})
	harness.Must(t, err)
	limits := throttle.Options{PerSecond: 100, Burst: 100, InFlight: 4, Now: w.clock.Now}
	requests, _ := throttle.NewLimiter(limits)
	verifications, _ := throttle.NewLimiter(limits)
	w.reconciler = &token.Reconciler{
		Cache: admin, Client: admin, Events: events.NewFakeRecorder(1000), Clock: w.clock,
		Pipedream: api, TokenRequests: requests, Verifications: verifications,
		Metrics: token.NewMetrics(t.Context(), token.MetricsOptions{Cache: admin, Clock: w.clock}),
	}
	dispatcher := &controller.Dispatcher{}
	w.accounts = &account.Reconciler{
		Cache: admin, Client: admin, Events: events.NewFakeRecorder(1000), Clock: w.clock, Pipedream: api,
		Requests: dispatcher.NewProjects(throttle.ProjectsOptions{PerSecond: 100, Burst: 100, InFlight: 4, Now: w.clock.Now}),
		Bearers: dispatcher.NewBearers(bearer.Options{
			Limiter: requests, Issue: api.Issue, Scopes: []string{"connect:accounts:read"}, Now: w.clock.Now,
		}),
		Metrics: account.NewMetrics(t.Context(), account.MetricsOptions{Cache: admin, Clock: w.clock}),
	}
	w.createSecret("credentials", map[string]string{"client_id": clientID, "client_secret": clientSecret})
	return w
}

func (w *world) createSecret(name string, data map[string]string) {
	w.Helper()
	harness.Must(w.T, admin.Create(w.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}, StringData: data,
	}))
}

// create creates a PipedreamToken, as changed by the given functions.
func (w *world) create(name string, changes ...func(*v1alpha1.PipedreamToken)) {
	w.Helper()
	token := &v1alpha1.PipedreamToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name, Labels: map[string]string{"test": w.namespace}},
		Spec: v1alpha1.PipedreamTokenSpec{
			ClientSecretRef: v1alpha1.ClientSecretReference{Name: "credentials"},
			Scopes:          []string{"connect:accounts:read"},
			ProjectID:       "proj_abc123",
		},
	}
	for _, change := range changes {
		change(token)
	}
	harness.Must(w.T, admin.Create(w.Context(), token))
}

// issued creates a PipedreamToken, and has a token issued for it.
func (w *world) issued(name string, changes ...func(*v1alpha1.PipedreamToken)) {
	w.Helper()
	w.create(name, changes...)
	w.visit(name)
	if w.token(name).Status.IssueTime == nil {
		w.Fatalf("no token was issued for %s", name)
	}
}

func withCredentials(name string) func(*v1alpha1.PipedreamToken) {
	return func(token *v1alpha1.PipedreamToken) { token.Spec.ClientSecretRef.Name = name }
}

// visit has the operator visit a PipedreamToken.
func (w *world) visit(name string) {
	w.Helper()
	_, err := w.reconciler.Reconcile(w.Context(), ctrl.Request{NamespacedName: w.key(name)})
	harness.Must(w.T, err)
}

// operate has the operator work, a second in a few milliseconds, until the test ends. Names of PipedreamAccounts
// have the prefix pda/.
func (w *world) operate(names ...string) {
	w.Helper()
	ctx, cancel := context.WithCancel(w.Context())
	var done sync.WaitGroup
	done.Go(func() {
		for ticker := time.NewTicker(20 * time.Millisecond); ctx.Err() == nil; <-ticker.C {
			w.pass(time.Second)
			for _, name := range names {
				// A cancelled visit fails; others are made again.
				if account, ok := strings.CutPrefix(name, "pda/"); ok {
					_, _ = w.accounts.Reconcile(ctx, ctrl.Request{NamespacedName: w.key(account)})
					continue
				}
				_, _ = w.reconciler.Reconcile(ctx, ctrl.Request{NamespacedName: w.key(name)})
			}
		}
	})
	w.Cleanup(func() { cancel(); done.Wait() })
}

func (w *world) pass(duration time.Duration) { w.clock.SetTime(w.clock.Now().Add(duration)) }

func (w *world) key(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: w.namespace, Name: name}
}

func (w *world) token(name string) *v1alpha1.PipedreamToken {
	w.Helper()
	token := &v1alpha1.PipedreamToken{}
	harness.Must(w.T, admin.Get(w.Context(), w.key(name), token))
	return token
}

func (w *world) secret(name string) *corev1.Secret {
	w.Helper()
	secret := &corev1.Secret{}
	harness.Must(w.T, admin.Get(w.Context(), w.key(name), secret))
	return secret
}

// heldToken returns the token in a Secret of the default shape; nothing if there is none.
func (w *world) heldToken(name string) string {
	w.Helper()
	secret := &corev1.Secret{}
	err := admin.Get(w.Context(), w.key(name), secret)
	harness.Must(w.T, client.IgnoreNotFound(err))
	if apierrors.IsNotFound(err) {
		return ""
	}
	return string(secret.Data["access_token"])
}

// change updates an object after fn has changed it.
func change[T client.Object](w *world, object T, fn func(T)) {
	w.Helper()
	fn(object)
	harness.Must(w.T, admin.Update(w.Context(), object))
}

// said is what a call of the plugin has said.
type said struct {
	code        int
	out, errOut string
}

// String is what golden files hold.
func (s said) String() string {
	text := s.out
	if s.errOut != "" {
		text += "--- stderr\n" + s.errOut
	}
	return text + fmt.Sprintf("--- exit code %d\n", s.code)
}

// run calls the plugin in the world's namespace. Whatever it says must hold no secret.
func (w *world) run(arguments ...string) said {
	w.Helper()
	return w.runWith(w.Context(), &harness.Buffer{}, arguments...)
}

func (w *world) runWith(ctx context.Context, out *harness.Buffer, arguments ...string) said {
	w.Helper()
	// Before, too: a renewal replaces them.
	secrets := w.secrets()
	got := call(ctx, w.clock.Now, out, append([]string{"--kubeconfig=" + kubeconfig, "--namespace=" + w.namespace}, arguments...)...)
	for _, secret := range append(secrets, w.secrets()...) {
		if strings.Contains(got.out+got.errOut, secret) {
			w.Errorf("%v shows a secret: it says %q", arguments, secret)
		}
	}
	return got
}

// letLook lets the user looker do what the roles pipedreamtoken-view and pipedreamaccount-view allow, and nothing
// else. The user token-looker may do what the first of them allows.
func (w *world) letLook() {
	w.Helper()
	content := harness.MustRead(w.T, "config", "rbac", "aggregated_roles.yaml")
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096); ; {
		role := &rbacv1.ClusterRole{}
		if err := decoder.Decode(role); errors.Is(err, io.EOF) {
			return
		} else if harness.Must(w.T, err); !strings.HasSuffix(role.Name, "-view") {
			continue
		}
		subjects := []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "looker"}}
		if role.Name == "pipedreamtoken-view" {
			subjects = append(subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "token-looker"})
		}
		meta := metav1.ObjectMeta{Namespace: w.namespace, Name: role.Name}
		harness.Must(w.T, admin.Create(w.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: role.Rules}))
		harness.Must(w.T, admin.Create(w.Context(), &rbacv1.RoleBinding{
			ObjectMeta: meta, Subjects: subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
		}))
	}
}

// newPlugin returns a plugin whose flags name the world's namespace.
func (w *world) newPlugin() *plugin {
	p := newPlugin(Options{IOStreams: genericiooptions.NewTestIOStreamsDiscard(), Now: w.clock.Now})
	*p.config.KubeConfig, *p.config.Namespace = kubeconfig, w.namespace
	return p
}

// call calls the plugin.
func call(ctx context.Context, now func() time.Time, out *harness.Buffer, arguments ...string) said {
	return callWithOptions(ctx, Options{Now: now, Release: "v1.2.3", PollInterval: 20 * time.Millisecond}, out, arguments...)
}

func callWithOptions(ctx context.Context, options Options, out *harness.Buffer, arguments ...string) said {
	errOut := &harness.Buffer{}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	options.IOStreams = genericiooptions.IOStreams{In: strings.NewReader(""), Out: out, ErrOut: errOut}
	code := Run(ctx, arguments, options)
	return said{code: code, out: out.String(), errOut: errOut.String()}
}

// secrets returns what nobody must see, in all forms: the client secrets, the tokens
// and the parts of tokens.
func (w *world) secrets() []string {
	w.Helper()
	list := &corev1.SecretList{}
	harness.Must(w.T, admin.List(w.Context(), list, client.InNamespace(w.namespace)))
	var secrets []string
	for i := range list.Items {
		for _, value := range hiddenIn(&list.Items[i]) {
			secrets = append(secrets, string(value), hex.EncodeToString(value),
				base64.StdEncoding.EncodeToString(value), base64.RawURLEncoding.EncodeToString(value))
			if parts := strings.Split(string(value), "."); len(parts) == 3 {
				secrets = append(secrets, parts[1], parts[2])
			}
		}
	}
	return secrets
}

// hiddenIn returns the values of a Secret that nobody must see: of a Secret of a PipedreamAccount all but the
// expiry and short ones, which occur everywhere.
func hiddenIn(secret *corev1.Secret) [][]byte {
	isOfAccount := strings.HasPrefix(secret.Annotations[v1alpha1.OwnerAnnotation], v1alpha1.KindPipedreamAccount+"/")
	var hidden [][]byte
	for key, value := range secret.Data {
		isHidden := slices.Contains([]string{"client_secret", "access_token", "token"}, key) ||
			isOfAccount && key != "expires_at" && len(value) > 5
		if isHidden && len(value) > 0 {
			hidden = append(hidden, value)
		}
	}
	return hidden
}

var (
	times    = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	versions = regexp.MustCompile(`(\b(resourceVersion|uid|clientSecretResourceVersion|referencedSecretResourceVersion)"?: )"?[-0-9a-f]+"?`)
)

// wantGolden compares what was said with testdata. Times are shown as distances from
// the beginning of the world.
func (w *world) wantGolden(name string, got said) {
	w.Helper()
	text := times.ReplaceAllStringFunc(got.String(), func(text string) string {
		at, err := time.Parse(time.RFC3339, text)
		harness.Must(w.T, err)
		if at.Before(w.began.Add(-24 * time.Hour)) {
			return "REAL-TIME" // By the API server's clock.
		}
		return "T+" + at.Sub(w.began).Truncate(time.Second).String()
	})
	text = versions.ReplaceAllString(text, "${1}VERSION")
	text = strings.ReplaceAll(text, w.address, "http://pipedream.test")
	path := filepath.Join("testdata", name+".golden")
	if *update {
		harness.Must(w.T, os.MkdirAll("testdata", 0o750))
		harness.Must(w.T, os.WriteFile(path, []byte(text), 0o600))
	}
	want, err := os.ReadFile(path)
	harness.Must(w.T, err)
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(text, "\n")); diff != "" {
		w.Errorf("it does not say what %s holds; if that is right, write it with -update (-want +got):\n%s", path, diff)
	}
}

// in returns the same world for a part of a test.
func (w *world) in(t *testing.T) *world {
	t.Helper()
	part := *w
	part.T = t
	return &part
}
