// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// States holds what a controller remembers of each object of its kind between two reconciles. The
// queue never gives one object to two workers, so only the map needs a lock, and not what is in it.
// The zero value is empty and ready for use.
type States[S any] struct {
	mu     sync.Mutex
	byName map[types.NamespacedName]ofObject[S]
}

// ofObject is the state of the object with a UID.
type ofObject[S any] struct {
	uid   types.UID
	state S
}

// Of returns the state of the object with a name and a UID, and whether anything is known of it. An
// object that was deleted and created again has another UID.
func (s *States[S]) Of(name types.NamespacedName, uid types.UID) (state S, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.byName[name]
	if !ok || known.uid != uid {
		return state, false
	}
	return known.state, true
}

// Named returns the state of the object with a name, whatever its UID is, and whether anything is known
// of it.
func (s *States[S]) Named(name types.NamespacedName) (state S, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.byName[name]
	return known.state, ok
}

// LastOf returns the state of the object that had a name last, whatever its UID, and whether anything
// is known of it. The worker that has last reconciled the object may read the state.
func (s *States[S]) LastOf(name types.NamespacedName) (state S, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.byName[name]
	return known.state, ok
}

// Len returns of how many objects the state is known.
func (s *States[S]) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byName)
}

// Put remembers the state of an object.
func (s *States[S]) Put(name types.NamespacedName, uid types.UID, state S) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byName == nil {
		s.byName = map[types.NamespacedName]ofObject[S]{}
	}
	s.byName[name] = ofObject[S]{uid, state}
}

// Forget drops the state of the object with a name.
func (s *States[S]) Forget(name types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byName, name)
}
