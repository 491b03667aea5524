// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

func requestNamed(name string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "shop", Name: name}}
}

func requesterNamed(kind, name string) throttle.Requester {
	return throttle.Requester{Kind: kind, Group: "shop", Name: name}
}

// dispatched is a Dispatcher with one Limiter, and with the queue of each kind.
type dispatched struct {
	*testing.T
	dispatcher *Dispatcher
	limiter    *throttle.Limiter
	queues     map[string]priorityqueue.PriorityQueue[reconcile.Request]
}

// newDispatched returns a Dispatcher that was not started, with a Limiter that gives a turn
// to as many requesters as the burst.
func newDispatched(t *testing.T, burst int, kinds ...string) *dispatched {
	t.Helper()
	d := &dispatched{T: t, dispatcher: &Dispatcher{}, queues: map[string]priorityqueue.PriorityQueue[reconcile.Request]{}}
	d.limiter = d.dispatcher.NewLimiter(throttle.Options{PerSecond: 1, Burst: burst, InFlight: burst, Now: time.Now})
	for _, kind := range kinds {
		queue := priorityqueue.New[reconcile.Request](kind)
		t.Cleanup(queue.ShutDown)
		d.queues[kind] = queue
	}
	return d
}

// startSource has the controller of a kind start its source.
func (d *dispatched) startSource(kind string) {
	d.Helper()
	turns, err := d.dispatcher.Source(kind)
	harness.Must(d.T, err)
	harness.Must(d.T, turns.Start(d.Context(), d.queues[kind]))
}

// start starts the Dispatcher. It ends with the test.
func (d *dispatched) start() {
	d.Helper()
	ctx, stop := context.WithCancel(d.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.dispatcher.Start(ctx) }()
	d.Cleanup(func() {
		stop()
		harness.Must(d.T, <-ended)
	})
}

// reserveUnreported reserves tickets so that the turn of each requester comes later, and is
// not in the ticket: another requester has all turns first.
func (d *dispatched) reserveUnreported(requesters ...throttle.Requester) {
	d.Helper()
	first := requesterNamed("another kind", "first")
	if ticket := d.limiter.Reserve(first, throttle.ReserveOptions{Lane: throttle.FirstToken}); !ticket.IsReady {
		d.Fatal("the first requester has no turn")
	}
	for _, requester := range requesters {
		if ticket := d.limiter.Reserve(requester, throttle.ReserveOptions{Lane: throttle.FirstToken}); ticket.IsReady {
			d.Fatalf("%v has its turn already", requester)
		}
	}
	d.limiter.Cancel(first)
}

// wantLen waits until the queue of a kind has a number of requests.
func (d *dispatched) wantLen(kind string, want int) {
	d.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for d.queues[kind].Len() != want {
		if time.Now().After(deadline) {
			d.Fatalf("the queue of %s has %d requests, want %d", kind, d.queues[kind].Len(), want)
		}
		time.Sleep(time.Millisecond)
	}
}

// drain returns the names in the queue of a kind, in their order.
func (d *dispatched) drain(kind string) []string {
	d.Helper()
	var names []string
	for d.queues[kind].Len() > 0 {
		request, _ := d.queues[kind].Get()
		names = append(names, request.Name)
		d.queues[kind].Done(request)
	}
	slices.Sort(names)
	return names
}

func TestAnObjectWhoseTurnHasComeIsReconciledFirst(t *testing.T) {
	t.Parallel()
	d := newDispatched(t, 1, "A")
	for i := range 100 {
		d.queues["A"].Add(requestNamed(fmt.Sprint(i)))
	}
	d.reserveUnreported(requesterNamed("A", "turn"))
	d.startSource("A")
	d.start()
	d.wantLen("A", 101)
	if got, priority, _ := d.queues["A"].GetWithPriority(); got != requestNamed("turn") || priority != UrgentPriority {
		t.Errorf("the first to be reconciled is %v with priority %d", got, priority)
	}
}

