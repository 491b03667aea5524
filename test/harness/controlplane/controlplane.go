// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controlplane runs a real etcd, kube-apiserver and, if requested, kube-controller-manager on this machine,
// for tests and for the demo.
package controlplane

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// Options say which parts of a control plane to start, and how.
type Options struct {
	// ControllerManager starts kube-controller-manager with the controllers that collect garbage, delete
	// namespaces, count quotas and aggregate ClusterRoles.
	ControllerManager bool
	// KillAfter is how long etcd and kube-apiserver may take to end before they are killed, as in a crash. With 0,
	// they are not killed, and Stop returns an error after a minute. The kube-apiserver takes that long while a
	// client has an open watch.
	KillAfter time.Duration
	// Log receives the output of kube-controller-manager. It is optional.
	Log io.Writer
	// APIServerFlags are additional flags of the API server, without the leading dashes.
	APIServerFlags map[string]string
	// WithoutCRDs leaves out the product's CRDs. The caller applies them.
	WithoutCRDs bool
}

// ControlPlane is a running control plane.
type ControlPlane struct {
	// Config is the configuration of a client with the permissions of an administrator.
	Config *rest.Config
	// Kubeconfig is the content of a kubeconfig for the same administrator.
	Kubeconfig []byte
	// KubeconfigFile is the path of a file with the content of Kubeconfig. Stop removes the file.
	KubeconfigFile string
	// Client is a client of the same administrator, from NewClient.
	Client client.WithWatch
	// Folder holds the files of the control plane. The caller may add its own files. Stop removes the folder.
	Folder string

	environment *envtest.Environment
	mayKill     bool
	controllers *harness.Process
}

// Start starts a control plane with the product's CRDs, unless the options say otherwise. The control plane is ready
// when Start returns. Stop ends it.
func Start(options Options) (*ControlPlane, error) {
	if _, err := os.Stat(filepath.Join(harness.Assets(), "kube-apiserver")); err != nil {
		return nil, fmt.Errorf("run `make control-plane` first, or set KUBEBUILDER_ASSETS: %w", err)
	}
	directory, err := os.MkdirTemp("", "pipedream-control-plane-")
	if err != nil {
		return nil, fmt.Errorf("make a folder: %w", err)
	}
	environment := &envtest.Environment{
		BinaryAssetsDirectory: harness.Assets(),
		CRDDirectoryPaths:     []string{filepath.Join(harness.Root(), "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
		// Other processes may keep the machine busy.
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
	// Outside of envtest's own folders, data and certificates survive a restart.
	c := &ControlPlane{environment: environment, Folder: directory, mayKill: options.KillAfter > 0}
	if environment.ControlPlane.Etcd.DataDir, err = makeFolder(directory, "etcd"); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	if environment.ControlPlane.APIServer.CertDir, err = makeFolder(directory, "certificates"); err != nil {
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

func makeFolder(parent, name string) (string, error) {
	path := filepath.Join(parent, name)
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
	c.KubeconfigFile = filepath.Join(c.Folder, "admin.kubeconfig")
	if err := os.WriteFile(c.KubeconfigFile, c.Kubeconfig, 0o600); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	if c.Client, err = NewClient(c.Config); err != nil {
		return err
	}
	if options.ControllerManager {
		return startControllers(c, options.Log)
	}
	return nil
}

func startControllers(c *ControlPlane, log io.Writer) (err error) {
	c.controllers, err = harness.Command{
		Path: filepath.Join(harness.Assets(), "kube-controller-manager"),
		Arguments: []string{
			"--kubeconfig=" + c.KubeconfigFile,
			"--service-account-private-key-file=" + filepath.Join(c.environment.ControlPlane.APIServer.CertDir, "sa-signer.key"),
			"--controllers=clusterrole-aggregation-controller,garbage-collector-controller,namespace-controller,resourcequota-controller,serviceaccount-controller",
			"--leader-elect=false",
			"--secure-port=0",
		},
		Output: cmp.Or(log, io.Discard),
		// Stop ends the process.
		OutlivesInterrupt: true,
	}.Start(context.Background())
	return err
}

// Stop ends all processes of the control plane, and removes its files.
func (c *ControlPlane) Stop() error {
	if c.controllers != nil {
		c.controllers.Kill()
	}
	var failed error
	if c.mayKill {
		failed = errors.Join(c.StopAPIServer(), c.StopEtcd())
	}
	return errors.Join(failed, c.environment.Stop(), os.RemoveAll(c.Folder))
}
