// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/leaderelection"
	"sigs.k8s.io/controller-runtime/pkg/recorder"
)

// leaseName is the name of the Lease of leader election.
const leaseName = "pipedream-operator"

// renewDeadline is how long a leader keeps running when it cannot renew its Lease. It is
// controller-runtime's default.
const renewDeadline = 10 * time.Second

// historyLostError means that the API server has lost changes that the manager's caches already
// contain.
type historyLostError struct {
	lease         string
	before, after leaseVersion
}

func (e *historyLostError) Error() string {
	return fmt.Sprintf("the Kubernetes API server lost changes, as after a restore of etcd from a backup: Lease %s is now at %s, and was at %s before; "+
		"this process would miss changes from now on, so it ends, and the next process reads all objects again",
		e.lease, e.after, e.before)
}

// leaseVersion identifies the version of the Lease in one answer of the API server.
type leaseVersion struct {
	resourceVersion string
	renewTime       *metav1.MicroTime
}

func versionOf(lease *coordinationv1.Lease) leaseVersion {
	return leaseVersion{resourceVersion: lease.ResourceVersion, renewTime: lease.Spec.RenewTime}
}

func (v leaseVersion) String() string {
	renewed := "never renewed"
	if v.renewTime != nil {
		renewed = "renewed " + v.renewTime.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("resourceVersion %s (%s)", v.resourceVersion, renewed)
}

// wentBack reports whether the API server lost changes between two answers with the Lease.
// before is the earlier answer.
//
// The API server gives every write a higher resourceVersion than all earlier writes, also when
// a Lease is deleted and created again. So a lower resourceVersion means that changes were
// lost. wentBack ignores the times in the Lease: clocks can be set back, and each holder writes
// the time of its own clock. It returns false if a resourceVersion is not a number.
func wentBack(before, after leaseVersion) bool {
	compared, err := resourceversion.CompareResourceVersion(before.resourceVersion, after.resourceVersion)
	return err == nil && compared > 0
}

// leaseHistory checks each Lease that leader election reads or writes. Once the API server has
// lost changes, leaseHistory refuses all further reads and writes of leader election, so that
// other replicas see the Lease as it was restored, and Start returns an error. leaseHistory
// sends no requests of its own.
type leaseHistory struct {
	coordinationv1client.LeasesGetter

	mu   sync.Mutex
	last *leaseVersion
	err  error
	lost chan struct{} // Closed when err is set.
}

// Leases implements [coordinationv1client.LeasesGetter].
func (h *leaseHistory) Leases(namespace string) coordinationv1client.LeaseInterface {
	return &watchedLeases{LeaseInterface: h.LeasesGetter.Leases(namespace), history: h}
}

// Start returns an error when the API server has lost changes, or nil when ctx ends.
func (h *leaseHistory) Start(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-h.lost:
		err := h.failed()
		ctrl.LoggerFrom(ctx).Error(err, "the manager ends, so that the next process reads all objects again")
		return err
	}
}

// NeedLeaderElection returns false, because lost changes make the caches of a standby wrong,
// too.
func (h *leaseHistory) NeedLeaderElection() bool { return false }

func (h *leaseHistory) failed() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// observe stores the Lease that the API server returned. It returns an error once the API
// server has lost changes.
func (h *leaseHistory) observe(lease *coordinationv1.Lease) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return h.err
	}
	now := versionOf(lease)
	if h.last != nil && wentBack(*h.last, now) {
		h.err = &historyLostError{lease: lease.Namespace + "/" + lease.Name, before: *h.last, after: now}
		close(h.lost)
	}
	h.last = &now
	return h.err
}

// watchedLeases passes each Lease that the API server returns to a leaseHistory.
type watchedLeases struct {
	coordinationv1client.LeaseInterface
	history *leaseHistory
}

