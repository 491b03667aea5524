// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// TestNamespaceWatched compares a scrape of a cache that watches the namespace shop, and can't watch
// checkout.
func TestNamespaceWatched(t *testing.T) {
	t.Parallel()
	n := &NamespacedCache{names: []string{"shop", "checkout"}, states: map[string]*namespaceState{"checkout": {cause: ErrNotListed}}}
	n.states["shop"] = &namespaceState{cache: n}
	want, err := os.ReadFile("testdata/namespaces.txt")
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(n)
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	if diff := cmp.Diff(string(want), answer.Body.String()); diff != "" {
		t.Errorf("the metrics are not the ones of testdata/namespaces.txt (-want +got):\n%s", diff)
	}
	problems, err := promlint.New(bytes.NewReader(want)).Lint()
	if diff := cmp.Diff([]promlint.Problem(nil), problems); diff != "" || err != nil {
		t.Errorf("the metric has problems (%v):\n%s", err, diff)
	}
}
