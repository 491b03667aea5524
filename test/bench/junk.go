// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

const (
	// junkObjects is how many PipedreamTokens, and as many Secrets of theirs, get junk.
	junkObjects = 400
	// junkSize is a little less than the API server accepts in the annotations of one object.
	junkSize = 250_000
)

// measureJunk has somebody put as much as the API server accepts into the annotations of all
// PipedreamTokens of a namespace and of the Secrets that the operator has written for them.
func (b *bench) measureJunk(ctx context.Context) error {
	f, err := b.newFleet(ctx, "junk", rightClientSecret)
	if err != nil {
		return err
	}
	m, err := b.startManager(ctx, managerOptions{namespaces: []string{f.namespace}})
	if err != nil {
		return err
	}
	if err := errors.Join(f.add(ctx, junkObjects), f.awaitReady(ctx, m), b.stopManagers()); err != nil {
		return err
	}
	f.close() // Nothing more is to be seen of them, and the junk would pass through this process, too.
	without, _, err := b.besideNeighbours(ctx, f, nil)
	if err != nil {
		return err
	}
	b.say("putting junk on %d PipedreamTokens and their Secrets", f.size)
	if err := b.putJunk(ctx, f, "a"); err != nil {
		return err
	}
	listed, updated, err := b.besideNeighbours(ctx, f, func(ctx context.Context, _ string) error { return b.putJunk(ctx, f, "b") })
	if err != nil {
		return err
	}
	of := fmt.Sprintf("junk on %d", f.size)
	b.report.add(of, "resident memory without it", without.memory, "MiB", nil)
	b.report.add(of, "more with it, after the start", listed.memory-without.memory, "MiB", atMost(20).soft())
	b.report.add(of, "more after one change of each object", updated.memory-without.memory, "MiB", atMost(20).soft())
	b.report.add(of, "more at the peak", updated.peak-without.peak, "MiB", nil)
	b.report.add(of, "exchanges", float64(updated.exchanges), "", atMost(0))
	return nil
}

// putJunk puts junk of one letter on each PipedreamToken and on its Secret.
func (b *bench) putJunk(ctx context.Context, f *fleet, letter string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"annotations": map[string]string{"example.com/junk": strings.Repeat(letter, junkSize)},
	}})
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	return inParallel(f.size, func(i int) error {
		secret := &metav1.PartialObjectMetadata{ObjectMeta: f.metadata(i)}
		secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
		token := &v1alpha1.PipedreamToken{ObjectMeta: secret.ObjectMeta}
		for _, object := range []client.Object{secret, token} {
			if err := b.admin.Patch(ctx, object, client.RawPatch(types.MergePatchType, patch)); err != nil {
				return fmt.Errorf("put junk on an object: %w", err)
			}
		}
		return nil
	})
}
