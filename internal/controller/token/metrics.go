// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/metrics"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	reasons "github.com/pipedream-operator/pipedream-operator/internal/reason/token"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

// listTimeout bounds how long a scrape waits for the cache to be filled.
const listTimeout = time.Second

// MetricsOptions configure Metrics. All but PerObject are required.
type MetricsOptions struct {
	// Cache is where PipedreamTokens are observed.
	Cache client.Reader
	// Clock tells the time.
	Clock clock.PassiveClock
	// PerObject shows each PipedreamToken apart, and not only all together.
	PerObject bool
}

// Metrics is what is shown of PipedreamTokens to Prometheus. What it says of objects it reads from
// the cache when it is asked. A standby says the same of them as the leader.
type Metrics struct {
	objects                           *metrics.Objects
	requests, renewals, verifications *prometheus.CounterVec
	duration                          prometheus.Histogram
}

var _ prometheus.Collector = (*Metrics)(nil)

// NewMetrics returns Metrics that count nothing yet. They read the cache until ctx ends.
func NewMetrics(ctx context.Context, options MetricsOptions) *Metrics {
	count := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pipedream_" + name, Help: help}, labels)
	}
	m := &Metrics{
		objects: metrics.NewObjects(metrics.ObjectsOptions{
			Expiration: metrics.Name{
				Name: "token_expiration_timestamp_seconds",
				Help: "When the token in the Secret expires; without names, the expiry of the token that has used up most of its time for renewal.",
			},
			Renewal: metrics.Name{
				Name: "token_renewal_timestamp_seconds",
				Help: "When the token in the Secret is to be renewed; without names, the renewal time of the token that has used up most of its time for renewal.",
			},
			Condition: metrics.Name{
				Name: "token_condition",
				Help: "1 for the status and reason of each condition of a PipedreamToken; without names, the number of PipedreamTokens with this status and reason.",
			},
			ConditionTypes: conditionTypes,
			List:           func() ([]metrics.Object, error) { return listShown(ctx, options.Cache) },
			Clock:          options.Clock,
			PerObject:      options.PerObject,
		}),
		requests:      count("token_requests_total", "Requests to Pipedream for a token.", "result"),
		renewals:      count("token_renewals_total", "Attempts to issue a token and to write it to the Secret, by why a token was due.", "reason", "result"),
		verifications: count("verifications_total", "Requests to Pipedream to verify a current token.", "result"),
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

// shown is a PipedreamToken as metrics show it.
type shown struct{ token *v1alpha1.PipedreamToken }

// GetNamespace implements metrics.Object.
func (s shown) GetNamespace() string { return s.token.Namespace }

// GetName implements metrics.Object.
func (s shown) GetName() string { return s.token.Name }

// GetConditions implements metrics.Object.
func (s shown) GetConditions() []metav1.Condition { return s.token.Status.Conditions }

// GetTimes implements metrics.Object. The token of a PipedreamToken that is being deleted is not
// renewed.
func (s shown) GetTimes() (expiration, renewal *metav1.Time) {
	if ownedsecret.IsTerminating(s.token) {
		return s.token.Status.ExpirationTime, nil
	}
	return s.token.Status.ExpirationTime, s.token.Status.RenewalTime
}

// listShown returns the PipedreamTokens. One that is being deleted and is held by a finalizer is
// shown, too: pods may still use its Secret.
func listShown(ctx context.Context, cache client.Reader) ([]metrics.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	tokens := &v1alpha1.PipedreamTokenList{}
	if err := cache.List(ctx, tokens, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	objects := make([]metrics.Object, 0, len(tokens.Items))
	for i := range tokens.Items {
		objects = append(objects, shown{&tokens.Items[i]})
	}
	return objects, nil
}

// beginAtZero shows the results that are possible before they occur, so that the first one is seen
// as an increase.
func (m *Metrics) beginAtZero() {
	m.requests.WithLabelValues(v1alpha1.ReasonIssued)
	for _, row := range reasons.Rows {
		if row.Kind != "" && row.Kind != pipedream.CredentialsInvalid { // Such credentials are never sent.
			m.requests.WithLabelValues(row.Reason)
			m.renewals.WithLabelValues(string(renewal.Due), row.Reason)
		}
		if row.Verdict != "" {
			m.verifications.WithLabelValues(row.Reason)
		}
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

// count counts an outcome: an attempt to issue a token and to write it, by why the token was to be
// issued, or a verification. The result of an attempt is the reason of condition Renewed.
func (m *Metrics) count(decision renewal.Decision, o outcome) {
	if answered, ok := o.(verdict); ok {
		m.verifications.WithLabelValues(reasonOfVerdict(answered.is)).Inc()
		return
	}
	result := resultOf(o)
	if _, ok := o.(clusterFailed); ok && (decision.Action == renewal.Issue || decision.Action == renewal.Write) {
		result = v1alpha1.ReasonClusterUnavailable
	}
	if result != "" {
		m.renewals.WithLabelValues(string(decision.Why), result).Inc()
	}
}

// resultOf returns the result of an attempt to issue a token and to write it; empty for any other
// outcome.
func resultOf(o outcome) string {
	switch o := o.(type) {
	case requestFailed:
		return reasonOf(o.cause.Kind)
	case foreign:
		return v1alpha1.ReasonSecretNotOwned
	case written:
		if !o.kind.isRewrite {
			return v1alpha1.ReasonIssued
		}
	case writeRefused:
		if !o.kind.isRewrite {
			return v1alpha1.ReasonSecretWriteRefused
		}
	case unrenderable:
		if !o.kind.isRewrite {
			return v1alpha1.ReasonTemplateInvalid
		}
	}
	return ""
}

// reasonOfVerdict returns the reason of condition Verified.
func reasonOfVerdict(verdict pipedream.Verdict) string {
	if row, ok := reasons.Rows.OfVerdict(verdict); ok {
		return row.Reason
	}
	return v1alpha1.ReasonVerificationInconclusive
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(into chan<- *prometheus.Desc) {
	for _, collector := range m.collectors() {
		collector.Describe(into)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(into chan<- prometheus.Metric) {
	for _, collector := range m.collectors() {
		collector.Collect(into)
	}
}

func (m *Metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.objects, m.requests, m.renewals, m.verifications, m.duration}
}
