//go:build upgrade

// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package upgrade_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
	"github.com/pipedream-operator/pipedream-operator/test/harness/controlplane"
)

const (
	systemNamespace = "pipedream-operator-system"
	managerAccount  = "pipedream-operator-manager"
	// patience bounds how long the test waits for what must come.
	patience = 90 * time.Second
	// shutdownPatience is how long a manager may take to end, as the Deployment has it.
	shutdownPatience = 45 * time.Second
)

// site is all that runs: a control plane, Pipedream, and the managers.
type site struct {
	*testing.T
	folder     string
	cluster    *controlplane.ControlPlane
	admin      client.Client
	pipedream  *pipedream
	kubeconfig string // of the managers
	auditLog   string
	observer   *observer

	mu      sync.Mutex // held by who appends to objects, and by who reads them beside the test
	objects []*object
	// applied are the names of the RBAC objects of the version that was applied last.
	applied []*unstructured.Unstructured
	// judgedUntil is the end of the part of the audit log that was judged already, in bytes, and the time of that end.
	judgedUntil     int64
	judgedExchanges time.Time
	// accounts are the PipedreamAccounts, accountsFrom is when each request about them must have a reason, and readerExchanges
	// is how many tokens were asked for to read accounts until the last switch.
	accounts        []*connected
	accountsFrom    time.Time
	readerExchanges int
	// isBack tells that the version before leads again.
	isBack bool
	// leading is when each manager has begun to lead.
	leading []time.Time
}

func newSite(t *testing.T) *site {
	t.Helper()
	ctrl.SetLogger(logr.Discard()) // envtest asks for one.
	s := &site{T: t, folder: t.TempDir(), pipedream: newPipedream(t)}
	flags := s.auditing()
	var err error
	s.cluster, err = controlplane.Start(controlplane.Options{
		ControllerManager: true, KillAfter: time.Second, APIServerFlags: flags, WithoutCRDs: true,
	})
	harness.Must(t, err)
	t.Cleanup(func() {
		if err := s.cluster.Stop(); err != nil {
			t.Logf("end the control plane: %v", err) // On a busy machine it takes long; that is no fault of the operator.
		}
	})
	s.admin = s.cluster.Client
	s.createNamespace(systemNamespace)
	return s
}

// kubectl runs kubectl as the administrator, and returns what it prints.
func (s *site) kubectl(arguments ...string) string {
	s.Helper()
	return s.cluster.Kubectl().Must(s.T, arguments...)
}

// install installs the CRDs and the RBAC of a version, as `kubectl apply --server-side` does. A CRD that only the other
// version has stays. RBAC objects that only the other version has are deleted, so that no manager lives on permissions
// that its own version does not grant.
func (s *site) install(v *version) {
	s.Helper()
	rbac := filepath.Join(v.source, "test", "upgrade")
	s.kubectl("apply", "--server-side", "--kustomize", filepath.Join(v.source, "config", "crd"))
	s.kubectl("apply", "--server-side", "--kustomize", rbac)
	var applied []*unstructured.Unstructured
	for document := range strings.SplitSeq(s.kubectl("kustomize", rbac), "\n---\n") {
		u := &unstructured.Unstructured{}
		harness.Must(s.T, yaml.Unmarshal([]byte(document), &u.Object))
		applied = append(applied, u)
	}
	for _, old := range s.applied {
		stays := slices.ContainsFunc(applied, func(u *unstructured.Unstructured) bool {
			return u.GetKind() == old.GetKind() && u.GetNamespace() == old.GetNamespace() && u.GetName() == old.GetName()
		})
		if !stays {
			harness.Must(s.T, s.admin.Delete(s.Context(), old))
		}
	}
	s.applied = applied
	crds := strings.Fields(s.kubectl("get", "--kustomize", filepath.Join(v.source, "config", "crd"), "--output=name"))
	s.kubectl(append([]string{"wait", "--for=condition=Established", "--timeout=60s"}, crds...)...)
}

// authenticate writes the kubeconfig of the managers, once their ServiceAccount is there.
func (s *site) authenticate() {
	s.Helper()
	s.kubeconfig = s.cluster.MustAccountKubeconfig(s.T, systemNamespace, managerAccount)
}

// manager is a manager that runs.
type manager struct {
	*version
	*harness.Process
	// holder is who held the lease when this manager was started.
	holder string
}

// start starts the manager of a version, and returns when its caches are filled. It may stand by at first.
func (s *site) start(v *version) *manager {
	s.Helper()
	call := harness.Manager{
		Path: v.manager, Kubeconfig: s.kubeconfig, Pipedream: s.pipedream.url, Namespace: systemNamespace, Probes: harness.MustFreeAddress(s.T),
		Flags: []string{"--leader-elect", "--token-requests-per-second=50", "--token-request-burst=50", "--verification-requests-per-second=50"},
	}
	m := &manager{version: v, holder: s.leader()}
	m.Process = call.Command().MustStart(s.T)
	wait := harness.Wait{Patience: patience, Process: m.Process}
	wait.Eventually(s.T, "the manager of the version "+v.name+" to be ready", func() string { return call.Unready(s.Context()) })
	return m
}

// leader returns who holds the operator's lease; nothing if nobody does.
func (s *site) leader() string {
	s.Helper()
	leases := &coordinationv1.LeaseList{}
	harness.Must(s.T, s.admin.List(s.Context(), leases, client.InNamespace(systemNamespace)))
	for _, lease := range leases.Items {
		if holder := lease.Spec.HolderIdentity; holder != nil {
			return *holder
		}
	}
	return ""
}

// awaitLeader waits until a manager leads that nobody led before. The one that led must have been told to stop.
func (s *site) awaitLeader(m *manager) {
	s.Helper()
	s.eventually("the manager of the version "+m.name+" leads", func() string {
		if holder := s.leader(); holder == "" || holder == m.holder {
			return fmt.Sprintf("the lease is held by %q", holder)
		}
		return ""
	})
	s.leading = append(s.leading, time.Now())
	s.Logf("%s: the manager of the version %q leads", time.Now().Format(time.TimeOnly), m.name)
}

// stop tells a manager to end as a kubelet does, and waits until it has.
func (s *site) stop(m *manager) {
	s.Helper()
	if err := m.Stop(shutdownPatience); err != nil {
		s.Errorf("the manager of the version %q was told to stop: %v: %s", m.name, err, m.Log.Tail(1))
	}
}

// eventually waits until there is nothing left that is wrong.
func (s *site) eventually(what string, wrong func() string) {
	s.Helper()
	harness.Wait{Patience: patience, Every: 100 * time.Millisecond}.Eventually(s.T, what, wrong)
}