// ask sends a request unless the API server has lost changes. It returns a Lease even with an
// error: leader election keeps the Lease that Create returns, and records an event about it
// when leader election ends.
func (l *watchedLeases) ask(send func() (*coordinationv1.Lease, error)) (*coordinationv1.Lease, error) {
	if err := l.history.failed(); err != nil {
		return &coordinationv1.Lease{}, err
	}
	lease, err := send()
	if err != nil {
		return lease, err
	}
	return lease, l.history.observe(lease)
}

// Get implements [coordinationv1client.LeaseInterface].
func (l *watchedLeases) Get(ctx context.Context, name string, options metav1.GetOptions) (*coordinationv1.Lease, error) {
	return l.ask(func() (*coordinationv1.Lease, error) { return l.LeaseInterface.Get(ctx, name, options) })
}

// Create implements [coordinationv1client.LeaseInterface].
func (l *watchedLeases) Create(ctx context.Context, lease *coordinationv1.Lease, options metav1.CreateOptions) (*coordinationv1.Lease, error) {
	return l.ask(func() (*coordinationv1.Lease, error) { return l.LeaseInterface.Create(ctx, lease, options) })
}

// Update implements [coordinationv1client.LeaseInterface].
func (l *watchedLeases) Update(ctx context.Context, lease *coordinationv1.Lease, options metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	return l.ask(func() (*coordinationv1.Lease, error) { return l.LeaseInterface.Update(ctx, lease, options) })
}

// noRecorder is a placeholder until the manager provides a recorder of events.
type noRecorder struct{ recorder.Provider }

func (noRecorder) GetEventRecorderFor(string) record.EventRecorder { return nil }

// election holds the lock of leader election and the history of its Lease. It is empty when
// leader election is off.
type election struct {
	lock    *resourcelock.LeaseLock
	history *leaseHistory
}

// newElection returns an election with the same Lease that controller-runtime would use.
func newElection(config *rest.Config, on bool) (*election, error) {
	if !on {
		return &election{}, nil
	}
	namespace := os.Getenv("POD_NAMESPACE")
	// NewResourceLock changes the configuration, so it gets a copy.
	made, err := leaderelection.NewResourceLock(rest.CopyConfig(config), noRecorder{}, leaderelection.Options{
		LeaderElection:          true,
		LeaderElectionID:        leaseName,
		LeaderElectionNamespace: namespace,
		RenewDeadline:           renewDeadline,
	})
	if err != nil && namespace == "" {
		err = fmt.Errorf("%w (outside of a cluster, --leader-elect needs POD_NAMESPACE in the environment)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("set up leader election: %w", err)
	}
	lock, ok := made.(*resourcelock.LeaseLock)
	if !ok {
		return nil, fmt.Errorf("set up leader election: the lock is a %T, not a Lease", made)
	}
	history := &leaseHistory{LeasesGetter: lock.Client, lost: make(chan struct{})}
	lock.Client = history
	return &election{lock: lock, history: history}, nil
}

// resourceLock returns the lock for a manager, or nil when leader election is off.
func (e *election) resourceLock() resourcelock.Interface {
	if e.lock == nil {
		return nil
	}
	return e.lock
}

// name returns the namespace and the name of the Lease, or an empty text when leader election is
// off. All replicas and all versions of an installation have the same Lease.
func (e *election) name() string {
	if e.lock == nil {
		return ""
	}
	return e.lock.LeaseMeta.Namespace + "/" + e.lock.LeaseMeta.Name
}

// joins makes the election use the manager's recorder of events, and makes the manager end when
// the API server has lost changes.
func (e *election) joins(mgr ctrl.Manager) error {
	if e.lock == nil {
		return nil
	}
	e.lock.LockConfig.EventRecorder = mgr.GetEventRecorderFor(e.lock.Identity()) //nolint:staticcheck // Leader election accepts only this type of recorder.
	if err := mgr.Add(e.history); err != nil {
		return fmt.Errorf("set up the history of the Lease: %w", err)
	}
	return nil
}
