// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
)

// wired is a namespace whose manager speaks to a Pipedream by TLS with HTTP/2.
type wired struct {
	*testing.T
	admin     client.Client
	namespace string
	pipedream *simulator.Simulator
	port      string
	caFile    mountedFile
	manager   *manager
}

func newWired(t *testing.T) *wired {
	t.Helper()
	w := &wired{T: t, admin: cluster.Client, caFile: mountFile(t, "ca.pem")}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "wire-"}}
	harness.Must(t, w.admin.Create(t.Context(), namespace))
	w.namespace = namespace.Name
	harness.Must(t, w.admin.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "credentials"},
		StringData: map[string]string{"client_id": "id", "client_secret": "the-client-secret"},
	}))
	w.pipedream, w.port = servePipedream(t, "127.0.0.1:0")
	w.caFile.put(t, w.pipedream.TLS.CA())
	return w
}

// apiName is a host name that only /etc/hosts can resolve.
const apiName = "api.pipedream.test"

// servePipedream serves a Pipedream by TLS until the test ends, and returns its port.
func servePipedream(t *testing.T, address string) (api *simulator.Simulator, port string) {
	t.Helper()
	api = simulator.New(simulator.Options{
		Now: time.Now, Clients: []simulator.Client{{ID: "id", Secret: "the-client-secret"}},
	})
	harness.Must(t, api.TLS.Enable([]string{apiName, "127.0.0.1"}, ""))
	listener := listen(t, address)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- api.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the simulator ended with %v", err)
		}
	})
	_, port, err := net.SplitHostPort(listener.Addr().String())
	harness.Must(t, err)
	return api, port
}

// arguments returns the flags of a manager that asks Pipedream at a host.
func (w *wired) arguments(host string) []string {
	return []string{
		"--namespaces=" + w.namespace, "--api-url=https://" + net.JoinHostPort(host, w.port), "--api-ca-file=" + w.caFile.path(),
		"--health-probe-bind-address=0",
	}
}

func (w *wired) create(name string) {
	w.Helper()
	harness.Must(w.T, w.admin.Create(w.Context(), &v1alpha1.PipedreamToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name},
		Spec:       v1alpha1.PipedreamTokenSpec{ClientSecretRef: v1alpha1.ClientSecretReference{Name: "credentials"}},
	}))
}

// await waits until a condition of a PipedreamToken has a status, and returns it.
func (w *wired) await(name, kind string, status metav1.ConditionStatus) *metav1.Condition {
	w.Helper()
	var found *metav1.Condition
	w.eventually(fmt.Sprintf("%s of %s is %s", kind, name, status), func() bool {
		token := &v1alpha1.PipedreamToken{}
		harness.Must(w.T, w.admin.Get(w.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, token))
		found = meta.FindStatusCondition(token.Status.Conditions, kind)
		return found != nil && found.Status == status
	})
	return found
}

// mustIssue creates a PipedreamToken, and waits until it has a token.
func (w *wired) mustIssue(name string) {
	w.Helper()
	w.create(name)
	w.await(name, v1alpha1.ConditionReady, metav1.ConditionTrue)
}

func (w *wired) eventually(what string, holds func() bool) {
	w.Helper()
	harness.Wait{Patience: patience, Process: w.manager.Process}.Eventually(w.T, what, harness.Holds(holds))
}

// stop ends the manager, and returns its log.
func (w *wired) stop() string {
	w.Helper()
	w.manager.stop(w.T)
	return w.manager.Log.String()
}

func (w *wired) wantHTTP2() {
	w.Helper()
	if got := w.pipedream.Counters().Protocols; got["HTTP/2.0"] == 0 || len(got) != 1 {
		w.Errorf("Pipedream was called by %v, want HTTP/2.0 only", got)
	}
}

// mountedFile is a file of a mounted ConfigMap: a link to a file in a folder that is a
// link, too, and is replaced as a whole.
type mountedFile struct{ mount, name string }

func mountFile(t *testing.T, names ...string) mountedFile {
	t.Helper()
	mount := t.TempDir()
	for _, name := range names {
		harness.Must(t, os.Symlink(filepath.Join("..data", name), filepath.Join(mount, name)))
	}
	return mountedFile{mount, names[0]}
}

func (f mountedFile) path() string { return filepath.Join(f.mount, f.name) }

func (f mountedFile) put(t *testing.T, content []byte) {
	t.Helper()
	f.putAll(t, map[string][]byte{f.name: content})
}

func (f mountedFile) putAll(t *testing.T, contents map[string][]byte) {
	t.Helper()
	//nolint:usetesting // The folder must be in the mount.
	folder, err := os.MkdirTemp(f.mount, "..version")
	harness.Must(t, err)
	for name, content := range contents {
		harness.Must(t, os.WriteFile(filepath.Join(folder, name), content, 0o600))
	}
	link := filepath.Join(f.mount, "..data_tmp")
	harness.Must(t, os.Symlink(filepath.Base(folder), link))
	harness.Must(t, os.Rename(link, filepath.Join(f.mount, "..data")))
}

