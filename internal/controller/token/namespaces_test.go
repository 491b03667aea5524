// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/namespaces"
)

// answer answers a request in place of the API server; with nil and no error, the API
// server answers.
type answer func(*http.Request) (*http.Response, error)

// moody is the way to an API server that treats one namespace in another way.
type moody struct {
	mu        sync.Mutex
	namespace string
	answer    answer
	watches   []io.Closer
	requests  int
	// becomes is closed when the answer becomes another.
	becomes chan struct{}
}

func (m *moody) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		m.mu.Lock()
		answer := m.answer
		isMine := strings.Contains(request.URL.Path, "/namespaces/"+m.namespace+"/")
		if isMine {
			m.requests++
		}
		m.mu.Unlock()
		if isMine && answer != nil {
			if response, err := answer(request); response != nil || err != nil {
				return response, err
			}
		}
		response, err := next.RoundTrip(request)
		if err == nil && isMine && isWatch(request) {
			m.mu.Lock()
			m.watches = append(m.watches, response.Body)
			m.mu.Unlock()
		}
		return response, err
	})
}

// become changes what is answered. The watches that are open are broken if asked for.
func (m *moody) become(answer answer, breakWatches bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answer, m.requests = answer, 0
	close(m.becomes)
	m.becomes = make(chan struct{})
	if breakWatches {
		for _, open := range m.watches {
			_ = open.Close()
		}
	}
	m.watches = nil
}

func (m *moody) counted() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.requests
}

func isWatch(request *http.Request) bool { return request.URL.Query().Get("watch") == "true" }

// statusAnswer answers as the API server does when it fails.
func statusAnswer(failed *apierrors.StatusError) (*http.Response, error) {
	failed.ErrStatus.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	content, err := json.Marshal(failed.ErrStatus)
	return &http.Response{
		StatusCode: int(failed.ErrStatus.Code),
		Header:     http.Header{"Content-Type": {"application/json"}},
		Body:       io.NopCloser(bytes.NewReader(content)),
	}, err
}

func forbid(*http.Request) (*http.Response, error) {
	return statusAnswer(apierrors.NewForbidden(schema.GroupResource{Resource: "things"}, "", errors.New("no RoleBinding")))
}

func forbidWatches(request *http.Request) (*http.Response, error) {
	if isWatch(request) {
		return forbid(request)
	}
	return nil, nil
}

func forbidSecrets(request *http.Request) (*http.Response, error) {
	if strings.Contains(request.URL.Path, "/secrets") {
		return forbid(request)
	}
	return nil, nil
}

func failAll(*http.Request) (*http.Response, error) {
	return statusAnswer(apierrors.NewInternalError(errors.New("etcd is away")))
}

// hang does not answer before it is told to become another, or the request is given up.
func (m *moody) hang(request *http.Request) (*http.Response, error) {
	m.mu.Lock()
	becomes := m.becomes
	m.mu.Unlock()
	select {
	case <-request.Context().Done():
		return nil, request.Context().Err()
	case <-becomes:
		return nil, nil
	}
}

// onWatches answers watches only, and leaves other requests to the API server.
func onWatches(given answer) answer {
	return func(request *http.Request) (*http.Response, error) {
		if isWatch(request) {
			return given(request)
		}
		return nil, nil
	}
}

func always(given answer) func(*moody) answer { return func(*moody) answer { return given } }

// neighbours are two namespaces that one manager watches. The API server is moody about
// the second one.
type neighbours struct {
	*world
	other *world
	moody *moody
	cache *namespaces.Cache
}

func newNeighbours(t *testing.T) *neighbours {
	t.Helper()
	n := &neighbours{world: newWorld(t)}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "other-"}}
	must(t, n.admin.Create(t.Context(), namespace))
	other := *n.world
	other.namespace = namespace.Name
	n.other = &other
	n.moody = &moody{namespace: namespace.Name, becomes: make(chan struct{})}
	for _, w := range []*world{n.world, n.other} {
		w.createCredentials()
		w.create()
	}
	return n
}

