// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"io"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
)

// unbuffered is a writer with nothing to flush.
type unbuffered struct{ io.Writer }

func (unbuffered) Flush() error { return nil }

// follower shows the objects of a selection, and then each change to them.
type follower struct {
	plugin  *plugin
	cluster *cluster
	picked  selection
	show    *show
	// known are the objects that were shown and that still exist, by their keys.
	known map[string]entry
	// failure is the last error after which the watch was restarted. The user has seen it.
	failure string
	// broken is the error in writing after which nothing more is shown.
	broken error
}

// follow runs until ctx ends. When a watch ends or fails, follow lists the objects and starts a new watch, so
// that no change is lost. follow returns an error if the first list fails, if the API server forbids a
// request or does not know the user, and if the output can't be written.
func (f *follower) follow(ctx context.Context) error {
	version, err := f.list(ctx)
	if err != nil {
		return err
	}
	for {
		if err == nil {
			err = f.watch(ctx, version)
		}
		if err := f.evaluate(ctx, err); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * f.plugin.PollInterval): // An API server that returns errors gets fewer requests.
		}
		version, err = f.list(ctx)
	}
}

// evaluate prints a temporary failure once, and returns every other failure.
func (f *follower) evaluate(ctx context.Context, failure error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case f.broken != nil:
		return f.broken
	case apierrors.IsForbidden(failure), apierrors.IsUnauthorized(failure):
		return failure
	case failure != nil && failure.Error() != f.failure:
		f.failure = failure.Error()
		f.plugin.printError("watching again: " + f.failure)
	}
	return nil
}

// list shows the objects that have changed since they were last shown, and the objects that were deleted.
func (f *follower) list(ctx context.Context) (version string, err error) {
	found, version, err := f.cluster.list(ctx, f.picked)
	if err != nil {
		return "", err
	}
	var changed, left []entry
	before := f.known
	f.known = map[string]entry{}
	for _, one := range found {
		f.known[one.key()] = one
		if was, isKnown := before[one.key()]; !isKnown || was.object.GetResourceVersion() != one.object.GetResourceVersion() {
			changed = append(changed, one)
		}
		delete(before, one.key())
	}
	for _, one := range before {
		left = append(left, one)
	}
	f.print(left, true)
	f.print(changed, false)
	return version, nil
}

// watch shows each change since a resource version, until the watch ends.
func (f *follower) watch(ctx context.Context, version string) error {
	options := f.picked.listOptions()
	options.ResourceVersion = version
	watcher, err := f.cluster.dynamic.Resource(f.picked.kind.resource).Namespace(f.picked.namespace).Watch(ctx, options)
	if err != nil {
		return unlessExpired(err)
	}
	defer watcher.Stop()
	for event := range watcher.ResultChan() {
		if event.Type == watch.Error {
			return unlessExpired(apierrors.FromObject(event.Object))
		}
		object, ok := event.Object.(*unstructured.Unstructured)
		if !ok || !f.picked.has(object.GetName()) {
			continue
		}
		one, err := newEntry(f.picked.kind, object)
		if err != nil {
			f.plugin.printError(err.Error())
			continue
		}
		isDeleted := event.Type == watch.Deleted
		if f.known[one.key()] = one; isDeleted {
			delete(f.known, one.key())
		}
		if f.print([]entry{one}, isDeleted); f.broken != nil {
			return nil
		}
	}
	return nil
}

// print shows changes, if there are any.
func (f *follower) print(changed []entry, deleted bool) {
	if len(changed) > 0 && f.broken == nil {
		sortByExpiry(changed)
		f.broken = f.show.changes(changed, deleted)
	}
}

// unlessExpired returns nil if the resource version is too old for a watch, and otherwise err. The next list
// then shows the changes that the watch has missed.
func unlessExpired(err error) error {
	if apierrors.IsGone(err) || apierrors.IsResourceExpired(err) {
		return nil
	}
	return err
}
