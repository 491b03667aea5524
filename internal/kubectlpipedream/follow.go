// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"io"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
)

// unbuffered is a writer with nothing to flush.
type unbuffered struct{ io.Writer }

func (unbuffered) Flush() error { return nil }

// follower shows the objects of its selections, and then each change to them.
type follower struct {
	plugin  *plugin
	show    *show
	streams []*stream
	// mu guards all that follows, and what is written to the user.
	mu sync.Mutex
	// failure is the last error after which a watch was restarted. The user has seen it.
	failure string
	// broken is the error in writing after which nothing more is shown.
	broken error
}

// stream follows the objects of one selection.
type stream struct {
	*follower
	cluster *cluster
	picked  selection
	// known are the objects that were shown and that still exist, by their keys.
	known map[string]entry
}

func newFollower(p *plugin, c *cluster, picked []selection, show *show) *follower {
	f := &follower{plugin: p, show: show}
	for _, one := range picked {
		f.streams = append(f.streams, &stream{follower: f, cluster: c, picked: one})
	}
	return f
}

// follow runs until ctx ends. It returns an error if no kind can be listed, if the API server forbids a later
// request or does not know the user, and if the output can't be written.
func (f *follower) follow(ctx context.Context) error {
	versions, err := f.begin(ctx)
	if err != nil {
		return err
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	failed := make(chan error, len(f.streams))
	var running sync.WaitGroup
	for i, one := range f.streams {
		running.Go(func() { failed <- one.follow(ctx, versions[i]) })
	}
	err = <-failed
	end()
	running.Wait()
	return err
}

// begin shows all objects together. If one of several kinds can't be listed, begin tells the user, and the
// kind is not followed. begin returns the resource version from which each stream starts.
func (f *follower) begin(ctx context.Context) (versions []string, err error) {
	unread := &unreadKinds{plugin: f.plugin, chosen: len(f.streams)}
	var found []entry
	var followed []*stream
	for _, one := range f.streams {
		some, _, version, err := one.list(ctx)
		switch {
		case err == nil:
			found, followed, versions = append(found, some...), append(followed, one), append(versions, version)
		case isOfKind(err) && len(one.picked.names) == 0:
			unread.add(one.picked.kind, err)
		default:
			return nil, err
		}
	}
	f.streams = followed
	return versions, firstOf(f.print(found, false), unread.finish())
}

// follow runs until ctx ends, or until an error that does not pass. When a watch ends or fails, follow lists the
// objects and starts a new watch, so that no change is lost.
func (s *stream) follow(ctx context.Context, version string) (err error) {
	for {
		if err == nil {
			err = s.watch(ctx, version)
		}
		if err := s.evaluate(ctx, err); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * s.plugin.PollInterval): // An API server that returns errors gets fewer requests.
		}
		var changed, left []entry
		if changed, left, version, err = s.list(ctx); err == nil {
			_ = s.print(left, true) // The next round ends with the error.
			_ = s.print(changed, false)
		}
	}
}

// evaluate prints a temporary failure once, and returns every other failure.
func (f *follower) evaluate(ctx context.Context, failure error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
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

// list returns the objects that have changed since they were last shown, and the objects that were deleted.
func (s *stream) list(ctx context.Context) (changed, left []entry, version string, err error) {
	found, version, err := s.cluster.list(ctx, s.picked)
	if err != nil {
		return nil, nil, "", err
	}
	before := s.known
	s.known = map[string]entry{}
	for _, one := range found {
		s.known[one.key()] = one
		if was, isKnown := before[one.key()]; !isKnown || was.object.GetResourceVersion() != one.object.GetResourceVersion() {
			changed = append(changed, one)
		}
		delete(before, one.key())
	}
	for _, one := range before {
		left = append(left, one)
	}
	return changed, left, version, nil
}

// watch shows each change since a resource version, until the watch ends.
func (s *stream) watch(ctx context.Context, version string) error {
	options := s.picked.listOptions()
	options.ResourceVersion = version
	watcher, err := s.cluster.dynamic.Resource(s.picked.kind.resource).Namespace(s.picked.namespace).Watch(ctx, options)
	if err != nil {
		return unlessExpired(err)
	}
	defer watcher.Stop()
	for event := range watcher.ResultChan() {
		if event.Type == watch.Error {
			return unlessExpired(apierrors.FromObject(event.Object))
		}
		object, ok := event.Object.(*unstructured.Unstructured)
		if !ok || !s.picked.has(object.GetName()) {
			continue
		}
		one, err := newEntry(s.picked.kind, object)
		if err != nil {
			s.printError(err.Error())
			continue
		}
		isDeleted := event.Type == watch.Deleted
		if s.known[one.key()] = one; isDeleted {
			delete(s.known, one.key())
		}
		if s.print([]entry{one}, isDeleted) != nil {
			return nil
		}
	}
	return nil
}

// printError writes a line to stderr.
func (f *follower) printError(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plugin.printError(text)
}

// print shows changes, if there are any. It returns the error after which nothing more is shown.
func (f *follower) print(changed []entry, deleted bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(changed) > 0 && f.broken == nil {
		sortByExpiry(changed)
		f.broken = f.show.changes(changed, deleted)
	}
	return f.broken
}

// unlessExpired returns nil if the resource version is too old for a watch, and otherwise err. The next list
// then shows the changes that the watch has missed.
func unlessExpired(err error) error {
	if apierrors.IsGone(err) || apierrors.IsResourceExpired(err) {
		return nil
	}
	return err
}
