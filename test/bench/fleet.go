// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

const (
	// workers is how many objects are worked on at the same time: what the manager does
	// by default.
	workers           = 10
	credentialsName   = "credentials"
	rightClientSecret = "the-right-secret"
	goodScope         = "connect:accounts:read"
)

// fleet is a namespace with objects of one kind, their client credentials, and what was
// seen to happen to them, by watches of our own.
type fleet struct {
	*bench
	kind      kind
	namespace string
	size      int
	// clients are the IDs of the OAuth clients of the members, which take turns.
	clients []string
	// scopes are what the PipedreamTokens that are added ask for.
	scopes []string
	stop   func()
	// written, if set, is called with each new content that is seen in a Secret.
	written func(name string)

	mu      sync.Mutex
	members map[string]*member
	// ready counts the members that are; firstReady is when the first one became so.
	ready      int
	firstReady time.Time
	// queued counts the changes of members after which the status said Queued.
	queued int
	// renewed counts the renewals that were asked for.
	renewed int
	// leastLeft is the least life that a token had left when its successor was seen.
	leastLeft time.Duration
	failed    error
}

// member is an object of a fleet.
type member struct {
	created time.Time
	// issued are the times at which new content was seen in its Secret.
	issued  []time.Time
	version string
	expires time.Time
	// isReady and generation are what its status says; seen is the version of the object that says so.
	isReady    bool
	generation int64
	seen       string
}

// newFleet makes a namespace without PipedreamTokens. Their OAuth client has the
// namespace's name as its ID; the simulator knows its right secret.
func (b *bench) newFleet(ctx context.Context, namespace, clientSecret string) (*fleet, error) {
	return b.newFleetOf(ctx, tokenKind, namespace, []string{namespace}, clientSecret)
}

// newFleetOf makes a namespace without objects of a kind, with OAuth clients for them,
// whose right secret the simulator knows.
func (b *bench) newFleetOf(ctx context.Context, of kind, namespace string, clients []string, clientSecret string) (*fleet, error) {
	f := &fleet{
		bench: b, kind: of, namespace: namespace, clients: clients, scopes: []string{goodScope},
		members: map[string]*member{}, leastLeft: time.Hour,
	}
	if err := b.createNamespace(ctx, namespace); err != nil {
		return nil, err
	}
	for i, id := range clients {
		if err := b.pipedream.setClient(ctx, id, rightClientSecret); err != nil {
			return nil, err
		}
		err := b.admin.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: f.clientOf(i).Name},
			StringData: map[string]string{"client_id": id, "client_secret": clientSecret},
		})
		if err != nil {
			return nil, fmt.Errorf("create credentials: %w", err)
		}
	}
	b.fleets[namespace] = f
	secrets := &metav1.PartialObjectMetadataList{}
	secrets.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	return f, errors.Join(
		f.watch(ctx, secrets, f.sawSecret),
		f.watch(ctx, of.list(), f.sawObject),
	)
}

// clientOf refers to the OAuth client of the member with a number.
func (f *fleet) clientOf(number int) v1alpha1.ClientSecretReference {
	if turn := number % len(f.clients); turn > 0 {
		return v1alpha1.ClientSecretReference{Name: fmt.Sprintf("%s-%d", credentialsName, turn)}
	}
	return v1alpha1.ClientSecretReference{Name: credentialsName}
}

// metadata returns the metadata of the member with a number.
func (f *fleet) metadata(number int) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: f.namespace, Name: f.kind.memberName(number)}
}

// watch calls saw with each version of the namespace's objects of a kind, from now on.
// When the API server ends the watch, which it does to a slow one, it begins another.
func (f *fleet) watch(ctx context.Context, list client.ObjectList, saw func(client.Object, time.Time)) error {
	ctx, f.stop = stoppable(ctx, f.stop)
	version, err := f.list(ctx, list, saw)
	if err != nil {
		return err
	}
	go func() {
		for ctx.Err() == nil {
			if err := f.watchFrom(ctx, list, version, saw); err != nil && ctx.Err() == nil {
				f.fail(err)
				return
			}
			if version, err = f.list(ctx, list, saw); err != nil && ctx.Err() == nil {
				f.fail(err)
				return
			}
		}
	}()
	return nil
}

