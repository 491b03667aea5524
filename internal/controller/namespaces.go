// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

const (
	// settleTime is how long the start waits for namespaces for which the API server has
	// neither sent all objects nor an error.
	settleTime = 15 * time.Second
	// refusalWindow is the time in which a second refusal shows that the first one was not
	// a hiccup of the API server. An informer tries again at the latest after 60 seconds.
	refusalWindow = 2 * time.Minute
	// probeTimeout bounds one try to open the watches of a namespace.
	probeTimeout = 10 * time.Second
	// probeLabel is on no object, so that a watch of the objects with it gets none.
	probeLabel = "pipedream-operator.io/probe"
	// suspicionInterval is the shortest time between two probes of a watched namespace.
	suspicionInterval = 30 * time.Second
)

// refusedRetry paces the tries to watch a namespace that the API server refuses: after
// 2 to 3 seconds at first, and every 18 to 27 seconds in the end.
var refusedRetry = wait.Backoff{Duration: 2 * time.Second, Factor: 2, Jitter: 0.5, Cap: 18 * time.Second, Steps: 10}

// NewCache returns the function that makes the manager's cache. Without namespaces it is
// the usual cache of the whole cluster, else a NamespacedCache.
func NewCache(namespaces []string) cache.NewCacheFunc {
	if len(namespaces) == 0 {
		return cache.New
	}
	return func(config *rest.Config, options cache.Options) (cache.Cache, error) {
		return NewNamespacedCache(config, options, NamespacesOptions{Names: namespaces, Log: ctrl.Log.WithName("namespaces")})
	}
}

// NamespacesOptions configure a NamespacedCache.
type NamespacesOptions struct {
	// Names are the namespaces to watch. Required.
	Names []string
	// Log gets a line when a namespace can't be watched, and when it is watched again.
	Log logr.Logger
	// Retry paces the tries to watch a namespace that the API server refuses. Zero means after 2 to 3
	// seconds at first, and every 18 to 27 seconds in the end.
	Retry wait.Backoff
	// SettleTime is how long the start waits for namespaces for which the API server has neither sent
	// all objects nor an error. Zero means 15 seconds.
	SettleTime time.Duration
}

// NotWatchedError says that the cache can't answer a question about a namespace. It
// never means that an object does not exist.
type NotWatchedError struct {
	// Namespace is the namespace that was asked about.
	Namespace string
	// Cause is why the namespace is not watched; nil while nothing is known of it yet.
	Cause error
}

func (e *NotWatchedError) Error() string {
	if e.Cause == nil {
		return fmt.Sprintf("the namespace %s is not watched yet", e.Namespace)
	}
	return fmt.Sprintf("the namespace %s is not watched: %v", e.Namespace, e.Cause)
}

// Unwrap returns the cause.
func (e *NotWatchedError) Unwrap() error { return e.Cause }

// ErrNotListed is the cause of a NotWatchedError about a namespace that is not in the list.
var ErrNotListed = errors.New("it is not in --namespaces")

// NamespacedCache is the manager's cache when the operator watches some namespaces only.
// It has a cache for each of them. A namespace that can't be watched, because it was
// deleted or because the operator's Role or RoleBinding is missing, neither ends nor
// delays the others, and is watched again within 30 seconds after that is possible.
//
// PipedreamTokens and Secrets of a namespace are watched together or not at all. When a
// namespace is not watched any longer, its objects are as if deleted for the event
// handlers, and a *NotWatchedError for the readers.
//
// It is a prometheus.Collector for the metric pipedream_namespace_watched.
type NamespacedCache struct {
	config  *rest.Config
	options cache.Options
	// prober opens watches, to find out whether the API server lets it.
	prober client.WithWatch
	log    logr.Logger
	// names are the namespaces in the order in which they were given.
	names []string
	// kinds are the watched kinds.
	kinds []*unionInformer
	// retry paces the tries to watch a namespace that is refused.
	retry wait.Backoff
	// settleAfter is how long the start waits for namespaces without an answer.
	settleAfter time.Duration
	// clock tells how much time lies between two refusals.
	clock clock.PassiveClock
	// synced is closed when all namespaces were tried, and one of them is watched.
	synced chan struct{}

	mu sync.RWMutex
	// started is set by Start, and overdue when the time to wait for all is over.
	started, overdue bool
	// prepare are functions that each new cache has to pass through before it starts.
	prepare []func(context.Context, cache.Cache) error
	states  map[string]*namespaceState
}

