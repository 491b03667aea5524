// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// Projects shows what waits at the limiters of the projects of Pipedream Connect, all projects together. A label with
// the project would have as many values as users care to write into their specs.
type Projects struct {
	requests             *throttle.Projects
	pause, paused, paced *prometheus.Desc
}

var _ prometheus.Collector = (*Projects)(nil)

// NewProjects returns a collector of what waits at the limiters of the requests for accounts.
func NewProjects(requests *throttle.Projects) *Projects {
	return &Projects{
		requests: requests,
		pause: prometheus.NewDesc("pipedream_account_pause_seconds",
			"How long the operator still sends no request for accounts of the project that is paused for the longest time, because Pipedream limits the rate; 0 if no project is paused.", nil, nil),
		paused: prometheus.NewDesc("pipedream_account_paused_projects", "Projects whose accounts the operator does not ask for at present, because Pipedream limits the rate.", nil, nil),
		paced:  prometheus.NewDesc("pipedream_account_paced_requests", "Requests for accounts that wait for their turn.", []string{"lane"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (p *Projects) Describe(into chan<- *prometheus.Desc) {
	into <- p.pause
	into <- p.paused
	into <- p.paced
}

// Collect implements prometheus.Collector.
func (p *Projects) Collect(into chan<- prometheus.Metric) {
	load := p.requests.Load()
	showGauge(into, p.pause, load.Pause.Seconds())
	showGauge(into, p.paused, float64(load.Paused))
	showWaiting(into, p.paced, load.Load)
}