// stoppable returns a context that ends with the returned function, which calls next too.
func stoppable(ctx context.Context, next func()) (stopped context.Context, stop func()) {
	stopped, cancel := context.WithCancel(ctx)
	return stopped, func() {
		cancel()
		if next != nil {
			next()
		}
	}
}

// list calls saw with each object, and returns the version to watch from.
func (f *fleet) list(ctx context.Context, list client.ObjectList, saw func(client.Object, time.Time)) (version string, err error) {
	list = list.DeepCopyObject().(client.ObjectList)
	if err := f.admin.List(ctx, list, client.InNamespace(f.namespace)); err != nil {
		return "", fmt.Errorf("list %s: %w", f.namespace, err)
	}
	now := time.Now()
	return list.GetResourceVersion(), meta.EachListItem(list, func(object runtime.Object) error {
		saw(object.(client.Object), now)
		return nil
	})
}

// watchFrom watches until the watch is ended.
func (f *fleet) watchFrom(ctx context.Context, list client.ObjectList, version string, saw func(client.Object, time.Time)) error {
	w, err := f.admin.Watch(ctx, list, client.InNamespace(f.namespace), &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: version}})
	if err != nil {
		return fmt.Errorf("watch %s: %w", f.namespace, err)
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		now := time.Now()
		object, isObject := event.Object.(client.Object)
		switch {
		case event.Type == watch.Error || !isObject:
			return nil // The next one begins with a list.
		case event.Type == watch.Added, event.Type == watch.Modified:
			saw(object, now)
		}
	}
	return nil
}

func (f *fleet) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = errors.Join(f.failed, err)
}

// close ends the watches.
func (f *fleet) close() {
	if f.stop != nil {
		f.stop()
	}
}

// of returns a member, with the lock held.
func (f *fleet) of(name string) *member {
	if f.members[name] == nil {
		f.members[name] = &member{}
	}
	return f.members[name]
}

func (f *fleet) sawSecret(secret client.Object, now time.Time) {
	annotations := secret.GetAnnotations()
	owner, isOurs := strings.CutPrefix(annotations[v1alpha1.OwnerAnnotation], f.kind.owner)
	if owner == "" || !isOurs {
		return
	}
	expires, err := time.Parse(time.RFC3339, annotations[v1alpha1.ExpiresAtAnnotation])
	if err != nil {
		f.fail(fmt.Errorf("secret %s does not say when its content expires: %w", secret.GetName(), err))
		return
	}
	f.mu.Lock()
	m := f.of(owner)
	version := annotations[f.kind.version]
	isNew := m.version != version
	if isNew {
		if len(m.issued) > 0 {
			f.leastLeft = min(f.leastLeft, m.expires.Sub(now))
		}
		m.issued = append(m.issued, now)
		m.version, m.expires = version, expires
	}
	f.mu.Unlock()
	if isNew && f.written != nil {
		f.written(owner)
	}
}

func (f *fleet) sawObject(object client.Object, now time.Time) {
	said := f.kind.status(object)
	isReady := meta.IsStatusConditionTrue(said.conditions, v1alpha1.ConditionReady)
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.of(object.GetName())
	m.generation = said.generation
	switch {
	case isReady && !m.isReady:
		f.ready++
		if f.firstReady.IsZero() {
			f.firstReady = now
		}
	case !isReady && m.isReady:
		f.ready--
	}
	m.isReady = isReady
	attempt := meta.FindStatusCondition(said.conditions, f.kind.attempt)
	if attempt != nil && attempt.Reason == v1alpha1.ReasonQueued && m.seen != object.GetResourceVersion() {
		f.queued++
	}
	m.seen = object.GetResourceVersion()
}

// countQueued returns how many changes of members were seen after which the status said Queued. A member may first wait
// for an access token and then for the account, which are two such changes.
func (f *fleet) countQueued() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.queued
}

