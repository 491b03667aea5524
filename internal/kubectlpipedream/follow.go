// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"io"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"k8s.io/klog/v2"
)

// unbuffered is a writer with nothing to flush.
type unbuffered struct{ io.Writer }

func (unbuffered) Flush() error { return nil }

// follow tells of the PipedreamTokens of a selection, and then of each change, until
// ctx ends. A watch that the API server has ended is begun anew.
func (c *cluster) follow(ctx context.Context, picked selection, tell func(changed []entry, deleted bool) error) error {
	known := map[string]string{} // The version that was last told of.
	for ctx.Err() == nil {
		found, version, err := c.list(ctx, picked)
		if err != nil {
			return err
		}
		var changed []entry
		for _, one := range found {
			if known[one.key()] != one.token.ResourceVersion {
				changed = append(changed, one)
				known[one.key()] = one.token.ResourceVersion
			}
		}
		if err := tell(changed, false); err != nil {
			return err
		}
		if err := c.followFrom(ctx, picked, version, known, tell); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// followFrom tells of each change since a version, until the watch ends.
func (c *cluster) followFrom(ctx context.Context, picked selection, version string, known map[string]string, tell func([]entry, bool) error) error {
	// What it says to its log is no business of the user's: it tries again.
	quiet := klog.NewContext(ctx, logr.Discard())
	watcher, err := watchtools.NewRetryWatcherWithContext(quiet, version, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			wanted := picked.listOptions()
			options.LabelSelector, options.FieldSelector = wanted.LabelSelector, wanted.FieldSelector
			return c.dynamic.Resource(tokenResource).Namespace(picked.namespace).Watch(ctx, options)
		},
	})
	if err != nil {
		return err
	}
	defer watcher.Stop()
	for event := range watcher.ResultChan() {
		if err := endOf(event); err != nil {
			return err
		}
		object, ok := event.Object.(*unstructured.Unstructured)
		if !ok {
			return nil
		}
		one, err := newEntry(object)
		if err != nil {
			return err
		}
		if event.Type == watch.Bookmark || !picked.has(one.token.Name) {
			continue
		}
		known[one.key()] = one.token.ResourceVersion
		if err := tell([]entry{one}, event.Type == watch.Deleted); err != nil {
			return err
		}
	}
	return nil
}

// endOf returns why the API server does not let somebody watch. That the version to
// watch from is too old is no error: what was missed is in the next list.
func endOf(event watch.Event) error {
	if event.Type != watch.Error {
		return nil
	}
	err := apierrors.FromObject(event.Object)
	if apierrors.IsGone(err) || apierrors.IsResourceExpired(err) {
		return nil
	}
	return err
}
