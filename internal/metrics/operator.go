// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// Operator shows which build runs, and what waits at the limiter of token requests.
type Operator struct {
	tokenRequests       *throttle.Limiter
	version, revision   string
	pause, paced, build *prometheus.Desc
}

var _ prometheus.Collector = (*Operator)(nil)

// NewOperator returns a collector of what the operator is, by the version and the revision of its
// build, and of what waits at a limiter.
func NewOperator(tokenRequests *throttle.Limiter, version, revision string) *Operator {
	return &Operator{
		tokenRequests: tokenRequests, version: version, revision: revision,
		pause: prometheus.NewDesc("pipedream_pause_seconds",
			"How long the operator still sends no token request, because Pipedream limits the rate; 0 if there is no pause.", nil, nil),
		paced: prometheus.NewDesc("pipedream_paced_requests", "Token requests that wait for their turn.", []string{"lane"}, nil),
		build: prometheus.NewDesc("pipedream_operator_build_info", "Always 1; the labels say which build runs.", []string{"version", "revision", "goversion"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (o *Operator) Describe(into chan<- *prometheus.Desc) {
	into <- o.pause
	into <- o.paced
	into <- o.build
}

// Collect implements prometheus.Collector.
func (o *Operator) Collect(into chan<- prometheus.Metric) {
	showGauge(into, o.build, 1, o.version, o.revision, runtime.Version())
	load := o.tokenRequests.Load()
	showGauge(into, o.pause, load.Pause.Seconds())
	showWaiting(into, o.paced, load)
}

func showGauge(into chan<- prometheus.Metric, desc *prometheus.Desc, value float64, labels ...string) {
	into <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
}

// showWaiting shows how many requesters wait in each lane of a limiter.
func showWaiting(into chan<- prometheus.Metric, desc *prometheus.Desc, load throttle.Load) {
	for lane, waiting := range load.Waiting {
		showGauge(into, desc, float64(waiting), throttle.Lane(lane).String())
	}
}
