// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package namespaces

import (
	"context"
	"errors"
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// index is an index of the objects of one kind.
type index struct {
	object  client.Object
	field   string
	extract client.IndexerFunc
}

// indexes are the indexes that the cache of each namespace gets before it starts.
type indexes struct {
	mu     sync.RWMutex
	closed bool
	all    []index
}

// add adds an index. It returns an error after close.
func (i *indexes) add(added index) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return errors.New("an index can't be added to a cache that was started")
	}
	i.all = append(i.all, added)
	return nil
}

// close makes later calls of add fail. A second call of close returns an error.
func (i *indexes) close() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return errors.New("the cache was started before")
	}
	i.closed = true
	return nil
}

// addTo adds all indexes to the cache of a namespace.
func (i *indexes) addTo(ctx context.Context, made cache.Cache) error {
	i.mu.RLock()
	defer i.mu.RUnlock()
	for _, one := range i.all {
		if err := made.IndexField(ctx, one.object, one.field, one.extract); err != nil {
			return err
		}
	}
	return nil
}
