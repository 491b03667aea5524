// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
	"github.com/pipedream-operator/pipedream-operator/test/harness/controlplane"
)

// TestWithoutTheCRDTheManagerSaysWhatToInstall runs managers on an API server without the CRD, with a CRD
// that serves another version only, and with the CRD at last.
func TestWithoutTheCRDTheManagerSaysWhatToInstall(t *testing.T) {
	bare := controlplane.MustStart(t, controlplane.Options{WithoutCRDs: true})
	scopes := map[string][]string{"whole cluster": nil, "namespaces": {"--namespaces=default,kube-system"}}
	wantExit := func(parts ...string) {
		for name, scope := range scopes {
			t.Run(name, func(t *testing.T) {
				arguments := append([]string{
					"--kubeconfig=" + bare.KubeconfigFile, "--metrics-bind-address=0", "--health-probe-bind-address=0",
				}, scope...)
				m := startManager(t, arguments...)
				code, line := m.exit(t)
				if code != 1 || !strings.HasPrefix(line, "manager: the CRD pipedreamtokens.pipedream-operator.io ") {
					t.Errorf("the manager ended with %d and %q, want 1 and the CRD", code, line)
				}
				for _, part := range append(parts, "install the CRD", "kubectl apply --server-side --kustomize config/crd") {
					if !strings.Contains(line, part) {
						t.Errorf("the last line does not say %q: %s", part, line)
					}
				}
				if strings.Contains(m.Log.String(), `"level":"error"`) {
					t.Errorf("there is more to read than one line:\n%s", m.Log)
				}
			})
		}
	}
	wantExit("is not installed")

	// A CRD of the same group that is not ours makes no difference.
	crd := harness.MustRead(t, harness.Root(), "config", "crd", "bases", "pipedream-operator.io_pipedreamtokens.yaml")
	kubectl := bare.Kubectl()
	apply := func(content []byte) {
		kubectl.Must(t, "apply", "--server-side", "--force-conflicts", "--filename="+harness.MustWrite(t, "crd.yaml", content))
		kubectl.Must(t, "wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
	}
	replaced := func(replacements ...string) []byte {
		return []byte(strings.NewReplacer(replacements...).Replace(string(crd)))
	}
	apply(replaced("pipedreamtokens", "pipedreamothers", "pipedreamtoken", "pipedreamother", "PipedreamToken", "PipedreamOther", "- pdt", "- pdo"))
	wantExit("is not installed")
	kubectl.Must(t, "delete", "crd", "pipedreamothers.pipedream-operator.io")

	// What a later version of the operator may have installed.
	apply(replaced("name: v1alpha1", "name: v2"))
	wantExit("does not serve the version v1alpha1", "v2")

	kubectl.Must(t, "delete", "crd", "pipedreamtokens.pipedream-operator.io")
	apply(crd)
	// What an upgrade has left out.
	m := startManager(t, "--kubeconfig="+bare.KubeconfigFile, "--metrics-bind-address=0", "--health-probe-bind-address=0")
	if code, line := m.exit(t); code != 1 || !strings.HasPrefix(line, "manager: the CRD pipedreamaccounts.pipedream-operator.io is not installed") {
		t.Errorf("the manager ended with %d and %q, want 1 and the CRD of PipedreamAccounts", code, line)
	}

	apply(harness.MustRead(t, "config", "crd", "bases", "pipedream-operator.io_pipedreamaccounts.yaml"))
	m = startManager(t, "--kubeconfig="+bare.KubeconfigFile, "--metrics-bind-address=0", "--health-probe-bind-address=0")
	if _, err := m.AwaitLine(t.Context(), patience, "Starting workers"); err != nil {
		t.Error(err)
	}
	m.stop(t)
}
