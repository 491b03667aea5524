// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
)

// filesInterval is how often fileWatch reads the files. The operator also reads them before
// each use.
const filesInterval = 10 * time.Second

// watchedFile is a *rotating.Files with the flag that names its files.
type watchedFile struct {
	flag    string
	refresh func()
	isValid func() bool
}

// files returns the files that the flags name and that the operator reads again when they
// change.
func (o *options) files() []watchedFile {
	var files []watchedFile
	if roots := o.apiRootCAs; roots != nil {
		files = append(files, watchedFile{apiCAFileFlag, func() { roots.Refresh() }, roots.IsValid})
	}
	if pair := o.metricsCertificate; pair != nil {
		files = append(files, watchedFile{metricsCertDirFlag, func() { pair.Refresh() }, pair.IsValid})
	}
	return files
}

// serveMetricsCertificate makes the metrics server use the current content of
// --metrics-cert-dir.
func (o *options) serveMetricsCertificate(config *tls.Config) {
	if o.metricsCertificate == nil {
		return // The server generates a self-signed certificate.
	}
	config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return o.metricsCertificate.Refresh(), nil
	}
}

// reportChange returns a function that logs a change of the files that the flag names.
func reportChange(flag string) func(problem error) {
	return func(problem error) {
		logger := ctrl.Log.WithName("files").WithValues("flag", flag)
		if problem != nil {
			logger.Error(problem, "cannot use the file that the flag names; the operator keeps using the last valid content")
			return
		}
		logger.Info("the file that the flag names is valid; the operator uses its present content")
	}
}

// fileWatch reads the files regularly, so that an invalid file is reported before the operator
// needs it. It is a Runnable of the manager that also runs in a replica that is not the leader.
type fileWatch struct{ files []watchedFile }

// register adds a metric that shows whether each file is valid.
func (w *fileWatch) register(into prometheus.Registerer) error {
	for _, file := range w.files {
		gauge := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "pipedream_operator_file_valid",
			Help:        "1 if the file that a flag names was valid when it was last read, or 0 while the operator keeps using its last valid content.",
			ConstLabels: prometheus.Labels{"file": file.flag},
		}, func() float64 {
			if file.isValid() {
				return 1
			}
			return 0
		})
		if err := into.Register(gauge); err != nil {
			return fmt.Errorf("register the metric of --%s: %w", file.flag, err)
		}
	}
	return nil
}

// Start implements manager.Runnable.
func (w *fileWatch) Start(ctx context.Context) error {
	wait.UntilWithContext(ctx, func(context.Context) {
		for _, file := range w.files {
			file.refresh()
		}
	}, filesInterval)
	return nil
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (w *fileWatch) NeedLeaderElection() bool { return false }
