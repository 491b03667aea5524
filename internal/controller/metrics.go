// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// listTimeout bounds how long a scrape waits for the cache to be filled.
const listTimeout = time.Second

// conditionTypes are those of which each object has at most one.
var conditionTypes = []string{
	v1alpha1.ConditionReady, v1alpha1.ConditionRenewed, v1alpha1.ConditionVerified, v1alpha1.ConditionStalled,
}

// MetricsOptions configure Metrics. All but PerObject are required.
type MetricsOptions struct {
	// Cache is where PipedreamTokens are observed.
	Cache client.Reader
	// Clock tells the time.
	Clock clock.PassiveClock
	// TokenRequests is the limiter whose pause and queue are shown.
	TokenRequests *throttle.Limiter
	// PerObject tells of each PipedreamToken apart, and not only of all together.
	PerObject bool
	// Version and Revision are of what runs.
	Version, Revision string
}

// Metrics is what is shown of the operator to Prometheus. What it says of
// PipedreamTokens it reads from the cache when it is asked, so that it remembers none
// and none outlives its object. A standby says the same of them as the leader.
type Metrics struct {
	options MetricsOptions
	list    func() ([]v1alpha1.PipedreamToken, error)

	expiration, renewal, condition, pause, paced, build *prometheus.Desc

	requests, renewals, verifications *prometheus.CounterVec
	duration                          prometheus.Histogram
}

var _ prometheus.Collector = (*Metrics)(nil)

// NewMetrics returns Metrics that count nothing yet. They read the cache until ctx
// ends.
func NewMetrics(ctx context.Context, options MetricsOptions) *Metrics {
	var object []string
	if options.PerObject {
		object = []string{"namespace", "name"}
	}
	describe := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("pipedream_"+name, help, labels, nil)
	}
	count := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pipedream_" + name, Help: help}, labels)
	}
	m := &Metrics{
		options: options,
		list: func() ([]v1alpha1.PipedreamToken, error) {
			ctx, cancel := context.WithTimeout(ctx, listTimeout)
			defer cancel()
			tokens := &v1alpha1.PipedreamTokenList{}
			err := options.Cache.List(ctx, tokens, client.UnsafeDisableDeepCopy)
			return tokens.Items, err
		},
		expiration: describe("token_expiration_timestamp_seconds",
			"When the token in the Secret expires; without names, that of the token that has used up most of its time for renewal.", object...),
		renewal: describe("token_renewal_timestamp_seconds",
			"When the token in the Secret is to be renewed; without names, that of the token that has used up most of its time for renewal.", object...),
		condition: describe("token_condition",
			"1 for what each condition of a PipedreamToken is; without names, of how many PipedreamTokens it is that.",
			append(object, "type", "status", "reason")...),
		pause: describe("pause_seconds", "How long no token is asked for, because Pipedream has limited the rate; 0 if there is no pause."),
		paced: describe("paced_requests", "Token requests that wait for their turn.", "lane"),
		build: describe("operator_build_info", "What runs: always 1.", "version", "revision", "goversion"),

		requests:      count("token_requests_total", "Requests to Pipedream for a token.", "result"),
		renewals:      count("token_renewals_total", "Attempts to issue a token and to store it, by why it was to be issued.", "reason", "result"),
		verifications: count("verifications_total", "Requests to Pipedream to try a held token.", "result"),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "pipedream_token_request_duration_seconds",
			Help: "How long Pipedream takes to answer a request for a token.",
			// A request is given up after ten seconds.
			Buckets: []float64{0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10},
		}),
	}
	m.beginAtZero()
	return m
}

// beginAtZero shows the results that there can be before they are, so that the first
// one is seen as an increase.
func (m *Metrics) beginAtZero() {
	m.requests.WithLabelValues(v1alpha1.ReasonIssued)
	for _, kind := range []pipedream.Kind{
		pipedream.CredentialsRejected, pipedream.ScopeRejected, pipedream.ScopeNotGranted, pipedream.RequestRejected,
		pipedream.RateLimited, pipedream.Unavailable, pipedream.Malformed,
	} {
		m.requests.WithLabelValues(reasonOf(kind))
		m.renewals.WithLabelValues(string(renewal.Due), reasonOf(kind))
	}
	for _, verdict := range []pipedream.Verdict{pipedream.Accepted, pipedream.Refused, pipedream.Inconclusive} {
		m.verifications.WithLabelValues(reasonOfVerdict(verdict))
	}
	m.renewals.WithLabelValues(string(renewal.Due), v1alpha1.ReasonIssued)
}

// requested counts a request for a token.
func (m *Metrics) requested(err error, took time.Duration) {
	result := v1alpha1.ReasonIssued
	if err != nil {
		result = v1alpha1.ReasonEndpointUnavailable
		if failed, ok := errors.AsType[*pipedream.Error](err); ok {
			result = reasonOf(failed.Kind)
		}
	}
	m.requests.WithLabelValues(result).Inc()
	m.duration.Observe(took.Seconds())
}

// attempted counts an attempt to issue a token and to store it. The result is the
// reason of condition Renewed.
func (m *Metrics) attempted(why renewal.Why, result string) {
	m.renewals.WithLabelValues(string(why), result).Inc()
}

// verified counts a try of a held token.
func (m *Metrics) verified(verdict pipedream.Verdict) {
	m.verifications.WithLabelValues(reasonOfVerdict(verdict)).Inc()
}

