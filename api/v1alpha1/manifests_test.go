// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// invalidManifests has for each kind the manifests that the API server must refuse, by the plural
// name of the kind.
var invalidManifests = map[string]string{
	"pipedreamtokens":   "testdata/invalid/*.yaml",
	"pipedreamaccounts": "testdata/invalid/pipedreamaccount/*.yaml",
}

func samplesFolder() string { return filepath.Join(harness.Root(), "config", "samples") }

func TestTheAPIServerAcceptsEverySample(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	for name, manifest := range read(t, filepath.Join(samplesFolder(), "*.yaml")) {
		if name == "kustomization.yaml" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			object := parse(t, manifest)
			if object.GetNamespace() != "" {
				t.Errorf("it names the namespace %s; a sample is for whichever its user is in", object.GetNamespace())
			}
			if !bytes.HasPrefix(manifest, []byte("# ")) {
				t.Error("it does not begin with a comment that says what it is for")
			}
			if _, err := create(t, namespace, manifest); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTheKustomizationNamesEverySample(t *testing.T) {
	t.Parallel()
	samples := read(t, filepath.Join(samplesFolder(), "*.yaml"))
	kustomization := parse(t, samples["kustomization.yaml"])
	delete(samples, "kustomization.yaml")
	got := stringsOf(kustomization.Object["resources"])
	slices.Sort(got)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(samples)), got); diff != "" {
		t.Errorf("resources differ from the files (-want +got):\n%s", diff)
	}
}

func TestNoSampleWritesToTheSecretOfAnother(t *testing.T) {
	t.Parallel()
	usedBy := map[string]string{}
	for name, manifest := range read(t, filepath.Join(samplesFolder(), "*.yaml")) {
		target := ""
		switch object := parse(t, manifest); object.GetKind() {
		case "PipedreamToken":
			token := tokenOf(t, manifest)
			target = token.TargetName()
		case "PipedreamAccount":
			account := accountOf(t, manifest)
			target = account.TargetName()
		case "Secret":
			target = object.GetName()
		default:
			continue
		}
		if other, taken := usedBy[target]; taken {
			t.Errorf("%s and %s both make the Secret %s", name, other, target)
		}
		usedBy[target] = name
	}
}

func TestTheAPIServerRejectsEveryInvalidManifest(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	for kind, manifests := range invalidManifests {
		for name, manifest := range read(t, manifests) {
			t.Run(kind+"/"+name, func(t *testing.T) {
				t.Parallel()
				_, err := create(t, namespace, manifest)
				wantRejected(t, err, wantedBy(t, manifest))
			})
		}
	}
}

// TestEveryRuleOfTheSpecHasAnInvalidManifest guards the rules that are yet to be
// written: a rule that no manifest breaks is one that nobody has seen at work.
func TestEveryRuleOfTheSpecHasAnInvalidManifest(t *testing.T) {
	t.Parallel()
	element := regexp.MustCompile(`(\b(?:labels|annotations|data))\.\w+|\[\w+\]`)
	for kind, manifests := range invalidManifests {
		var wanted []string
		for _, manifest := range read(t, manifests) {
			wanted = append(wanted, element.ReplaceAllString(wantedBy(t, manifest), "$1[]"))
		}
		root := schema(t, kind)
		rules := append(rulesInCEL("", root), rulesOf("spec", property(t, root, "spec"))...)
		for _, rule := range rules {
			isShown := func(want string) bool {
				return strings.HasPrefix(want, rule.path+": ") && strings.Contains(want, rule.message)
			}
			if !slices.ContainsFunc(wanted, isShown) && !rule.needsUpdate() {
				t.Errorf("no manifest in %s breaks the rule of %s with the message %q", manifests, rule.path, rule.message)
			}
		}
		if len(rules) < 30 {
			t.Errorf("found only %d rules of %s: %v", len(rules), kind, rules)
		}
	}
}

// rule is a rule of the schema, as its breach shows to a user.
type rule struct{ path, message string }

// needsUpdate tells whether a new object can't break the rule.
func (r rule) needsUpdate() bool { return strings.HasPrefix(r.message, "is immutable: ") }

// limits are what the API server says when a value breaks a rule of OpenAPI.
var limits = map[string]string{
	"minLength":     "in body should be at least",
	"maxLength":     "may not be more than",
	"minItems":      "should have at least",
	"maxItems":      "must have at most",
	"maxProperties": "must have at most",
	"minProperties": "should have at least",
	"minimum":       "should be greater than or equal to",
	"maximum":       "should be less than or equal to",
	"enum":          "Unsupported value",
}

// rulesOf returns the rules of a schema and of all that is in it.
func rulesOf(path string, schema map[string]any) []rule {
	rules := rulesInCEL(path, schema)
	for keyword, message := range limits {
		limit, ok := schema[keyword]
		if isNone := strings.HasPrefix(keyword, "min") && fmt.Sprint(limit) == "0"; ok && !isNone {
			rules = append(rules, rule{path, message})
		}
	}
	for _, name := range stringsOf(schema["required"]) {
		rules = append(rules, rule{path + "." + name, "Required value"})
	}
	if schema["x-kubernetes-list-type"] == "set" {
		rules = append(rules, rule{path + "[]", "Duplicate value"})
	}
	if items, ok := schema["items"].(map[string]any); ok {
		rules = append(rules, rulesOf(path+"[]", items)...)
	}
	if values, ok := schema["additionalProperties"].(map[string]any); ok {
		rules = append(rules, rulesOf(path+"[]", values)...)
	}
	properties, _ := schema["properties"].(map[string]any)
	for name, property := range properties {
		rules = append(rules, rulesOf(path+"."+name, property.(map[string]any))...)
	}
	return rules
}

func rulesInCEL(path string, schema map[string]any) []rule {
	var rules []rule
	validations, _ := schema["x-kubernetes-validations"].([]any)
	for _, validation := range validations {
		validation := validation.(map[string]any)
		fieldPath, _ := validation["fieldPath"].(string)
		message, _ := validation["message"].(string)
		rules = append(rules, rule{strings.TrimPrefix(path+fieldPath, "."), message})
	}
	return rules
}

// wantedBy returns what the first line of a manifest says is to be in the message.
func wantedBy(t *testing.T, manifest []byte) string {
	t.Helper()
	first, _, _ := strings.Cut(string(manifest), "\n")
	want, ok := strings.CutPrefix(first, "# want: ")
	if !ok || want == "" {
		t.Fatalf("its first line must be `# want: ` and a part of the message")
	}
	return want
}

// read returns the files that match a pattern, by their names.
func read(t *testing.T, pattern string) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("found no file %s: %v", pattern, err)
	}
	contents := map[string][]byte{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		harness.Must(t, err)
		contents[filepath.Base(file)] = content
	}
	return contents
}

func stringsOf(list any) []string {
	items, _ := list.([]any)
	texts := make([]string, 0, len(items))
	for _, item := range items {
		texts = append(texts, fmt.Sprint(item))
	}
	return texts
}
