// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/test/controlplane"
)

// patience bounds how long a test waits for what must come.
const patience = time.Minute

var cluster *controlplane.ControlPlane

// beManager in the environment makes the test binary the manager itself: each
// manager is a process of its own, as it is in a cluster.
const beManager = "PIPEDREAM_OPERATOR_TEST_BE_MANAGER"

func TestMain(m *testing.M) {
	if os.Getenv(beManager) != "" {
		main()
	}
	os.Exit(runWithCluster(m))
}

// manager is a running one, and what it prints.
type manager struct {
	*exec.Cmd
	log *lockedBuffer
	// ended is closed when it has ended.
	ended chan struct{}
}

// lockedBuffer is a buffer that may be read while a process writes into it.
type lockedBuffer struct {
	mu      sync.Mutex
	written bytes.Buffer
}

func (b *lockedBuffer) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.written.Write(data)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.written.String()
}

func startManager(t *testing.T, arguments ...string) *manager {
	t.Helper()
	return startManagerIn(t, nil, arguments...)
}

// startManagerIn starts a manager with more in its environment.
func startManagerIn(t *testing.T, environment []string, arguments ...string) *manager {
	t.Helper()
	return startManagerBy(t, slices.Concat([]string{os.Args[0]}, arguments), environment...)
}

// startManagerBy starts a manager by a command, with more in its environment.
func startManagerBy(t *testing.T, command []string, environment ...string) *manager {
	t.Helper()
	m := &manager{Cmd: exec.CommandContext(t.Context(), command[0], command[1:]...), log: &lockedBuffer{}, ended: make(chan struct{})}
	m.Env = slices.Concat(os.Environ(), environment, []string{beManager + "=1"})
	m.Stdout, m.Stderr = m.log, m.log
	must(t, m.Start())
	go func() {
		_ = m.Wait()
		close(m.ended)
	}()
	t.Cleanup(func() {
		_ = m.Process.Kill()
		<-m.ended
	})
	return m
}

// exit waits for the end, and returns the exit code and the last line printed.
func (m *manager) exit(t *testing.T) (code int, line string) {
	t.Helper()
	select {
	case <-m.ended:
	case <-time.After(patience):
		_ = m.Process.Kill()
		<-m.ended
		t.Fatalf("the manager does not end:\n%s", m.log)
	}
	lines := strings.Split(strings.TrimSpace(m.log.String()), "\n")
	return m.ProcessState.ExitCode(), lines[len(lines)-1]
}

func runWithCluster(m *testing.M) int {
	flags, remove, err := auditing()
	if err == nil {
		defer remove()
		cluster, err = controlplane.Start(controlplane.Options{ControllerManager: true, APIServerFlags: flags})
	}
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = cluster.Stop() }()
	return m.Run()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// listen takes a port of this machine.
func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	must(t, err)
	return listener
}