// namespaceState is what is known of one namespace.
type namespaceState struct {
	// cache holds its objects; nil while it is not watched.
	cache cache.Cache
	// cause is why it is not watched; nil while nothing is known yet.
	cause error
	// reported is the line of the log that says why it is not watched; empty after it was
	// watched again, and before such a line.
	reported string
	// suspected has an entry when a request in the namespace was forbidden.
	suspected chan struct{}
}

var (
	_ cache.Cache          = (*NamespacedCache)(nil)
	_ prometheus.Collector = (*NamespacedCache)(nil)
)

// NewNamespacedCache returns a cache that watches nothing before it is started.
func NewNamespacedCache(config *rest.Config, options cache.Options, namespaces NamespacesOptions) (*NamespacedCache, error) {
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
	n := &NamespacedCache{
		config:      config,
		options:     options,
		prober:      prober,
		log:         namespaces.Log,
		names:       namespaces.Names,
		retry:       namespaces.Retry,
		settleAfter: namespaces.SettleTime,
		clock:       clock.RealClock{},
		synced:      make(chan struct{}),
		states:      map[string]*namespaceState{},
	}
	secretKind := corev1.SchemeGroupVersion.WithKind("Secret")
	secret, secrets := &metav1.PartialObjectMetadata{}, &metav1.PartialObjectMetadataList{}
	secret.SetGroupVersionKind(secretKind)
	secrets.SetGroupVersionKind(secretKind.GroupVersion().WithKind("SecretList"))
	n.kinds = []*unionInformer{
		{union: n, object: &v1alpha1.PipedreamToken{}, list: &v1alpha1.PipedreamTokenList{}},
		{union: n, object: secret, list: secrets},
	}
	for _, kind := range n.kinds {
		if _, err := prober.IsObjectNamespaced(kind.object); err != nil {
			return nil, fmt.Errorf("look up a kind: %w", err)
		}
	}
	for _, name := range namespaces.Names {
		n.states[name] = &namespaceState{suspected: make(chan struct{}, 1)}
	}
	return n, nil
}

// Start watches the namespaces until ctx ends.
func (n *NamespacedCache) Start(ctx context.Context) error {
	n.mu.Lock()
	if n.started {
		n.mu.Unlock()
		return errors.New("the cache was started before")
	}
	n.started = true
	n.mu.Unlock()
	var running sync.WaitGroup
	for _, name := range n.names {
		running.Go(func() { n.keepWatching(ctx, name) })
	}
	if sleep(ctx, n.settleAfter) {
		n.mu.Lock()
		n.overdue = true
		n.settle()
		n.reportUnanswered()
		n.mu.Unlock()
	}
	running.Wait()
	return nil
}

// WaitForCacheSync waits until each namespace is watched or has given a reason why not,
// and at least one is watched. For namespaces without an answer it waits 15 seconds.
// Once true, it stays true. It returns false if ctx ends before.
func (n *NamespacedCache) WaitForCacheSync(ctx context.Context) bool {
	select {
	case <-n.synced:
		return true
	case <-ctx.Done():
		return false
	}
}

// keepWatching watches a namespace, and tries again when that is refused.
func (n *NamespacedCache) keepWatching(ctx context.Context, name string) {
	retry := n.retry
	for {
		wasWatched, err := n.watch(ctx, name)
		if ctx.Err() != nil {
			return
		}
		if wasWatched {
			retry = n.retry
		}
		n.mu.Lock()
		n.report(name, refusedLine, err)
		n.mu.Unlock()
		for {
			if !sleep(ctx, retry.Step()) {
				return
			}
			if err = n.probe(ctx, name); err == nil {
				break
			}
			n.explain(name, err)
		}
	}
}

// The lines of the log about a namespace that is not watched.
const (
	refusedLine    = "this namespace can't be watched, and its PipedreamTokens are not renewed; the operator tries again at least every 30 seconds"
	unansweredLine = "the API server has not answered requests for this namespace since the start, and its PipedreamTokens are not renewed; the operator asks again until the API server answers"
)

