// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package namespaces

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
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

// TestKindsMustBeInNamespaces makes caches without an API server: a mapper says which kinds there are.
func TestKindsMustBeInNamespaces(t *testing.T) {
	t.Parallel()
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Secret"), meta.RESTScopeNamespace)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Namespace"), meta.RESTScopeRoot)
	newCache := func(kind client.Object) (*Cache, error) {
		return New(&rest.Config{}, cache.Options{HTTPClient: http.DefaultClient, Scheme: scheme, Mapper: mapper}, Options{
			Names: []string{"shop"}, Kinds: []client.Object{kind}, Log: logr.Discard(),
		})
	}
	if _, err := newCache(&corev1.Namespace{}); err == nil || !strings.Contains(err.Error(), "the kind Namespace are not in namespaces") {
		t.Errorf("a cache of Namespaces gives %v, want an error that names the kind", err)
	}
	if _, err := newCache(&corev1.ConfigMap{}); err == nil {
		t.Error("a cache of a kind that the API server does not know is no error")
	}
	metadata := &metav1.PartialObjectMetadata{}
	metadata.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	for _, kind := range []client.Object{&corev1.Secret{}, metadata} {
		c, err := newCache(kind)
		if err != nil {
			t.Fatal(err)
		}
		for _, asked := range []client.Object{&corev1.Secret{}, metadata} {
			if _, err := c.GetInformer(t.Context(), asked); (err == nil) != (isMetadata(asked) == isMetadata(kind)) {
				t.Errorf("a cache of %T gives %v when it is asked for %T", kind, err, asked)
			}
		}
		if got, want := fmt.Sprintf("%T", c.states.informers[0].newList()), map[bool]string{false: "*v1.SecretList", true: "*v1.PartialObjectMetadataList"}[isMetadata(kind)]; got != want {
			t.Errorf("objects of %T are listed as %s, want %s", kind, got, want)
		}
	}
}
