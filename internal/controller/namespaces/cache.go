// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package namespaces has the manager's cache for an operator that watches some namespaces
// only. Readers and controllers use a Cache, which has the objects of all these namespaces.
// A Cache has a watcher for each namespace, which keeps the namespace watched. It has states,
// which know the watched namespaces, and an informer for each kind, which has the events of
// the kind from all namespaces.
package namespaces

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// settleTime is how long the start waits for namespaces for which the API server has
// neither sent all objects nor an error.
const settleTime = 15 * time.Second

// refusedRetry has the waits between the attempts to watch a namespace that the API server
// refuses: 2 to 3 seconds at first, and 18 to 27 seconds in the end.
var refusedRetry = wait.Backoff{Duration: 2 * time.Second, Factor: 2, Jitter: 0.5, Cap: 18 * time.Second, Steps: 10}

// Options configure a Cache.
type Options struct {
	// Names are the namespaces to watch. Required.
	Names []string
	// Kinds has an object of each kind to watch: a *metav1.PartialObjectMetadata for a kind
	// of which only metadata is watched. Objects of each kind must be in namespaces. Required.
	Kinds []client.Object
	// Log gets a line when a namespace can't be watched, and when it is watched again. Required.
	Log logr.Logger
	// Retry has the waits between the attempts to watch a namespace that the API server refuses. Zero means 2
	// to 3 seconds at first, and 18 to 27 seconds in the end.
	Retry wait.Backoff
	// SettleTime is how long the start waits for namespaces for which the API server has neither sent
	// all objects nor an error. Zero means 15 seconds.
	SettleTime time.Duration
}

// Cache is the manager's cache when the operator watches some namespaces only. It has a
// cache for each of these namespaces. If a namespace can't be watched, because it was deleted
// or because the operator's Role or RoleBinding is missing, the other namespaces are still
// watched without delay. The Cache watches the namespace again within 30 seconds after that
// is possible.
//
// The kinds of a namespace are watched together or not at all. When a namespace is not
// watched any longer, the event handlers get a delete event for each of its objects, and
// readers get a *NotWatchedError.
//
// Cache is a prometheus.Collector for the metric pipedream_namespace_watched.
type Cache struct {
	scheme *runtime.Scheme
	// settleAfter is how long the start waits for namespaces without an answer.
	settleAfter time.Duration
	states      *states
	indexes     *indexes
	// watchers has the watcher of each namespace, by the name of the namespace.
	watchers map[string]*watcher
}

var (
	_ cache.Cache          = (*Cache)(nil)
	_ prometheus.Collector = (*Cache)(nil)
)

// New returns a cache that watches nothing before it is started. It looks up the kinds at
// the API server, and returns an error if a kind is unknown or its objects are not in
// namespaces.
func New(config *rest.Config, options cache.Options, namespaces Options) (*Cache, error) {
	if namespaces.Retry.Duration == 0 {
		namespaces.Retry = refusedRetry
	}
	if namespaces.SettleTime == 0 {
		namespaces.SettleTime = settleTime
	}
	prober, err := client.NewWithWatch(config, client.Options{HTTPClient: options.HTTPClient, Scheme: options.Scheme, Mapper: options.Mapper})
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	c := &Cache{
		scheme:      options.Scheme,
		settleAfter: namespaces.SettleTime,
		states:      newStates(namespaces.Names, namespaces.Log),
		indexes:     &indexes{},
		watchers:    map[string]*watcher{},
	}
	for _, object := range namespaces.Kinds {
		informer, err := newInformer(object, options.Scheme, prober)
		if err != nil {
			return nil, err
		}
		informer.states = c.states
		c.states.informers = append(c.states.informers, informer)
	}
	for _, name := range namespaces.Names {
		c.watchers[name] = &watcher{
			name:      name,
			config:    config,
			options:   options,
			prober:    prober,
			retry:     namespaces.Retry,
			states:    c.states,
			indexes:   c.indexes,
			suspected: make(chan struct{}, 1),
		}
	}
	return c, nil
}

// Start watches the namespaces until ctx ends.
func (c *Cache) Start(ctx context.Context) error {
	if err := c.indexes.close(); err != nil {
		return err
	}
	var running sync.WaitGroup
	for _, watcher := range c.watchers {
		running.Go(func() { watcher.keepWatching(ctx) })
	}
	if sleep(ctx, c.settleAfter) {
		c.states.waitNoLonger()
	}
	running.Wait()
	return nil
}

// WaitForCacheSync waits until at least one namespace is watched, and each other namespace is watched or the
// reason why it is not watched is known. It waits 15 seconds for namespaces without an answer from the API
// server. After it has returned true, it always returns true. It returns false if ctx ends before.
func (c *Cache) WaitForCacheSync(ctx context.Context) bool {
	select {
	case <-c.states.synced:
		return true
	case <-ctx.Done():
		return false
	}
}