// add creates members, as fast as that goes.
func (f *fleet) add(ctx context.Context, count int) error {
	first := f.size
	f.size += count
	return inParallel(count, func(i int) error {
		object := f.kind.object(f, first+i)
		f.mu.Lock()
		f.of(object.GetName()).created = time.Now()
		f.mu.Unlock()
		return f.admin.Create(ctx, object)
	})
}

// inParallel calls do with each number below count, from a few goroutines, until each
// has failed.
func inParallel(count int, do func(int) error) error {
	numbers := make(chan int)
	failures := make([]error, workers)
	var running sync.WaitGroup
	for worker := range workers {
		running.Go(func() {
			for i := range numbers {
				if failures[worker] == nil {
					failures[worker] = do(i)
				}
			}
		})
	}
	for i := range count {
		numbers <- i
	}
	close(numbers)
	running.Wait()
	return errors.Join(failures...)
}

// issued returns how many members have had new content in their Secret at least so often. It also returns how often all
// members together have had new content.
func (f *fleet) issued(atLeast int) (members, tokens int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.members {
		if len(m.issued) >= atLeast {
			members++
		}
		tokens += len(m.issued)
	}
	return members, tokens
}

// awaitIssued returns when each member was issued so many tokens.
func (f *fleet) awaitIssued(ctx context.Context, by *manager, tokens int) error {
	return errors.Join(by.await(ctx, fmt.Sprintf("%d tokens for each PipedreamToken", tokens), func() bool {
		members, _ := f.issued(tokens)
		return members == f.size
	}), f.failure())
}

// awaitReady returns when all members are Ready.
func (f *fleet) awaitReady(ctx context.Context, by *manager) error {
	err := by.await(ctx, "each "+f.kind.name+" is Ready", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.ready == f.size
	})
	if err != nil {
		err = fmt.Errorf("%w: %s", err, f.reasons(ctx))
	}
	return errors.Join(err, f.failure())
}

// reasons says how many members have which reasons.
func (f *fleet) reasons(ctx context.Context) string {
	counts := map[string]int{}
	_, err := f.list(ctx, f.kind.list(), func(object client.Object, _ time.Time) {
		var reasons []string
		for _, condition := range f.kind.status(object).conditions {
			reasons = append(reasons, condition.Type+"="+condition.Reason)
		}
		counts[strings.Join(reasons, " ")]++
	})
	if err != nil {
		return err.Error()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return fmt.Sprintf("%d were seen to be Ready; there are %v", f.ready, counts)
}

// awaitGeneration returns when the status of each member is about a generation of the spec.
func (f *fleet) awaitGeneration(ctx context.Context, by *manager, generation int64) error {
	return errors.Join(by.await(ctx, fmt.Sprintf("each status is about generation %d", generation), func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, m := range f.members {
			if m.generation < generation {
				return false
			}
		}
		return true
	}), f.failure())
}

func (f *fleet) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}

// waits returns how long each member has waited for its first content, the shortest first.
func (f *fleet) waits() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	var waits []time.Duration
	for _, m := range f.members {
		if len(m.issued) > 0 {
			waits = append(waits, m.issued[0].Sub(m.created))
		}
	}
	slices.Sort(waits)
	return waits
}

// check reads all Secrets, and fails unless each member's has content.
func (f *fleet) check(ctx context.Context) error {
	secrets := &corev1.SecretList{}
	if err := f.admin.List(ctx, secrets, client.InNamespace(f.namespace)); err != nil {
		return fmt.Errorf("list Secrets: %w", err)
	}
	holding := 0
	for i := range secrets.Items {
		if len(secrets.Items[i].Data[f.kind.key]) > 0 {
			holding++
		}
	}
	if holding != f.size {
		return fmt.Errorf("%d Secrets hold the key %s, want %d", holding, f.kind.key, f.size)
	}
	return nil
}

// percentile returns the value that so many of a hundred are not above.
func percentile(sorted []time.Duration, percent int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)-1)*percent/100]
}
