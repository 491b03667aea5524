// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
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
	// requestsPerSecond is so high that the limiter does not delay 200 tokens that live a
	// minute.
	requestsPerSecond = "50"
)

// stage is all that runs.
type stage struct {
	options   options
	diary     *diary
	leaks     *leaks
	directory string
	cluster   *controlplane.ControlPlane
	client    client.Client
	simulator *harness.Simulator
	pipedream *pipedream
	managers  []*manager
	scraper   string

	secrets []string // of the OAuth clients, as they are at first

	supervisors sync.WaitGroup
	supervising context.CancelFunc
}

// setUp starts the control plane, the simulator and the managers.
func (s *stage) setUp(ctx context.Context) error {
	s.diary.say("starting etcd, kube-apiserver and kube-controller-manager")
	var err error
	if s.directory, err = os.MkdirTemp("", "pipedream-chaos-"); err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	if s.cluster, err = controlplane.Start(controlplane.Options{ControllerManager: true, KillAfter: time.Second}); err != nil {
		return err
	}
	config := rest.CopyConfig(s.cluster.Config)
	config.Timeout = requestTimeout
	if s.client, err = controlplane.NewClient(config); err != nil {
		return err
	}
	for i := range clientCount {
		s.secrets = append(s.secrets, s.newSecret(i))
	}
	s.diary.say("starting the simulator: %d OAuth clients, tokens live %v", clientCount, tokenLifetime)
	if err := s.startSimulator(ctx); err != nil {
		return err
	}
	// The managers have a file of their own, so that they do not know a new CA at once.
	ca, err := os.ReadFile(filepath.Join(s.directory, "simulator-ca.pem"))
	if err != nil {
		return fmt.Errorf("read the simulator's CA: %w", err)
	}
	//nolint:gosec // The folder is the one of this run.
	if err := os.WriteFile(s.caFile(), ca, 0o600); err != nil {
		return fmt.Errorf("write the managers' CA file: %w", err)
	}
	return s.startManagers(ctx)
}

// startSimulator starts the simulator, which writes its first CA to a file.
func (s *stage) startSimulator(ctx context.Context) (err error) {
	arguments := []string{"--tls", "--tls-ca-file=" + filepath.Join(s.directory, "simulator-ca.pem"), "--token-lifetime=" + tokenLifetime.String()}
	for i, secret := range s.secrets {
		arguments = append(arguments, "--client="+clientID(i)+":"+secret)
	}
	path := filepath.Join(s.options.binaries, "simulator")
	if s.simulator, err = harness.StartSimulator(context.WithoutCancel(ctx), path, arguments...); err != nil {
		return err
	}
	s.pipedream = newPipedream(s.simulator.Address)
	return nil
}

// caFile is the file with the CA that the managers trust in.
func (s *stage) caFile() string { return filepath.Join(s.directory, "ca.pem") }

// newSecret makes up a client secret, and learns to find it.
func (s *stage) newSecret(client int) string {
	secret := "chaos-secret-" + rand.Text()
	s.leaks.learn("a secret of "+clientID(client), secret)
	return secret
}