// Get reads an object. The error is a *NotWatchedError if its namespace is not watched.
func (c *Cache) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	watched, err := c.states.cacheOf(key.Namespace)
	if err != nil {
		return err
	}
	return watched.Get(ctx, key, object, options...)
}

// List lists the objects of one namespace, or the objects of all namespaces that are
// watched now. If that one namespace is not watched, the error is a *NotWatchedError.
func (c *Cache) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	asked := client.ListOptions{}
	asked.ApplyOptions(options)
	if asked.Namespace != metav1.NamespaceAll {
		watched, err := c.states.cacheOf(asked.Namespace)
		if err != nil {
			return err
		}
		return watched.List(ctx, list, options...)
	}
	if asked.Limit > 0 {
		return errors.New("a list of several namespaces can't be limited")
	}
	all := []runtime.Object{}
	for _, watched := range c.states.watched() {
		part := list.DeepCopyObject().(client.ObjectList)
		if err := watched.List(ctx, part, options...); err != nil {
			return err
		}
		items, err := meta.ExtractList(part)
		if err != nil {
			return fmt.Errorf("read a list: %w", err)
		}
		all = append(all, items...)
	}
	return meta.SetList(list, all)
}

// IndexField adds an index to the caches of all namespaces. It must be called before the
// start.
func (c *Cache) IndexField(_ context.Context, object client.Object, field string, extract client.IndexerFunc) error {
	return c.indexes.add(index{object: object, field: field, extract: extract})
}

// GetInformer returns the informer of a kind, for all namespaces. Event handlers that are
// added to it get the events of each namespace for as long as it is watched.
func (c *Cache) GetInformer(_ context.Context, object client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	asked, err := apiutil.GVKForObject(object, c.scheme)
	if err != nil {
		return nil, err
	}
	for _, informer := range c.states.informers {
		if informer.kind == asked && isMetadata(informer.object) == isMetadata(object) {
			return informer, nil
		}
	}
	return nil, &cache.ErrResourceNotCached{GVK: asked}
}

// GetInformerForKind returns the informer of a kind, as GetInformer does.
func (c *Cache) GetInformerForKind(ctx context.Context, kind schema.GroupVersionKind, options ...cache.InformerGetOption) (cache.Informer, error) {
	object, err := c.scheme.New(kind)
	if err != nil {
		return nil, err
	}
	typed, ok := object.(client.Object)
	if !ok {
		return nil, &cache.ErrResourceNotCached{GVK: kind}
	}
	return c.GetInformer(ctx, typed, options...)
}

// RemoveInformer returns an error, because the kinds of a namespace are watched together.
func (c *Cache) RemoveInformer(context.Context, client.Object) error {
	return errors.New("the kinds of a namespace are watched together, and none of them can be removed")
}

// IsWatched reports whether a namespace is watched now.
func (c *Cache) IsWatched(name string) bool {
	_, err := c.states.cacheOf(name)
	return err == nil
}

// Suspect tells the Cache that a request in a namespace was forbidden. The Cache then soon checks whether the
// namespace can still be watched.
func (c *Cache) Suspect(name string) {
	if watcher, ok := c.watchers[name]; ok {
		watcher.suspect()
	}
}

// Check returns an error that names the namespaces that are not watched. The error says for each of them
// whether the API server refuses the requests or has not answered. Check returns nil if all namespaces are
// watched.
func (c *Cache) Check() error {
	refused, unanswered := c.states.unwatched()
	var says []string
	if len(refused) > 0 {
		says = append(says, fmt.Sprintf("these namespaces are not watched, because the API server refuses it: %s. Each is watched as soon as it exists and the operator's RoleBinding is in it; the log says what the API server refuses", strings.Join(refused, ", ")))
	}
	if len(unanswered) > 0 {
		says = append(says, fmt.Sprintf("these namespaces are not watched, because the API server gives no answer yet: %s. Each is watched as soon as the API server answers", strings.Join(unanswered, ", ")))
	}
	if len(says) == 0 {
		return nil
	}
	return errors.New(strings.Join(says, "; "))
}

var namespaceWatched = prometheus.NewDesc("pipedream_namespace_watched",
	"1 for a namespace of --namespaces that the operator watches, and 0 for one that it can't watch.", []string{"namespace"}, nil)

// Describe implements prometheus.Collector.
func (c *Cache) Describe(into chan<- *prometheus.Desc) { into <- namespaceWatched }

// Collect implements prometheus.Collector.
func (c *Cache) Collect(into chan<- prometheus.Metric) {
	for _, name := range c.states.names {
		value := 0.0
		if c.IsWatched(name) {
			value = 1
		}
		into <- prometheus.MustNewConstMetric(namespaceWatched, prometheus.GaugeValue, value, name)
	}
}
