// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package install_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// TestTheREADMEsQuickStart runs the commands of the README that install the operator, and then the commands that
// get a token. There is no node, so the test starts the manager itself.
func TestTheREADMEsQuickStart(t *testing.T) {
	blocks := shellBlocks(t, "README.md", "## On a real cluster")
	if len(blocks) != 3 {
		t.Fatalf("the section has %d blocks of commands, want two ways to install and one to get a token", len(blocks))
	}
	for namespace, test := range map[string]struct{ install, uninstall string }{
		"readme-kubectl": {blocks[0], "kubectl delete --filename dist/install.yaml"},
		"readme-helm":    {blocks[1], "helm uninstall pipedream-operator --namespace " + system + "\nkubectl delete crd " + strings.Join(crds, " ")},
	} {
		t.Run(namespace, func(t *testing.T) {
			dist := t.TempDir()
			t.Setenv("DIST", dist)
			// Change neither the folder dist nor the namespace shop of the user who runs the test.
			run := func(commands string) string {
				commands = strings.NewReplacer("dist/", dist+"/", "shop", namespace).Replace(commands)
				output, err := execute("bash", "-euo", "pipefail", "-c", commands)
				harness.Must(t, err)
				return output
			}
			ensureSystem(t)
			run(test.install)
			deployment := &unstructured.Unstructured{}
			deployment.SetAPIVersion("apps/v1")
			deployment.SetKind("Deployment")
			harness.Must(t, admin.Get(t.Context(), client.ObjectKey{Namespace: system, Name: "pipedream-operator-manager"}, deployment))
			if got, want := containerOf(t, deployment).Image, "registry.example/pipedream-operator:v0.1.0"; got != want {
				t.Errorf("the image is %s, want %s", got, want)
			}
			stop := startManager(t, deployment, false, harness.MustFreeAddress(t), harness.MustFreeAddress(t))
			output := run(blocks[2])
			secret := &corev1.Secret{}
			harness.Must(t, admin.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "orders"}, secret))
			if token := string(secret.Data["access_token"]); token == "" || !strings.HasSuffix(output, token) {
				t.Errorf("the output does not end with the token: %s", output)
			}
			stop()
			run(test.uninstall)
			kubectl(t, "", "delete", "namespace", namespace, "--wait=false")
		})
	}
}

// shellBlocks returns the shell commands in a section of a document.
func shellBlocks(t *testing.T, document, heading string) (blocks []string) {
	t.Helper()
	_, section, found := strings.Cut(string(harness.MustRead(t, document)), "\n"+heading+"\n")
	if !found {
		t.Fatalf("%s has no section %q", document, heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for _, part := range strings.Split(section, "```sh\n")[1:] {
		block, _, _ := strings.Cut(part, "```")
		blocks = append(blocks, block)
	}
	return blocks
}
