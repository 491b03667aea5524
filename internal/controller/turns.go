// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// Visits are made in the order of their priority. Other visits have none, which is 0,
// and those for what was there at the start have less.
const (
	// UrgentPriority is that of visits which may send a request, and of those which may
	// find that a held token is to be renewed: however many new PipedreamTokens there are,
	// no turn is lost, and no token expires.
	UrgentPriority = 10
	UsualPriority  = 0
)

// TurnsAt wakes the PipedreamTokens whose turn has come at a gate, so that no worker
// waits there.
func TurnsAt(gate *pipedream.Gate) source.Source {
	return source.Func(func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		visits, ok := queue.(priorityqueue.PriorityQueue[reconcile.Request])
		if !ok {
			return fmt.Errorf("the controller's queue must have priorities, and is a %T", queue)
		}
		go func() {
			for ctx.Err() == nil {
				askers, wait := gate.Turns()
				for _, asker := range askers {
					visits.AddWithOpts(priorityqueue.AddOpts{Priority: new(UrgentPriority)},
						reconcile.Request{NamespacedName: types.NamespacedName{Namespace: asker.Group, Name: asker.Name}})
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
