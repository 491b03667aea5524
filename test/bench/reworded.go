// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// measureReworded measures a manager that starts among many objects with good tokens and some that
// fail, after the messages of all of them were changed, as a release does that words them better.
func (b *bench) measureReworded(ctx context.Context) error {
	good, err := b.fleetOf(ctx, b.options.many, true)
	if err != nil {
		return err
	}
	failing, err := b.failingFleet(ctx)
	if err != nil {
		return err
	}
	fleets := []*fleet{good, failing}
	b.say("rewording the messages of %d PipedreamTokens", good.size+failing.size)
	for _, f := range fleets {
		if err := f.reword(ctx); err != nil {
			return err
		}
	}
	before, err := b.use(ctx, nil, good)
	if err != nil {
		return err
	}
	m, err := b.startManager(ctx, managerOptions{namespaces: []string{good.namespace, failing.namespace}})
	if err != nil {
		return err
	}
	if _, err := m.awaitQuiet(ctx); err != nil {
		return err
	}
	if err := harness.Pause(ctx, settling); err != nil {
		return err
	}
	used, err := b.useSince(ctx, m, good, before)
	if err != nil {
		return err
	}
	of := fmt.Sprintf("reworded, %d good and %d failing", good.size, failing.size)
	b.report.add(of, "exchanges", float64(used.exchanges), "", atMost(0))
	b.report.add(of, "reads of Secrets", float64(used.requests.byCall[getSecrets]), "", atMost(0))
	b.report.add(of, "writes", float64(used.requests.writes()), "", atMost(0))
	return nil
}

// failingFleet returns a fleet without credentials, of which every member says so. It leaves no
// manager running.
func (b *bench) failingFleet(ctx context.Context) (*fleet, error) {
	f, err := b.newFleet(ctx, "failing", rightClientSecret)
	if err != nil {
		return nil, err
	}
	credentials := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: credentialsName}}
	if err := b.admin.Delete(ctx, credentials); err != nil {
		return nil, fmt.Errorf("delete the credentials: %w", err)
	}
	m, err := b.startManager(ctx, managerOptions{namespaces: []string{f.namespace}})
	if err != nil {
		return nil, err
	}
	if err := f.add(ctx, b.options.objects); err != nil {
		return nil, err
	}
	var failed error
	err = m.await(ctx, "all members miss their credentials", func() bool {
		tokens := &v1alpha1.PipedreamTokenList{}
		if failed = b.admin.List(ctx, tokens, client.InNamespace(f.namespace)); failed != nil {
			return true
		}
		for i := range tokens.Items {
			if !meta.IsStatusConditionFalse(tokens.Items[i].Status.Conditions, v1alpha1.ConditionRenewed) {
				return false
			}
		}
		return true
	})
	return f, errors.Join(err, failed, b.stopManagers())
}

// reword puts another message into each condition of each member.
func (f *fleet) reword(ctx context.Context) error {
	tokens := &v1alpha1.PipedreamTokenList{}
	if err := f.admin.List(ctx, tokens, client.InNamespace(f.namespace)); err != nil {
		return fmt.Errorf("list %s: %w", f.namespace, err)
	}
	next := make(chan *v1alpha1.PipedreamToken)
	failures := make([]error, workers)
	var running sync.WaitGroup
	for i := range workers {
		running.Go(func() {
			for token := range next {
				for j := range token.Status.Conditions {
					token.Status.Conditions[j].Message = "Some other words."
				}
				failures[i] = errors.Join(failures[i], f.admin.Status().Update(ctx, token))
			}
		})
	}
	for i := range tokens.Items {
		next <- &tokens.Items[i]
	}
	close(next)
	running.Wait()
	return errors.Join(failures...)
}
