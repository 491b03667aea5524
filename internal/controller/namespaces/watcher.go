// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package namespaces

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// probeTimeout is the maximum time of one attempt to open the watches of a namespace.
	probeTimeout = 10 * time.Second
	// probeLabel is a label that no object has. A watch with this label therefore gets no object.
	probeLabel = "pipedream-operator.io/probe"
	// suspicionInterval is the shortest time between two probes of a watched namespace.
	suspicionInterval = 30 * time.Second
	// refusalWindow is the maximum time between two refusals that count as a lasting refusal. A
	// single refusal may be a short failure of the API server. An informer tries again after at
	// most 60 seconds.
	refusalWindow = 2 * time.Minute
)

// watcher keeps one namespace watched.
type watcher struct {
	name    string
	config  *rest.Config
	options cache.Options
	// prober opens watches to check whether the API server allows the operator to watch.
	prober client.WithWatch
	// retry has the waits between the attempts to watch the namespace while the API server refuses.
	retry   wait.Backoff
	states  *states
	indexes *indexes
	// suspected has an entry when a request in the namespace was forbidden.
	suspected chan struct{}
}

// suspect makes the watcher probe a watched namespace soon.
func (w *watcher) suspect() {
	select {
	case w.suspected <- struct{}{}:
	default: // A probe is already pending.
	}
}

// keepWatching watches the namespace until ctx ends. If the API server refuses, it tries again.
func (w *watcher) keepWatching(ctx context.Context) {
	retry := w.retry
	for {
		wasWatched, err := w.watch(ctx)
		if ctx.Err() != nil {
			return
		}
		if wasWatched {
			retry = w.retry
		}
		w.states.reportRefused(w.name, err)
		for {
			if !sleep(ctx, retry.Step()) {
				return
			}
			if err = w.probe(ctx); err == nil {
				break
			}
			w.states.explain(w.name, err)
		}
	}
}

// watch watches the namespace until the API server refuses or ctx ends. It returns whether the namespace was
// watched, and the refusal.
func (w *watcher) watch(ctx context.Context) (wasWatched bool, err error) {
	watching, stop := context.WithCancelCause(ctx)
	var running sync.WaitGroup
	defer func() {
		stop(nil)
		running.Wait()
	}()
	made, err := w.newCache(watching, stop)
	if err != nil {
		w.states.explain(w.name, err)
		return false, err
	}
	running.Go(func() {
		if err := made.Start(watching); err != nil {
			stop(err)
		}
	})
	if !made.WaitForCacheSync(watching) {
		w.states.explain(w.name, context.Cause(watching))
		return false, context.Cause(watching)
	}
	err = w.states.publish(watching, w.name, made)
	wasWatched = err == nil
	if wasWatched {
		w.probeWhenSuspected(watching, stop)
	} else {
		stop(err)
	}
	if ctx.Err() == nil {
		handlers := w.states.withdraw(w.name, context.Cause(watching))
		running.Wait()
		w.deleteAll(ctx, made, handlers)
	}
	return wasWatched, context.Cause(watching)
}

// newCache makes the cache of the namespace. The cache calls stop with the error if the API server refuses to
// list or to watch objects of the namespace.
func (w *watcher) newCache(ctx context.Context, stop context.CancelCauseFunc) (cache.Cache, error) {
	options := w.options
	// With the selector, the requests are for this namespace. DefaultNamespaces would leave a
	// goroutine behind for each cache that is stopped before it has all objects.
	options.DefaultFieldSelector = fields.OneTermEqualSelector("metadata.namespace", w.name)
	seen := newRefusals()
	options.DefaultWatchErrorHandler = func(ctx context.Context, reflector *toolscache.Reflector, err error) {
		if !isRefusal(err) {
			w.states.explain(w.name, err)
			toolscache.DefaultWatchErrorHandler(ctx, reflector, err)
			return
		}
		_, notWatched := w.states.cacheOf(w.name)
		if seen.isSecond(reflector, clock.RealClock{}.Now()) || notWatched != nil {
			stop(err)
		}
	}
	made, err := cache.New(w.config, options)
	if err != nil {
		return nil, fmt.Errorf("make the cache: %w", err)
	}
	for _, informer := range w.states.informers {
		if _, err := made.GetInformer(ctx, informer.object, cache.BlockUntilSynced(false)); err != nil {
			return nil, fmt.Errorf("make an informer: %w", err)
		}
	}
	if err := w.indexes.addTo(ctx, made); err != nil {
		return nil, err
	}
	return made, nil
}

// deleteAll sends the event handlers a delete event for each object of a stopped cache.
func (w *watcher) deleteAll(ctx context.Context, stopped cache.Cache, handlers map[*informer][]toolscache.ResourceEventHandler) {
	for _, informer := range w.states.informers {
		list := informer.newList()
		if err := stopped.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			w.states.log.Error(err, "could not list the objects of a namespace that is not watched any longer")
			continue
		}
		_ = meta.EachListItem(list, func(object runtime.Object) error {
			for _, handler := range handlers[informer] {
				handler.OnDelete(object)
			}
			return nil
		})
	}
}

// probeWhenSuspected probes the watched namespace after each call of suspect, until ctx ends. It calls stop
// if the API server refuses. Without a probe, an open watch goes on for up to ten minutes after the
// RoleBinding was deleted.
func (w *watcher) probeWhenSuspected(ctx context.Context, stop context.CancelCauseFunc) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.suspected:
		}
		if err := w.probe(ctx); isRefusal(err) {
			stop(err)
			return
		}
		sleep(ctx, suspicionInterval)
	}
}

// probe checks whether the API server allows the operator to watch the namespace. It opens watches that get
// no object, and closes them again. It returns the error of the API server.
func (w *watcher) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	for _, informer := range w.states.informers {
		opened, err := w.prober.Watch(ctx, informer.newList(), client.InNamespace(w.name), client.MatchingLabels{probeLabel: "none"})
		if err != nil {
			return err
		}
		opened.Stop()
	}
	return nil
}

// refusals has the time of the API server's last refusal for each reflector of a namespace. Each kind has its
// own reflector. A short failure of the API server may refuse the requests of all reflectors once.
type refusals struct {
	mu   sync.Mutex
	last map[*toolscache.Reflector]time.Time
}

func newRefusals() *refusals { return &refusals{last: map[*toolscache.Reflector]time.Time{}} }

// isSecond stores the time of a refusal. It reports whether the same reflector had another refusal within
// refusalWindow before.
func (r *refusals) isSecond(reflector *toolscache.Reflector, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, isKnown := r.last[reflector]
	r.last[reflector] = now
	return isKnown && now.Sub(last) < refusalWindow
}

// sleep waits for duration. It returns false if ctx ends before.
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
