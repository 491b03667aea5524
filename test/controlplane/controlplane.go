// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controlplane runs a real etcd, kube-apiserver and, where it is asked
// for, kube-controller-manager on this machine, for tests and for the demo.
package controlplane

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// Options say what is started.
type Options struct {
	// ControllerManager starts the controllers that collect garbage, delete
	// namespaces, count quotas and aggregate ClusterRoles. Without them none of that happens.
	ControllerManager bool
	// KillAfter is how long etcd and kube-apiserver may take to end before they are
	// killed, as a crash would. When it is 0, a stop that takes a minute is an error: the
	// kube-apiserver takes that long while somebody watches.
	KillAfter time.Duration
	// Log gets what the controller-manager prints. Optional.
	Log io.Writer
	// APIServerFlags are more flags of the API server, without the leading dashes.
	APIServerFlags map[string]string
	// WithoutCRDs leaves it to the caller to apply the product's CRDs.
	WithoutCRDs bool
}

// ControlPlane is a running one.
type ControlPlane struct {
	// Config is that of an administrator.
	Config *rest.Config
	// Kubeconfig is the content of a kubeconfig for the same administrator.
	Kubeconfig []byte

	environment *envtest.Environment
	directory   string
	mayKill     bool
	controllers *exec.Cmd
	exited      chan struct{}
}

// Root returns the folder of this repository: the nearest one above the working
// folder that has a PROJECT file, or the working folder if there is none.
func Root() string {
	working, err := os.Getwd()
	if err != nil {
		return "."
	}
	for folder := working; ; folder = filepath.Dir(folder) {
		if _, err := os.Stat(filepath.Join(folder, "PROJECT")); err == nil {
			return folder
		}
		if folder == filepath.Dir(folder) {
			return working
		}
	}
}

// Assets returns the folder of the binaries: KUBEBUILDER_ASSETS if it is set, else
// where `make control-plane` leaves them.
func Assets() string {
	if assets := os.Getenv("KUBEBUILDER_ASSETS"); assets != "" {
		return assets
	}
	return filepath.Join(Root(), "bin", "k8s")
}

// Start starts a control plane that has the product's CRDs, unless the options say
// otherwise. It is ready when Start returns; Stop ends it.
func Start(options Options) (*ControlPlane, error) {
	if _, err := os.Stat(filepath.Join(Assets(), "kube-apiserver")); err != nil {
		return nil, fmt.Errorf("run `make control-plane` first, or set KUBEBUILDER_ASSETS: %w", err)
	}
	directory, err := os.MkdirTemp("", "pipedream-control-plane-")
	if err != nil {
		return nil, fmt.Errorf("make a folder: %w", err)
	}
	environment := &envtest.Environment{
		BinaryAssetsDirectory: Assets(),
		CRDDirectoryPaths:     []string{filepath.Join(Root(), "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
		// Machines are busy.
		ControlPlaneStartTimeout: time.Minute,
		ControlPlaneStopTimeout:  cmp.Or(options.KillAfter, time.Minute),
	}
	if options.WithoutCRDs {
		environment.CRDDirectoryPaths = nil
	}
	environment.ControlPlane.GetAPIServer().Configure().
		Append("enable-admission-plugins", "OwnerReferencesPermissionEnforcement", "ResourceQuota")
	for flag, value := range options.APIServerFlags {
		environment.ControlPlane.GetAPIServer().Configure().Set(flag, value)
	}
	environment.ControlPlane.Etcd = &envtest.Etcd{}
	environment.ControlPlane.Etcd.Configure().Append("unsafe-no-fsync", "true")
	// In folders of ours, data and certificates outlast a restart.
	c := &ControlPlane{environment: environment, directory: directory, mayKill: options.KillAfter > 0}
	if environment.ControlPlane.Etcd.DataDir, err = c.folder("etcd"); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	if environment.ControlPlane.APIServer.CertDir, err = c.folder("certificates"); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	if c.Config, err = environment.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start etcd and kube-apiserver: %w", err), c.Stop())
	}
	if err := c.finish(options); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// folder makes a folder that lives until Stop.
func (c *ControlPlane) folder(name string) (string, error) {
	path := filepath.Join(c.directory, name)
	if err := os.Mkdir(path, 0o700); err != nil {
		return "", fmt.Errorf("make a folder: %w", err)
	}
	return path, nil
}

func (c *ControlPlane) finish(options Options) error {
	admin, err := c.environment.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, nil)
	if err != nil {
		return fmt.Errorf("add the administrator: %w", err)
	}
	if c.Kubeconfig, err = admin.KubeConfig(); err != nil {
		return fmt.Errorf("write the administrator's kubeconfig: %w", err)
	}
	if options.ControllerManager {
		return c.startControllers(options.Log)
	}
	return nil
}

func (c *ControlPlane) startControllers(log io.Writer) error {
	kubeconfig := filepath.Join(c.directory, "admin.kubeconfig")
	if err := os.WriteFile(kubeconfig, c.Kubeconfig, 0o600); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	c.controllers = exec.CommandContext(context.Background(), filepath.Join(Assets(), "kube-controller-manager"), //nolint:gosec // Our own binary, which lives until Stop.
		"--kubeconfig="+kubeconfig,
		"--service-account-private-key-file="+filepath.Join(c.environment.ControlPlane.APIServer.CertDir, "sa-signer.key"),
		"--controllers=clusterrole-aggregation-controller,garbage-collector-controller,namespace-controller,resourcequota-controller,serviceaccount-controller",
		"--leader-elect=false",
		"--secure-port=0",
	)
	c.controllers.Stdout, c.controllers.Stderr = log, log
	// Ctrl-C in a terminal goes to the whole process group; Stop decides when this ends.
	c.controllers.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.controllers.Start(); err != nil {
		return fmt.Errorf("start kube-controller-manager: %w", err)
	}
	c.exited = make(chan struct{})
	go func() {
		_ = c.controllers.Wait()
		close(c.exited)
	}()
	return nil
}

// Stop ends all that Start has started, and removes its files.
func (c *ControlPlane) Stop() error {
	if c.exited != nil {
		_ = c.controllers.Process.Kill()
		<-c.exited
	}
	var failed error
	if c.mayKill {
		failed = errors.Join(c.StopAPIServer(), c.StopEtcd())
	}
	return errors.Join(failed, c.environment.Stop(), os.RemoveAll(c.directory))
}

// User returns the configuration of a user who may do what the cluster's roles
// allow, which is nothing at first.
func (c *ControlPlane) User(name string) (*rest.Config, error) {
	user, err := c.environment.AddUser(envtest.User{Name: name}, nil)
	if err != nil {
		return nil, fmt.Errorf("add user %s: %w", name, err)
	}
	return user.Config(), nil
}

// KubeconfigOf returns the content of a kubeconfig for a bearer token, which the
// API server knows as that of a ServiceAccount, for instance.
func (c *ControlPlane) KubeconfigOf(token, namespace string) ([]byte, error) {
	return kubeconfig(c.Config, token, namespace)
}
