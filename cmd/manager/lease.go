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

// renewDeadline is how long a leader that cannot renew its Lease goes on. It is
// controller-runtime's default.
const renewDeadline = 10 * time.Second

// historyLostError is the error of a manager whose caches know of changes that the
// API server has forgotten.
type historyLostError struct {
	lease         string
	before, after leaseVersion
}

func (e *historyLostError) Error() string {
	return fmt.Sprintf("the Kubernetes API server lost changes, as after a restore of etcd from a backup: Lease %s is now at %s, and was at %s before; "+
		"this process would miss changes from now on, so it ends, and the next process reads all objects again",
		e.lease, e.after, e.before)
}

// leaseVersion is what one answer of the API server says about the Lease.
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

// wentBack reports whether the API server lost changes between two answers about the
// Lease, of which it gave before first.
//
// Every write takes a higher resourceVersion than all writes before it, and a Lease that was
// deleted and created again has a higher one, too. So only lost changes make it lower. The times
// in a Lease decide nothing: clocks can be set back, and each holder writes the time of its own.
// resourceVersions that are no numbers cannot be compared, and show nothing.
func wentBack(before, after leaseVersion) bool {
	compared, err := resourceversion.CompareResourceVersion(before.resourceVersion, after.resourceVersion)
	return err == nil && compared > 0
}

// leaseHistory looks at each Lease that leader election reads or writes. When the
// API server has lost changes, it lets leader election neither read nor write from then
// on, so that other replicas see the Lease as it was restored, and Start returns an
// error. It makes no requests of its own.
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

// Start returns when the API server has lost changes, with an error that says so, or
// when ctx ends.
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

// NeedLeaderElection returns false: the caches of a standby are as old as a leader's.
func (h *leaseHistory) NeedLeaderElection() bool { return false }

func (h *leaseHistory) failed() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// observe remembers what the API server has answered. It returns an error once it has
// lost changes.
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

// watchedLeases shows a leaseHistory what the API server answers.
type watchedLeases struct {
	coordinationv1client.LeaseInterface
	history *leaseHistory
}

// ask returns a Lease also with an error: leader election keeps what Create returns, and
// records an event about it when it ends.
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

// noRecorder stands in until a manager can give a recorder of events.
type noRecorder struct{ recorder.Provider }

func (noRecorder) GetEventRecorderFor(string) record.EventRecorder { return nil }

// election is leader election with a history of its Lease. It is empty when leader
// election is off.
type election struct {
	lock    *resourcelock.LeaseLock
	history *leaseHistory
}

// newElection returns leader election by the Lease that controller-runtime would use.
func newElection(config *rest.Config, on bool) (*election, error) {
	if !on {
		return &election{}, nil
	}
	namespace := os.Getenv("POD_NAMESPACE")
	// Making a lock changes the configuration.
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

// joins lets the election record events with the manager's recorder, and ends the manager
// when the API server has lost changes.
func (e *election) joins(mgr ctrl.Manager) error {
	if e.lock == nil {
		return nil
	}
	e.lock.LockConfig.EventRecorder = mgr.GetEventRecorderFor(e.lock.Identity()) //nolint:staticcheck // Leader election takes no other recorder.
	if err := mgr.Add(e.history); err != nil {
		return fmt.Errorf("set up the history of the Lease: %w", err)
	}
	return nil
}
