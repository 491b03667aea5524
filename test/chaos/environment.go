// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
	"github.com/pipedream-operator/pipedream-operator/test/harness/controlplane"
)

const (
	systemNamespace = "pipedream-operator-system"
	// requestTimeout bounds a request to the API server.
	requestTimeout = 5 * time.Second
	// requestsPerSecond is high enough that the limiter does not delay 200 tokens that live for a minute.
	requestsPerSecond = "50"
)

// environment holds the processes of a run: the control plane, the simulator and the managers.
type environment struct {
	options   options
	reporter  *reporter
	leaks     *leaks
	directory string
	cluster   *controlplane.ControlPlane
	client    client.Client
	simulator *harness.Simulator
	pipedream *pipedream
	managers  []*manager
	scraper   string

	connections *connections

	secrets []string // the first secret of each OAuth client
	// readerSecrets are the secrets of the OAuth clients with which the operator reads accounts.
	readerSecrets []string
	// keys are the first API keys of the users with which the operator reads accounts.
	keys []string

	supervisors sync.WaitGroup
	supervising context.CancelFunc
}

// setUp starts the control plane, the simulator and the managers.
func (e *environment) setUp(ctx context.Context) error {
	e.reporter.printf("starting etcd, kube-apiserver and kube-controller-manager")
	var err error
	if e.directory, err = os.MkdirTemp("", "pipedream-chaos-"); err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	if e.cluster, err = controlplane.Start(controlplane.Options{ControllerManager: true, KillAfter: time.Second}); err != nil {
		return err
	}
	config := rest.CopyConfig(e.cluster.Config)
	config.Timeout = requestTimeout
	if e.client, err = controlplane.NewClient(config); err != nil {
		return err
	}
	for i := range clientCount {
		e.secrets = append(e.secrets, e.newSecret(clientID(i)))
	}
	for i := range readerCount {
		e.readerSecrets = append(e.readerSecrets, e.newSecret(readerID(i)))
	}
	for i := range keyCount {
		e.keys = append(e.keys, e.newKey(i))
	}
	e.reporter.printf("starting the simulator: %d OAuth clients whose tokens live %v, %d accounts whose credentials live %v",
		clientCount, tokenLifetime, accountCount, credentialsLife)
	if err := e.startSimulator(ctx); err != nil {
		return err
	}
	// The managers have a CA file of their own, so that a rotated CA does not reach them at once.
	ca, err := os.ReadFile(filepath.Join(e.directory, "simulator-ca.pem"))
	if err != nil {
		return fmt.Errorf("read the simulator's CA: %w", err)
	}
	//nolint:gosec // The folder belongs to this run.
	if err := os.WriteFile(e.caFile(), ca, 0o600); err != nil {
		return fmt.Errorf("write the managers' CA file: %w", err)
	}
	return e.startManagers(ctx)
}

// startSimulator starts the simulator, which writes its first CA to a file.
func (e *environment) startSimulator(ctx context.Context) (err error) {
	arguments := []string{"--tls", "--tls-ca-file=" + filepath.Join(e.directory, "simulator-ca.pem"), "--token-lifetime=" + tokenLifetime.String()}
	for i, secret := range e.secrets {
		arguments = append(arguments, "--client="+clientID(i)+":"+secret)
	}
	for i, secret := range e.readerSecrets {
		arguments = append(arguments, "--client="+readerID(i)+":"+secret)
	}
	path := filepath.Join(e.options.binaries, "simulator")
	if e.simulator, err = harness.StartSimulator(context.WithoutCancel(ctx), path, arguments...); err != nil {
		return err
	}
	e.pipedream = newPipedream(e.simulator.Address)
	e.connections = &connections{pipedream: e.pipedream, leaks: e.leaks}
	return e.connectAccounts(ctx)
}

// connectAccounts connects all accounts, as users do in the connect flow of their app.
func (e *environment) connectAccounts(ctx context.Context) error {
	for i := range readerCount {
		lifetime := map[string]string{"token_lifetime": bearerLifetime.String(), "client_id": readerID(i)}
		if err := e.pipedream.Control(ctx, http.MethodPut, "token-lifetime", lifetime, nil); err != nil {
			return err
		}
	}
	if err := e.registerKeys(ctx); err != nil {
		return err
	}
	for i := range accountCount {
		if err := e.connections.connect(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// caFile returns the path of the file with the CA that the managers trust.
func (e *environment) caFile() string { return filepath.Join(e.directory, "ca.pem") }

// newSecret returns a random client secret, and adds it to the secrets that leaks searches for.
func (e *environment) newSecret(client string) string {
	secret := "chaos-secret-" + rand.Text()
	e.leaks.learn(clientSecrets, "a secret of "+client, secret)
	return secret
}

func (e *environment) startManagers(ctx context.Context) error {
	e.reporter.printf("starting two managers with leader election, under the generated permissions")
	if err := e.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: systemNamespace}}); err != nil {
		return fmt.Errorf("create the operator's namespace: %w", err)
	}
	_, err := e.cluster.Kubectl().Run(ctx, "apply", "--kustomize", "test/chaos")
	if err != nil {
		return err
	}
	if e.scraper, err = e.cluster.Token(ctx, systemNamespace, "pipedream-operator-scraper"); err != nil {
		return err
	}
	token, err := e.cluster.Token(ctx, systemNamespace, "pipedream-operator-manager")
	if err != nil {
		return err
	}
	e.leaks.learn(managerTokens, "the managers' own token", token[strings.LastIndex(token, ".")+1:])
	content, err := e.cluster.KubeconfigOf(token, systemNamespace)
	if err != nil {
		return err
	}
	kubeconfig := filepath.Join(e.directory, "manager.kubeconfig")
	if err := os.WriteFile(kubeconfig, content, 0o600); err != nil {
		return fmt.Errorf("write a kubeconfig: %w", err)
	}
	supervised, stop := context.WithCancel(ctx)
	e.supervising = stop
	// One manager logs at the highest level, so that the run searches all log lines for secrets.
	for name, level := range map[string]string{"a": "info", "b": "7"} {
		if err := e.addManager(supervised, name, level, kubeconfig); err != nil {
			return err
		}
	}
	return nil
}

