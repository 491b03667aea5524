// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"cmp"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

const (
	// patience bounds waits that usually take seconds. filePatience bounds how long the kubelet may take to update
	// a mounted file after a change of the Secret.
	patience     = 2 * time.Minute
	filePatience = 4 * time.Minute

	system    = "pipedream-operator-system"
	pipedream = "pipedream-e2e"
	shop      = "shop-e2e"
)

// cluster runs kubectl, as a user of any cluster can. With clusters that give access to their node, hack/e2e
// passes more commands.
type cluster struct {
	// values replace the variables of the manifests.
	values map[string]string
	// restart is a command that ends a component of the node, given by name, and waits until it works again. kill
	// is a command that kills a container, given by ID. etcd is a command that prints everything in etcd.
	restart, kill, etcd []string
}

func newCluster() *cluster {
	return &cluster{
		values: map[string]string{
			"IMAGE":   cmp.Or(os.Getenv("IMAGE"), "ghcr.io/pipedream-operator/pipedream-operator"),
			"VERSION": cmp.Or(os.Getenv("VERSION"), "dev"),
		},
		restart: strings.Fields(os.Getenv("E2E_RESTART")),
		kill:    strings.Fields(os.Getenv("E2E_KILL")),
		etcd:    strings.Fields(os.Getenv("E2E_ETCD")),
	}
}

// execute runs a program in the repository's root, and returns its output.
func execute(arguments ...string) (string, error) {
	return harness.Command{Path: arguments[0], Arguments: arguments[1:], Folder: harness.Root()}.Run(context.Background())
}

func kubectlWith(stdin string) harness.Kubectl {
	return harness.Kubectl{Path: cmp.Or(os.Getenv("E2E_KUBECTL"), "kubectl"), Stdin: stdin}
}

// tryKubectl runs kubectl, and returns its output and error.
func tryKubectl(arguments ...string) (string, error) {
	return kubectlWith("").Run(context.Background(), arguments...)
}

// kubectl runs kubectl, returns its output, and ends the test on an error. The argument --filename=- reads stdin.
func kubectl(t *testing.T, stdin string, arguments ...string) string {
	t.Helper()
	return kubectlWith(stdin).Must(t, arguments...)
}

// get reads objects as JSON into a variable, and ends the test on an error.
func get(t *testing.T, into any, arguments ...string) {
	t.Helper()
	harness.Must(t, tryGet(into, arguments...))
}

func tryGet(into any, arguments ...string) error {
	output, err := tryKubectl(append([]string{"get", "--output=json"}, arguments...)...)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(output), into)
}

// eventually waits until check returns "". After the time within, the test fails with the last text of check.
func eventually(t *testing.T, within time.Duration, condition string, check func() string) {
	t.Helper()
	harness.Wait{Patience: within, Every: time.Second}.Eventually(t, condition, check)
}

// manifest returns a file of testdata. It replaces the file's variables by the values of the cluster and of
// more, which alternates names and values.
func (c *cluster) manifest(t *testing.T, name string, more ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	harness.Must(t, err)
	text := string(content)
	for variable, value := range c.values {
		text = strings.ReplaceAll(text, "${"+variable+"}", value)
	}
	for pair := range slices.Chunk(more, 2) {
		text = strings.ReplaceAll(text, "${"+pair[0]+"}", pair[1])
	}
	if strings.Contains(text, "${") {
		t.Fatalf("%s has variables without a value:\n%s", name, text)
	}
	return text
}

func (c *cluster) apply(t *testing.T, name string, more ...string) {
	t.Helper()
	kubectl(t, c.manifest(t, name, more...), "apply", "--filename=-")
}

// simulate calls the simulator's control API through the API server.
func simulate(t *testing.T, verb, path, body string) {
	t.Helper()
	kubectl(t, body, verb, "--raw=/api/v1/namespaces/"+pipedream+"/services/simulator:8099/proxy/_sim/"+path, "--filename=-")
}

func tokens() ([]v1alpha1.PipedreamToken, error) {
	var list v1alpha1.PipedreamTokenList
	err := tryGet(&list, "pipedreamtokens", "--namespace="+shop)
	return list.Items, err
}

// leader returns the pod of the leading manager.
func leader(t *testing.T) corev1.Pod {
	t.Helper()
	var pod corev1.Pod
	eventually(t, patience, "a manager that leads", func() string {
		holder, err := tryKubectl("get", "lease", "pipedream-operator", "--namespace="+system, "--output=jsonpath={.spec.holderIdentity}")
		if err != nil {
			return err.Error()
		}
		name, _, _ := strings.Cut(holder, "_")
		if name == "" {
			return "no manager leads"
		}
		if err := tryGet(&pod, "pod", name, "--namespace="+system); err != nil {
			return err.Error()
		}
		return ""
	})
	return pod
}

// managersReady waits until both managers are ready.
func managersReady(t *testing.T) {
	t.Helper()
	eventually(t, patience, "both managers to be ready", func() string {
		if output, err := tryKubectl("rollout", "status", "deployment/pipedream-operator-manager", "--namespace="+system, "--timeout=5s"); err != nil {
			return output + err.Error()
		}
		return ""
	})
}

// inventory returns all objects of the cluster except Events and Leases, which change without the test.
func inventory() (map[string]bool, error) {
	all := map[string]bool{}
	listed, err := tryKubectl("api-resources", "--verbs=list,delete", "--output=name")
	if err != nil {
		return nil, err
	}
	resources := slices.DeleteFunc(strings.Fields(listed), func(name string) bool {
		return strings.HasPrefix(name, "events") || strings.HasPrefix(name, "leases.")
	})
	output, err := tryKubectl("get", strings.Join(resources, ","), "--all-namespaces", "--ignore-not-found",
		`--output=go-template={{range .items}}{{.kind}} {{with .metadata.namespace}}{{.}}/{{end}}{{.metadata.name}}{{"\n"}}{{end}}`)
	for line := range strings.Lines(output) {
		all[strings.TrimSpace(line)] = true
	}
	return all, err
}