// Two kinds share a limiter, and have objects of the same names. The controller of each
// kind gets the turns of its own objects, and no others.
func TestAKindIsWokenForItsOwnTurnsOnly(t *testing.T) {
	t.Parallel()
	const count = 100
	d := newDispatched(t, 2*count, "A", "B")
	d.startSource("A")
	d.startSource("B")
	d.start()
	var wantA, wantB []string
	for i := range count {
		name := fmt.Sprintf("object-%03d", i)
		// The tickets of the first hundred reserve all turns that there are.
		d.limiter.Reserve(requesterNamed("blocks", name), throttle.ReserveOptions{Lane: throttle.NearEnd})
		d.limiter.Reserve(requesterNamed("blocks", "more-"+name), throttle.ReserveOptions{Lane: throttle.NearEnd})
	}
	for i := range count {
		name := fmt.Sprintf("object-%03d", i)
		if i%2 == 0 {
			d.limiter.Reserve(requesterNamed("A", name), throttle.ReserveOptions{Lane: throttle.FirstToken})
			wantA = append(wantA, name)
		}
		if i%5 == 0 {
			d.limiter.Reserve(requesterNamed("B", name), throttle.ReserveOptions{Lane: throttle.FirstToken})
			wantB = append(wantB, name)
		}
	}
	for i := range count {
		name := fmt.Sprintf("object-%03d", i)
		d.limiter.Cancel(requesterNamed("blocks", name))
		d.limiter.Cancel(requesterNamed("blocks", "more-"+name))
	}
	d.wantLen("A", len(wantA))
	d.wantLen("B", len(wantB))
	if got := d.drain("A"); !slices.Equal(got, wantA) {
		t.Errorf("kind A is woken for %v, want %v", got, wantA)
	}
	if got := d.drain("B"); !slices.Equal(got, wantB) {
		t.Errorf("kind B is woken for %v, want %v", got, wantB)
	}
}

func TestATurnOfOneKindLeavesTheOtherKindAsleep(t *testing.T) {
	t.Parallel()
	d := newDispatched(t, 1, "A", "B")
	d.reserveUnreported(requesterNamed("A", "orders"))
	d.startSource("B")
	d.startSource("A")
	d.start()
	d.wantLen("A", 1)
	if got := d.queues["B"].Len(); got != 0 {
		t.Errorf("kind B is woken for %d objects", got)
	}
}

// A dispatcher reads each of its limiters.
func TestAllLimitersOfADispatcherAreRead(t *testing.T) {
	t.Parallel()
	d := newDispatched(t, 1, "A")
	first := d.limiter
	d.reserveUnreported(requesterNamed("A", "issue"))
	d.limiter = d.dispatcher.NewLimiter(throttle.Options{PerSecond: 1, Burst: 1, InFlight: 1, YieldTo: first, Now: time.Now})
	d.startSource("A")
	d.start()
	d.wantLen("A", 1)
	first.Cancel(requesterNamed("A", "issue"))
	d.reserveUnreported(requesterNamed("A", "verify"))
	d.wantLen("A", 2)
	if got := d.drain("A"); !slices.Equal(got, []string{"issue", "verify"}) {
		t.Errorf("woken are %v", got)
	}
}

func TestATurnThatComesBeforeItsSourceHasStartedIsKept(t *testing.T) {
	t.Parallel()
	d := newDispatched(t, 1, "A")
	turns, err := d.dispatcher.Source("A")
	harness.Must(t, err)
	d.dispatcher.wake(t.Context(), requesterNamed("A", "early"))
	harness.Must(t, turns.Start(t.Context(), d.queues["A"]))
	d.wantLen("A", 1)
	d.dispatcher.wake(t.Context(), requesterNamed("A", "late"))
	d.wantLen("A", 2)
}

func TestATurnOfAnUnknownKindDelaysNoOther(t *testing.T) {
	t.Parallel()
	d := newDispatched(t, 2, "A")
	blocks := requesterNamed("unknown", "blocks")
	d.limiter.Reserve(blocks, throttle.ReserveOptions{Lane: throttle.NearEnd})
	d.reserveUnreported(requesterNamed("unknown", "orders"), requesterNamed("A", "orders"))
	d.limiter.Cancel(blocks)
	d.startSource("A")
	d.start()
	d.wantLen("A", 1)
}

func TestTurnsHaveOneReader(t *testing.T) {
	t.Parallel()
	d := newDispatched(t, 1, "A")
	d.startSource("A")
	if _, err := d.dispatcher.Source("A"); err == nil {
		t.Error("two controllers have a source for the same kind")
	}
	if _, err := d.dispatcher.Source("B"); err != nil {
		t.Errorf("another kind has no source: %v", err)
	}
	d.start()
	d.reserveUnreported(requesterNamed("A", "orders"))
	d.wantLen("A", 1)
	if err := d.dispatcher.Start(t.Context()); err == nil {
		t.Error("two loops read the turns of one limiter")
	}
}

func TestAQueueWithoutPrioritiesIsAnError(t *testing.T) {
	t.Parallel()
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer queue.ShutDown()
	turns, err := (&Dispatcher{}).Source("A")
	harness.Must(t, err)
	if err := turns.Start(t.Context(), queue); err == nil {
		t.Error("there is no error")
	}
}