func (e *environment) addManager(ctx context.Context, name, level, kubeconfig string) error {
	address, err := harness.FreeAddress(ctx)
	if err != nil {
		return err
	}
	m := &manager{
		name: name, logs: e.options.logs, leaks: e.leaks, reporter: e.reporter,
		call: harness.Manager{
			Path: filepath.Join(e.options.binaries, "manager"), Kubeconfig: kubeconfig, Pipedream: e.simulator.Address,
			Namespace: systemNamespace, Metrics: address,
			Flags: []string{
				"--api-ca-file=" + e.caFile(), "--leader-elect",
				"--token-requests-per-second=" + requestsPerSecond, "--token-request-burst=" + requestsPerSecond,
				"--verification-requests-per-second=" + requestsPerSecond, "--zap-log-level=" + level,
			},
		},
	}
	e.managers = append(e.managers, m)
	e.supervisors.Go(func() { m.supervise(ctx) })
	return nil
}

// createObjects creates the namespaces, the credentials, the PipedreamTokens and the PipedreamAccounts.
func (e *environment) createObjects(ctx context.Context) error {
	e.reporter.printf("creating %d PipedreamTokens and %d PipedreamAccounts in %d namespaces", objectCount, accountCount, namespaceCount)
	for n := range namespaceCount {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespaceOf(n)}}
		if err := e.client.Create(ctx, namespace); err != nil {
			return fmt.Errorf("create a namespace: %w", err)
		}
		if err := e.createCredentials(ctx, namespace.Name); err != nil {
			return err
		}
	}
	failures := make(chan error, namespaceCount)
	for n := range namespaceCount {
		go func() {
			var failed error
			for i := n; i < objectCount && failed == nil; i += namespaceCount {
				failed = e.create(ctx, newToken(i))
			}
			for i := n; i < accountCount && failed == nil; i += namespaceCount {
				failed = e.create(ctx, newAccount(i))
			}
			failures <- failed
		}()
	}
	var failed error
	for range namespaceCount {
		failed = errors.Join(failed, <-failures)
	}
	return failed
}

// createCredentials creates a Secret with the credentials of each OAuth client, and one with each API key, in a namespace.
func (e *environment) createCredentials(ctx context.Context, namespace string) error {
	secrets := map[string]string{}
	for i, secret := range e.secrets {
		secrets[clientID(i)] = secret
	}
	for i, secret := range e.readerSecrets {
		secrets[readerID(i)] = secret
	}
	for client, secret := range secrets {
		if err := e.client.Create(ctx, credentials(namespace, client, secret)); err != nil {
			return fmt.Errorf("create credentials: %w", err)
		}
	}
	return e.createKeys(ctx, namespace)
}

// create creates an object. It tries again while the API server is too busy.
func (e *environment) create(ctx context.Context, object client.Object) error {
	return harness.Wait{Patience: firstTokensTimeout, Every: observeEvery}.Until(ctx, "an object to be created", harness.NoError(func() error {
		if err := e.client.Create(ctx, object); !apierrors.IsAlreadyExists(err) {
			return err
		}
		return nil
	}))
}

// credentials returns the Secret with the credentials of an OAuth client.
func credentials(namespace, client, secret string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: client},
		StringData: map[string]string{"client_id": client, "client_secret": secret},
	}
}

// stopManagers ends the managers, and calls evaluate with the result of each.
func (e *environment) stopManagers(evaluate func(name string, took time.Duration, err error)) {
	if e.supervising == nil {
		return
	}
	e.supervising()
	e.supervisors.Wait()
	for _, m := range e.managers {
		if m.running() != nil {
			took, err := m.stop(syscall.SIGTERM, 0)
			evaluate(m.name, took, err)
		}
	}
	e.supervising = nil
}

// tearDown ends all processes and removes all files.
func (e *environment) tearDown() error {
	e.stopManagers(func(string, time.Duration, error) {})
	var failed error
	if e.simulator != nil {
		failed = e.simulator.Stop(stopTimeout)
	}
	if e.cluster != nil {
		failed = errors.Join(failed, e.cluster.Stop())
	}
	if e.directory != "" {
		failed = errors.Join(failed, os.RemoveAll(e.directory))
	}
	return failed
}
