// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package namespaces

import (
	"context"
	"sync"

	"github.com/go-logr/logr"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
)

// The lines of the log about a namespace that is not watched.
const (
	refusedLine    = "this namespace can't be watched, and its PipedreamTokens are not renewed; the operator tries again at least every 30 seconds"
	unansweredLine = "the API server has not answered requests for this namespace since the start, and its PipedreamTokens are not renewed; the operator asks again until the API server answers"
)

// state says whether one namespace is watched, and why not.
type state struct {
	// cache holds the objects of the namespace; nil while the namespace is not watched.
	cache cache.Cache
	// cause is the reason why the namespace is not watched; nil while the reason is unknown.
	cause error
	// reported is the last line of the log that says why the namespace is not watched. It is empty if there
	// is no such line since the namespace was last watched.
	reported string
}

// states know which namespaces are watched, and why the other namespaces are not watched. The lock also
// guards the event handlers of the informers, so that each event handler is added to each watched namespace
// exactly once.
type states struct {
	log logr.Logger
	// names are the namespaces in the order in which they were given.
	names []string
	// informers are the informers of the watched kinds.
	informers []*informer
	// synced is closed when WaitForCacheSync may return true.
	synced chan struct{}

	mu     sync.RWMutex
	byName map[string]*state
	// overdue is set when the time to wait for all namespaces is over.
	overdue bool
}

func newStates(names []string, log logr.Logger) *states {
	s := &states{log: log, names: names, synced: make(chan struct{}), byName: map[string]*state{}}
	for _, name := range names {
		s.byName[name] = &state{}
	}
	return s
}

// cacheOf returns the cache of a namespace, or a *NotWatchedError.
func (s *states) cacheOf(name string) (cache.Cache, error) {
	known, ok := s.byName[name]
	if !ok {
		return nil, &NotWatchedError{Namespace: name, Cause: ErrNotListed}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if known.cache == nil {
		return nil, &NotWatchedError{Namespace: name, Cause: known.cause}
	}
	return known.cache, nil
}

// watched returns the caches of the namespaces that are watched now.
func (s *states) watched() []cache.Cache {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var caches []cache.Cache
	for _, name := range s.names {
		if made := s.byName[name].cache; made != nil {
			caches = append(caches, made)
		}
	}
	return caches
}

// unwatched returns the namespaces that the API server refuses, and the namespaces for which
// it has given no answer yet.
func (s *states) unwatched() (refused, unanswered []string) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, name := range s.names {
		switch known := s.byName[name]; {
		case known.cache != nil:
		case isRefusal(known.cause):
			refused = append(refused, name)
		default:
			unanswered = append(unanswered, name)
		}
	}
	return refused, unanswered
}

// isSynced reports whether WaitForCacheSync returns true now.
func (s *states) isSynced() bool {
	select {
	case <-s.synced:
		return true
	default:
		return false
	}
}

// publish gives readers and event handlers the objects of a namespace. It returns an error if ctx has ended.
func (s *states) publish(ctx context.Context, name string, made cache.Cache) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, informer := range s.informers {
		for _, registered := range informer.handlers {
			if err := registered.addTo(ctx, name, made); err != nil {
				return err
			}
		}
	}
	known := s.byName[name]
	known.cache, known.cause = made, nil
	if known.reported != "" {
		s.log.Info("this namespace is watched again", "namespace", name)
		known.reported = ""
	}
	s.settle()
	return nil
}

// withdraw marks a namespace as not watched, so that readers no longer get its objects. It returns the event
// handlers that were added to the namespace.
func (s *states) withdraw(name string, cause error) map[*informer][]toolscache.ResourceEventHandler {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.byName[name]
	known.cache, known.cause = nil, cause
	handlers := map[*informer][]toolscache.ResourceEventHandler{}
	for _, informer := range s.informers {
		for _, registered := range informer.handlers {
			if _, hasSeen := registered.added[name]; hasSeen {
				handlers[informer] = append(handlers[informer], registered.handler)
			}
			delete(registered.added, name)
		}
	}
	return handlers
}

// explain stores why a namespace is not watched. It changes nothing while the namespace is watched.
func (s *states) explain(name string, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.byName[name]; known.cache == nil {
		known.cause = cause
		s.settle()
	}
}

// reportRefused logs why the API server refuses a namespace.
func (s *states) reportRefused(name string, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report(name, refusedLine, cause)
}

// waitNoLonger ends the wait for the namespaces without an answer from the API server, and logs these
// namespaces.
func (s *states) waitNoLonger() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.overdue = true
	s.settle()
	for _, name := range s.names {
		if known := s.byName[name]; known.cache == nil && !isRefusal(known.cause) {
			s.report(name, unansweredLine, known.cause)
		}
	}
}

// report logs why a namespace is not watched, unless the log says the same already. The
// caller holds the lock.
func (s *states) report(name, line string, cause error) {
	known := s.byName[name]
	if known.reported == line {
		return
	}
	known.reported = line
	s.log.Error(cause, line, "namespace", name)
}

// settle closes synced as soon as WaitForCacheSync may return true. The caller holds the lock.
func (s *states) settle() {
	if s.isSynced() {
		return
	}
	var watched, unknown int
	for _, known := range s.byName {
		switch {
		case known.cache != nil:
			watched++
		case known.cause == nil:
			unknown++
		}
	}
	if watched > 0 && (unknown == 0 || s.overdue) {
		close(s.synced)
	}
}