// reasonOfVerdict returns the reason of condition Verified.
func reasonOfVerdict(verdict pipedream.Verdict) string {
	switch verdict {
	case pipedream.Accepted:
		return v1alpha1.ReasonTokenAccepted
	case pipedream.Refused:
		return v1alpha1.ReasonTokenRevoked
	case pipedream.Inconclusive:
	}
	return v1alpha1.ReasonVerificationInconclusive
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(into chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{m.expiration, m.renewal, m.condition, m.pause, m.paced, m.build} {
		into <- desc
	}
	for _, counted := range m.counted() {
		counted.Describe(into)
	}
}

func (m *Metrics) counted() []prometheus.Collector {
	return []prometheus.Collector{m.requests, m.renewals, m.verifications, m.duration}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(into chan<- prometheus.Metric) {
	for _, counted := range m.counted() {
		counted.Collect(into)
	}
	show := func(desc *prometheus.Desc, value float64, labels ...string) {
		into <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	show(m.build, 1, m.options.Version, m.options.Revision, runtime.Version())
	load := m.options.TokenRequests.Load()
	show(m.pause, load.Pause.Seconds())
	for lane, waiting := range load.Waiting {
		show(m.paced, float64(waiting), throttle.Lane(lane).String())
	}
	tokens, err := m.list()
	if err != nil {
		return // The cache is not filled yet, or no more.
	}
	// Those that are being deleted are left alone by the operator.
	tokens = slices.DeleteFunc(tokens, func(token v1alpha1.PipedreamToken) bool { return !token.DeletionTimestamp.IsZero() })
	if m.options.PerObject {
		m.collectEach(tokens, into)
		return
	}
	m.collectAll(tokens, into)
}

// gauge is a prometheus.Metric. There may be many ten thousands of them, which
// share their labels.
type gauge struct {
	desc   *prometheus.Desc
	value  float64
	labels []*dto.LabelPair
}

// Desc implements prometheus.Metric.
func (g *gauge) Desc() *prometheus.Desc { return g.desc }

// Write implements prometheus.Metric.
func (g *gauge) Write(into *dto.Metric) error {
	into.Label, into.Gauge = g.labels, &dto.Gauge{Value: &g.value}
	return nil
}

func label(name, value string) *dto.LabelPair { return &dto.LabelPair{Name: &name, Value: &value} }

// state is what a condition is.
type state struct{ kind, status, reason string }

func stateOf(condition *metav1.Condition) state {
	return state{condition.Type, string(condition.Status), condition.Reason}
}

// labels returns the labels of a state, in the order of their names.
func (s state) labels() []*dto.LabelPair {
	return []*dto.LabelPair{label("reason", s.reason), label("status", s.status), label("type", s.kind)}
}

// collectEach shows each PipedreamToken.
func (m *Metrics) collectEach(tokens []v1alpha1.PipedreamToken, into chan<- prometheus.Metric) {
	known := map[state][]*dto.LabelPair{}
	for i := range tokens {
		token := &tokens[i]
		object := []*dto.LabelPair{label("name", token.Name), label("namespace", token.Namespace)}
		if at := token.Status.ExpirationTime; at != nil {
			into <- &gauge{m.expiration, float64(at.Unix()), object}
		}
		if at := token.Status.RenewalTime; at != nil {
			into <- &gauge{m.renewal, float64(at.Unix()), object}
		}
		for condition := range conditionsOf(token) {
			is := stateOf(condition)
			if known[is] == nil {
				known[is] = is.labels()
			}
			into <- &gauge{m.condition, 1, slices.Concat(object, known[is])}
		}
	}
}

// collectAll shows what all PipedreamTokens come to.
func (m *Metrics) collectAll(tokens []v1alpha1.PipedreamToken, into chan<- prometheus.Metric) {
	counts := map[state]int{}
	var nearest *v1alpha1.PipedreamTokenStatus
	now := m.options.Clock.Now()
	for i := range tokens {
		status := &tokens[i].Status
		if status.ExpirationTime != nil && status.RenewalTime != nil && now.Before(status.ExpirationTime.Time) &&
			(nearest == nil || halfWay(status).Before(halfWay(nearest))) {
			nearest = status
		}
		for condition := range conditionsOf(&tokens[i]) {
			counts[stateOf(condition)]++
		}
	}
	if nearest != nil {
		into <- &gauge{m.expiration, float64(nearest.ExpirationTime.Unix()), nil}
		into <- &gauge{m.renewal, float64(nearest.RenewalTime.Unix()), nil}
	}
	for is, count := range counts {
		into <- &gauge{m.condition, float64(count), is.labels()}
	}
}

// conditionsOf returns the conditions of the known types.
func conditionsOf(token *v1alpha1.PipedreamToken) iter.Seq[*metav1.Condition] {
	return func(yield func(*metav1.Condition) bool) {
		for _, kind := range conditionTypes {
			if condition := meta.FindStatusCondition(token.Status.Conditions, kind); condition != nil && !yield(condition) {
				return
			}
		}
	}
}

// halfWay returns when half of the time for a renewal is over.
func halfWay(status *v1alpha1.PipedreamTokenStatus) time.Time {
	due := status.RenewalTime.Time
	return due.Add(status.ExpirationTime.Sub(due) / 2)
}
