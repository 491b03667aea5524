// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
	"github.com/pipedream-operator/pipedream-operator/test/harness/controlplane"
)

// callLease is a read of the Lease, as leaders do after a conflict, and standbys
// every few seconds.
const callLease = "GET leases/" + leaseName

func (s *site) lease() *coordinationv1.Lease {
	s.Helper()
	lease := &coordinationv1.Lease{}
	if err := s.admin.Get(s.Context(), s.key(leaseName), lease); client.IgnoreNotFound(err) != nil {
		s.Fatal(err)
	}
	return lease
}

// awaitRenewal waits until the leader has renewed the Lease.
func (s *site) awaitRenewal() {
	s.Helper()
	before := s.lease().Spec.RenewTime
	s.eventually("the Lease is renewed", func() bool {
		after := s.lease().Spec.RenewTime
		return after != nil && (before == nil || !after.Equal(before))
	})
}

// awaitLead waits until a replica leads.
func (s *site) awaitLead(r *replica) {
	s.Helper()
	s.eventually("the replica leads", func() bool {
		return r.wire.counted()["PUT leases/"+leaseName] > 0 || r.wire.counted()["POST leases"] > 0
	})
}

// freeze stops the process of a leader between two renewals of its Lease. A leader that runs
// ends when it cannot renew its Lease for ten seconds, and a busy machine does not restore etcd in
// that time.
func (s *site) freeze(r *replica) {
	s.Helper()
	s.awaitRenewal()
	// The leader must have read the answer to this renewal, or it would not know that the Lease has
	// changed. It renews the Lease every two seconds.
	<-time.After(500 * time.Millisecond)
	harness.Must(s.T, r.Signal(syscall.SIGSTOP))
}

func (s *site) thaw(r *replica) {
	s.Helper()
	harness.Must(s.T, r.Signal(syscall.SIGCONT))
}

// wantRunning checks that a replica has not ended.
func (s *site) wantRunning(what string, r *replica) {
	s.Helper()
	if r.HasEnded() {
		code, line := r.exit(s.T)
		s.Fatalf("%s: the replica has ended with %d: %s", what, code, line)
	}
}

// wantLostHistory checks that a replica ends, and says why.
func (s *site) wantLostHistory(what string, r *replica) {
	s.Helper()
	began := time.Now()
	code, line := r.exit(s.T)
	s.Logf("%s has ended after %v", what, time.Since(began).Round(time.Millisecond))
	want := "manager: run the manager: the Kubernetes API server lost changes, as after a restore of etcd from a backup: Lease " + s.namespace + "/" + leaseName
	if code != 1 || !strings.HasPrefix(line, want) {
		s.Errorf("%s has ended with %d and\n%s\nwant 1 and\n%s", what, code, line, want)
	}
}

// restorable is a control plane with a test's sites on it.
type restorable struct {
	*testing.T
	plane *controlplane.ControlPlane
	admin client.Client
}

func newRestorable(t *testing.T) *restorable {
	t.Helper()
	plane := controlplane.MustStart(t, controlplane.Options{KillAfter: time.Second})
	return &restorable{T: t, plane: plane, admin: plane.Client}
}

// start starts the stopped etcd and kube-apiserver again, and waits until
// they answer.
func (r *restorable) start(parts ...func() error) {
	r.Helper()
	for _, start := range parts {
		harness.Must(r.T, start())
	}
	harness.Eventually(r.T, "an answer of the API server", harness.NoError(func() error {
		return r.admin.List(r.Context(), &corev1.NamespaceList{})
	}))
}

func (r *restorable) save() (saved string) {
	r.Helper()
	harness.Must(r.T, r.plane.StopEtcd())
	saved, err := r.plane.SaveEtcd()
	harness.Must(r.T, err)
	r.start(r.plane.StartEtcd)
	return saved
}

// restart stops etcd and kube-apiserver, and starts them again, with what was saved
// before if there is a copy.
func (r *restorable) restart(saved string) {
	r.Helper()
	harness.Must(r.T, r.plane.StopAPIServer())
	harness.Must(r.T, r.plane.StopEtcd())
	if saved != "" {
		harness.Must(r.T, r.plane.RestoreEtcd(saved))
	}
	r.start(r.plane.StartEtcd, r.plane.StartAPIServer)
}

// wantNoticed checks that a leader notices another project, and a new object, and that
// nothing else was issued.
func (s *site) wantNoticed(what string, exchanges map[string]int) {
	s.Helper()
	s.project++
	change(s, s.token("b"), func(p *v1alpha1.PipedreamToken) { p.Spec.ProjectID = fmt.Sprintf("proj_%d", s.project) })
	s.awaitRight("b")
	for name, want := range exchanges {
		if got := s.exchanges(name); got != want {
			s.Errorf("%s: Pipedream was asked for %d tokens of %s, want %d", what, got, name, want)
		}
	}
}

