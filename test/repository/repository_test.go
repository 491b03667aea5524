// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package repository_test checks files of the repository that none of its programs reads: pages, the chart's metadata,
// workflows, and figures that several files repeat.
package repository_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// read returns the content of a file, whose name is relative to the root of the repository.
func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(harness.Root(), file))
	harness.Must(t, err)
	return string(content)
}

// tracked returns the names of the files that git knows or would add, and that match the patterns.
func tracked(t *testing.T, patterns ...string) []string {
	t.Helper()
	arguments := append([]string{"-C", harness.Root(), "ls-files", "--cached", "--others", "--exclude-standard", "--"}, patterns...)
	output, err := exec.CommandContext(t.Context(), "git", arguments...).Output()
	harness.Must(t, err)
	var files []string
	for file := range strings.Lines(string(output)) {
		file = strings.TrimSuffix(file, "\n")
		if _, err := os.Stat(filepath.Join(harness.Root(), file)); err == nil {
			files = append(files, file)
		}
	}
	if len(files) == 0 {
		t.Fatalf("git knows no file %s", strings.Join(patterns, " "))
	}
	return files
}

// decode reads a file of YAML. It refuses fields that the value does not have, unless the value is a map.
func decode(t *testing.T, content string, value any) {
	t.Helper()
	harness.Must(t, yaml.UnmarshalStrict([]byte(content), value))
}

// A chart is what the tests need of Chart.yaml.
type chart struct {
	Version     string            `json:"version"`
	AppVersion  string            `json:"appVersion"`
	KubeVersion string            `json:"kubeVersion"`
	Annotations map[string]string `json:"annotations"`
}

// theChart returns the content of Chart.yaml.
func theChart(t *testing.T) chart {
	t.Helper()
	var found chart
	harness.Must(t, yaml.Unmarshal([]byte(read(t, "charts/pipedream-operator/Chart.yaml")), &found))
	return found
}

// TestAllFilesNameTheSameNextRelease compares the version that the changelog, the chart and the docs prepare.
func TestAllFilesNameTheSameNextRelease(t *testing.T) {
	t.Parallel()
	match := regexp.MustCompile(`(?m)^## (v[0-9.]+) \(`).FindStringSubmatch(read(t, "CHANGELOG.md"))
	if match == nil {
		t.Fatal("CHANGELOG.md has no section of a version")
	}
	next := match[1]
	if got, want := "v"+theChart(t).Version, next+"-dev"; got != want {
		t.Errorf("the chart's version is %s, and the newest section of CHANGELOG.md is %s: want %s", got, next, want)
	}
	for _, page := range []string{"README.md", "docs/install.md"} {
		versions := regexp.MustCompile(`VERSION=(v[0-9.]+)|image\.tag=(v[0-9.]+\b)`).FindAllStringSubmatch(read(t, page), -1)
		if len(versions) == 0 {
			t.Errorf("%s names no version", page)
		}
		for _, version := range versions {
			if got := strings.Trim(version[1]+version[2], "."); got != next {
				t.Errorf("%s has %q, want %s", page, version[0], next)
			}
		}
	}
}

// TestTheChartDescribesTheCRDs compares the chart's list of CRDs, which Artifact Hub shows, with the CRDs.
func TestTheChartDescribesTheCRDs(t *testing.T) {
	t.Parallel()
	type crd struct {
		Kind        string `json:"kind"`
		Version     string `json:"version"`
		Name        string `json:"name"`
		DisplayName string `json:"displayName,omitempty"`
		Description string `json:"description,omitempty"`
	}
	var want []crd
	for _, file := range tracked(t, "config/crd/bases/*.yaml") {
		var definition struct {
			Metadata struct {
				Name string `json:"name"`
			} `json:"metadata"`
			Spec struct {
				Names struct {
					Kind string `json:"kind"`
				} `json:"names"`
				Versions []struct {
					Name string `json:"name"`
				} `json:"versions"`
			} `json:"spec"`
		}
		harness.Must(t, yaml.Unmarshal([]byte(read(t, file)), &definition))
		for _, version := range definition.Spec.Versions {
			want = append(want, crd{Kind: definition.Spec.Names.Kind, Version: version.Name, Name: definition.Metadata.Name})
		}
	}
	var got []crd
	decode(t, theChart(t).Annotations["artifacthub.io/crds"], &got)
	for i := range got {
		if got[i].DisplayName == "" || got[i].Description == "" {
			t.Errorf("%s has no displayName or no description in the chart's annotations", got[i].Name)
		}
		got[i].DisplayName, got[i].Description = "", ""
	}
	byName := func(a, b crd) int { return strings.Compare(a.Name+a.Version, b.Name+b.Version) }
	slices.SortFunc(want, byName)
	slices.SortFunc(got, byName)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the CRDs in the chart's annotations (-want +got):\n%s", diff)
	}
}

