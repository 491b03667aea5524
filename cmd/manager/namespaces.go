// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"path"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/pipedream-operator/pipedream-operator/internal/controller/namespaces"
)

// namespacesCheck is the name of the check that names the namespaces that can't be watched.
const namespacesCheck = "namespaces"

// showNamespaces adds a metric and a check for the namespaces of --namespaces. It adds
// nothing when the operator watches the whole cluster.
func showNamespaces(mgr ctrl.Manager) error {
	watched, ok := mgr.GetCache().(*namespaces.Cache)
	if !ok {
		return nil
	}
	if err := metrics.Registry.Register(watched); err != nil {
		return err
	}
	return mgr.AddReadyzCheck(namespacesCheck, whenAskedAlone(watched.Check))
}

// whenAskedAlone is a check that fails at /readyz/namespaces only. At /readyz it passes,
// because a namespace that can't be watched must not hold up an update of the operator,
// which works for the other namespaces.
func whenAskedAlone(check func() error) healthz.Checker {
	return func(request *http.Request) error {
		if path.Base(request.URL.Path) != namespacesCheck {
			return nil
		}
		return check()
	}
}
