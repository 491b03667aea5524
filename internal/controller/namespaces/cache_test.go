// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package namespaces

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// TestNamespaceWatched compares a scrape of a cache that watches the namespace shop, and can't watch
// checkout.
func TestNamespaceWatched(t *testing.T) {
	t.Parallel()
	c := &Cache{states: newStates([]string{"shop", "checkout"}, logr.Discard())}
	c.states.byName["shop"].cache = c
	c.states.byName["checkout"].cause = ErrNotListed
	want, err := os.ReadFile("testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	if diff := cmp.Diff(string(want), answer.Body.String()); diff != "" {
		t.Errorf("the metrics are not the ones of testdata/metrics.txt (-want +got):\n%s", diff)
	}
	problems, err := promlint.New(bytes.NewReader(want)).Lint()
	if diff := cmp.Diff([]promlint.Problem(nil), problems); diff != "" || err != nil {
		t.Errorf("the metric has problems (%v):\n%s", err, diff)
	}
}
