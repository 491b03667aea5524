// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	certutil "k8s.io/client-go/util/cert"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

func TestMetricsAreServedWithTheGivenCertificate(t *testing.T) {
	const name = "metrics.example"
	certificate, key, err := certutil.GenerateSelfSignedCertKey(name, nil, nil)
	harness.Must(t, err)
	folder := t.TempDir()
	harness.Must(t, os.WriteFile(filepath.Join(folder, "tls.crt"), certificate, 0o600))
	harness.Must(t, os.WriteFile(filepath.Join(folder, "tls.key"), key, 0o600))
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(certificate)

	metrics := harness.MustFreeAddress(t)
	manager := startManager(t, "--kubeconfig="+adminKubeconfig(t, ""), "--namespaces=default",
		"--health-probe-bind-address=0", "--metrics-bind-address="+metrics, "--metrics-cert-dir="+folder)
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: time.Second}, Config: &tls.Config{RootCAs: trusted, ServerName: name}}
	harness.Wait{Process: manager.Process}.Eventually(t, "the metrics to be served with the certificate", harness.NoError(func() error {
		connection, err := dialer.DialContext(t.Context(), "tcp", metrics)
		if err != nil {
			return err
		}
		return connection.Close()
	}))
}

// metricsPair returns a certificate for the metrics, and its key.
func metricsPair(t *testing.T) (certificate, key []byte) {
	t.Helper()
	certificate, key, err := certutil.GenerateSelfSignedCertKey("metrics.example", nil, nil)
	harness.Must(t, err)
	return certificate, key
}

// wantServed waits until the metrics are served with a certificate.
func (m fileMetrics) wantServed(certificate []byte) {
	m.Helper()
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(certificate)
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: time.Second}, Config: &tls.Config{RootCAs: trusted, ServerName: "metrics.example"}}
	m.eventually("the metrics are served with the certificate", func() bool {
		connection, err := dialer.DialContext(m.Context(), "tcp", m.address)
		if err != nil {
			return false
		}
		return connection.Close() == nil
	})
}