// TestTheChartsAnnotationsAreThoseOfArtifactHub checks the annotations whose values Artifact Hub limits.
func TestTheChartsAnnotationsAreThoseOfArtifactHub(t *testing.T) {
	t.Parallel()
	annotations := theChart(t).Annotations
	for name, allowed := range map[string][]string{
		"artifacthub.io/license":              {"Apache-2.0"},
		"artifacthub.io/operator":             {"true"},
		"artifacthub.io/category":             {"ai-machine-learning", "database", "integration-delivery", "monitoring-logging", "networking", "security", "storage", "streaming-messaging"},
		"artifacthub.io/operatorCapabilities": {"basic install", "seamless upgrades", "full lifecycle", "deep insights", "auto pilot"},
	} {
		if !slices.Contains(allowed, annotations[name]) {
			t.Errorf("%s is %q, want one of %q", name, annotations[name], allowed)
		}
	}
	var links []struct {
		Name string `json:"name"`
		URL  string `json:"url"`
	}
	decode(t, annotations["artifacthub.io/links"], &links)
	for _, link := range links {
		if !strings.HasPrefix(link.URL, "https://github.com/pipedream-operator/pipedream-operator") || link.Name == "" {
			t.Errorf("a link of the chart is %+v", link)
		}
	}
	if len(links) == 0 {
		t.Error("the chart has no links")
	}
	// A release appends annotations to the file.
	content := read(t, "charts/pipedream-operator/Chart.yaml")
	if keys := regexp.MustCompile(`(?m)^([a-zA-Z]+):`).FindAllStringSubmatch(content, -1); keys[len(keys)-1][1] != "annotations" {
		t.Errorf("the last key of Chart.yaml is %s, and hack/release/release appends annotations", keys[len(keys)-1][1])
	}
}

// TestTheFormsForIssuesAreForms checks what GitHub requires of a form. GitHub shows no form that breaks these rules.
func TestTheFormsForIssuesAreForms(t *testing.T) {
	t.Parallel()
	for _, file := range tracked(t, ".github/ISSUE_TEMPLATE/*_*.yml") {
		var form struct {
			Name        string   `json:"name"`
			Description string   `json:"description"`
			Labels      []string `json:"labels"`
			Body        []struct {
				Type        string          `json:"type"`
				ID          string          `json:"id"`
				Attributes  map[string]any  `json:"attributes"`
				Validations map[string]bool `json:"validations"`
			} `json:"body"`
		}
		decode(t, read(t, file), &form)
		if form.Name == "" || form.Description == "" || len(form.Body) == 0 {
			t.Errorf("%s has no name, no description or no body", file)
		}
		ids := map[string]bool{}
		for _, field := range form.Body {
			needs := "label"
			if field.Type == "markdown" {
				needs = "value"
			} else if field.ID == "" || ids[field.ID] {
				t.Errorf("%s has a field with the ID %q: want an ID that no other field has", file, field.ID)
			}
			ids[field.ID] = true
			if field.Attributes[needs] == nil || !slices.Contains([]string{"markdown", "textarea", "input", "dropdown"}, field.Type) {
				t.Errorf("%s has the field %+v", file, field)
			}
			if options, ok := field.Attributes["options"].([]any); ok != (field.Type == "dropdown") || ok && len(options) == 0 {
				t.Errorf("%s: only a dropdown has options: %+v", file, field)
			}
		}
	}
	var config struct {
		BlankIssuesEnabled bool `json:"blank_issues_enabled"`
		ContactLinks       []struct {
			Name  string `json:"name"`
			URL   string `json:"url"`
			About string `json:"about"`
		} `json:"contact_links"`
	}
	decode(t, read(t, ".github/ISSUE_TEMPLATE/config.yml"), &config)
	for _, contact := range config.ContactLinks {
		if contact.Name == "" || contact.About == "" || !strings.HasPrefix(contact.URL, "https://") {
			t.Errorf("a link beside the forms is %+v", contact)
		}
	}
}

// TestVulnerabilitiesAreReportedInPrivate checks that each place that a reporter finds leads to the private form.
func TestVulnerabilitiesAreReportedInPrivate(t *testing.T) {
	t.Parallel()
	const form = "https://github.com/pipedream-operator/pipedream-operator/security/advisories/new"
	for _, file := range []string{"SECURITY.md", "CODE_OF_CONDUCT.md", ".github/ISSUE_TEMPLATE/config.yml", ".github/ISSUE_TEMPLATE/bug_report.yml"} {
		if !strings.Contains(read(t, file), form) {
			t.Errorf("%s does not name %s", file, form)
		}
	}
}
