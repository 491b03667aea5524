// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// dying is how long a killed process may take to end. envtest does not wait for the end.
const dying = 500 * time.Millisecond

// stopped returns the error of a stop. It returns nil if the process was killed and mayKill allows that.
func stopped(name string, mayKill bool, err error) error {
	switch {
	case err == nil:
		return nil
	case mayKill && strings.HasPrefix(err.Error(), "timeout waiting for process") && !strings.Contains(err.Error(), "unable to kill"):
		time.Sleep(dying)
		return nil
	}
	return fmt.Errorf("stop %s: %w", name, err)
}

// The methods below stop and start parts of a running control plane. Address, data and certificates stay the same.
// The methods are not safe for concurrent use. Stop may be called between them.

// StopAPIServer ends the kube-apiserver.
func (c *ControlPlane) StopAPIServer() error {
	return stopped("kube-apiserver", c.mayKill, c.environment.ControlPlane.APIServer.Stop())
}

// StartAPIServer starts the kube-apiserver again, and waits until it answers.
func (c *ControlPlane) StartAPIServer() error {
	if err := c.environment.ControlPlane.APIServer.Start(); err != nil {
		return fmt.Errorf("start kube-apiserver again: %w", err)
	}
	return nil
}

// StopEtcd ends etcd. The kube-apiserver runs on, but cannot serve requests.
func (c *ControlPlane) StopEtcd() error {
	return stopped("etcd", c.mayKill, c.environment.ControlPlane.Etcd.Stop())
}

// StartEtcd starts etcd again, and waits until it answers.
func (c *ControlPlane) StartEtcd() error {
	if err := c.environment.ControlPlane.Etcd.Start(); err != nil {
		return fmt.Errorf("start etcd again: %w", err)
	}
	return nil
}

// SaveEtcd copies the data of etcd, as a backup does. It returns the folder of the copy, which Stop removes. etcd must
// be stopped.
func (c *ControlPlane) SaveEtcd() (string, error) {
	saved, err := os.MkdirTemp(c.Folder, "etcd-saved-")
	if err != nil {
		return "", fmt.Errorf("make a folder: %w", err)
	}
	if err := os.CopyFS(saved, os.DirFS(c.environment.ControlPlane.Etcd.DataDir)); err != nil {
		return "", fmt.Errorf("save etcd: %w", err)
	}
	return saved, nil
}

// RestoreEtcd replaces the data of etcd by a copy that SaveEtcd made. etcd and kube-apiserver must be stopped, because
// the caches of the kube-apiserver would not match the restored data.
func (c *ControlPlane) RestoreEtcd(saved string) error {
	data := c.environment.ControlPlane.Etcd.DataDir
	if err := os.RemoveAll(data); err != nil {
		return fmt.Errorf("restore etcd: %w", err)
	}
	if err := os.CopyFS(data, os.DirFS(saved)); err != nil {
		return fmt.Errorf("restore etcd: %w", err)
	}
	if err := os.Chmod(data, 0o700); err != nil { //nolint:gosec // It is a folder.
		return fmt.Errorf("restore etcd: %w", err)
	}
	return nil
}