// fileMetrics reads whether the files are valid as the metrics have it.
type fileMetrics struct {
	*wired
	address, token string
}

func (m fileMetrics) want(file, value string) {
	m.Helper()
	m.eventually("pipedream_operator_file_valid of "+file+" is "+value, func() bool {
		_, body := get(m.T, "https://"+m.address+"/metrics", m.token)
		return strings.Contains(body, fmt.Sprintf("pipedream_operator_file_valid{file=%q} %s\n", file, value))
	})
}

func TestTheCAIsRotatedWhileTheManagerRuns(t *testing.T) {
	w := newWired(t)
	metrics := fileMetrics{w, harness.MustFreeAddress(t), serviceAccountToken(t, "scraper")}
	w.manager = startManager(t, append(w.arguments("127.0.0.1"), "--kubeconfig="+adminKubeconfig(t, ""), "--metrics-bind-address="+metrics.address)...)
	w.mustIssue("first")
	metrics.want("api-ca-file", "1")

	w.caFile.put(t, []byte("no certificate"))
	metrics.want("api-ca-file", "0")
	w.mustIssue("with-a-broken-file")

	harness.Must(t, w.pipedream.TLS.RotateCA())
	w.create("during-the-rotation")
	renewed := w.await("during-the-rotation", v1alpha1.ConditionRenewed, metav1.ConditionFalse)
	if renewed.Reason != v1alpha1.ReasonEndpointUnavailable || !strings.Contains(renewed.Message, "its CA is not in the file that --api-ca-file names") {
		t.Errorf("Renewed is %s: %s; want EndpointUnavailable, and the file that is set", renewed.Reason, renewed.Message)
	}
	w.caFile.put(t, w.pipedream.TLS.CA())
	w.await("during-the-rotation", v1alpha1.ConditionReady, metav1.ConditionTrue)
	metrics.want("api-ca-file", "1")

	w.pipedream.Connections.Forget()
	w.mustIssue("after-forgotten-connections")
	w.wantHTTP2()
	log := w.stop()
	for _, said := range []string{"ca.pem holds no PEM certificate", "the file that the flag names is valid; the operator uses its present content"} {
		if got := strings.Count(log, said); got != 1 {
			t.Errorf("the log says %d times %q, want it once:\n%s", got, said, log)
		}
	}
	if strings.Contains(log, "the-client-secret") || strings.Contains(log, "eyJ") {
		t.Errorf("the log holds a secret:\n%s", log)
	}
}

// hostsFile is an /etc/hosts of a manager's own.
type hostsFile string

func (f hostsFile) put(t *testing.T, addresses ...string) {
	t.Helper()
	content := "127.0.0.1 localhost\n"
	for _, address := range addresses {
		content += address + " " + apiName + "\n"
	}
	// In place: what is mounted over /etc/hosts is this file, whatever else gets its name.
	harness.Must(t, os.WriteFile(string(f), []byte(content), 0o600))
}

// startManagerWithHosts starts a manager that sees a file as /etc/hosts. It needs root, or
// a system that lets everybody make user namespaces.
func startManagerWithHosts(t *testing.T, hosts hostsFile, arguments ...string) *manager {
	t.Helper()
	unshare := []string{"--mount"}
	if os.Geteuid() != 0 {
		unshare = []string{"--mount", "--user", "--map-root-user"}
	}
	try := harness.Command{Path: "unshare", Arguments: append(slices.Clone(unshare), "mount", "--bind", string(hosts), "/etc/hosts")}
	if _, err := try.Run(t.Context()); err != nil {
		t.Fatalf("this test gives a process an /etc/hosts of its own. Run it as root on Linux, or let everybody make user namespaces "+
			"(on Ubuntu: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0): %v", err)
	}
	script := `mount --bind "$0" /etc/hosts && exec "$@"`
	command := slices.Concat([]string{"unshare"}, unshare, []string{"sh", "-c", script, string(hosts), os.Args[0]}, arguments)
	// A proxy would resolve the name in place of the manager.
	return startManagerBy(t, command, "NO_PROXY=*", "no_proxy=*", "HTTPS_PROXY=", "https_proxy=")
}

