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

// filesInterval is how often the files are read when nothing else reads them. They are
// also read before each use.
const filesInterval = 10 * time.Second

// watchedFile is a *rotating.Files that a flag names.
type watchedFile struct {
	flag    string
	refresh func()
	isValid func() bool
}

// files returns the files that the flags name and that are read again when they change.
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

// serveMetricsCertificate makes a server show the present certificate for the metrics.
func (o *options) serveMetricsCertificate(config *tls.Config) {
	if o.metricsCertificate == nil {
		return // The server makes a certificate of its own.
	}
	config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return o.metricsCertificate.Refresh(), nil
	}
}

// reportChange logs that the files of a flag have changed.
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

// fileWatch reads the files regularly, so that a broken one is found out before it is
// needed. It is a Runnable of the manager that needs no leader.
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
