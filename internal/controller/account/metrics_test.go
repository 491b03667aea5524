// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/metrics"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// scrape returns what Prometheus would read.
func scrape(t *testing.T, collectors ...prometheus.Collector) string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collectors...)
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if answer.Code != http.StatusOK {
		t.Fatalf("a scrape is answered by %d: %s", answer.Code, answer.Body)
	}
	return answer.Body.String()
}

// requests returns the limiters of the projects.
func (w *world) requests() *throttle.Projects { return w.reconciler.Requests.(*throttle.Projects) }

// duration matches the sum of the durations of requests, which is no matter of the fake clock.
var duration = regexp.MustCompile(`(?m)^(pipedream_account_request_duration_seconds_sum) .*$`)

// scrape returns what Prometheus would read of this world, the same in each run.
func (w *world) scrape(shown *Metrics) string {
	w.Helper()
	got := scrape(w.T, metrics.NewProjects(w.requests()), shown)
	return duration.ReplaceAllString(strings.ReplaceAll(got, w.namespace, "shop"), "$1 0")
}

// metricsOfAll are the metrics without names.
func (w *world) metricsOfAll() *Metrics {
	w.Helper()
	return NewMetrics(w.Context(), MetricsOptions{Cache: client.NewNamespacedClient(w.admin, w.namespace), Clock: w.clock})
}

// number returns a time as a scrape shows it.
func number(at *metav1.Time) string { return strconv.FormatFloat(float64(at.Unix()), 'g', -1, 64) }

// createNamed creates a PipedreamAccount with another name, and reconciles it unless it is to be unseen.
func (w *world) createNamed(name string, isUnseen bool, changes ...func(*v1alpha1.PipedreamAccount)) {
	w.Helper()
	w.create(append([]func(*v1alpha1.PipedreamAccount){func(account *v1alpha1.PipedreamAccount) {
		account.Name, account.Spec.Secret.Name = name, name+"-credentials"
	}}, changes...)...)
	if !isUnseen {
		_, err := w.reconciler.Reconcile(w.Context(), ctrl.Request{NamespacedName: w.key(name)})
		must(w.T, err)
	}
}

// busyWorld is a world with PipedreamAccounts in all states that the metrics tell apart.
func busyWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.fetched()
	must(t, w.pipedream.Accounts.Refresh(accountID))
	change(w, w.account(), func(a *v1alpha1.PipedreamAccount) {
		a.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "now"}
	})
	w.pass(time.Minute)
	w.reconcile() // A look for a request.
	w.createNamed("unseen", true)
	w.connect("apn_dead", "lazy", func(a *simulator.Account) { a.Dead = new(true) })
	w.createNamed("dead", false, func(a *v1alpha1.PipedreamAccount) { a.Spec.AccountID = "apn_dead" })
	w.createNamed("resting", false)
	resting := w.accountNamed("resting")
	change(w, resting, func(a *v1alpha1.PipedreamAccount) { a.Spec.Suspend = true })
	_, err := w.reconciler.Reconcile(t.Context(), ctrl.Request{NamespacedName: w.key("resting")})
	must(t, err)
	w.requests().Pause("proj_other1", w.clock.Now().Add(30*time.Second))
	w.requests().Pause(projectID, w.clock.Now().Add(90*time.Second))
	w.createNamed("waiting", false)
	return w
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	w := busyWorld(t)
	for name, got := range map[string]string{
		"metrics.txt":        w.scrape(w.reconciler.Metrics),
		"metrics-of-all.txt": w.scrape(w.metricsOfAll()),
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name)
			if *update {
				must(t, os.MkdirAll("testdata", 0o755)) //nolint:gosec // It is for all to read.
				must(t, os.WriteFile(file, []byte(got), 0o600))
			}
			want, err := os.ReadFile(file)
			must(t, err)
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("the metrics differ from %s, which -update writes (-want +got):\n%s", file, diff)
			}
			problems, err := promlint.New(strings.NewReader(got)).Lint()
			must(t, err)
			for _, problem := range problems {
				t.Errorf("%s: %s", problem.Metric, problem.Text)
			}
		})
	}
}

// TestMetricsOfAPause scrapes while a project is paused, and when the pause is over.
func TestMetricsOfAPause(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fetched(eachTenMinutes)
	must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAccount, Status: http.StatusTooManyRequests, Headers: map[string]string{"Retry-After": "600"}}))
	w.look()
	want := func(when string, lines ...string) {
		t.Helper()
		got := scrape(t, metrics.NewProjects(w.requests()), w.reconciler.Metrics)
		for _, line := range lines {
			if !strings.Contains(got, "\n"+line+"\n") {
				t.Errorf("%s: the metrics have no line %s:\n%s", when, line, got)
			}
		}
	}
	condition := func(reason, status, kind string) string {
		return fmt.Sprintf(`pipedream_account_condition{name="slack",namespace=%q,reason=%q,status=%q,type=%q} 1`, w.namespace, reason, status, kind)
	}
	want("in the pause", "pipedream_account_pause_seconds 600", "pipedream_account_paused_projects 1",
		condition(v1alpha1.ReasonRateLimited, "False", v1alpha1.ConditionFetched), `pipedream_account_requests_total{result="RateLimited"} 1`)
	w.pipedream.ClearFaults()
	w.createNamed("waiting", false)
	want("while another account waits", `pipedream_account_paced_requests{lane="FirstToken"} 1`)
	w.pass(11 * time.Minute)
	w.visitReady("waiting") // After a pause, one request is sent at a time.
	w.reconcile()
	want("after the pause", "pipedream_account_pause_seconds 0", "pipedream_account_paused_projects 0",
		condition(v1alpha1.ReasonAccountFetched, "True", v1alpha1.ConditionFetched))
}

