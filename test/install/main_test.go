// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package install_test installs the operator in each supported way on a real API server, and checks the
// installed objects.
package install_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
	"github.com/pipedream-operator/pipedream-operator/test/harness/controlplane"
)

const (
	// patience bounds each wait of a test.
	patience = time.Minute
	system   = "pipedream-operator-system"
	shop     = "shop"
)

// crds are the names of the CRDs of the operator.
var crds = []string{"pipedreamaccounts.pipedream-operator.io", "pipedreamtokens.pipedream-operator.io"}

// All tests share this cluster and change it, so no test runs in parallel.
var (
	cluster *controlplane.ControlPlane
	admin   client.Client
	// manager is the path of the built manager.
	manager string
)

func TestMain(m *testing.M) {
	os.Exit(controlplane.RunTests(m, controlplane.Options{ControllerManager: true, KillAfter: time.Minute}, setUp))
}

func setUp(started *controlplane.ControlPlane) error {
	ctx := context.Background()
	cluster, admin, manager = started, started.Client, filepath.Join(started.Folder, "manager")
	if err := harness.BuildManager(ctx, harness.Root(), manager); err != nil {
		return err
	}
	// Each installation must create the CRDs itself.
	for _, arguments := range [][]string{
		append([]string{"delete", "crd"}, crds...), {"create", "namespace", shop}, {"create", "namespace", "checkout"},
	} {
		if _, err := cluster.Kubectl().Run(ctx, arguments...); err != nil {
			return err
		}
	}
	return nil
}

// execute runs a program in the repository's root, as the cluster's administrator, and returns its output.
func execute(program string, arguments ...string) (string, error) {
	path := strings.Join([]string{harness.Assets(), filepath.Join(harness.Root(), "bin"), os.Getenv("PATH")}, ":")
	return harness.Command{
		Path: program, Arguments: arguments, Folder: harness.Root(),
		Environment: []string{
			"PATH=" + path, "KUBECONFIG=" + cluster.KubeconfigFile,
			"HELM_CONFIG_HOME=" + cluster.Folder, "HELM_CACHE_HOME=" + cluster.Folder, "HELM_DATA_HOME=" + cluster.Folder,
		},
	}.Run(context.Background())
}

// kubectl runs kubectl, returns its output, and ends the test on an error. The argument --filename=- reads stdin.
func kubectl(t *testing.T, stdin string, arguments ...string) string {
	t.Helper()
	kubectl := cluster.Kubectl()
	kubectl.Stdin = stdin
	return kubectl.Must(t, arguments...)
}

// kubectlCRDs runs kubectl with the names of the CRDs as its last arguments, and returns the lines that it prints.
func kubectlCRDs(t *testing.T, arguments ...string) []string {
	t.Helper()
	return strings.Fields(kubectl(t, "", append(arguments, crds...)...))
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
		} else if harness.Must(t, err); len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}
