// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import "fmt"

// The methods below take parts of a running control plane away, and bring them
// back with the same address, data and certificates. They are not safe for
// concurrent use. Stop may come at any time in between.

// StopAPIServer ends the kube-apiserver.
func (c *ControlPlane) StopAPIServer() error {
	if err := c.environment.ControlPlane.APIServer.Stop(); err != nil {
		return fmt.Errorf("stop kube-apiserver: %w", err)
	}
	return nil
}

// StartAPIServer starts the kube-apiserver again, and waits until it answers.
func (c *ControlPlane) StartAPIServer() error {
	if err := c.environment.ControlPlane.APIServer.Start(); err != nil {
		return fmt.Errorf("start kube-apiserver again: %w", err)
	}
	return nil
}

// StopEtcd ends etcd. The kube-apiserver stays, and can do nothing.
func (c *ControlPlane) StopEtcd() error {
	if err := c.environment.ControlPlane.Etcd.Stop(); err != nil {
		return fmt.Errorf("stop etcd: %w", err)
	}
	return nil
}

// StartEtcd starts etcd again, and waits until it answers.
func (c *ControlPlane) StartEtcd() error {
	if err := c.environment.ControlPlane.Etcd.Start(); err != nil {
		return fmt.Errorf("start etcd again: %w", err)
	}
	return nil
}
