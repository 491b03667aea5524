// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/token"
	operatormetrics "github.com/pipedream-operator/pipedream-operator/internal/metrics"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

const (
	// shutdownTimeout is above what an exchange with its writes may take.
	shutdownTimeout = 30 * time.Second
	// readinessTimeout bounds the answer to a readiness probe.
	readinessTimeout = time.Second
	// verificationBurst bounds how many verifications are made at once.
	verificationBurst = 2
)

// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create,roleName=metrics-auth
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create,roleName=metrics-auth
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=system,resources=leases,verbs=get;create;update,roleName=leader-election
// +kubebuilder:rbac:groups="",namespace=system,resources=events,verbs=create,roleName=leader-election

// release and commit are the version and the revision that the linker is told of when a
// release is built.
var release, commit string

// run runs the operator until ctx ends.
func run(ctx context.Context, arguments []string, stdout io.Writer) error {
	options, err := parseOptions(arguments, stdout)
	if err != nil {
		return err
	}
	if options.version {
		_, err := fmt.Fprintln(stdout, version())
		return err
	}
	api, err := newClient(options)
	if err != nil {
		return err
	}
	logger := zap.New(zap.UseFlagOptions(&options.log))
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)

	mgr, err := newManager(options)
	if err != nil {
		return err
	}
	dispatcher := &controller.Dispatcher{}
	tokenRequests, verifications := newLimiters(options, dispatcher)
	shown := token.NewMetrics(ctx, token.MetricsOptions{
		Cache:     mgr.GetCache(),
		Clock:     clock.RealClock{},
		PerObject: options.perObjectMetrics,
	})
	operator := operatormetrics.NewOperator(tokenRequests, version(), revision())
	if err := errors.Join(metrics.Registry.Register(operator), metrics.Registry.Register(shown)); err != nil {
		return fmt.Errorf("register the metrics: %w", err)
	}
	reconciler := &token.Reconciler{
		Cache:         mgr.GetCache(),
		Client:        mgr.GetClient(),
		Events:        mgr.GetEventRecorder("pipedream-operator"),
		Clock:         clock.RealClock{},
		Pipedream:     api,
		TokenRequests: tokenRequests,
		Verifications: verifications,
		Metrics:       shown,
	}
	if err := reconciler.SetupWithManager(ctx, mgr, dispatcher, options.maxConcurrentReconciles); err != nil {
		return err
	}
	if err := mgr.Add(dispatcher); err != nil {
		return fmt.Errorf("set up the dispatcher of turns: %w", err)
	}
	demand := &token.DemandWatch{Cache: mgr.GetCache(), PerSecond: options.tokenRequestsPerSecond}
	if err := mgr.Add(demand); err != nil {
		return fmt.Errorf("set up the watch of the demand: %w", err)
	}
	files := &fileWatch{files: options.files()}
	if err := errors.Join(files.register(metrics.Registry), mgr.Add(files)); err != nil {
		return fmt.Errorf("set up the watch of the files: %w", err)
	}
	logger.Info("starting", "version", version(), "apiURL", api.Address(), "namespaces", options.namespaces)
	if err := start(ctx, mgr); err != nil {
		return fmt.Errorf("run the manager: %w", err)
	}
	return nil
}

func newClient(options *options) (*pipedream.Client, error) {
	configured := pipedream.Options{
		Address:       options.apiURL,
		AllowInsecure: options.allowInsecureAPIURL,
		UserAgent:     "pipedream-operator/" + version(),
		Now:           clock.RealClock{}.Now,
	}
	if options.apiRootCAs != nil {
		configured.RootCAs = options.apiRootCAs.Refresh
	}
	api, err := pipedream.NewClient(configured)
	if err != nil {
		return nil, &usageError{cause: fmt.Errorf("--api-url: %w", err)}
	}
	return api, nil
}

// start runs the manager until ctx ends. While a manager waits for its caches it does
// not look at ctx, and there is nothing to bring to an end.
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

// newLimiters returns the limiters for token requests and for verifications. With four or
// more workers, the limiters together leave at least one worker free while Pipedream does
// not answer.
func newLimiters(options *options, dispatcher *controller.Dispatcher) (tokenRequests, verifications *throttle.Limiter) {
	now := clock.RealClock{}.Now
	tokenRequests = dispatcher.NewLimiter(throttle.Options{
		PerSecond: options.tokenRequestsPerSecond,
		Burst:     options.tokenRequestBurst,
		InFlight:  max(1, options.maxConcurrentReconciles*2/3),
		Now:       now,
	})
	verifications = dispatcher.NewLimiter(throttle.Options{
		PerSecond: options.verificationRequestsPerSecond,
		Burst:     verificationBurst,
		InFlight:  max(1, options.maxConcurrentReconciles/5),
		YieldTo:   tokenRequests,
		Now:       now,
	})
	return tokenRequests, verifications
}

func newManager(options *options) (ctrl.Manager, error) {
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("find the API server (set --kubeconfig or KUBECONFIG, or run in a cluster): %w", err)
	}
	// The API server protects itself; a limit here would only add to its own.
	config.QPS = -1
	config.UserAgent = "pipedream-operator/" + version()
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("build the scheme: %w", err)
	}
	election, err := newElection(config, options.leaderElect)
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(config, ctrl.Options{
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
		LeaderElection:                      options.leaderElect,
		LeaderElectionID:                    leaseName,
		LeaderElectionResourceLockInterface: election.resourceLock(),
		LeaderElectionReleaseOnCancel:       true,
		RenewDeadline:                       new(renewDeadline),
		GracefulShutdownTimeout:             new(shutdownTimeout),
	})
	if err != nil {
		return nil, fmt.Errorf("set up the manager: %w", err)
	}
	if err := election.joins(mgr); err != nil {
		return nil, err
	}
	if err := errors.Join(
		mgr.AddHealthzCheck("ping", healthz.Ping),
		mgr.AddReadyzCheck("caches", cachesSynced(mgr.GetCache())),
		showNamespaces(mgr),
	); err != nil {
		return nil, fmt.Errorf("set up the health probes: %w", err)
	}
	return mgr, nil
}

// cachesSynced is ready once the operator knows the cluster; a standby is ready
// as well.
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

// version returns the release that the binary is of, or the module version that it
// was built from.
func version() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// revision returns the commit that the binary was built from.
func revision() string {
	if commit != "" {
		return commit
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				return setting.Value
			}
		}
	}
	return "unknown"
}

// exitCode says why the program ends, in one line, and returns its exit code.
func exitCode(err error, stderr io.Writer) int {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	_, _ = fmt.Fprintf(stderr, "manager: %v\n", err)
	if _, ok := errors.AsType[*usageError](err); ok {
		_, _ = fmt.Fprintln(stderr, "manager: see --help for the flags")
		return 2
	}
	return 1
}