// report logs why a namespace is not watched, unless the log says the same already. The
// caller holds the lock.
func (n *NamespacedCache) report(name, line string, cause error) {
	state := n.states[name]
	if state.reported == line {
		return
	}
	state.reported = line
	n.log.Error(cause, line, "namespace", name)
}

// reportUnanswered logs the namespaces that are neither watched nor refused. The caller
// holds the lock.
func (n *NamespacedCache) reportUnanswered() {
	for _, name := range n.names {
		if state := n.states[name]; state.cache == nil && !isRefusal(state.cause) {
			n.report(name, unansweredLine, state.cause)
		}
	}
}

// watch watches a namespace until the API server refuses that, or ctx ends. It returns
// whether it was watched, and the refusal.
func (n *NamespacedCache) watch(ctx context.Context, name string) (wasWatched bool, err error) {
	watching, stop := context.WithCancelCause(ctx)
	var running sync.WaitGroup
	defer func() {
		stop(nil)
		running.Wait()
	}()
	made, err := n.newCacheOf(watching, name, stop)
	if err != nil {
		n.explain(name, err)
		return false, err
	}
	running.Go(func() {
		if err := made.Start(watching); err != nil {
			stop(err)
		}
	})
	if !made.WaitForCacheSync(watching) {
		n.explain(name, context.Cause(watching))
		return false, context.Cause(watching)
	}
	err = n.publish(watching, name, made)
	wasWatched = err == nil
	if wasWatched {
		n.probeWhenSuspected(watching, name, stop)
	} else {
		stop(err)
	}
	if ctx.Err() == nil {
		handlers := n.withdraw(name, context.Cause(watching))
		running.Wait()
		n.tellGone(ctx, made, handlers)
	}
	return wasWatched, context.Cause(watching)
}

