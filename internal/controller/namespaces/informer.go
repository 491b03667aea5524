// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package namespaces

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// syncedInterval is the interval at which a registration checks whether its event handler has received all
// objects.
const syncedInterval = 100 * time.Millisecond

// informer is the informer of one kind in all namespaces of a Cache.
type informer struct {
	states *states
	kind   schema.GroupVersionKind
	object client.Object
	list   client.ObjectList
	// handlers is guarded by the lock of the states.
	handlers []*registration
}

var _ cache.Informer = (*informer)(nil)

// newInformer returns the informer of the kind of object. It returns an error if objects of this kind are not
// in namespaces.
func newInformer(object client.Object, scheme *runtime.Scheme, prober client.Client) (*informer, error) {
	kind, err := apiutil.GVKForObject(object, scheme)
	if err != nil {
		return nil, fmt.Errorf("look up a kind: %w", err)
	}
	isNamespaced, err := prober.IsObjectNamespaced(object)
	if err != nil {
		return nil, fmt.Errorf("look up a kind: %w", err)
	}
	if !isNamespaced {
		return nil, fmt.Errorf("objects of the kind %s are not in namespaces, and can't be watched by namespace", kind.Kind)
	}
	i := &informer{kind: kind, object: object}
	listKind := kind.GroupVersion().WithKind(kind.Kind + "List")
	if isMetadata(object) {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(listKind)
		i.list = list
		return i, nil
	}
	made, err := scheme.New(listKind)
	if err != nil {
		return nil, fmt.Errorf("make a list: %w", err)
	}
	list, ok := made.(client.ObjectList)
	if !ok {
		return nil, fmt.Errorf("%T is no list of objects", made)
	}
	i.list = list
	return i, nil
}

// isMetadata reports whether only the metadata of an object is watched.
func isMetadata(object client.Object) bool {
	_, ok := object.(*metav1.PartialObjectMetadata)
	return ok
}

// newList returns an empty list of the kind.
func (i *informer) newList() client.ObjectList { return i.list.DeepCopyObject().(client.ObjectList) }

// AddEventHandler adds an event handler for all namespaces.
func (i *informer) AddEventHandler(handler toolscache.ResourceEventHandler) (toolscache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandlerWithOptions(handler, toolscache.HandlerOptions{})
}

// AddEventHandlerWithResyncPeriod adds an event handler for all namespaces.
func (i *informer) AddEventHandlerWithResyncPeriod(handler toolscache.ResourceEventHandler, period time.Duration) (toolscache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandlerWithOptions(handler, toolscache.HandlerOptions{ResyncPeriod: &period})
}

// AddEventHandlerWithOptions adds an event handler for all namespaces.
func (i *informer) AddEventHandlerWithOptions(handler toolscache.ResourceEventHandler, options toolscache.HandlerOptions) (toolscache.ResourceEventHandlerRegistration, error) {
	i.states.mu.Lock()
	defer i.states.mu.Unlock()
	registered := &registration{informer: i, handler: handler, options: options, added: map[string]addition{}}
	for name, known := range i.states.byName {
		if known.cache == nil {
			continue
		}
		// If addTo fails, the informer was stopped a moment ago. The namespace will then be withdrawn soon,
		// and the handler has received no object of it.
		//nolint:forbidigo // cache.Informer passes no context, and this call does not wait.
		err := registered.addTo(context.Background(), name, known.cache)
		if err != nil {
			i.states.log.V(1).Info("an event handler was not added to a namespace that is being stopped", "namespace", name, "error", err.Error())
		}
	}
	i.handlers = append(i.handlers, registered)
	return registered, nil
}

// RemoveEventHandler removes an event handler from all namespaces.
func (i *informer) RemoveEventHandler(handle toolscache.ResourceEventHandlerRegistration) error {
	i.states.mu.Lock()
	defer i.states.mu.Unlock()
	index := slices.IndexFunc(i.handlers, func(r *registration) bool { return r == handle })
	if index < 0 {
		return nil
	}
	registered := i.handlers[index]
	i.handlers = slices.Delete(i.handlers, index, index+1)
	var failed []error
	for _, added := range registered.added {
		failed = append(failed, added.informer.RemoveEventHandler(added.handle))
	}
	return errors.Join(failed...)
}

// AddIndexers returns an error. IndexField of the Cache adds an index to the caches of all namespaces.
func (i *informer) AddIndexers(toolscache.Indexers) error {
	return errors.New("the informer of several namespaces takes no indexers: use IndexField of the cache")
}

// HasSynced reports whether WaitForCacheSync of the Cache returns true now.
func (i *informer) HasSynced() bool { return i.states.isSynced() }

// HasSyncedChecker returns a checker that is done when HasSynced is true.
func (i *informer) HasSyncedChecker() toolscache.DoneChecker {
	return doneChecker{name: fmt.Sprintf("%T in namespaces", i.object), done: i.states.synced}
}

// IsStopped returns false, because a namespace can be watched again.
func (i *informer) IsStopped() bool { return false }

// registration is an event handler for one kind in all namespaces of a Cache.
type registration struct {
	informer *informer
	handler  toolscache.ResourceEventHandler
	options  toolscache.HandlerOptions
	// added has the event handler's additions to the namespaces that are watched, by their
	// names. It is guarded by the lock of the states.
	added map[string]addition
}

var _ toolscache.ResourceEventHandlerRegistration = (*registration)(nil)

// addition is an event handler that was added to the informer of one namespace.
type addition struct {
	informer cache.Informer
	handle   toolscache.ResourceEventHandlerRegistration
}

// addTo adds the event handler to the cache of a namespace. The caller holds the lock.
func (r *registration) addTo(ctx context.Context, name string, made cache.Cache) error {
	informer, err := made.GetInformer(ctx, r.informer.object, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("find an informer: %w", err)
	}
	handle, err := informer.AddEventHandlerWithOptions(r.handler, r.options)
	if err != nil {
		return fmt.Errorf("add an event handler: %w", err)
	}
	r.added[name] = addition{informer: informer, handle: handle}
	return nil
}

// HasSynced reports whether the event handler has received all objects of the namespaces that are watched.
func (r *registration) HasSynced() bool {
	if !r.informer.HasSynced() {
		return false
	}
	r.informer.states.mu.RLock()
	defer r.informer.states.mu.RUnlock()
	for _, added := range r.added {
		if !added.handle.HasSynced() {
			return false
		}
	}
	return true
}

// HasSyncedChecker returns a checker that is done when HasSynced is true for the first time.
func (r *registration) HasSyncedChecker() toolscache.DoneChecker {
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
