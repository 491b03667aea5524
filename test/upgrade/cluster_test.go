//go:build upgrade

// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package upgrade_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/controlplane"
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
	must(t, err)
	t.Cleanup(func() {
		if err := s.cluster.Stop(); err != nil {
			t.Logf("end the control plane: %v", err) // On a busy machine it takes long; that is no fault of the operator.
		}
	})
	must(t, os.WriteFile(s.adminKubeconfig(), s.cluster.Kubeconfig, 0o600))
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		admissionv1.AddToScheme, authenticationv1.AddToScheme, coordinationv1.AddToScheme, corev1.AddToScheme, v1alpha1.AddToScheme,
	} {
		must(t, add(scheme))
	}
	config := rest.CopyConfig(s.cluster.Config)
	config.QPS = -1
	s.admin, err = client.New(config, client.Options{Scheme: scheme})
	must(t, err)
	s.createNamespace(systemNamespace)
	return s
}

func (s *site) adminKubeconfig() string { return filepath.Join(s.folder, "admin.kubeconfig") }

// kubectl runs kubectl as the administrator, and returns what it prints.
func (s *site) kubectl(arguments ...string) []byte {
	s.Helper()
	command := exec.CommandContext(s.Context(), filepath.Join(controlplane.Assets(), "kubectl"), arguments...)
	command.Env = append(os.Environ(), "KUBECONFIG="+s.adminKubeconfig())
	var problems bytes.Buffer
	command.Stderr = &problems
	out, err := command.Output()
	if err != nil {
		s.Fatalf("kubectl %s: %v: %s", strings.Join(arguments, " "), err, &problems)
	}
	return out
}

// install makes the CRD and the RBAC those of a version, as `kubectl apply --server-side` does. It also deletes RBAC
// objects that only the other version has, so that no manager lives on permissions that its own version does not grant.
func (s *site) install(v *version) {
	s.Helper()
	rbac := filepath.Join(v.source, "test", "upgrade")
	s.kubectl("apply", "--server-side", "--kustomize", filepath.Join(v.source, "config", "crd"))
	s.kubectl("apply", "--server-side", "--kustomize", rbac)
	var applied []*unstructured.Unstructured
	for document := range strings.SplitSeq(string(s.kubectl("kustomize", rbac)), "\n---\n") {
		u := &unstructured.Unstructured{}
		must(s.T, yaml.Unmarshal([]byte(document), &u.Object))
		applied = append(applied, u)
	}
	for _, old := range s.applied {
		stays := slices.ContainsFunc(applied, func(u *unstructured.Unstructured) bool {
			return u.GetKind() == old.GetKind() && u.GetNamespace() == old.GetNamespace() && u.GetName() == old.GetName()
		})
		if !stays {
			must(s.T, s.admin.Delete(s.Context(), old))
		}
	}
	s.applied = applied
	s.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd/pipedreamtokens.pipedream-operator.io")
}

// authenticate writes the kubeconfig of the managers, once their ServiceAccount is there.
func (s *site) authenticate() {
	s.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: managerAccount}}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(24 * 60 * 60))}}
	must(s.T, s.admin.SubResource("token").Create(s.Context(), account, request))
	content, err := s.cluster.KubeconfigOf(request.Status.Token, systemNamespace)
	must(s.T, err)
	s.kubeconfig = filepath.Join(s.folder, "manager.kubeconfig")
	must(s.T, os.WriteFile(s.kubeconfig, content, 0o600))
}

// output keeps what a process prints.
type output struct {
	mu      sync.Mutex
	content bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.content.Write(p)
}

// tail returns the last lines.
func (o *output) tail(count int) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(o.content.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "\n")
}

// manager is a manager that runs.
type manager struct {
	*version
	process *exec.Cmd
	log     *output
	ended   chan struct{}
	probes  string
	// holder is who held the lease when this manager was started.
	holder string
}

// start starts the manager of a version, and returns when its caches are filled. It may stand by at first.
func (s *site) start(v *version) *manager {
	s.Helper()
	listener, err := new(net.ListenConfig).Listen(s.Context(), "tcp", "127.0.0.1:0")
	must(s.T, err)
	m := &manager{version: v, log: &output{}, ended: make(chan struct{}), probes: listener.Addr().String(), holder: s.leader()}
	must(s.T, listener.Close())
	m.process = exec.CommandContext(context.WithoutCancel(s.Context()), v.manager, "--kubeconfig="+s.kubeconfig,
		"--api-url="+s.pipedream.url, "--allow-insecure-api-url", "--leader-elect",
		"--token-requests-per-second=50", "--token-request-burst=50", "--verification-requests-per-second=50",
		"--metrics-bind-address=0", "--health-probe-bind-address="+m.probes)
	m.process.Env = append(os.Environ(), "POD_NAMESPACE="+systemNamespace)
	m.process.Stdout, m.process.Stderr = m.log, m.log
	must(s.T, m.process.Start())
	go func() {
		_ = m.process.Wait()
		close(m.ended)
	}()
	s.Cleanup(func() {
		_ = m.process.Process.Kill()
		<-m.ended
		if s.Failed() {
			s.Logf("the last that the manager of the version %q printed:\n%s", v.name, m.log.tail(15))
		}
	})
	s.eventually("the manager of the version "+v.name+" is ready", func() string { return m.unready(s.Context()) })
	return m
}

// unready returns why a manager is not ready; nothing if it is.
func (m *manager) unready(ctx context.Context) string {
	select {
	case <-m.ended:
		return "it has ended: " + m.log.tail(1)
	default:
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.probes+"/readyz", http.NoBody)
	if err != nil {
		return err.Error()
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err.Error()
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return response.Status
	}
	return ""
}

// leader returns who holds the operator's lease; nothing if nobody does.
func (s *site) leader() string {
	s.Helper()
	leases := &coordinationv1.LeaseList{}
	must(s.T, s.admin.List(s.Context(), leases, client.InNamespace(systemNamespace)))
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
	must(s.T, m.process.Process.Signal(syscall.SIGTERM))
	select {
	case <-m.ended:
		if code := m.process.ProcessState.ExitCode(); code != 0 {
			s.Errorf("the manager of the version %q was told to stop, and ended with %d: %s", m.name, code, m.log.tail(1))
		}
	case <-time.After(shutdownPatience):
		s.Fatalf("the manager of the version %q was told to stop, and still runs after %s", m.name, shutdownPatience)
	}
}

// eventually waits until there is nothing left that is wrong.
func (s *site) eventually(what string, wrong func() string) {
	s.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		problem := wrong()
		if problem == "" {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("after %s it is not so that %s: %s", patience, what, problem)
		}
	}
}
