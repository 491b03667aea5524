// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// measureBadClient has all PipedreamTokens refer to credentials that Pipedream refuses,
// and then corrects these.
func (b *bench) measureBadClient(ctx context.Context) error {
	f, err := b.newFleet(ctx, "badclient", "a wrong secret")
	if err != nil {
		return err
	}
	of := fmt.Sprintf("bad client of %d", b.options.objects)
	m, err := b.measureRefused(ctx, f, of)
	if err != nil {
		return err
	}
	return b.correct(ctx, f, m, of)
}

// measureRefused has PipedreamTokens made that Pipedream refuses, and measures the first
// minute. It returns the manager.
func (b *bench) measureRefused(ctx context.Context, f *fleet, of string) (*manager, error) {
	m, err := b.startManager(ctx, managerOptions{namespaces: []string{f.namespace}})
	if err != nil {
		return nil, err
	}
	before, err := b.use(ctx, m, f)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := f.add(ctx, b.options.objects); err != nil {
		return nil, err
	}
	if err := harness.Pause(ctx, b.options.minute-time.Since(began)); err != nil {
		return nil, err
	}
	refused, err := b.useSince(ctx, m, f, before)
	if err != nil {
		return nil, err
	}
	if members, _ := f.issued(1); members > 0 {
		return nil, errors.New("a token was issued, though the request is wrong")
	}
	b.report.add(of, "exchanges in the first "+b.options.minute.String(), float64(refused.exchanges), "", atMost(3))
	refused.requests.addTo(&b.report, of, "object", float64(f.size))
	return m, nil
}

// correct corrects the credentials, and measures what follows.
func (b *bench) correct(ctx context.Context, f *fleet, m *manager, of string) error {
	before, err := b.use(ctx, m, f)
	if err != nil {
		return err
	}
	corrected := time.Now()
	err = b.admin.Update(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: credentialsName},
		StringData: map[string]string{"client_id": f.namespace, "client_secret": rightClientSecret},
	})
	if err != nil {
		return fmt.Errorf("correct the credentials: %w", err)
	}
	if err := f.awaitReady(ctx, m); err != nil {
		return err
	}
	allReady := time.Since(corrected)
	used, err := b.useSince(ctx, m, f, before)
	if err != nil {
		return err
	}
	b.report.add(of, "credentials corrected to the first Ready", f.firstReady.Sub(corrected).Seconds(), "s", atMost(2).soft())
	b.report.add(of, "credentials corrected to all Ready", allReady.Seconds(), "s", nil)
	b.report.add(of, "exchanges for that, per object, without refused ones", float64(used.exchanges-used.refused)/float64(f.size), "", atMost(1))
	b.report.add(of, "exchanges refused meanwhile", float64(used.refused), "", atMost(3))
	b.report.add(of, "requests for that, per object", float64(used.requests.aboutObjects())/float64(f.size), "", nil)
	return nil
}
