// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// syncedInterval is how often it is looked whether event handlers have got all objects.
const syncedInterval = 100 * time.Millisecond

// unionInformer is the informer of one kind in all namespaces of a NamespacedCache.
type unionInformer struct {
	union  *NamespacedCache
	object client.Object
	list   client.ObjectList
	// handlers is guarded by the lock of the union.
	handlers []*unionRegistration
}

var _ cache.Informer = (*unionInformer)(nil)

// unionRegistration is an event handler for one kind in all namespaces.
type unionRegistration struct {
	informer *unionInformer
	handler  toolscache.ResourceEventHandler
	options  toolscache.HandlerOptions
	// added are the registrations in the namespaces that are watched, by their names. It
	// is guarded by the lock of the union.
	added map[string]toolscache.ResourceEventHandlerRegistration
}

var _ toolscache.ResourceEventHandlerRegistration = (*unionRegistration)(nil)

// addTo adds the event handler to the cache of a namespace. The caller holds the lock.
func (r *unionRegistration) addTo(ctx context.Context, name string, made cache.Cache) error {
	informer, err := made.GetInformer(ctx, r.informer.object, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("find an informer: %w", err)
	}
	added, err := informer.AddEventHandlerWithOptions(r.handler, r.options)
	if err != nil {
		return fmt.Errorf("add an event handler: %w", err)
	}
	r.added[name] = added
	return nil
}

// AddEventHandler adds an event handler for all namespaces.
func (i *unionInformer) AddEventHandler(handler toolscache.ResourceEventHandler) (toolscache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandlerWithOptions(handler, toolscache.HandlerOptions{})
}

// AddEventHandlerWithResyncPeriod adds an event handler for all namespaces.
func (i *unionInformer) AddEventHandlerWithResyncPeriod(handler toolscache.ResourceEventHandler, period time.Duration) (toolscache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandlerWithOptions(handler, toolscache.HandlerOptions{ResyncPeriod: &period})
}

// AddEventHandlerWithOptions adds an event handler for all namespaces.
func (i *unionInformer) AddEventHandlerWithOptions(handler toolscache.ResourceEventHandler, options toolscache.HandlerOptions) (toolscache.ResourceEventHandlerRegistration, error) {
	i.union.mu.Lock()
	defer i.union.mu.Unlock()
	registered := &unionRegistration{informer: i, handler: handler, options: options, added: map[string]toolscache.ResourceEventHandlerRegistration{}}
	for name, state := range i.union.states {
		if state.cache == nil {
			continue
		}
		// The informer may have been stopped a moment ago. Then its namespace is about to be
		// withdrawn, and the handler has seen nothing of it.
		//nolint:forbidigo // cache.Informer passes no context, and this call does not wait.
		err := registered.addTo(context.Background(), name, state.cache)
		if err != nil {
			i.union.log.V(1).Info("an event handler was not added to a namespace that is being stopped", "namespace", name, "error", err.Error())
		}
	}
	i.handlers = append(i.handlers, registered)
	return registered, nil
}

// RemoveEventHandler removes an event handler from all namespaces.
func (i *unionInformer) RemoveEventHandler(handle toolscache.ResourceEventHandlerRegistration) error {
	i.union.mu.Lock()
	defer i.union.mu.Unlock()
	index := slices.IndexFunc(i.handlers, func(r *unionRegistration) bool { return r == handle })
	if index < 0 {
		return nil
	}
	registered := i.handlers[index]
	i.handlers = slices.Delete(i.handlers, index, index+1)
	var failed []error
	for name, added := range registered.added {
		//nolint:forbidigo // cache.Informer passes no context, and this call does not wait.
		informer, err := i.union.states[name].cache.GetInformer(context.Background(), i.object, cache.BlockUntilSynced(false))
		if err == nil {
			err = informer.RemoveEventHandler(added)
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// AddIndexers adds indexers for all namespaces. It must be called before the start.
func (i *unionInformer) AddIndexers(indexers toolscache.Indexers) error {
	return i.union.beforeStart(func(ctx context.Context, made cache.Cache) error {
		informer, err := made.GetInformer(ctx, i.object, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("find an informer: %w", err)
		}
		return informer.AddIndexers(indexers)
	})
}

// HasSynced tells whether the start is over, as WaitForCacheSync does.
func (i *unionInformer) HasSynced() bool {
	select {
	case <-i.union.synced:
		return true
	default:
		return false
	}
}

// HasSyncedChecker is done when the start is over.
func (i *unionInformer) HasSyncedChecker() toolscache.DoneChecker {
	return doneChecker{name: fmt.Sprintf("%T in namespaces", i.object), done: i.union.synced}
}

// IsStopped is always false: a namespace may be watched again.
func (i *unionInformer) IsStopped() bool { return false }

// HasSynced tells whether the event handler has got all objects of the namespaces that
// are watched.
func (r *unionRegistration) HasSynced() bool {
	if !r.informer.HasSynced() {
		return false
	}
	r.informer.union.mu.RLock()
	defer r.informer.union.mu.RUnlock()
	for _, added := range r.added {
		if !added.HasSynced() {
			return false
		}
	}
	return true
}

// HasSyncedChecker is done when HasSynced is true for the first time.
func (r *unionRegistration) HasSyncedChecker() toolscache.DoneChecker {
	done := make(chan struct{})
	go func() {
		defer close(done)
		//nolint:forbidigo // client-go passes no context here.
		_ = wait.PollUntilContextCancel(context.Background(), syncedInterval, true, func(context.Context) (bool, error) {
			return r.HasSynced(), nil
		})
	}()
	return doneChecker{name: fmt.Sprintf("handler of %T in namespaces", r.informer.object), done: done}
}

// doneChecker is a toolscache.DoneChecker.
type doneChecker struct {
	name string
	done <-chan struct{}
}

func (d doneChecker) Name() string          { return d.name }
func (d doneChecker) Done() <-chan struct{} { return d.done }