// start runs the manager for both namespaces. It tries a refused namespace again every
// 100 ms.
func (n *neighbours) start() {
	n.Helper()
	user := n.leastPrivilege()
	user.QPS = -1
	user.Wrap(n.moody.wrap)
	mgr, err := ctrl.NewManager(user, ctrl.Options{
		Scheme: newScheme(n.T),
		Cache:  controller.CacheOptions(),
		NewCache: func(config *rest.Config, options cache.Options) (cache.Cache, error) {
			made, err := namespaces.New(config, options, namespaces.Options{
				Names:      []string{n.namespace, n.other.namespace},
				Kinds:      controller.WatchedKinds(),
				Log:        zap.New(zap.WriteTo(n.log)),
				Retry:      wait.Backoff{Duration: 100 * time.Millisecond},
				SettleTime: time.Second,
			})
			n.cache = made
			return made, err
		},
		Client:     controller.ClientOptions(),
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: new(true)},
	})
	must(n.T, err)
	n.reconciler.Cache, n.reconciler.Client = mgr.GetCache(), mgr.GetClient()
	n.reconciler.Events = mgr.GetEventRecorder("pipedream-operator")
	must(n.T, n.reconciler.SetupWithManager(n.Context(), mgr, n.dispatcher, 4))
	must(n.T, mgr.Add(n.dispatcher))
	ctx, stop := context.WithCancel(n.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- mgr.Start(ctx) }()
	n.Cleanup(func() {
		stop()
		if err := <-stopped; err != nil {
			n.Errorf("the manager ended with %v", err)
		}
	})
}

func (n *neighbours) awaitWatched(want bool) {
	n.Helper()
	n.eventually(fmt.Sprintf("the other namespace is watched: %v", want), func() bool { return n.cache.IsWatched(n.other.namespace) == want })
}

// wantServed checks that a token is renewed in the first namespace, whatever happens to the
// second one.
func (n *neighbours) wantServed() {
	n.Helper()
	n.eventually("Ready", n.isReady)
	request := fmt.Sprint(time.Now().UnixNano())
	n.pass(time.Minute)
	change(n.world, n.token(), func(p *v1alpha1.PipedreamToken) {
		p.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: request}
	})
	n.eventually("a renewal", func() bool { return n.target().Annotations[v1alpha1.RenewRequestAnnotation] == request })
}

// lines returns how many lines of the log have a text.
func (n *neighbours) lines(text string) int { return strings.Count(n.log.String(), text) }

const (
	lostLine   = "this namespace can't be watched"
	silentLine = "the API server has not answered requests for this namespace"
	backLine   = "this namespace is watched again"
)

// TestNamespaceInTroubleFromTheStart starts the manager while the API server treats one of
// its namespaces badly. The other one is served, and that one as soon as all is well.
func TestNamespaceInTroubleFromTheStart(t *testing.T) {
	for name, test := range map[string]struct {
		answer func(*moody) answer
		// cause is in the error that a reader gets.
		cause string
		// line is in the log, once, and says is in the answer of the check.
		line, says string
	}{
		"all is forbidden":         {always(forbid), "no RoleBinding", lostLine, "refuses"},
		"watching is forbidden":    {always(forbidWatches), "no RoleBinding", lostLine, "refuses"},
		"Secrets are forbidden":    {always(forbidSecrets), "no RoleBinding", lostLine, "refuses"},
		"the API server fails":     {always(failAll), "etcd is away", silentLine, "no answer yet"},
		"there are no answers":     {func(m *moody) answer { return m.hang }, "is not watched yet", silentLine, "no answer yet"},
		"watches are not answered": {func(m *moody) answer { return onWatches(m.hang) }, "is not watched yet", silentLine, "no answer yet"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNeighbours(t)
			n.moody.become(test.answer(n.moody), false)
			n.start()
			n.wantServed()
			n.awaitWatched(false)
			err := n.cache.Get(t.Context(), n.other.key("orders"), &v1alpha1.PipedreamToken{})
			if _, ok := errors.AsType[*namespaces.NotWatchedError](err); !ok || apierrors.IsNotFound(err) || !strings.Contains(err.Error(), test.cause) {
				t.Errorf("reading an object gives %v, want a NotWatchedError with %q, which is no NotFound", err, test.cause)
			}
			if err := n.cache.Check(); err == nil || !strings.Contains(err.Error(), n.other.namespace) || strings.Contains(err.Error(), n.namespace) || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "RoleBinding") != (test.says == "refuses") {
				t.Errorf("the check says %v, want it to name the one namespace that is not watched, and %q", err, test.says)
			}
			n.eventually("the log says why", func() bool { return n.lines(test.line) == 1 })
			n.wantMetric(0)
			n.wantServed()
			n.moody.become(nil, true)
			n.awaitWatched(true)
			n.eventually("the other is Ready", n.other.isReady)
			n.wantMetric(1)
			if err := n.cache.Check(); err != nil {
				t.Errorf("the check says %v, want nil", err)
			}
			n.eventually("the log says that it is back", func() bool { return n.lines(backLine) == 1 })
			if said := n.lines(lostLine) + n.lines(silentLine); said != 1 || n.lines(test.line) != 1 {
				t.Errorf("the log says %d times that it is not watched, want once, and that %s:\n%s", said, test.line, n.log)
			}
		})
	}
}

