// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jdx/go-netrc"
	"github.com/joho/godotenv"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

var codeBlock = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")

// manifestsOf returns the manifests in a page of the documentation.
func manifestsOf(t *testing.T, page ...string) []*unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{harness.Root(), "docs"}, page...)...))
	must(t, err)
	var manifests []*unstructured.Unstructured
	for _, block := range codeBlock.FindAllStringSubmatch(string(text), -1) {
		if block[1] == "yaml" {
			object := &unstructured.Unstructured{}
			must(t, yaml.UnmarshalStrict([]byte(block[2]), &object.Object))
			manifests = append(manifests, object)
		}
	}
	return manifests
}

// The Secret of the guide is made by the operator from the manifest that is shown
// there, and each of its files is read by who is to read it.
func TestFilesOfTheGuideAreReadByTheirConsumers(t *testing.T) {
	w, api := newShapeWorld(t)
	must(t, w.admin.Create(t.Context(), credentialsNamed(w, "pipedream-oauth-client")))
	kinds := map[string]bool{}
	for _, manifest := range manifestsOf(t, "guides", "consume.md") {
		manifest.SetNamespace(w.namespace)
		must(t, w.admin.Create(t.Context(), manifest))
		kinds[manifest.GetKind()] = true
	}
	if !kinds["PipedreamToken"] || !kinds["Deployment"] {
		t.Fatalf("the guide shows %v", kinds)
	}
	w.reconcile()
	w.wantExchanges(1)
	data, token := w.target().Data, api.last

	read := map[string]func(string){
		"token": func(text string) {
			if text != token {
				t.Error("the file is not the token")
			}
		},
		"authorization": func(text string) {
			if text != "Authorization: Bearer "+token {
				t.Errorf("the header is %q", strings.ReplaceAll(text, token, "TOKEN"))
			}
		},
		".env": func(text string) {
			got, err := godotenv.Unmarshal(text)
			must(t, err)
			want := map[string]string{
				"PIPEDREAM_ACCESS_TOKEN": token, "PIPEDREAM_PROJECT_ID": "proj_abc123", "PIPEDREAM_PROJECT_ENVIRONMENT": "production",
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the variables (-want +got):\n%s", diff)
			}
		},
		".netrc": func(text string) {
			parsed, err := netrc.ParseString(text)
			must(t, err)
			machine := parsed.Machine("pipedream.gateway.example.com")
			if machine == nil || machine.Get("login") != "oauth2" || machine.Get("password") != token {
				t.Error("the machine has not the token as its password")
			}
		},
		"mcp.json": func(text string) {
			var got map[string]map[string]map[string]any
			must(t, json.Unmarshal([]byte(text), &got))
			want := map[string]any{
				"url": "https://remote.mcp.pipedream.net/v3",
				"headers": map[string]any{
					"Authorization": "Bearer " + token, "x-pd-project-id": "proj_abc123", "x-pd-environment": "production",
					"x-pd-external-user-id": "orders-service", "x-pd-app-slug": "slack",
				},
			}
			if diff := cmp.Diff(want, got["mcpServers"]["pipedream"]); diff != "" {
				t.Errorf("the server (-want +got):\n%s", diff)
			}
		},
	}
	for key, value := range data {
		consume, ok := read[key]
		if !ok {
			t.Errorf("nobody reads the key %s", key)
			continue
		}
		consume(string(value))
		delete(read, key)
	}
	for key := range read {
		t.Errorf("the guide has no key %s any more", key)
	}
	if got := w.target().Annotations[v1alpha1.TokenKeyAnnotation]; got != "token" {
		t.Errorf("the annotation token-key is %q", got)
	}
}

// The other pages show manifests too.
func TestManifestsOfTheReferenceAreAccepted(t *testing.T) {
	w := newWorld(t)
	manifests := manifestsOf(t, "pipedreamtoken.md")
	for _, manifest := range manifests {
		manifest.SetNamespace(w.namespace)
		must(t, w.admin.Create(t.Context(), manifest))
	}
	if len(manifests) == 0 {
		t.Error("the reference shows no manifest")
	}
}