// add makes an object, and waits until it has its token.
func (s *site) add(name string, exchanges map[string]int) {
	s.Helper()
	s.register(name, goodSecret)
	s.create(name)
	s.awaitRight(name)
	exchanges[name]++
}

// TestClusterRestoredFromABackup puts an earlier copy in place of what etcd has stored. The
// watches of all managers that run then stay silent: so they must end.
func TestClusterRestoredFromABackup(t *testing.T) {
	t.Parallel()
	r := newRestorable(t)
	// In the first namespace the leader is there all the time, in the second one a standby, and
	// in the third one there was no Lease when etcd was saved.
	led, stood, late := newSiteOn(t, r.plane), newSiteOn(t, r.plane), newSiteOn(t, r.plane)
	leader, dying := led.startReplica(), stood.startReplica()
	exchanges := map[*site]map[string]int{led: {}, stood: {}}
	for s, exchanges := range exchanges {
		s.add("a", exchanges)
		s.add("b", exchanges)
	}
	led.freeze(leader)
	stood.freeze(dying)
	saved := r.save()
	led.thaw(leader)
	stood.thaw(dying)

	for s, exchanges := range exchanges {
		s.requestRenewal("a")
		s.awaitRight("a")
		exchanges["a"]++
		s.add("c", exchanges)
		s.wantNoticed("after etcd was saved", exchanges)
	}
	standby, first := stood.startReplica(), late.startReplica()
	stood.eventually("the standby reads the Lease", func() bool { return standby.wire.counted()[callLease] > 0 })
	late.awaitLead(first)

	led.freeze(leader)
	late.freeze(first)
	stood.awaitRenewal()
	dying.Kill()
	r.restart(saved)
	led.thaw(leader)
	late.thaw(first)
	led.wantLostHistory("the leader", leader)
	stood.wantLostHistory("the standby", standby)
	late.wantLostHistory("the leader whose Lease is younger than the copy", first)

	// What comes after them knows the cluster as it is now.
	leader, dying = led.startReplica(), stood.startReplica()
	for s, exchanges := range exchanges {
		s.wantNoticed("after the restore", exchanges)
		s.add("c", exchanges)
	}
	led.wantRunning("after the restore", leader)
	stood.wantRunning("after the restore", dying)
	r.wantNoFalseAlarm(led, stood, leader, dying, exchanges)
}

// wantNoFalseAlarm checks that managers go on after what is no restore.
func (r *restorable) wantNoFalseAlarm(led, stood *site, leader, other *replica, exchanges map[*site]map[string]int) {
	r.Helper()
	standby := stood.startReplica()
	stood.eventually("the standby reads the Lease", func() bool { return standby.wire.counted()[callLease] > 0 })
	wantRunning := func(what string) {
		r.Helper()
		read := standby.wire.counted()[callLease]
		stood.eventually("the standby has read the Lease twice", func() bool { return standby.wire.counted()[callLease] > read+1 })
		for s, exchanges := range exchanges {
			s.awaitRenewal()
			s.wantNoticed(what, exchanges)
		}
		led.wantRunning(what, leader)
		stood.wantRunning(what, other)
		stood.wantRunning(what, standby)
	}

	led.freeze(leader)
	stood.freeze(other)
	harness.Must(r.T, standby.Signal(syscall.SIGSTOP))
	r.restart("")
	led.thaw(leader)
	stood.thaw(other)
	stood.awaitRenewal() // Before the standby could find that the Lease has expired.
	stood.thaw(standby)
	wantRunning("etcd and kube-apiserver were started again")

	for what, by := range map[string]time.Duration{"the clock of the leader seems to be set back": -24 * time.Hour, "and forward": 24 * time.Hour} {
		for s := range exchanges {
			change(s, s.lease(), func(lease *coordinationv1.Lease) {
				lease.Spec.RenewTime = new(metav1.NewMicroTime(time.Now().Add(by)))
				lease.Spec.LeaseTransitions = new(int32)
			})
		}
		wantRunning(what)
	}

	// Of two replicas, the one that makes the Lease again leads, and the other one may end.
	deleted := led.lease()
	harness.Must(r.T, led.admin.Delete(r.Context(), deleted))
	led.eventually("there is another Lease", func() bool { return led.lease().UID != "" && led.lease().UID != deleted.UID })
	wantRunning("the Lease was deleted")
}
