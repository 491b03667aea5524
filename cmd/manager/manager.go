// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller"
)

const (
	// shutdownTimeout is longer than a token request and the writes that follow it can take.
	shutdownTimeout = 30 * time.Second
	// readinessTimeout is the time limit for the answer to a readiness probe.
	readinessTimeout = time.Second
)

// newManager returns a manager and the name of this operator, which is empty without leader
// election.
func newManager(options *options) (mgr ctrl.Manager, operatorName string, err error) {
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, "", fmt.Errorf("find the API server (set --kubeconfig or KUBECONFIG, or run in a cluster): %w", err)
	}
	// The API server limits the requests that it accepts, so the client needs no limit.
	config.QPS = -1
	config.UserAgent = "pipedream-operator/" + version()
	// An admission webhook or policy may quote a Secret in a warning, and client-go would log it.
	config.WarningHandlerWithContext = rest.NoWarnings{}
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, "", fmt.Errorf("build the scheme: %w", err)
	}
	election, err := newElection(config, options.leaderElect)
	if err != nil {
		return nil, "", err
	}
	mgr, err = ctrl.NewManager(config, ctrl.Options{
		Scheme:   scheme,
		Cache:    controller.CacheOptions(),
		NewCache: controller.NewCache(options.namespaces),
		Client:   controller.ClientOptions(),
		Metrics: metricsserver.Options{
			BindAddress:    options.metricsBindAddress,
			SecureServing:  true,
			TLSOpts:        []func(*tls.Config){options.serveMetricsCertificate},
			FilterProvider: filters.WithAuthenticationAndAuthorization,
		},
		HealthProbeBindAddress:              options.healthProbeBindAddress,
		PprofBindAddress:                    options.pprofBindAddress,
		LeaderElection:                      options.leaderElect,
		LeaderElectionID:                    leaseName,
		LeaderElectionResourceLockInterface: election.resourceLock(),
		LeaderElectionReleaseOnCancel:       true,
		RenewDeadline:                       new(renewDeadline),
		GracefulShutdownTimeout:             new(shutdownTimeout),
	})
	if err != nil {
		return nil, "", explainMissingCRD(fmt.Errorf("set up the manager: %w", err), config)
	}
	if err := election.joins(mgr); err != nil {
		return nil, "", err
	}
	if err := addProbes(mgr); err != nil {
		return nil, "", fmt.Errorf("set up the health probes: %w", err)
	}
	return mgr, election.name(), nil
}

func addProbes(mgr ctrl.Manager) error {
	return errors.Join(
		mgr.AddHealthzCheck("ping", healthz.Ping),
		mgr.AddReadyzCheck("caches", cachesSynced(mgr.GetCache())),
		showNamespaces(mgr),
	)
}

// cachesSynced returns a check that passes once the caches are filled. It passes in a standby,
// too.
func cachesSynced(cache cache.Cache) healthz.Checker {
	return func(request *http.Request) error {
		if !isSynced(request.Context(), cache) {
			return errors.New("the caches are not filled yet")
		}
		return nil
	}
}

func isSynced(ctx context.Context, cache cache.Cache) bool {
	ctx, cancel := context.WithTimeout(ctx, readinessTimeout)
	defer cancel()
	return cache.WaitForCacheSync(ctx)
}

// start runs the manager until ctx ends, and waits for the manager to stop. It does not wait
// while the caches are not filled: the manager then ignores ctx, and has no work to finish.
func start(ctx context.Context, mgr ctrl.Manager) error {
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	if !isSynced(context.WithoutCancel(ctx), mgr.GetCache()) {
		return nil
	}
	return <-ended
}
