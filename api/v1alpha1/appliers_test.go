// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// grants has each list and map of the spec that grants something: what Git says, what
// somebody else adds, and both together.
var grants = map[string]struct{ inGit, addition, both string }{
	"scopes": {
		inGit:    `{"scopes":["connect:accounts:read"]}`,
		addition: `{"scopes":["connect:*"]}`,
		both:     `{"scopes":["connect:accounts:read","connect:*"]}`,
	},
	"templates": {
		inGit:    `{"secret":{"data":{"token":"{{ .AccessToken }}"}}}`,
		addition: `{"secret":{"data":{"copy":"{{ .AccessToken }}"}}}`,
		both:     `{"secret":{"data":{"token":"{{ .AccessToken }}","copy":"{{ .AccessToken }}"}}}`,
	},
	"annotations": {
		inGit:    `{"secret":{"annotations":{"example.com/team":"shop"}}}`,
		addition: `{"secret":{"annotations":{"reflector.example.com/allowed":"true"}}}`,
		both:     `{"secret":{"annotations":{"example.com/team":"shop","reflector.example.com/allowed":"true"}}}`,
	},
	"labels": {
		inGit:    `{"secret":{"labels":{"team":"shop"}}}`,
		addition: `{"secret":{"labels":{"backup":"true"}}}`,
		both:     `{"secret":{"labels":{"team":"shop","backup":"true"}}}`,
	},
}

func TestApplyingTheSpecRemovesWhatOthersHaveAdded(t *testing.T) {
	t.Parallel()
	for name, grant := range grants {
		t.Run(name+" by an edit", func(t *testing.T) {
			t.Parallel()
			collection := tokensIn(newNamespace(t))
			inGit := mustApply(t, collection, "git", grant.inGit)
			edit(t, collection, grant.both)

			wantSpec(t, mustApply(t, collection, "git", grant.inGit), inGit)
		})
		t.Run(name+" by an apply", func(t *testing.T) {
			t.Parallel()
			collection := tokensIn(newNamespace(t))
			inGit := mustApply(t, collection, "git", grant.inGit)

			_, err := apply(t, collection, "somebody", grant.addition, false)
			if !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `conflict with "git"`) {
				t.Errorf("a second applier is answered %v, want a conflict that names the first", err)
			}
			mustApply(t, collection, "somebody", grant.addition)
			wantSpec(t, mustApply(t, collection, "git", grant.inGit), inGit)
		})
	}
}

// TestSpecsStoredBeforeListsWereAtomicAreAppliedWhole stores PipedreamTokens by a schema
// that merges lists and maps, as the first CRD did, and then makes the schema today's.
func TestSpecsStoredBeforeListsWereAtomicAreAppliedWhole(t *testing.T) {
	t.Parallel()
	atomic := definition(t)
	merging := atomic.DeepCopy()
	forEachSchema(merging.Object, func(schema map[string]any) {
		if schema["x-kubernetes-list-type"] == "atomic" {
			schema["x-kubernetes-list-type"] = "set"
		}
		delete(schema, "x-kubernetes-map-type")
	})
	created, err := request(t, http.MethodPost, definitions, encode(t, merging.Object))
	harness.Must(t, err)
	group, _, _ := unstructured.NestedString(atomic.Object, "spec", "group")
	collections := map[string]string{}
	inGit := map[string]v1alpha1.PipedreamToken{}
	for name, grant := range grants {
		collection := fmt.Sprintf("/apis/%s/v1alpha1/namespaces/%s/pipedreamtokens", group, newNamespace(t))
		collections[name] = collection
		eventually(t, func() error {
			inGit[name], err = apply(t, collection, "git", grant.inGit, true)
			return err
		})
		edit(t, collection, grant.both)
		if got := mustApply(t, collection, "git", grant.inGit); cmp.Equal(got.Spec, inGit[name].Spec) {
			t.Fatalf("%s: the schema that merges has removed the addition, so that this test shows nothing", name)
		}
	}

	atomic.SetResourceVersion(parse(t, created).GetResourceVersion())
	eventually(t, func() error {
		current, err := request(t, http.MethodGet, definitions+"/"+atomic.GetName(), nil)
		if err != nil {
			return err
		}
		atomic.SetResourceVersion(parse(t, current).GetResourceVersion())
		_, err = request(t, http.MethodPut, definitions+"/"+atomic.GetName(), encode(t, atomic.Object))
		return err
	})

	for name, grant := range grants {
		eventually(t, func() error {
			applied, err := apply(t, collections[name], "git", grant.inGit, true)
			if err == nil && !cmp.Equal(applied.Spec, inGit[name].Spec) {
				err = fmt.Errorf("%s: after an apply the spec still has what somebody has added: %v", name, applied.Spec)
			}
			return err
		})
	}
}

const definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

// definition returns our CRD under another group, so that it is beside the CRD of the
// other tests.
func definition(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "config", "crd", "bases", "pipedream-operator.io_pipedreamtokens.yaml"))
	harness.Must(t, err)
	return parse(t, []byte(strings.ReplaceAll(string(content), "pipedream-operator.io\n", "earlier.example.com\n")))
}

// forEachSchema calls change with each schema in a CRD: each JSON object that has a type.
func forEachSchema(value any, change func(schema map[string]any)) {
	switch value := value.(type) {
	case map[string]any:
		if _, isSchema := value["type"].(string); isSchema {
			change(value)
		}
		for _, part := range value {
			forEachSchema(part, change)
		}
	case []any:
		for _, part := range value {
			forEachSchema(part, change)
		}
	}
}

// edit changes the spec of the PipedreamToken orders as somebody does by hand.
func edit(t *testing.T, collection, spec string) {
	t.Helper()
	if _, err := request(t, http.MethodPatch, collection+"/orders", []byte(`{"spec":`+spec+`}`)); err != nil {
		t.Fatal(err)
	}
}

// apply applies the PipedreamToken orders with this spec, and the credentials that each
// spec needs, by server-side apply.
func apply(t *testing.T, collection, manager, spec string, force bool) (v1alpha1.PipedreamToken, error) {
	t.Helper()
	manifest := parse(t, []byte(tokenNamed("orders", spec)))
	group, _, _ := strings.Cut(strings.TrimPrefix(collection, "/apis/"), "/namespaces/")
	manifest.SetAPIVersion(group)
	harness.Must(t, unstructured.SetNestedField(manifest.Object, "pipedream-oauth-client", "spec", "clientSecretRef", "name"))
	result := server.Patch(types.ApplyPatchType).AbsPath(collection, "orders").
		SetHeader("Accept", "application/json").
		Param("fieldManager", manager).Param("force", fmt.Sprint(force)).
		Param("fieldValidation", metav1.FieldValidationStrict).
		Body(encode(t, manifest.Object)).Do(t.Context())
	if err := result.Error(); err != nil {
		return v1alpha1.PipedreamToken{}, err
	}
	stored, _ := result.Raw() // its error is the same
	return tokenOf(t, stored), nil
}

func mustApply(t *testing.T, collection, manager, spec string) v1alpha1.PipedreamToken {
	t.Helper()
	stored, err := apply(t, collection, manager, spec, true)
	harness.Must(t, err)
	return stored
}

// eventually calls the step until it returns no error: the API server serves a new schema
// some seconds after it was stored.
func eventually(t *testing.T, step func() error) {
	t.Helper()
	harness.Eventually(t, "the API server to serve the schema", harness.NoError(step))
}

func wantSpec(t *testing.T, got, want v1alpha1.PipedreamToken) {
	t.Helper()
	if diff := cmp.Diff(want.Spec, got.Spec); diff != "" {
		t.Errorf("after an apply, the spec is not as it is in Git (-Git +stored):\n%s", diff)
	}
}
