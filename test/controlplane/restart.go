// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"fmt"
	"strings"
	"time"
)

// dying is how long a process that was killed takes to be gone, for which envtest
// does not wait.
const dying = 500 * time.Millisecond

// stopped returns the error of a stop, save for that of one that was killed as it
// was meant to be.
func (c *ControlPlane) stopped(name string, err error) error {
	switch {
	case err == nil:
		return nil
	case c.mayKill && strings.HasPrefix(err.Error(), "timeout waiting for process") && !strings.Contains(err.Error(), "unable to kill"):
		time.Sleep(dying)
		return nil
	}
	return fmt.Errorf("stop %s: %w", name, err)
}

// The methods below take parts of a running control plane away, and bring them
// back with the same address, data and certificates. They are not safe for
// concurrent use. Stop may come at any time in between.

// StopAPIServer ends the kube-apiserver.
func (c *ControlPlane) StopAPIServer() error {
	return c.stopped("kube-apiserver", c.environment.ControlPlane.APIServer.Stop())
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
	return c.stopped("etcd", c.environment.ControlPlane.Etcd.Stop())
}

// StartEtcd starts etcd again, and waits until it answers.
func (c *ControlPlane) StartEtcd() error {
	if err := c.environment.ControlPlane.Etcd.Start(); err != nil {
		return fmt.Errorf("start etcd again: %w", err)
	}
	return nil
}
