// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// The tests of the alerts read testdata/files.txt, too.
func TestMetricsOfFiles(t *testing.T) {
	files := &fileWatch{files: []watchedFile{
		{flag: apiCAFileFlag, isValid: func() bool { return true }},
		{flag: metricsCertDirFlag, isValid: func() bool { return false }},
	}}
	registry := prometheus.NewPedanticRegistry()
	harness.Must(t, files.register(registry))
	want, err := os.ReadFile(filepath.Join("testdata", "files.txt"))
	harness.Must(t, err)
	answer := httptest.NewRecorder()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody)
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, request)
	if diff := cmp.Diff(string(want), answer.Body.String()); diff != "" {
		t.Errorf("the metrics differ from testdata/files.txt (-want +got):\n%s", diff)
	}
}
