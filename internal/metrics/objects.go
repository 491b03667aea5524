// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package metrics has collectors for Prometheus. What a collector says of objects it reads when it
// is asked, so that it remembers none and none outlives its object.
package metrics

import (
	"iter"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
)

// Object is an object of any kind, as far as metrics show it.
type Object interface {
	GetNamespace() string
	GetName() string
	// GetConditions returns the conditions of the status.
	GetConditions() []metav1.Condition
	// GetTimes returns when the credentials in the Secret expire, and when they are to be renewed; nil if
	// that is not known.
	GetTimes() (expiration, renewal *metav1.Time)
}

// ObjectsOptions configure Objects. All but PerObject are required.
type ObjectsOptions struct {
	// Expiration, Renewal and Condition are the names of the metrics, without "pipedream_", and
	// their helps.
	Expiration, Renewal, Condition Name
	// ConditionTypes are the types of the conditions to show. Each object has at most one of each.
	ConditionTypes []string
	// List returns the objects. After an error, nothing is shown of them.
	List func() ([]Object, error)
	// Clock tells the time.
	Clock clock.PassiveClock
	// PerObject shows each object apart, and not only all together.
	PerObject bool
}

// Name is the name of a metric, without "pipedream_", and its help.
type Name struct{ Name, Help string }

// Objects shows the objects of a kind.
type Objects struct {
	options                        ObjectsOptions
	expiration, renewal, condition *prometheus.Desc
}

var _ prometheus.Collector = (*Objects)(nil)

// NewObjects returns a collector of objects.
func NewObjects(options ObjectsOptions) *Objects {
	var object []string
	if options.PerObject {
		object = []string{"namespace", "name"}
	}
	describe := func(name Name, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("pipedream_"+name.Name, name.Help, labels, nil)
	}
	return &Objects{
		options:    options,
		expiration: describe(options.Expiration, object...),
		renewal:    describe(options.Renewal, object...),
		condition:  describe(options.Condition, append(object, "type", "status", "reason")...),
	}
}

// Describe implements prometheus.Collector.
func (o *Objects) Describe(into chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{o.expiration, o.renewal, o.condition} {
		into <- desc
	}
}

// Collect implements prometheus.Collector.
func (o *Objects) Collect(into chan<- prometheus.Metric) {
	objects, err := o.options.List()
	switch {
	case err != nil:
		return // The cache is not filled yet, or no longer.
	case o.options.PerObject:
		o.collectEach(objects, into)
	default:
		o.collectAll(objects, into)
	}
}

// gauge is a prometheus.Metric. There may be tens of thousands of them, which share their labels.
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

// collectEach shows each object.
func (o *Objects) collectEach(objects []Object, into chan<- prometheus.Metric) {
	known := map[state][]*dto.LabelPair{}
	for _, shown := range objects {
		labels := []*dto.LabelPair{label("name", shown.GetName()), label("namespace", shown.GetNamespace())}
		expiration, renewal := shown.GetTimes()
		if expiration != nil {
			into <- &gauge{o.expiration, float64(expiration.Unix()), labels}
		}
		if renewal != nil {
			into <- &gauge{o.renewal, float64(renewal.Unix()), labels}
		}
		for condition := range o.conditionsOf(shown) {
			is := stateOf(condition)
			if known[is] == nil {
				known[is] = is.labels()
			}
			into <- &gauge{o.condition, 1, slices.Concat(labels, known[is])}
		}
	}
}

// collectAll shows how many objects have each condition, and the times of the object that has used
// up most of its time for renewal.
func (o *Objects) collectAll(objects []Object, into chan<- prometheus.Metric) {
	counts := map[state]int{}
	var expiration, renewal *metav1.Time
	now := o.options.Clock.Now()
	for _, shown := range objects {
		expires, due := shown.GetTimes()
		if expires != nil && due != nil && now.Before(expires.Time) &&
			(expiration == nil || halfWay(expires, due).Before(halfWay(expiration, renewal))) {
			expiration, renewal = expires, due
		}
		for condition := range o.conditionsOf(shown) {
			counts[stateOf(condition)]++
		}
	}
	if expiration != nil {
		into <- &gauge{o.expiration, float64(expiration.Unix()), nil}
		into <- &gauge{o.renewal, float64(renewal.Unix()), nil}
	}
	for is, count := range counts {
		into <- &gauge{o.condition, float64(count), is.labels()}
	}
}

// conditionsOf returns the conditions of the types that are shown.
func (o *Objects) conditionsOf(shown Object) iter.Seq[*metav1.Condition] {
	conditions := shown.GetConditions()
	return func(yield func(*metav1.Condition) bool) {
		for _, kind := range o.options.ConditionTypes {
			if condition := meta.FindStatusCondition(conditions, kind); condition != nil && !yield(condition) {
				return
			}
		}
	}
}

// halfWay returns when half of the time for a renewal is over.
func halfWay(expiration, renewal *metav1.Time) time.Time {
	return renewal.Add(expiration.Sub(renewal.Time) / 2)
}
