// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

func visitTo(name string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "shop", Name: name}}
}

func TestWhoseTurnHasComeIsVisitedFirst(t *testing.T) {
	t.Parallel()
	gate := pipedream.NewGate(pipedream.GateOptions{PerSecond: 1, Burst: 1, InFlight: 1, Now: time.Now})
	visits := priorityqueue.New[reconcile.Request]("test")
	defer visits.ShutDown()
	for i := range 100 {
		visits.Add(visitTo(fmt.Sprint(i)))
	}
	// Its turn comes at once, and nobody has told it: the first one has the only turn.
	gate.Enter(pipedream.Asker{Group: "shop", Name: "first"}, pipedream.FirstToken)
	gate.Enter(pipedream.Asker{Group: "shop", Name: "turn"}, pipedream.FirstToken)
	gate.Leave(pipedream.Asker{Group: "shop", Name: "first"})
	if err := TurnsAt(gate).Start(t.Context(), visits); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for visits.Len() < 101 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if got, _, _ := visits.GetWithPriority(); got != visitTo("turn") {
		t.Errorf("of %d the first to be visited is %v", visits.Len(), got)
	}
}

func TestAQueueWithoutPrioritiesIsAnError(t *testing.T) {
	t.Parallel()
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer queue.ShutDown()
	gate := pipedream.NewGate(pipedream.GateOptions{PerSecond: 1, Burst: 1, InFlight: 1, Now: time.Now})
	if err := TurnsAt(gate).Start(t.Context(), queue); err == nil {
		t.Error("there is no error")
	}
}