// TestMetricsOfAnObjectAtRest scrapes while nothing is fetched for a PipedreamAccount, because it is suspended or
// because it is being deleted.
func TestMetricsOfAnObjectAtRest(t *testing.T) {
	t.Parallel()
	for name, rest := range map[string]func(*world){
		"suspended": func(w *world) { w.changeSpec(func(spec *v1alpha1.PipedreamAccountSpec) { spec.Suspend = true }) },
		"held by a finalizer": func(w *world) {
			change(w, w.account(), func(a *v1alpha1.PipedreamAccount) { a.Finalizers = []string{holder} })
			must(w.T, w.admin.Delete(w.Context(), w.account()))
			w.Cleanup(func() {
				kept := &v1alpha1.PipedreamAccount{}
				ctx := context.WithoutCancel(w.Context())
				must(w.T, w.admin.Get(ctx, w.key("slack"), kept))
				kept.Finalizers = nil
				must(w.T, w.admin.Update(ctx, kept))
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fetched()
			of := func(metric string) string {
				return fmt.Sprintf("pipedream_account_%s_timestamp_seconds{name=\"slack\",namespace=%q}", metric, w.namespace)
			}
			expires := of("expiration") + " " + number(w.account().Status.ExpirationTime)
			if got := scrape(t, w.reconciler.Metrics); !strings.Contains(got, expires) || !strings.Contains(got, of("due")) {
				t.Fatalf("the metrics do not show the times:\n%s", got)
			}
			if got := demandOf([]v1alpha1.PipedreamAccount{*w.account()})[projectID]; got.accounts != 1 || got.perSecond <= 0 {
				t.Errorf("the demand is %+v", got)
			}
			rest(w)
			if got := scrape(t, w.reconciler.Metrics); !strings.Contains(got, expires) || strings.Contains(got, of("due")) {
				t.Errorf("the metrics show when the account is looked at, and it is not; or not when its credentials expire:\n%s", got)
			}
			if got := demandOf([]v1alpha1.PipedreamAccount{*w.account()}); len(got) != 0 {
				t.Errorf("the demand is %+v, want none", got)
			}
		})
	}
}

// TestMetricsOfAFailedWrite has the API server fail after the account was fetched.
func TestMetricsOfAFailedWrite(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.createCredentials()
	w.create()
	w.wire.Respond(refuse("POST secrets", http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable))
	_, _ = w.tryReconcile()
	w.wantReasons(v1alpha1.ReasonClusterUnavailable, v1alpha1.ReasonNotFetched)
	const line = `pipedream_account_fetches_total{reason="Missing",result="ClusterUnavailable"} 1`
	if got := scrape(t, w.reconciler.Metrics); !strings.Contains(got, line) {
		t.Errorf("the metrics have no line %s:\n%s", line, got)
	}
}

func TestMetricsForgetDeletedObjects(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fetched()
	const of = `{name="slack"`
	if got := scrape(t, w.reconciler.Metrics); strings.Count(got, of) < 5 {
		t.Fatalf("the metrics do not show the object:\n%s", got)
	}
	must(t, w.admin.Delete(t.Context(), w.account()))
	if got := scrape(t, w.reconciler.Metrics); strings.Contains(got, of) {
		t.Errorf("the metrics show an object that is gone:\n%s", got)
	}
}

// cacheOf is a cache that holds objects.
type cacheOf struct {
	client.Reader
	accounts []v1alpha1.PipedreamAccount
	err      error
}

func (c *cacheOf) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	list.(*v1alpha1.PipedreamAccountList).Items = append([]v1alpha1.PipedreamAccount(nil), c.accounts...)
	return c.err
}

func TestScrapeBeforeTheCacheIsFilled(t *testing.T) {
	t.Parallel()
	cache := &cacheOf{accounts: []v1alpha1.PipedreamAccount{{Status: v1alpha1.PipedreamAccountStatus{Conditions: []metav1.Condition{
		{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonCredentialsValid},
	}}}}}
	shown := NewMetrics(t.Context(), MetricsOptions{Cache: cache, Clock: clock.RealClock{}, PerObject: true})
	const condition, requests = "pipedream_account_condition{", "pipedream_account_requests_total{"
	if got := scrape(t, shown); !strings.Contains(got, condition) {
		t.Fatalf("the metrics do not show the object:\n%s", got)
	}
	cache.err = context.DeadlineExceeded
	if got := scrape(t, shown); strings.Contains(got, condition) || !strings.Contains(got, requests) {
		t.Errorf("want all but what is not known yet:\n%s", got)
	}
}
