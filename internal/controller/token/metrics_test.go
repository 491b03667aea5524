// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
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

// scrape returns what Prometheus would read of this world, the same in each run: times
// of renewal depend on the namespace's name.
func (w *world) scrape(shown *Metrics) string {
	w.Helper()
	operator := metrics.NewOperator(w.reconciler.TokenRequests, "v1.2.3", "abc123")
	status := w.token().Status
	return strings.NewReplacer(w.namespace, "shop", runtime.Version(), "go1.x",
		number(status.ExpirationTime), "1.7e+09", number(status.RenewalTime), "1.6e+09").Replace(scrape(w.T, operator, shown))
}

// metricsOfAll are the metrics without names.
func (w *world) metricsOfAll() *Metrics {
	w.Helper()
	return w.newMetrics(false)
}

// number returns a time as a scrape shows it.
func number(at *metav1.Time) string { return strconv.FormatFloat(float64(at.Unix()), 'g', -1, 64) }

// visitNamed lets the reconciler visit an object of any name.
func (w *world) visitNamed(name string) {
	w.Helper()
	_, err := w.reconciler.Reconcile(w.Context(), ctrl.Request{NamespacedName: w.key(name)})
	must(w.T, err)
}

// busyWorld is one in which all has happened that is counted.
func busyWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.issued(withVerification)
	w.passUntil(w.token().Status.RenewalTime)
	w.reconcile() // A routine renewal.
	w.pass(time.Minute)
	w.reconcile() // A verification that goes well.
	w.pipedream.RevokeAll()
	w.pass(time.Minute)
	w.reconcile() // One that does not; the token is replaced.
	w.wantExchanges(3)

	must(t, w.admin.Create(t.Context(), &v1alpha1.PipedreamToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "unseen"},
		Spec:       v1alpha1.PipedreamTokenSpec{ClientSecretRef: v1alpha1.ClientSecretReference{Name: "nowhere"}},
	}))
	bad := credentialsNamed(w, "bad")
	bad.StringData["client_secret"] = "not-the-right-client-secret"
	must(t, w.admin.Create(t.Context(), bad))
	must(t, w.admin.Create(t.Context(), &v1alpha1.PipedreamToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "refused"},
		Spec:       v1alpha1.PipedreamTokenSpec{ClientSecretRef: v1alpha1.ClientSecretReference{Name: "bad"}},
	}))
	w.visitNamed("refused")
	w.reconciler.TokenRequests.Pause(w.clock.Now().Add(90 * time.Second))
	w.reconciler.TokenRequests.Reserve(throttle.Requester{Group: "shop", Name: "waiting"}, throttle.ReserveOptions{Lane: throttle.FirstToken})
	return w
}

func TestMetrics(t *testing.T) {
	w := busyWorld(t)
	for name, got := range map[string]string{
		"metrics.txt":        w.scrape(w.reconciler.Metrics),
		"metrics-of-all.txt": w.scrape(w.metricsOfAll()),
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name)
			if *update {
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

func TestMetricsForgetDeletedObjects(t *testing.T) {
	w := newWorld(t)
	w.issued()
	const of = `{name="orders"`
	if got := scrape(t, w.reconciler.Metrics); strings.Count(got, of) < 4 {
		t.Fatalf("the metrics do not tell of the object:\n%s", got)
	}
	must(t, w.admin.Delete(t.Context(), w.token()))
	if got := scrape(t, w.reconciler.Metrics); strings.Contains(got, of) {
		t.Errorf("the metrics tell of an object that is gone:\n%s", got)
	}
}

func TestEarliestTimesAreOfTokensThatHaveNotExpired(t *testing.T) {
	w := newWorld(t)
	w.issued()
	all := w.metricsOfAll()
	const name = "pipedream_token_expiration_timestamp_seconds"
	if got := scrape(t, all); !strings.Contains(got, fmt.Sprintf("\n%s %s\n", name, number(w.token().Status.ExpirationTime))) {
		t.Errorf("the token is not shown to expire at %v:\n%s", w.token().Status.ExpirationTime, got)
	}
	w.passUntil(w.token().Status.ExpirationTime)
	if got := scrape(t, all); strings.Contains(got, name) {
		t.Errorf("a token that has expired hides those that have not:\n%s", got)
	}
}

// cacheOf is a cache that holds objects.
type cacheOf struct {
	client.Reader
	tokens []v1alpha1.PipedreamToken
	err    error
}

func (c *cacheOf) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	list.(*v1alpha1.PipedreamTokenList).Items = append([]v1alpha1.PipedreamToken(nil), c.tokens...)
	return c.err
}

func TestScrapeBeforeTheCacheIsFilled(t *testing.T) {
	t.Parallel()
	limiter, _ := throttle.NewLimiter(throttle.Options{PerSecond: 1, Burst: 1, InFlight: 1, Now: time.Now})
	shown := NewMetrics(t.Context(), MetricsOptions{
		Cache: &cacheOf{tokens: manyTokens(1), err: context.DeadlineExceeded}, Clock: clock.RealClock{}, PerObject: true,
	})
	got := scrape(t, metrics.NewOperator(limiter, "v1.2.3", "abc123"), shown)
	if strings.Contains(got, "pipedream_token_condition{") || !strings.Contains(got, "pipedream_operator_build_info{") {
		t.Errorf("want all but what is not known yet:\n%s", got)
	}
}

// manyTokens returns PipedreamTokens with good tokens.
func manyTokens(count int) []v1alpha1.PipedreamToken {
	at := new(metav1.NewTime(time.Date(2100, 1, 2, 3, 4, 5, 0, time.UTC)))
	tokens := make([]v1alpha1.PipedreamToken, count)
	for i := range tokens {
		tokens[i].Namespace, tokens[i].Name = "a-namespace-of-usual-length", fmt.Sprintf("a-name-of-usual-length-%05d", i)
		tokens[i].Status = v1alpha1.PipedreamTokenStatus{ExpirationTime: at, RenewalTime: at, Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonTokenValid},
			{Type: v1alpha1.ConditionRenewed, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonIssued},
		}}
	}
	return tokens
}

// BenchmarkScrape scrapes 10,000 PipedreamTokens.
func BenchmarkScrape(b *testing.B) {
	cache := &cacheOf{tokens: manyTokens(10000)}
	for name, perObject := range map[string]bool{"each": true, "all": false} {
		b.Run(name, func(b *testing.B) {
			registry := prometheus.NewRegistry()
			if err := registry.Register(NewMetrics(b.Context(), MetricsOptions{Cache: cache, Clock: clock.RealClock{}, PerObject: perObject})); err != nil {
				b.Fatal(err)
			}
			handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
			b.ReportAllocs()
			for b.Loop() {
				answer := &counting{header: http.Header{}}
				handler.ServeHTTP(answer, httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/metrics", nil))
				b.ReportMetric(float64(answer.bytes), "bytes/scrape")
			}
		})
	}
}

// counting counts what is written.
type counting struct {
	header http.Header
	bytes  int
}

func (c *counting) Header() http.Header { return c.header }
func (c *counting) WriteHeader(int)     {}
func (c *counting) Write(content []byte) (int, error) {
	c.bytes += len(content)
	return len(content), nil
}
