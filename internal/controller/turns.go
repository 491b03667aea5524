// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// turnsAt wakes the PipedreamTokens whose turn has come at a gate, so that no worker
// waits there.
func turnsAt(gate *pipedream.Gate) source.Source {
	return source.Func(func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		go func() {
			for ctx.Err() == nil {
				askers, wait := gate.Turns()
				for _, asker := range askers {
					queue.Add(reconcile.Request{NamespacedName: types.NamespacedName{Namespace: asker.Group, Name: asker.Name}})
				}
				sleepUntilChanged(ctx, gate, wait)
			}
		}()
		return nil
	})
}

// sleepUntilChanged returns when the gate has changed, or after the wait if that is
// not zero.
func sleepUntilChanged(ctx context.Context, gate *pipedream.Gate, wait time.Duration) {
	var over <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-ctx.Done():
	case <-gate.Changed():
	case <-over:
	}
}
