// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
	"github.com/pipedream-operator/pipedream-operator/test/harness/controlplane"
)

const systemNamespace = "pipedream-operator-system"

// bench is all that runs for the measurements.
type bench struct {
	options   options
	out       io.Writer
	began     time.Time
	directory string
	cluster   *controlplane.ControlPlane
	admin     client.WithWatch
	pipedream *pipedream
	audit     *auditLog
	report    report
	// managerKubeconfig is the manager's, and managerConfig the same for us.
	managerKubeconfig []byte
	managerConfig     *rest.Config
	// heldKubeconfig is that of the managers which hold tokens beside other cases. They
	// are the same user, with another credential.
	heldKubeconfig []byte
	// managers are those of the case that is measured, and held those which hold tokens
	// meanwhile.
	managers []*manager
	held     *holding
	// idle is the resident memory of a manager that has nothing to do, and idleHeap what is on
	// its heap after a garbage collection, once measured.
	idle, idleHeap float64
	// fleets are those that several cases use, by namespace.
	fleets map[string]*fleet
}

// setUp starts the control plane and the simulator, and installs all but the manager.
func (b *bench) setUp(ctx context.Context) (err error) {
	b.fleets = map[string]*fleet{}
	if b.directory, err = os.MkdirTemp("", "pipedream-bench-"); err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	policy := filepath.Join(b.directory, "audit-policy.yaml")
	b.audit = &auditLog{path: filepath.Join(b.directory, "audit.log")}
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return fmt.Errorf("write the audit policy: %w", err)
	}
	b.say("starting etcd, kube-apiserver and the simulator")
	b.cluster, err = controlplane.Start(controlplane.Options{APIServerFlags: map[string]string{
		"audit-policy-file": policy,
		"audit-log-path":    b.audit.path,
		"audit-log-maxsize": "4096", // So that it is not rotated.
	}})
	if err != nil {
		return err
	}
	b.admin = b.cluster.Client
	if err := b.install(ctx); err != nil {
		return err
	}
	b.describe()
	return b.startPipedream(ctx)
}

// describe says what is the same in all cases.
func (b *bench) describe() {
	versions, _ := os.ReadFile(filepath.Join(harness.Assets(), "versions"))
	b.report.Setting = append(b.report.Setting,
		"control plane on the same machine, etcd without fsync: "+strings.Join(strings.Fields(string(versions)), " "),
		fmt.Sprintf("Pipedream's API is a simulator whose answers take %v at least", b.options.latency),
		"the manager runs under the generated RBAC rules, with pacing set out of the way: "+strings.Join(unpaced, " "))
}

// install creates the CRD, the permissions and the manager's account.
func (b *bench) install(ctx context.Context) error {
	if err := b.createNamespace(ctx, systemNamespace); err != nil {
		return err
	}
	_, err := b.cluster.Kubectl().Run(ctx, "apply", "--kustomize", "test/demo")
	if err != nil {
		return err
	}
	if b.managerKubeconfig, _, err = b.logIn(ctx); err != nil {
		return err
	}
	var credential string
	if b.heldKubeconfig, credential, err = b.logIn(ctx); err != nil {
		return err
	}
	b.audit.heldCredential = credential
	b.managerConfig, err = clientcmd.RESTConfigFromKubeConfig(b.managerKubeconfig)
	if err != nil {
		return fmt.Errorf("read the manager's kubeconfig: %w", err)
	}
	b.managerConfig.QPS = -1
	return nil
}

// logIn returns a kubeconfig of the manager's account, and the name that the API server
// has for its credential.
func (b *bench) logIn(ctx context.Context) (content []byte, credential string, err error) {
	token, err := b.cluster.Token(ctx, systemNamespace, "pipedream-operator-manager")
	if err != nil {
		return nil, "", err
	}
	var claims struct {
		ID string `json:"jti"`
	}
	parts := strings.Split(token, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[len(parts)/2])
	if err == nil {
		err = json.Unmarshal(payload, &claims)
	}
	if err != nil {
		return nil, "", fmt.Errorf("read the token's claims: %w", err)
	}
	content, err = b.cluster.KubeconfigOf(token, systemNamespace)
	return content, "JTI=" + claims.ID, err
}

func (b *bench) createNamespace(ctx context.Context, name string) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := b.admin.Create(ctx, namespace); err != nil {
		return fmt.Errorf("create namespace %s: %w", name, err)
	}
	return nil
}

// startPipedream starts the simulator.
func (b *bench) startPipedream(ctx context.Context) error {
	started, err := harness.StartSimulator(context.WithoutCancel(ctx), filepath.Join(b.options.binaries, "simulator"),
		"--latency="+b.options.latency.String(), "--client=unused:unused")
	if err != nil {
		return err
	}
	b.pipedream = &pipedream{
		process: &process{started.Process},
		Remote:  simulator.Remote{Address: started.Address, Client: http.DefaultClient},
	}
	return nil
}

// tearDown ends all that was started.
func (b *bench) tearDown() error {
	failed := errors.Join(b.stopManagers(), b.stopHeld())
	for _, f := range b.fleets {
		f.close()
	}
	if b.pipedream != nil {
		failed = errors.Join(failed, b.pipedream.stop())
	}
	if b.cluster != nil {
		failed = errors.Join(failed, b.cluster.Stop())
	}
	if b.options.keep {
		b.say("the logs are in %s", b.directory)
		return failed
	}
	return errors.Join(failed, os.RemoveAll(b.directory))
}

// say tells what happens, and when.
func (b *bench) say(format string, arguments ...any) {
	_, _ = fmt.Fprintf(b.out, "%7.1fs  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, arguments...))
}
