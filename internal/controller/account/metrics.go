// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/metrics"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/refresh"
)

// listTimeout bounds how long a scrape waits for the cache to be filled.
const listTimeout = time.Second

// MetricsOptions configure Metrics. All but PerObject are required.
type MetricsOptions struct {
	// Cache is where PipedreamAccounts are observed.
	Cache client.Reader
	// Clock tells the time.
	Clock clock.PassiveClock
	// PerObject shows each PipedreamAccount apart, and not only all together.
	PerObject bool
}

// Metrics is what is shown of PipedreamAccounts to Prometheus. What it says of objects it reads from
// the cache when it is asked. A standby says the same of them as the leader.
type Metrics struct {
	objects           *metrics.Objects
	requests, fetches *prometheus.CounterVec
	duration          prometheus.Histogram
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
				Name: "account_expiration_timestamp_seconds",
				Help: "When the credentials in the Secret expire; without names, the expiry of the credentials that have used up most of their time for the next look.",
			},
			Renewal: metrics.Name{
				Name: "account_due_timestamp_seconds",
				Help: "When credentials that expire are to be fetched again; without names, that time of the credentials that have used up most of their time for the next look.",
			},
			Condition: metrics.Name{
				Name: "account_condition",
				Help: "1 for the status and reason of each condition of a PipedreamAccount; without names, the number of PipedreamAccounts with this status and reason.",
			},
			ConditionTypes: conditionTypes,
			List:           func() ([]metrics.Object, error) { return listShown(ctx, options.Cache) },
			Clock:          options.Clock,
			PerObject:      options.PerObject,
		}),
		requests: count("account_requests_total", "Requests to Pipedream for an account.", "result"),
		fetches:  count("account_fetches_total", "Attempts to fetch the credentials of an account and to write them to the Secret, by why the account was due for a look.", "reason", "result"),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "pipedream_account_request_duration_seconds",
			Help: "How long Pipedream takes to answer a request for an account.",
			// A request is given up after ten seconds.
			Buckets: []float64{0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10},
		}),
	}
	m.beginAtZero()
	return m
}

// shown is a PipedreamAccount as metrics show it.
type shown struct{ *v1alpha1.PipedreamAccount }

// GetConditions implements metrics.Object.
func (s shown) GetConditions() []metav1.Condition { return s.Status.Conditions }

// GetTimes implements metrics.Object. The account of a PipedreamAccount that is suspended, or that is
// being deleted, is not looked at.
func (s shown) GetTimes() (expiration, renewal *metav1.Time) {
	status := s.Status
	if status.ExpirationTime == nil || status.FetchTime == nil || isAtRest(s.PipedreamAccount) {
		return status.ExpirationTime, nil
	}
	desired := refresh.Desired{Policy: refresh.Policy(s.TargetFetchPolicy())}
	due, _ := refresh.ScheduledTime(desired, recordShown(status))
	return status.ExpirationTime, timestamp(due)
}

// recordShown returns the times of the credentials in the Secret, as the status shows them. It must have a fetch time.
func recordShown(status v1alpha1.PipedreamAccountStatus) refresh.Record {
	record := refresh.Record{FetchTime: status.FetchTime.Time}
	if status.ExpirationTime != nil {
		record.ExpirationTime = status.ExpirationTime.Time
	}
	if status.NextRefreshTime != nil {
		record.NextRefreshTime = status.NextRefreshTime.Time
	}
	return record
}

// isAtRest reports whether no credentials are fetched for a PipedreamAccount, whatever is due: it is suspended
// by its status, or it is being deleted.
func isAtRest(account *v1alpha1.PipedreamAccount) bool {
	fetched := meta.FindStatusCondition(account.Status.Conditions, v1alpha1.ConditionFetched)
	return ownedsecret.IsTerminating(account) || fetched != nil && fetched.Reason == v1alpha1.ReasonSuspended
}

// listShown returns the PipedreamAccounts. One that is being deleted and is held by a finalizer is shown,
// too: pods may still use its Secret.
func listShown(ctx context.Context, cache client.Reader) ([]metrics.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	accounts := &v1alpha1.PipedreamAccountList{}
	if err := cache.List(ctx, accounts, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	objects := make([]metrics.Object, 0, len(accounts.Items))
	for i := range accounts.Items {
		objects = append(objects, shown{&accounts.Items[i]})
	}
	return objects, nil
}

// beginAtZero has all results that are known there from the start, so that a first failure is an
// increase.
func (m *Metrics) beginAtZero() {
	results := []string{v1alpha1.ReasonAccountFetched}
	for _, row := range rows {
		if row.Kind != "" && row.Kind != pipedream.CredentialsInvalid { // Such credentials are never sent.
			results = append(results, row.Reason)
		}
	}
	for _, result := range results {
		m.requests.WithLabelValues(result)
	}
	for _, result := range append(results, v1alpha1.ReasonTokenRateLimited) {
		for _, routine := range []refresh.Why{refresh.Expiring, refresh.IntervalElapsed} {
			m.fetches.WithLabelValues(string(routine), result)
		}
	}
}

// requested counts a request for an account.
func (m *Metrics) requested(err error, took time.Duration) {
	result := v1alpha1.ReasonAccountFetched
	if err != nil {
		result = v1alpha1.ReasonEndpointUnavailable
		if failed, ok := errors.AsType[*pipedream.Error](err); ok {
			result = reasonOf(failed.Kind)
		}
	}
	m.requests.WithLabelValues(result).Inc()
	m.duration.Observe(took.Seconds())
}

// count counts an attempt by why the account was due for a look, and by its result: the reason of
// condition Fetched.
func (m *Metrics) count(decision refresh.Decision, o outcome) {
	result := resultOf(o)
	if _, ok := o.(clusterFailed); ok && decision.Action == refresh.Fetch {
		result = v1alpha1.ReasonClusterUnavailable
	}
	if result != "" {
		m.fetches.WithLabelValues(string(decision.Why), result).Inc()
	}
}

// resultOf returns the result of an attempt; empty for any other outcome.
func resultOf(o outcome) string {
	switch o := o.(type) {
	case lookFailed:
		return o.reason()
	case verdictGiven:
		return reasonOf(o.cause.Kind)
	case unchanged:
		if o.look.isStale {
			return v1alpha1.ReasonCredentialsStale
		}
		return v1alpha1.ReasonAccountFetched
	case written:
		return v1alpha1.ReasonAccountFetched
	case unrenderable:
		return v1alpha1.ReasonTemplateInvalid
	case foreign:
		return v1alpha1.ReasonSecretNotOwned
	case writeRefused:
		return v1alpha1.ReasonSecretWriteRefused
	}
	return ""
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
	return []prometheus.Collector{m.objects, m.requests, m.fetches, m.duration}
}
