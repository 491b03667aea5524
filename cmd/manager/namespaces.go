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

// namespacesCheck is the name of the readiness check that lists the namespaces that can't be
// watched.
const namespacesCheck = "namespaces"

// showNamespaces adds a metric and a readiness check for the namespaces of --namespaces. It
// adds nothing when the operator watches the whole cluster.
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

// whenAskedAlone returns a check that can fail at /readyz/namespaces only. At /readyz it always
// passes: if the operator can't watch one namespace, it still works for the other namespaces,
// and Kubernetes must not stop an update of the operator.
func whenAskedAlone(check func() error) healthz.Checker {
	return func(request *http.Request) error {
		if path.Base(request.URL.Path) != namespacesCheck {
			return nil
		}
		return check()
	}
}