// wantMetric checks that the first namespace is shown as watched, and the other one as want.
func (n *neighbours) wantMetric(want float64) {
	n.Helper()
	registry := prometheus.NewPedanticRegistry()
	must(n.T, registry.Register(n.cache))
	families, err := registry.Gather()
	must(n.T, err)
	got := map[string]float64{}
	for _, family := range families {
		for _, sample := range family.Metric {
			got[family.GetName()+" of "+sample.Label[0].GetValue()] = sample.Gauge.GetValue()
		}
	}
	if diff := cmp.Diff(map[string]float64{
		"pipedream_namespace_watched of " + n.namespace:       1,
		"pipedream_namespace_watched of " + n.other.namespace: want,
	}, got); diff != "" {
		n.Errorf("what is shown of the namespaces (-want +got): %s", diff)
	}
}

// TestNamespaceThatIsForbiddenWhileItsWatchIsOpen takes the rights away from a running
// manager. The open watches go on, and a forbidden request shows what has happened.
func TestNamespaceThatIsForbiddenWhileItsWatchIsOpen(t *testing.T) {
	for name, answer := range map[string]answer{"all": forbid, "Secrets": forbidSecrets} {
		t.Run(name, func(t *testing.T) {
			n := newNeighbours(t)
			n.start()
			n.eventually("the other is Ready", n.other.isReady)
			n.moody.become(answer, false)
			n.pass(time.Minute)
			change(n.other, n.other.token(), func(p *v1alpha1.PipedreamToken) {
				p.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "now"}
			})
			n.awaitWatched(false)
			n.eventually("its object is forgotten", func() bool { return !n.remembers(n.other) })
			tokens := &v1alpha1.PipedreamTokenList{}
			must(t, n.cache.List(t.Context(), tokens))
			if len(tokens.Items) != 1 || tokens.Items[0].Namespace != n.namespace {
				t.Errorf("a list of all namespaces has %d objects, want the one of the namespace that is watched", len(tokens.Items))
			}
			n.wantServed()
			exchanges := n.exchanges()
			n.moody.become(nil, false)
			n.awaitWatched(true)
			n.eventually("the renewal is made up for", func() bool {
				return n.other.target().Annotations[v1alpha1.RenewRequestAnnotation] == "now"
			})
			n.wantExchanges(exchanges + 1)
		})
	}
}

// remembers tells whether the reconciler remembers the object of a namespace.
func (n *neighbours) remembers(w *world) bool {
	_, ok := n.reconciler.states.LastOf(w.key("orders"))
	return ok
}

// TestNamespaceIsGivenUpAfterTheSecondRefusal breaks the watches of a namespace. One
// refusal of each kind after that is taken for a hiccup, and nothing is forgotten.
func TestNamespaceIsGivenUpAfterTheSecondRefusal(t *testing.T) {
	for name, kinds := range map[string][]string{
		"PipedreamTokens are refused once": {"/pipedreamtokens"},
		"Secrets are refused once":         {"/secrets"},
		"both are refused once":            {"/pipedreamtokens", "/secrets"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNeighbours(t)
			n.start()
			n.eventually("the other is Ready", n.other.isReady)
			var mu sync.Mutex
			refused := map[string]int{}
			n.moody.become(func(request *http.Request) (*http.Response, error) {
				mu.Lock()
				defer mu.Unlock()
				for _, kind := range kinds {
					// A watch that is refused is followed by a list.
					if strings.HasSuffix(request.URL.Path, kind) && refused[kind] < 2 {
						refused[kind]++
						return forbid(request)
					}
				}
				return nil, nil
			}, true)
			n.eventually("refusals, and then other watches", func() bool {
				mu.Lock()
				defer mu.Unlock()
				n.moody.mu.Lock()
				defer n.moody.mu.Unlock()
				return len(refused) == len(kinds) && len(n.moody.watches) >= 2 || !n.cache.IsWatched(n.other.namespace)
			})
			if !n.cache.IsWatched(n.other.namespace) || n.lines(lostLine) != 0 {
				t.Errorf("the namespace is given up after a single refusal of each kind:\n%s", n.log)
			}
			n.moody.become(forbid, true)
			n.awaitWatched(false)
			n.wantServed()
		})
	}
}

