// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

const (
	// delay is how late the manager hears of Secrets.
	delay = 100 * time.Millisecond
	// lateRounds is how often the tokens are renewed.
	lateRounds = 3
)

// measureLateCache has the manager hear late of Secrets, its own writes included, and
// has it look at each object as soon as its Secret was written: the cache then shows
// the one before. For that the spec is changed, in a way that changes nothing else: the
// renewal comes in the middle of the life with any large renewBeforeSeconds.
func (b *bench) measureLateCache(ctx context.Context) error {
	if err := b.pipedream.setLife(ctx, b.options.life/2); err != nil {
		return err
	}
	defer func() { _ = b.pipedream.setLife(ctx, time.Hour) }()
	f, err := b.newFleet(ctx, "latecache", rightClientSecret)
	if err != nil {
		return err
	}
	pokes := f.pokeWhenWritten(ctx)
	late, err := newProxy(b.managerConfig, delay)
	if err != nil {
		return err
	}
	defer late.close()
	m, err := b.startManager(ctx, managerOptions{namespaces: []string{f.namespace}, server: late.address})
	if err != nil {
		return err
	}
	before, err := b.use(ctx, m, f)
	if err != nil {
		return err
	}
	if err := errors.Join(f.add(ctx, b.options.objects/5), f.awaitIssued(ctx, m, 1+lateRounds)); err != nil {
		return err
	}
	// The next tokens live long, so that there is an end.
	if err := b.pipedream.setLife(ctx, time.Hour); err != nil {
		return err
	}
	if _, err := m.awaitQuiet(ctx); err != nil {
		return err
	}
	used, err := b.useSince(ctx, m, f, before)
	if err != nil {
		return err
	}
	if late.delayed.Load() == 0 {
		return errors.New("no watch was delayed")
	}
	_, issued := f.issued(0)
	of, tokens := fmt.Sprintf("late cache of %d", f.size), float64(issued)
	b.report.add(of, "tokens issued; the Secret watch is late by"+" "+delay.String(), tokens, "", nil)
	b.report.add(of, "pokes per token", float64(pokes.Load())/tokens, "", nil)
	b.report.add(of, "exchanges per token", float64(used.exchanges)/tokens, "", atMost(1))
	b.report.add(of, "requests per token, and poke", float64(used.requests.aboutObjects())/tokens, "", nil)
	used.requests.addTo(&b.report, of, "token", tokens)
	return nil
}

// pokeWhenWritten changes the spec of each PipedreamToken when a new token is seen in
// its Secret. It returns how often that was done.
func (f *fleet) pokeWhenWritten(ctx context.Context) *atomic.Int64 {
	pokes := &atomic.Int64{}
	f.written = func(name string) {
		go func() {
			body := fmt.Appendf(nil, `{"spec":{"renewBeforeSeconds":%d}}`, 3600+pokes.Add(1))
			token := &v1alpha1.PipedreamToken{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name}}
			if err := f.admin.Patch(ctx, token, client.RawPatch(types.MergePatchType, body)); err != nil && ctx.Err() == nil {
				f.fail(fmt.Errorf("poke: %w", err))
			}
		}()
	}
	return pokes
}