func TestAChangedDNSAnswerIsFollowed(t *testing.T) {
	w := newWired(t)
	elsewhere, _ := servePipedream(t, "127.0.0.2:"+w.port)
	w.caFile.put(t, slices.Concat(w.pipedream.TLS.CA(), elsewhere.TLS.CA()))
	hosts := hostsFile(filepath.Join(t.TempDir(), "hosts"))
	hosts.put(t, "127.0.0.1")
	w.manager = startManagerWithHosts(t, hosts,
		append(w.arguments(apiName), "--kubeconfig="+adminKubeconfig(t, ""), "--metrics-bind-address=0")...)
	w.mustIssue("before")
	if w.pipedream.Counters().Protocols["HTTP/2.0"] != 1 {
		t.Fatalf("Pipedream was not called at its first address: %v", w.pipedream.Counters().Protocols)
	}

	// The server at the old address goes on to answer.
	hosts.put(t, "127.0.0.2")
	moved := time.Now()
	for n := 0; elsewhere.Counters().Protocols["HTTP/2.0"] == 0; n++ {
		if time.Since(moved) > time.Minute {
			t.Fatal("a minute after the name has moved, Pipedream is still called at its old address")
		}
		w.mustIssue(fmt.Sprintf("after-%d", n))
	}
	t.Logf("the first request came to the new address after %v", time.Since(moved).Round(time.Second))

	// One of two addresses is dead: its connections are never accepted.
	hosts.put(t, deafAddress(t, "127.0.0.3:"+w.port), "127.0.0.2")
	time.Sleep(6 * time.Second) // For 5 s Go does not look at /etc/hosts again.
	before := elsewhere.Counters().Calls[simulator.EndpointToken].Accepted
	w.mustIssue("beside-a-dead-address")
	if got := elsewhere.Counters().Calls[simulator.EndpointToken].Accepted; got != before+1 {
		t.Errorf("the address that is left has issued %d tokens, want 1", got-before)
	}
	w.wantHTTP2()
	w.stop()
}

// deafAddress returns the IP address of a socket that accepts no connection, and refuses
// none: its queue is full.
func deafAddress(t *testing.T, address string) string {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	harness.Must(t, err)
	resolved, err := net.ResolveTCPAddr("tcp4", address)
	harness.Must(t, err)
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	harness.Must(t, err)
	t.Cleanup(func() { _ = syscall.Close(socket) })
	harness.Must(t, syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte(resolved.IP.To4()), Port: resolved.Port}))
	harness.Must(t, syscall.Listen(socket, 0))
	dialer := &net.Dialer{Timeout: 300 * time.Millisecond}
	for range 10 {
		connection, err := dialer.DialContext(t.Context(), "tcp", net.JoinHostPort(host, port))
		if err != nil {
			return host
		}
		t.Cleanup(func() { _ = connection.Close() })
	}
	t.Fatalf("%s goes on to accept connections", address)
	return ""
}

// client-go sends pings to the API server, so that a connection that is forgotten there
// is replaced. The manager must not turn that off.
func TestAForgottenConnectionToTheAPIServerIsReplaced(t *testing.T) {
	w := newWired(t)
	ways := simulator.New(simulator.Options{Now: time.Now})
	way := &gateway{wrap: ways.Connections.Listener}
	way.open(t)
	defer way.cut()
	w.manager = startManagerIn(t, []string{"HTTP2_READ_IDLE_TIMEOUT_SECONDS=1", "HTTP2_PING_TIMEOUT_SECONDS=1"},
		append(w.arguments("127.0.0.1"), "--kubeconfig="+adminKubeconfig(t, way.address), "--metrics-bind-address=0")...)
	w.mustIssue("before")
	if ways.Connections.Forget() == 0 {
		t.Fatalf("the manager has no connection to the API server: %+v", ways.Counters().Connections)
	}
	w.mustIssue("after")
	w.wantHTTP2()
	w.stop()
}

func TestTheMetricsCertificateIsRotated(t *testing.T) {
	w := newWired(t)
	folder := mountFile(t, "tls.crt", "tls.key")
	old, oldKey := metricsPair(t)
	folder.putAll(t, map[string][]byte{"tls.crt": old, "tls.key": oldKey})
	metrics := fileMetrics{w, harness.MustFreeAddress(t), serviceAccountToken(t, "scraper")}
	w.manager = startManager(t, append(w.arguments("127.0.0.1"), "--kubeconfig="+adminKubeconfig(t, ""),
		"--metrics-bind-address="+metrics.address, "--metrics-cert-dir="+folder.mount)...)
	metrics.want("metrics-cert-dir", "1")
	metrics.wantServed(old)

	renewed, renewedKey := metricsPair(t)
	folder.putAll(t, map[string][]byte{"tls.crt": renewed, "tls.key": oldKey})
	metrics.want("metrics-cert-dir", "0")
	metrics.wantServed(old)
	folder.putAll(t, map[string][]byte{"tls.crt": renewed})
	metrics.wantServed(old)
	folder.putAll(t, map[string][]byte{"tls.crt": renewed, "tls.key": renewedKey})
	metrics.wantServed(renewed)
	metrics.want("metrics-cert-dir", "1")
	if status, _ := get(t, "https://"+metrics.address+"/metrics", ""); status != http.StatusUnauthorized {
		t.Errorf("/metrics answers %d to nobody, want 401", status)
	}
	log := w.stop()
	if got := strings.Count(log, "cannot use the file that the flag names"); got != 2 {
		t.Errorf("the log says %d times that the files cannot be used, want once for each change:\n%s", got, log)
	}
	if strings.Contains(log, "PRIVATE KEY") {
		t.Errorf("the log holds a key:\n%s", log)
	}
}