func (s *stage) startManagers(ctx context.Context) error {
	s.diary.say("starting two managers with leader election, under the generated permissions")
	if err := s.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: systemNamespace}}); err != nil {
		return fmt.Errorf("create the operator's namespace: %w", err)
	}
	_, err := s.cluster.Kubectl().Run(ctx, "apply", "--kustomize", "test/chaos")
	if err != nil {
		return err
	}
	if s.scraper, err = s.cluster.Token(ctx, systemNamespace, "pipedream-operator-scraper"); err != nil {
		return err
	}
	token, err := s.cluster.Token(ctx, systemNamespace, "pipedream-operator-manager")
	if err != nil {
		return err
	}
	s.leaks.learn("the managers' own token", token[strings.LastIndex(token, ".")+1:])
	content, err := s.cluster.KubeconfigOf(token, systemNamespace)
	if err != nil {
		return err
	}
	kubeconfig := filepath.Join(s.directory, "manager.kubeconfig")
	if err := os.WriteFile(kubeconfig, content, 0o600); err != nil {
		return fmt.Errorf("write a kubeconfig: %w", err)
	}
	supervised, stop := context.WithCancel(ctx)
	s.supervising = stop
	// One of the two logs as much as it ever does, to be searched for secrets.
	for name, level := range map[string]string{"a": "info", "b": "7"} {
		if err := s.addManager(supervised, name, level, kubeconfig); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) addManager(ctx context.Context, name, level, kubeconfig string) error {
	address, err := harness.FreeAddress(ctx)
	if err != nil {
		return err
	}
	m := &manager{
		name: name, logs: s.options.logs, leaks: s.leaks, diary: s.diary,
		call: harness.Manager{
			Path: filepath.Join(s.options.binaries, "manager"), Kubeconfig: kubeconfig, Pipedream: s.simulator.Address,
			Namespace: systemNamespace, Metrics: address,
			Flags: []string{
				"--api-ca-file=" + s.caFile(), "--leader-elect",
				"--token-requests-per-second=" + requestsPerSecond, "--token-request-burst=" + requestsPerSecond,
				"--verification-requests-per-second=" + requestsPerSecond, "--zap-log-level=" + level,
			},
		},
	}
	s.managers = append(s.managers, m)
	s.supervisors.Go(func() { m.supervise(ctx) })
	return nil
}

// furnish creates the namespaces, the credentials and the PipedreamTokens.
func (s *stage) furnish(ctx context.Context) error {
	s.diary.say("creating %d PipedreamTokens in %d namespaces", objectCount, namespaceCount)
	for n := range namespaceCount {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespaceOf(n)}}
		if err := s.client.Create(ctx, namespace); err != nil {
			return fmt.Errorf("create a namespace: %w", err)
		}
		for c := range clientCount {
			if err := s.client.Create(ctx, credentials(namespace.Name, c, s.secrets[c])); err != nil {
				return fmt.Errorf("create credentials: %w", err)
			}
		}
	}
	failures := make(chan error, namespaceCount)
	for n := range namespaceCount {
		go func() {
			var failed error
			for i := n; i < objectCount && failed == nil; i += namespaceCount {
				failed = s.create(ctx, i)
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

// create creates a PipedreamToken, on a busy machine in more than one attempt.
func (s *stage) create(ctx context.Context, i int) error {
	return harness.Wait{Patience: furnishTimeout, Every: lookEvery}.Until(ctx, "a PipedreamToken to be created", harness.NoError(func() error {
		if err := s.client.Create(ctx, newToken(i)); !apierrors.IsAlreadyExists(err) {
			return err
		}
		return nil
	}))
}

// credentials returns the Secret with the credentials of an OAuth client.
func credentials(namespace string, client int, secret string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: clientID(client)},
		StringData: map[string]string{"client_id": clientID(client), "client_secret": secret},
	}
}

// stopManagers tells the managers to end, for good.
func (s *stage) stopManagers(judge func(name string, took time.Duration, err error)) {
	if s.supervising == nil {
		return
	}
	s.supervising()
	s.supervisors.Wait()
	for _, m := range s.managers {
		if m.running() != nil {
			took, err := m.stop(syscall.SIGTERM, 0)
			judge(m.name, took, err)
		}
	}
	s.supervising = nil
}

// tearDown ends all processes and removes all files.
func (s *stage) tearDown() error {
	s.stopManagers(func(string, time.Duration, error) {})
	var failed error
	if s.simulator != nil {
		failed = s.simulator.Stop(stopTimeout)
	}
	if s.cluster != nil {
		failed = errors.Join(failed, s.cluster.Stop())
	}
	if s.directory != "" {
		failed = errors.Join(failed, os.RemoveAll(s.directory))
	}
	return failed
}
