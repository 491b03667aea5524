// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// RunTests is for TestMain. It starts a control plane for all tests of a package, calls setUp, runs the tests, and
// stops the control plane. It returns the exit code. The tests fail if the control plane does not start or stop.
func RunTests(m *testing.M, options Options, setUp func(*ControlPlane) error) (code int) {
	c, err := Start(options)
	if err == nil {
		if err = setUp(c); err == nil {
			code = m.Run()
		}
		err = errors.Join(err, c.Stop())
	}
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// MustStart starts a control plane, and stops it when the test ends.
func MustStart(tb testing.TB, options Options) *ControlPlane {
	tb.Helper()
	c, err := Start(options)
	harness.Must(tb, err)
	tb.Cleanup(func() {
		if err := c.Stop(); err != nil {
			tb.Errorf("stop the control plane: %v", err)
		}
	})
	return c
}

// MustToken is like Token, and ends the test on an error.
func (c *ControlPlane) MustToken(tb testing.TB, namespace, account string) string {
	tb.Helper()
	token, err := c.Token(tb.Context(), namespace, account)
	harness.Must(tb, err)
	return token
}

// MustAccountKubeconfig is like AccountKubeconfig, and ends the test on an error.
func (c *ControlPlane) MustAccountKubeconfig(tb testing.TB, namespace, account string) (path string) {
	tb.Helper()
	path, err := c.AccountKubeconfig(tb.Context(), namespace, account)
	harness.Must(tb, err)
	return path
}