// newCacheOf makes the cache of a namespace. It calls stop with the error when the API
// server refuses to list or to watch something of the namespace.
func (n *NamespacedCache) newCacheOf(ctx context.Context, name string, stop context.CancelCauseFunc) (cache.Cache, error) {
	var mu sync.Mutex
	// Each kind has a reflector of its own, and one hiccup of the API server may refuse both.
	lastRefusals := map[*toolscache.Reflector]time.Time{}
	options := n.options
	// With the selector, the requests are for this namespace. DefaultNamespaces would leave a
	// goroutine behind for each cache that is stopped before it has all objects.
	options.DefaultFieldSelector = fields.OneTermEqualSelector("metadata.namespace", name)
	options.DefaultWatchErrorHandler = func(ctx context.Context, reflector *toolscache.Reflector, err error) {
		if !isRefusal(err) {
			n.explain(name, err)
			toolscache.DefaultWatchErrorHandler(ctx, reflector, err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		last, isSecond := lastRefusals[reflector]
		if !n.IsWatched(name) || isSecond && n.clock.Since(last) < refusalWindow {
			stop(err)
		}
		lastRefusals[reflector] = n.clock.Now()
	}
	made, err := cache.New(n.config, options)
	if err != nil {
		return nil, fmt.Errorf("make the cache: %w", err)
	}
	for _, kind := range n.kinds {
		if _, err := made.GetInformer(ctx, kind.object, cache.BlockUntilSynced(false)); err != nil {
			return nil, fmt.Errorf("make an informer: %w", err)
		}
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	for _, prepare := range n.prepare {
		if err := prepare(ctx, made); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// isRefusal tells whether an error is about the namespace, or about the rights that the
// operator has in it, and not about the API server as a whole.
func isRefusal(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsNotFound(err) || meta.IsNoMatchError(err)
}

// publish lets readers and event handlers have the objects of a namespace, unless ctx has
// ended.
func (n *NamespacedCache) publish(ctx context.Context, name string, made cache.Cache) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, kind := range n.kinds {
		for _, registered := range kind.handlers {
			if err := registered.addTo(ctx, name, made); err != nil {
				return err
			}
		}
	}
	state := n.states[name]
	state.cache, state.cause = made, nil
	if state.reported != "" {
		n.log.Info("this namespace is watched again", "namespace", name)
		state.reported = ""
	}
	n.settle()
	return nil
}

// withdraw takes the objects of a namespace away from readers. It returns the event
// handlers that have seen them.
func (n *NamespacedCache) withdraw(name string, cause error) [][]toolscache.ResourceEventHandler {
	n.mu.Lock()
	defer n.mu.Unlock()
	state := n.states[name]
	state.cache, state.cause = nil, cause
	handlers := make([][]toolscache.ResourceEventHandler, len(n.kinds))
	for i, kind := range n.kinds {
		for _, registered := range kind.handlers {
			if _, hasSeen := registered.added[name]; hasSeen {
				handlers[i] = append(handlers[i], registered.handler)
			}
			delete(registered.added, name)
		}
	}
	return handlers
}

// tellGone tells event handlers that the objects of a stopped cache are gone.
func (n *NamespacedCache) tellGone(ctx context.Context, stopped cache.Cache, handlers [][]toolscache.ResourceEventHandler) {
	for i, kind := range n.kinds {
		list := kind.list.DeepCopyObject().(client.ObjectList)
		if err := stopped.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			n.log.Error(err, "could not list the objects of a namespace that is not watched any longer")
			continue
		}
		_ = meta.EachListItem(list, func(object runtime.Object) error {
			for _, handler := range handlers[i] {
				handler.OnDelete(object)
			}
			return nil
		})
	}
}

// probeWhenSuspected probes a watched namespace when it is suspected, until ctx ends, and
// stops it when the API server refuses. An open watch goes on for up to ten minutes after
// the RoleBinding was deleted.
func (n *NamespacedCache) probeWhenSuspected(ctx context.Context, name string, stop context.CancelCauseFunc) {
	suspected := n.states[name].suspected
	for {
		select {
		case <-ctx.Done():
			return
		case <-suspected:
		}
		if err := n.probe(ctx, name); isRefusal(err) {
			stop(err)
			return
		}
		sleep(ctx, suspicionInterval)
	}
}

// Suspect says that a request in a namespace was forbidden. The cache then finds out soon
// whether the namespace can still be watched.
func (n *NamespacedCache) Suspect(namespace string) {
	state, ok := n.states[namespace]
	if !ok {
		return
	}
	select {
	case state.suspected <- struct{}{}:
	default: // It is suspected already.
	}
}

// probe finds out whether the API server lets the operator watch a namespace. It opens
// watches that no object passes, and closes them again.
func (n *NamespacedCache) probe(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	for _, kind := range n.kinds {
		opened, err := n.prober.Watch(ctx, kind.list.DeepCopyObject().(client.ObjectList), client.InNamespace(name),
			client.MatchingLabels{probeLabel: "none"})
		if err != nil {
			return err
		}
		opened.Stop()
	}
	return nil
}

// explain remembers why a namespace is not watched.
func (n *NamespacedCache) explain(name string, cause error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if state := n.states[name]; state.cache == nil {
		state.cause = cause
		n.settle()
	}
}

// settle closes synced as soon as WaitForCacheSync promises. The caller holds the lock.
func (n *NamespacedCache) settle() {
	select {
	case <-n.synced:
		return
	default:
	}
	var watched, unknown int
	for _, state := range n.states {
		switch {
		case state.cache != nil:
			watched++
		case state.cause == nil:
			unknown++
		}
	}
	if watched > 0 && (unknown == 0 || n.overdue) {
		close(n.synced)
	}
}

// IsWatched reports whether a namespace of the list is watched now.
func (n *NamespacedCache) IsWatched(name string) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.states[name].cache != nil
}

// of returns the cache of a namespace, or a *NotWatchedError.
func (n *NamespacedCache) of(name string) (cache.Cache, error) {
	state, ok := n.states[name]
	if !ok {
		return nil, &NotWatchedError{Namespace: name, Cause: ErrNotListed}
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	if state.cache == nil {
		return nil, &NotWatchedError{Namespace: name, Cause: state.cause}
	}
	return state.cache, nil
}

// watched returns the caches of the namespaces that are watched now.
func (n *NamespacedCache) watched() []cache.Cache {
	n.mu.RLock()
	defer n.mu.RUnlock()
	var caches []cache.Cache
	for _, name := range n.names {
		if made := n.states[name].cache; made != nil {
			caches = append(caches, made)
		}
	}
	return caches
}

// Get reads an object. The error is a *NotWatchedError if its namespace is not watched.
func (n *NamespacedCache) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	watched, err := n.of(key.Namespace)
	if err != nil {
		return err
	}
	return watched.Get(ctx, key, object, options...)
}

// List lists the objects of one namespace, or those of all that are watched now. If that
// one namespace is not watched, the error is a *NotWatchedError.
func (n *NamespacedCache) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	asked := client.ListOptions{}
	asked.ApplyOptions(options)
	if asked.Namespace != metav1.NamespaceAll {
		watched, err := n.of(asked.Namespace)
		if err != nil {
			return err
		}
		return watched.List(ctx, list, options...)
	}
	if asked.Limit > 0 {
		return errors.New("a list of several namespaces can't be limited")
	}
	all := []runtime.Object{}
	for _, watched := range n.watched() {
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
func (n *NamespacedCache) IndexField(_ context.Context, object client.Object, field string, extract client.IndexerFunc) error {
	return n.beforeStart(func(ctx context.Context, made cache.Cache) error {
		return made.IndexField(ctx, object, field, extract)
	})
}

// beforeStart has all caches to come pass through a function.
func (n *NamespacedCache) beforeStart(prepare func(context.Context, cache.Cache) error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.started {
		return errors.New("an index can't be added to a cache that was started")
	}
	n.prepare = append(n.prepare, prepare)
	return nil
}

// GetInformer returns the informer of a kind, for all namespaces. Event handlers that are
// added to it get the events of each namespace for as long as it is watched.
func (n *NamespacedCache) GetInformer(_ context.Context, object client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	asked, err := apiutil.GVKForObject(object, n.options.Scheme)
	if err != nil {
		return nil, err
	}
	_, asMetadata := object.(*metav1.PartialObjectMetadata)
	for _, kind := range n.kinds {
		known, err := apiutil.GVKForObject(kind.object, n.options.Scheme)
		if err != nil {
			return nil, err
		}
		if _, isMetadata := kind.object.(*metav1.PartialObjectMetadata); known == asked && isMetadata == asMetadata {
			return kind, nil
		}
	}
	return nil, &cache.ErrResourceNotCached{GVK: asked}
}

// GetInformerForKind returns the informer of a kind, as GetInformer does.
func (n *NamespacedCache) GetInformerForKind(ctx context.Context, kind schema.GroupVersionKind, options ...cache.InformerGetOption) (cache.Informer, error) {
	object, err := n.options.Scheme.New(kind)
	if err != nil {
		return nil, err
	}
	typed, ok := object.(client.Object)
	if !ok {
		return nil, &cache.ErrResourceNotCached{GVK: kind}
	}
	return n.GetInformer(ctx, typed, options...)
}

// RemoveInformer is refused: the kinds of a namespace are watched together.
func (n *NamespacedCache) RemoveInformer(context.Context, client.Object) error {
	return errors.New("the kinds of a namespace are watched together, and none of them can be removed")
}

// Check returns an error that names the namespaces that are not watched, and says of each
// whether the API server refuses it or has not answered; nil when all are watched.
func (n *NamespacedCache) Check() error {
	var refused, unanswered []string
	n.mu.RLock()
	for _, name := range n.names {
		switch state := n.states[name]; {
		case state.cache != nil:
		case isRefusal(state.cause):
			refused = append(refused, name)
		default:
			unanswered = append(unanswered, name)
		}
	}
	n.mu.RUnlock()
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
func (n *NamespacedCache) Describe(into chan<- *prometheus.Desc) { into <- namespaceWatched }

// Collect implements prometheus.Collector.
func (n *NamespacedCache) Collect(into chan<- prometheus.Metric) {
	for _, name := range n.names {
		value := 0.0
		if n.IsWatched(name) {
			value = 1
		}
		into <- prometheus.MustNewConstMetric(namespaceWatched, prometheus.GaugeValue, value, name)
	}
}

// sleep waits, and tells whether ctx has not ended meanwhile.
func sleep(ctx context.Context, duration time.Duration) bool {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