// adminKubeconfig writes a kubeconfig for the real API server, at another address
// if one is given.
func adminKubeconfig(t *testing.T, address string) string {
	t.Helper()
	content := string(cluster.Kubeconfig)
	if address != "" {
		host, err := url.Parse(cluster.Config.Host)
		must(t, err)
		if !strings.Contains(content, host.Host) {
			t.Fatalf("the kubeconfig does not name the API server's address %s", host.Host)
		}
		content = strings.ReplaceAll(content, host.Host, address)
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	must(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func TestTakenPort(t *testing.T) {
	taken := listen(t, "127.0.0.1:0")
	defer func() { _ = taken.Close() }()
	for name, other := range map[string]string{"health-probe": "metrics", "metrics": "health-probe"} {
		t.Run(name, func(t *testing.T) {
			code, line := startManager(t,
				"--kubeconfig="+adminKubeconfig(t, ""),
				"--"+name+"-bind-address="+taken.Addr().String(),
				"--"+other+"-bind-address=0",
				"--namespaces=default",
			).exit(t)
			if code != 1 || !strings.HasPrefix(line, "manager: ") || !strings.Contains(line, taken.Addr().String()+": bind: address already in use") {
				t.Errorf("the manager ended with %d and %q, want 1 and the address that is taken", code, line)
			}
		})
	}
}

// gateway is a way to the API server that can be cut and mended.
type gateway struct {
	mu          sync.Mutex
	address     string
	listener    net.Listener
	connections []net.Conn
	// wrap, if set, is put around the listener.
	wrap func(net.Listener) net.Listener
}

func (g *gateway) open(t *testing.T) {
	t.Helper()
	address := g.address
	if address == "" {
		address = "127.0.0.1:0"
	}
	g.listener = listen(t, address)
	g.address = g.listener.Addr().String()
	if g.wrap != nil {
		g.listener = g.wrap(g.listener)
	}
	upstream, err := url.Parse(cluster.Config.Host)
	must(t, err)
	target := upstream.Host
	if target == "" {
		target = cluster.Config.Host
	}
	go func(listener net.Listener) {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := new(net.Dialer).DialContext(context.WithoutCancel(t.Context()), "tcp", target)
			if err != nil {
				_ = client.Close()
				continue
			}
			g.mu.Lock()
			g.connections = append(g.connections, client, server)
			g.mu.Unlock()
			go func() { _, _ = io.Copy(client, server); _ = client.Close() }()
			go func() { _, _ = io.Copy(server, client); _ = server.Close() }()
		}
	}(g.listener)
}

func (g *gateway) cut() {
	_ = g.listener.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, connection := range g.connections {
		_ = connection.Close()
	}
	g.connections = nil
}

// TestAPIServerThatGoesAwayAndComesBack runs the whole manager, and cuts it off
// from the API server for a while.
func TestAPIServerThatGoesAwayAndComesBack(t *testing.T) {
	scheme := runtime.NewScheme()
	must(t, corev1.AddToScheme(scheme))
	must(t, v1alpha1.AddToScheme(scheme))
	admin, err := client.New(cluster.Config, client.Options{Scheme: scheme})
	must(t, err)
	api := simulator.New(simulator.Options{Now: time.Now, Clients: []simulator.Client{{ID: "id", Secret: "the-client-secret"}}})
	server := httptest.NewServer(api)
	defer server.Close()

	way := &gateway{}
	way.open(t)
	defer way.cut()
	ctx := t.Context()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "outage-"}}
	must(t, admin.Create(ctx, namespace))
	manager := startManager(t, "--kubeconfig="+adminKubeconfig(t, way.address), "--namespaces="+namespace.Name,
		"--api-url="+server.URL, "--allow-insecure-api-url", "--metrics-bind-address=0", "--health-probe-bind-address=0")
	must(t, admin.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "credentials"},
		StringData: map[string]string{"client_id": "id", "client_secret": "the-client-secret"},
	}))
	create := func(name string) {
		must(t, admin.Create(ctx, &v1alpha1.PipedreamToken{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: name},
			Spec:       v1alpha1.PipedreamTokenSpec{ClientSecretRef: v1alpha1.ClientSecretReference{Name: "credentials"}},
		}))
	}
	awaitReady := func(name string) {
		deadline := time.After(patience)
		for {
			token := &v1alpha1.PipedreamToken{}
			must(t, admin.Get(ctx, client.ObjectKey{Namespace: namespace.Name, Name: name}, token))
			if meta.IsStatusConditionTrue(token.Status.Conditions, v1alpha1.ConditionReady) {
				return
			}
			select {
			case <-manager.ended:
				t.Fatalf("the manager ended:\n%s", manager.log)
			case <-deadline:
				t.Fatalf("%s did not become Ready: %+v", name, token.Status)
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	create("before")
	awaitReady("before")
	way.cut()
	create("meanwhile")
	way.open(t)
	awaitReady("meanwhile")
	if got := api.Counters().Exchanges["id"].Total; got != 2 {
		t.Errorf("Pipedream was asked for %d tokens, want one for each object", got)
	}

	must(t, manager.Process.Signal(syscall.SIGTERM))
	if code, line := manager.exit(t); code != 0 {
		t.Errorf("the manager was told to stop, and ended with %d: %s", code, line)
	}
	for _, secret := range []string{"the-client-secret", "eyJ"} {
		if strings.Contains(manager.log.String(), secret) {
			t.Errorf("the log holds a secret:\n%s", manager.log)
		}
	}
}
