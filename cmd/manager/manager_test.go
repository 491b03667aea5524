// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
	"github.com/pipedream-operator/pipedream-operator/test/harness/controlplane"
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
	flags, remove, err := auditing()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	options := controlplane.Options{ControllerManager: true, KillAfter: time.Minute, APIServerFlags: flags}
	code := controlplane.RunTests(m, options, func(started *controlplane.ControlPlane) error {
		cluster = started
		return nil
	})
	remove()
	os.Exit(code)
}

// manager is a running one, and what it prints.
type manager struct{ *harness.Process }

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
	return &manager{harness.Command{
		Path: command[0], Arguments: command[1:], Environment: append(environment, beManager+"=1"),
	}.MustStart(t)}
}

// exit waits for the end, and returns the exit code and the last line printed.
func (m *manager) exit(t *testing.T) (code int, line string) {
	t.Helper()
	if err := m.Wait(patience); errors.Is(err, harness.ErrStillRuns) {
		t.Fatalf("%v:\n%s", err, m.Log)
	}
	return m.ExitCode(), m.Log.Tail(1)
}

// stop tells the manager to stop, as a kubelet does. It must end with 0.
func (m *manager) stop(t *testing.T) {
	t.Helper()
	harness.Must(t, m.Signal(syscall.SIGTERM))
	if code, line := m.exit(t); code != 0 {
		t.Errorf("the manager was told to stop, and ended with %d: %s", code, line)
	}
}

// listen takes a port of this machine.
func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	harness.Must(t, err)
	return listener
}

// adminKubeconfig writes a kubeconfig for the real API server, at another address
// if one is given.
func adminKubeconfig(t *testing.T, address string) string {
	t.Helper()
	content := string(cluster.Kubeconfig)
	if address != "" {
		host, err := url.Parse(cluster.Config.Host)
		harness.Must(t, err)
		if !strings.Contains(content, host.Host) {
			t.Fatalf("the kubeconfig does not name the API server's address %s", host.Host)
		}
		content = strings.ReplaceAll(content, host.Host, address)
	}
	return harness.MustWrite(t, "kubeconfig", []byte(content))
}

func TestTakenPort(t *testing.T) {
	taken := listen(t, "127.0.0.1:0")
	defer func() { _ = taken.Close() }()
	names := []string{"health-probe", "metrics", "pprof"}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			arguments := []string{"--kubeconfig=" + adminKubeconfig(t, ""), "--namespaces=default"}
			for _, other := range names {
				address := "0"
				if other == name {
					address = taken.Addr().String()
				}
				arguments = append(arguments, "--"+other+"-bind-address="+address)
			}
			code, line := startManager(t, arguments...).exit(t)
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
	harness.Must(t, err)
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
	admin := cluster.Client
	api := simulator.New(simulator.Options{Now: time.Now, Clients: []simulator.Client{{ID: "id", Secret: "the-client-secret"}}})
	address := harness.MustServe(t, api)

	way := &gateway{}
	way.open(t)
	defer way.cut()
	ctx := t.Context()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "outage-"}}
	harness.Must(t, admin.Create(ctx, namespace))
	manager := startManager(t, "--kubeconfig="+adminKubeconfig(t, way.address), "--namespaces="+namespace.Name,
		"--api-url="+address, "--allow-insecure-api-url", "--metrics-bind-address=0", "--health-probe-bind-address=0")
	harness.Must(t, admin.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "credentials"},
		StringData: map[string]string{"client_id": "id", "client_secret": "the-client-secret"},
	}))
	create := func(name string) {
		harness.Must(t, admin.Create(ctx, &v1alpha1.PipedreamToken{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: name},
			Spec:       v1alpha1.PipedreamTokenSpec{ClientSecretRef: v1alpha1.ClientSecretReference{Name: "credentials"}},
		}))
	}
	awaitReady := func(name string) {
		harness.Wait{Process: manager.Process}.Eventually(t, name+" to become Ready", func() string {
			token := &v1alpha1.PipedreamToken{}
			harness.Must(t, admin.Get(ctx, client.ObjectKey{Namespace: namespace.Name, Name: name}, token))
			if meta.IsStatusConditionTrue(token.Status.Conditions, v1alpha1.ConditionReady) {
				return ""
			}
			return fmt.Sprintf("its status is %+v", token.Status)
		})
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

	manager.stop(t)
	for _, secret := range []string{"the-client-secret", "eyJ"} {
		if strings.Contains(manager.Log.String(), secret) {
			t.Errorf("the log holds a secret:\n%s", manager.Log)
		}
	}
}
