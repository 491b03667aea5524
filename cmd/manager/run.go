// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime/debug"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/pipedream-operator/pipedream-operator/internal/bearer"
	"github.com/pipedream-operator/pipedream-operator/internal/controller"
	accounts "github.com/pipedream-operator/pipedream-operator/internal/controller/account"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/token"
	operatormetrics "github.com/pipedream-operator/pipedream-operator/internal/metrics"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

const (
	// verificationBurst is how many verifications can start at once after a quiet time.
	verificationBurst = 2
	// accountBurst is how many requests about the accounts of one project can start at once after a quiet
	// time.
	accountBurst = 4
)

// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create,roleName=metrics-auth
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create,roleName=metrics-auth
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=system,resources=leases,verbs=get;create;update,roleName=leader-election
// +kubebuilder:rbac:groups="",namespace=system,resources=events,verbs=create,roleName=leader-election

// release and commit are the version and the revision of a release. The linker sets them when
// the release is built.
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
	logger := newLogger(zap.New(zap.UseFlagOptions(&options.log)))
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)

	mgr, operatorName, err := newManager(options)
	if err != nil {
		return err
	}
	if err := addControllers(ctx, mgr, api, options, operatorName); err != nil {
		return explainMissingCRD(err, mgr.GetConfig())
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

// addControllers adds the controllers of all kinds to the manager, with their limiters, the dispatcher of
// turns, their metrics, and the watches of the demand. operatorName is the name of this operator; empty
// without leader election.
func addControllers(ctx context.Context, mgr ctrl.Manager, api *pipedream.Client, options *options, operatorName string) error {
	dispatcher := &controller.Dispatcher{}
	tokenRequests, verifications := newLimiters(options, dispatcher)
	operator := operatormetrics.NewOperator(tokenRequests, version(), revision())
	if err := metrics.Registry.Register(operator); err != nil {
		return fmt.Errorf("register the metrics: %w", err)
	}
	if err := addTokens(ctx, mgr, api, options, operatorName, dispatcher, tokenRequests, verifications); err != nil {
		return err
	}
	if err := addAccounts(ctx, mgr, api, options, dispatcher, tokenRequests); err != nil {
		return err
	}
	if err := mgr.Add(dispatcher); err != nil {
		return fmt.Errorf("set up the dispatcher of turns: %w", err)
	}
	err := errors.Join(
		mgr.Add(&token.DemandWatch{Cache: mgr.GetCache(), PerSecond: options.tokenRequestsPerSecond}),
		mgr.Add(&accounts.DemandWatch{Cache: mgr.GetCache(), PerSecond: options.accountRequestsPerSecond}),
	)
	if err != nil {
		return fmt.Errorf("set up the watches of the demand: %w", err)
	}
	return nil
}

// addTokens adds the controller of PipedreamTokens.
func addTokens(ctx context.Context, mgr ctrl.Manager, api *pipedream.Client, options *options, operatorName string,
	dispatcher *controller.Dispatcher, tokenRequests, verifications *throttle.Limiter,
) error {
	shown := token.NewMetrics(ctx, token.MetricsOptions{
		Cache:     mgr.GetCache(),
		Clock:     clock.RealClock{},
		PerObject: options.perObjectMetrics,
	})
	if err := metrics.Registry.Register(shown); err != nil {
		return fmt.Errorf("register the metrics: %w", err)
	}
	reconciler := &token.Reconciler{
		Operator:      operatorName,
		Cache:         mgr.GetCache(),
		Client:        mgr.GetClient(),
		Events:        mgr.GetEventRecorder("pipedream-operator"),
		Clock:         clock.RealClock{},
		Pipedream:     api,
		TokenRequests: tokenRequests,
		Verifications: verifications,
		Metrics:       shown,
	}
	return reconciler.SetupWithManager(ctx, mgr, dispatcher, options.maxConcurrentReconciles)
}

// addAccounts adds the controller of PipedreamAccounts. The access tokens of the operator's own are asked for
// through the limiter of all token requests.
func addAccounts(ctx context.Context, mgr ctrl.Manager, api *pipedream.Client, options *options,
	dispatcher *controller.Dispatcher, tokenRequests *throttle.Limiter,
) error {
	now := clock.RealClock{}.Now
	shown := accounts.NewMetrics(ctx, accounts.MetricsOptions{
		Cache:     mgr.GetCache(),
		Clock:     clock.RealClock{},
		PerObject: options.perObjectMetrics,
	})
	requests := dispatcher.NewProjects(throttle.ProjectsOptions{
		PerSecond: options.accountRequestsPerSecond,
		Burst:     accountBurst,
		InFlight:  max(1, options.maxConcurrentReconciles/2),
		Now:       now,
	})
	if err := errors.Join(metrics.Registry.Register(shown), metrics.Registry.Register(operatormetrics.NewProjects(requests))); err != nil {
		return fmt.Errorf("register the metrics: %w", err)
	}
	reconciler := &accounts.Reconciler{
		Cache:     mgr.GetCache(),
		Client:    mgr.GetClient(),
		Events:    mgr.GetEventRecorder("pipedream-operator"),
		Clock:     clock.RealClock{},
		Pipedream: api,
		Requests:  requests,
		Bearers: dispatcher.NewBearers(bearer.Options{
			Limiter: tokenRequests, Issue: api.Issue, Scopes: options.accountScopes, Now: now,
		}),
		Metrics: shown,
	}
	return reconciler.SetupWithManager(ctx, mgr, dispatcher, options.maxConcurrentReconciles)
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

// inFlight returns how many token requests and verifications may wait for an answer at the
// same time. With 4 or more workers they together leave at least half of the workers free
// while Pipedream does not respond.
func inFlight(workers int) (tokenRequests, verifications int) {
	verifications = max(1, workers/10)
	return max(1, workers/2-verifications), verifications
}

// newLimiters returns the limiters for token requests and for verifications.
func newLimiters(options *options, dispatcher *controller.Dispatcher) (tokenRequests, verifications *throttle.Limiter) {
	now := clock.RealClock{}.Now
	ofTokenRequests, ofVerifications := inFlight(options.maxConcurrentReconciles)
	tokenRequests = dispatcher.NewLimiter(throttle.Options{
		PerSecond: options.tokenRequestsPerSecond,
		Burst:     options.tokenRequestBurst,
		InFlight:  ofTokenRequests,
		Now:       now,
	})
	verifications = dispatcher.NewLimiter(throttle.Options{
		PerSecond: options.verificationRequestsPerSecond,
		Burst:     verificationBurst,
		InFlight:  ofVerifications,
		YieldTo:   tokenRequests,
		Now:       now,
	})
	return tokenRequests, verifications
}

// version returns the release or, if the binary is not of a release, the module version that it
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

// exitCode prints the error, if there is one, and returns the exit code of the program.
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
