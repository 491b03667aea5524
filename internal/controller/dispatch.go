// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/pipedream-operator/pipedream-operator/internal/bearer"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// Reconciles run in the order of their priority. Reconciles that were caused by a watch
// have the usual priority. Reconciles of objects that were there at the start have a lower
// one.
const (
	// UrgentPriority is the priority of a reconcile that may send a request, and of a
	// reconcile that may find that a token is due. With this priority, no turn is lost and no
	// token expires, however many new objects there are.
	UrgentPriority = 10
	UsualPriority  = 0
)

// Dispatcher starts a reconcile of an object when the object's turn has come at a
// throttle.Limiter, so that no worker waits at the Limiter. It serves all kinds: a requester
// whose turn has come causes a reconcile in the controller of its own kind only.
//
// The Dispatcher makes its Limiters itself, and is the only reader of their throttle.Ready.
// So no controller can take the turns of another controller. The zero value is ready for use.
// Add the Dispatcher to the manager after the last call of NewLimiter and Source.
type Dispatcher struct {
	mu        sync.Mutex
	isStarted bool
	readers   []turns
	sources   map[string]*turnSource
}

var _ manager.Runnable = (*Dispatcher)(nil)

// turns reports whose turn has come, as throttle.Ready does.
type turns interface {
	Next() (requesters []throttle.Requester, wait time.Duration)
	Changed() <-chan struct{}
}

// NewLimiter returns a Limiter. The Dispatcher wakes the requesters of the Limiter if
// NewLimiter is called before Start.
func (d *Dispatcher) NewLimiter(options throttle.Options) *throttle.Limiter {
	limiter, ready := throttle.NewLimiter(options)
	d.read(ready)
	return limiter
}

// NewProjects returns the limiters of the projects of Pipedream Connect. The Dispatcher wakes their
// requesters if NewProjects is called before Start.
func (d *Dispatcher) NewProjects(options throttle.ProjectsOptions) *throttle.Projects {
	projects, ready := throttle.NewProjects(options)
	d.read(ready)
	return projects
}

// NewBearers returns a store of access tokens. The Dispatcher wakes who waits for one of them if
// NewBearers is called before Start.
func (d *Dispatcher) NewBearers(options bearer.Options) *bearer.Store {
	store, ready := bearer.New(options)
	d.read(ready)
	return store
}

func (d *Dispatcher) read(ready turns) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.readers = append(d.readers, ready)
}

// Source returns the source of reconciles for the controller of one kind. The controller
// watches it, and gets a reconcile with urgent priority whenever the turn of a requester of
// the kind has come. The group of the requester is the namespace of the object. Source
// returns an error if the kind has a source already: two controllers would share its turns.
func (d *Dispatcher) Source(kind string) (source.Source, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sources[kind] != nil {
		return nil, fmt.Errorf("the turns of kind %s already have a controller", kind)
	}
	if d.sources == nil {
		d.sources = map[string]*turnSource{}
	}
	d.sources[kind] = &turnSource{kind: kind}
	return d.sources[kind], nil
}

// Start wakes the requesters whose turn has come until ctx ends. It returns an error if it
// is called a second time.
func (d *Dispatcher) Start(ctx context.Context) error {
	d.mu.Lock()
	isStarted, readers := d.isStarted, d.readers
	d.isStarted = true
	d.mu.Unlock()
	if isStarted {
		return errors.New("the dispatcher was started already")
	}
	var running sync.WaitGroup
	for _, ready := range readers {
		running.Go(func() { d.dispatch(ctx, ready) })
	}
	running.Wait()
	return nil
}

// dispatch wakes the requesters of one Limiter until ctx ends.
func (d *Dispatcher) dispatch(ctx context.Context, ready turns) {
	for ctx.Err() == nil {
		requesters, wait := ready.Next()
		for _, requester := range requesters {
			d.wake(ctx, requester)
		}
		sleepUntilChanged(ctx, ready, wait)
	}
}

func (d *Dispatcher) wake(ctx context.Context, requester throttle.Requester) {
	d.mu.Lock()
	to := d.sources[requester.Kind]
	d.mu.Unlock()
	if to == nil {
		log.FromContext(ctx).Error(nil, "the turn of an object has come, and its kind has no controller", "kind", requester.Kind,
			"namespace", requester.Group, "name", requester.Name)
		return
	}
	to.add(reconcile.Request{NamespacedName: types.NamespacedName{Namespace: requester.Group, Name: requester.Name}})
}

// sleepUntilChanged returns when the Limiter has changed, when the wait is over, or when ctx
// ends. A wait of zero has no end.
func sleepUntilChanged(ctx context.Context, ready turns, wait time.Duration) {
	var over <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-ctx.Done():
	case <-ready.Changed():
	case <-over:
	}
}

// turnSource is the source of the reconciles of one kind.
type turnSource struct {
	kind string

	mu sync.Mutex
	// queue is nil before the start. early holds the requests that came before the start.
	queue priorityqueue.PriorityQueue[reconcile.Request]
	early []reconcile.Request
}

var _ source.Source = (*turnSource)(nil)

// String names the source in the controller's log.
func (s *turnSource) String() string { return "turns of kind " + s.kind }

// Start implements source.Source.
func (s *turnSource) Start(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	withPriorities, ok := queue.(priorityqueue.PriorityQueue[reconcile.Request])
	if !ok {
		return fmt.Errorf("the controller's queue must have priorities, and is a %T", queue)
	}
	s.mu.Lock()
	early := s.early
	s.queue, s.early = withPriorities, nil
	s.mu.Unlock()
	s.add(early...)
	return nil
}

func (s *turnSource) add(requests ...reconcile.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue == nil {
		s.early = append(s.early, requests...)
		return
	}
	s.queue.AddWithOpts(priorityqueue.AddOpts{Priority: new(UrgentPriority)}, requests...)
}
