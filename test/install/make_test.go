// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package install_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// tryMake runs make with targets and variables. It does not generate the manifests again, because other tests read
// them at the same time.
func tryMake(arguments ...string) (string, error) {
	return execute("make", append([]string{"--no-print-directory", "--old-file=manifests"}, arguments...)...)
}

func runMake(t *testing.T, arguments ...string) {
	t.Helper()
	_, err := tryMake(arguments...)
	harness.Must(t, err)
}

// TestInstallAndUninstallWithMake adds the CRDs to the cluster, and nothing else, and removes them.
func TestInstallAndUninstallWithMake(t *testing.T) {
	runMake(t, "install")
	installed := strings.Fields(strings.ReplaceAll(kubectl(t, "", "get", "crds", "--output=name"), "customresourcedefinition.apiextensions.k8s.io/", ""))
	if diff := cmp.Diff(crds, installed); diff != "" {
		t.Errorf("the CRDs after make install (-want +got):\n%s", diff)
	}
	if deployments := kubectl(t, "", "get", "deployments", "--all-namespaces", "--output=name"); deployments != "" {
		t.Errorf("make install also created %q", deployments)
	}
	runMake(t, "uninstall")
	if left := kubectl(t, "", "get", "crds", "--output=name"); left != "" {
		t.Errorf("make uninstall left %q", left)
	}
	if _, err := tryMake("uninstall"); err == nil || !strings.Contains(err.Error(), "NotFound") {
		t.Errorf("a second make uninstall returned %v, want NotFound", err)
	}
	runMake(t, "uninstall", "ignore-not-found=true")
}

// TestDeployAndUndeployWithMake installs the operator with an image, twice, and removes it.
func TestDeployAndUndeployWithMake(t *testing.T) {
	ensureSystem(t)
	objects := objectsOf(t, kubectl(t, "", "kustomize", filepath.Join("config", "default")))
	for _, image := range []string{"registry.example/mine:v1", "registry.example/mine:v2"} {
		runMake(t, "deploy", "IMG="+image)
		for _, object := range objects {
			harness.Must(t, admin.Get(t.Context(), client.ObjectKeyFromObject(object), object))
		}
		if got := containerOf(t, one(t, objects, "Deployment")).Image; got != image {
			t.Errorf("the image is %s, want %s", got, image)
		}
	}
	runMake(t, "undeploy")
	wantUninstalled(t, objects, false)
	if _, err := tryMake("undeploy"); err == nil {
		t.Error("a second make undeploy succeeded, want an error")
	}
	runMake(t, "undeploy", "ignore-not-found=true")
}

// TestImageWithoutAnEngine calls the script of make docker-build where docker, podman and buildah are not
// installed. The script must say what the user can do.
func TestImageWithoutAnEngine(t *testing.T) {
	bash, err := exec.LookPath("bash")
	harness.Must(t, err)
	dirname, err := exec.LookPath("dirname")
	harness.Must(t, err)
	programs := t.TempDir()
	harness.Must(t, os.Symlink(dirname, filepath.Join(programs, "dirname")))
	for engine, want := range map[string]string{
		"":       "none of docker, podman and buildah is installed and running",
		"podman": "podman is not installed, or it is not running",
	} {
		_, err := harness.Command{
			Path: bash, Arguments: []string{filepath.Join("hack", "image"), "manager", "registry.example/mine:v1"}, Folder: harness.Root(),
			Environment: []string{"PATH=" + programs, "ENGINE=" + engine},
		}.Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "make image-tar") {
			t.Errorf("with ENGINE=%s the script ended with %v, want the message %q and a hint to make image-tar", engine, err, want)
		}
	}
}