// TestOutageOfTheAPIServerGivesUpNoNamespace has the API server fail for a namespace that
// is watched: what is known of it is not thrown away.
func TestOutageOfTheAPIServerGivesUpNoNamespace(t *testing.T) {
	n := newNeighbours(t)
	n.start()
	n.eventually("the other is Ready", n.other.isReady)
	n.moody.become(failAll, true)
	n.eventually("several requests have failed", func() bool { return n.moody.counted() > 3 })
	if !n.cache.IsWatched(n.other.namespace) || n.lines(lostLine) != 0 {
		t.Errorf("the namespace is given up because the API server has failed:\n%s", n.log)
	}
	must(t, n.cache.Get(t.Context(), n.other.key("orders"), &v1alpha1.PipedreamToken{}))
}

// TestNamespaceThatComesAndGoesLeavesNothingBehind refuses a namespace 20 times, with
// other objects in it each time.
func TestNamespaceThatComesAndGoesLeavesNothingBehind(t *testing.T) {
	n := newNeighbours(t)
	n.start()
	n.eventually("the other is Ready", n.other.isReady)
	cycle := func() {
		n.moody.become(forbid, true)
		n.cache.Suspect(n.other.namespace)
		n.awaitWatched(false)
		must(t, n.admin.Delete(t.Context(), n.other.token()))
		n.eventually("its Secret is collected", func() bool { return !n.other.hasTarget() })
		n.other.create()
		n.moody.become(nil, false)
		n.awaitWatched(true)
		n.eventually("the other is Ready", n.other.isReady)
	}
	measure := func() (goroutines int, heap uint64) {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return runtime.NumGoroutine(), stats.HeapAlloc
	}
	// steady waits until the count stays the same: a watch that was just opened has not started all
	// its goroutines yet.
	steady := func() (goroutines int, heap uint64) {
		same := 0
		n.eventually("a steady number of goroutines", func() bool {
			before := goroutines
			if goroutines, heap = measure(); goroutines != before {
				same = 0
			}
			same++
			return same > 20
		})
		return goroutines, heap
	}
	cycle()
	goroutines, heap := steady()
	for range 20 {
		cycle()
	}
	more, heapAfter := steady()
	if more > goroutines+10 { // One goroutine left behind each time would make 20 more.
		var stacks strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1)
		t.Errorf("there were %d goroutines, and after 20 times there are %d:\n%s", goroutines, more, stacks.String())
	}
	t.Logf("%d goroutines before and %d after 20 times, %d KiB and %d KiB of heap", goroutines, more, heap>>10, heapAfter>>10)
	if heapAfter > heap+4<<20 {
		t.Errorf("the heap has grown from %d KiB to %d KiB", heap>>10, heapAfter>>10)
	}
	n.wantServed()
	if remembered := n.reconciler.states.Len(); remembered != 2 {
		t.Errorf("the reconciler remembers %d objects, want 2", remembered)
	}
}

// TestReaderKnowsTheNamespacesOfTheFlagOnly reads from a namespace that is not in the flag.
func TestReaderKnowsTheNamespacesOfTheFlagOnly(t *testing.T) {
	n := newNeighbours(t)
	n.start()
	n.eventually("Ready", n.isReady)
	err := n.cache.Get(t.Context(), types.NamespacedName{Namespace: "default", Name: "orders"}, &v1alpha1.PipedreamToken{})
	if err == nil || !strings.Contains(err.Error(), "--namespaces") || apierrors.IsNotFound(err) {
		t.Errorf("reading from another namespace gives %v, want an error that names the flag", err)
	}
	if err := n.cache.List(t.Context(), &v1alpha1.PipedreamTokenList{}, client.InNamespace("default")); !errors.Is(err, namespaces.ErrNotListed) {
		t.Errorf("listing another namespace gives %v, want %v", err, namespaces.ErrNotListed)
	}
	if err := n.cache.List(t.Context(), &corev1.ConfigMapList{}); err == nil {
		t.Error("a kind that is not watched can be listed")
	}
	if _, err := n.cache.GetInformer(t.Context(), &corev1.Secret{}); err == nil {
		t.Error("there is an informer of whole Secrets")
	}
}
