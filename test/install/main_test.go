// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package install_test installs the operator in each way that there is on a real
// API server, and looks at what is there then.
package install_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/controlplane"
)

const (
	// patience bounds how long a test waits for what must come.
	patience = time.Minute
	system   = "pipedream-operator-system"
	shop     = "shop"
)

// What all tests share. They change the same cluster, so none of them is parallel.
var (
	cluster *controlplane.ControlPlane
	admin   client.Client
	// folder holds the built manager, and the administrator's kubeconfig.
	folder string
)

func TestMain(m *testing.M) {
	os.Exit(runWithCluster(m))
}

func runWithCluster(m *testing.M) int {
	err := setUp()
	defer func() {
		if cluster != nil {
			_ = cluster.Stop()
		}
		_ = os.RemoveAll(folder)
	}()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func setUp() (err error) {
	if folder, err = os.MkdirTemp("", "pipedream-install-"); err != nil {
		return err
	}
	build := exec.CommandContext(context.Background(), "go", "build", "-o", folder, "./cmd/manager")
	build.Dir = controlplane.Root()
	if said, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the manager: %w: %s", err, said)
	}
	if cluster, err = controlplane.Start(controlplane.Options{ControllerManager: true}); err != nil {
		return err
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(folder, "kubeconfig"), cluster.Kubeconfig, 0o600),
		v1alpha1.AddToScheme(scheme.Scheme),
	); err != nil {
		return err
	}
	if admin, err = client.New(cluster.Config, client.Options{}); err != nil {
		return err
	}
	// Each installation brings the CRD itself.
	kubectl := filepath.Join(controlplane.Assets(), "kubectl")
	if _, err = execute("", kubectl, "delete", "crd", "pipedreamtokens.pipedream-operator.io"); err != nil {
		return err
	}
	for _, name := range []string{shop, "checkout"} {
		if _, err = execute("", kubectl, "create", "namespace", name); err != nil {
			return err
		}
	}
	return nil
}

// execute runs a program from the repository's root, as the cluster's
// administrator, and returns what it prints.
func execute(stdin, program string, arguments ...string) (string, error) {
	cmd := exec.CommandContext(context.Background(), program, arguments...)
	cmd.Dir = controlplane.Root()
	path := strings.Join([]string{controlplane.Assets(), filepath.Join(controlplane.Root(), "bin"), os.Getenv("PATH")}, ":")
	cmd.Env = append(os.Environ(), "PATH="+path, "KUBECONFIG="+filepath.Join(folder, "kubeconfig"), "HELM_CONFIG_HOME="+folder, "HELM_CACHE_HOME="+folder, "HELM_DATA_HOME="+folder)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(program), strings.Join(arguments, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// kubectl must succeed. A dash among the arguments is for stdin.
func kubectl(t *testing.T, stdin string, arguments ...string) string {
	t.Helper()
	said, err := execute(stdin, filepath.Join(controlplane.Assets(), "kubectl"), arguments...)
	must(t, err)
	return said
}

// objectsOf parses manifests.
func objectsOf(t *testing.T, manifests string) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifests), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return objects
		} else if must(t, err); len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}

// eventually waits until holds returns "", and fails with what it returned last.
func eventually(t *testing.T, what string, holds func() string) {
	t.Helper()
	deadline := time.After(patience)
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		problem := holds()
		if problem == "" {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("%s: %s", what, problem)
		case <-ticker.C:
		}
	}
}

// freeAddress returns an address of this machine that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	must(t, listener.Close())
	return listener.Addr().String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
