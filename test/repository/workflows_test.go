// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package repository_test

import (
	"encoding/json"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A workflow is what the tests need of a workflow of GitHub Actions.
type workflow struct {
	Permissions map[string]string `json:"permissions"`
	Jobs        map[string]job    `json:"jobs"`
	Name        string            `json:"name"`
	// On is read only because the file is decoded strictly.
	On          any `json:"on"`
	Concurrency any `json:"concurrency"`
}

// A job is a job of a workflow.
type job struct {
	Permissions    map[string]string `json:"permissions"`
	Steps          []step            `json:"steps"`
	Needs          any               `json:"needs"`
	Uses           string            `json:"uses"`
	RunsOn         string            `json:"runs-on"`
	TimeoutMinutes int               `json:"timeout-minutes"`
	Env            map[string]string `json:"env"`
	Strategy       struct {
		FailFast bool `json:"fail-fast"`
		Matrix   struct {
			Target     []string            `json:"target"`
			Kubernetes []string            `json:"kubernetes"`
			Include    []map[string]string `json:"include"`
		} `json:"matrix"`
	} `json:"strategy"`
}

// A step is a step of a job.
type step struct {
	ID   string            `json:"id"`
	If   string            `json:"if"`
	Uses string            `json:"uses"`
	Run  string            `json:"run"`
	With map[string]any    `json:"with"`
	Env  map[string]string `json:"env"`
}

// workflows returns all workflows by the names of their files.
func workflows(t *testing.T) map[string]workflow {
	t.Helper()
	found := map[string]workflow{}
	for _, file := range tracked(t, ".github/workflows/*") {
		var w workflow
		// "on" without quotes is true in YAML 1.1.
		decode(t, regexp.MustCompile(`(?m)^on:`).ReplaceAllString(read(t, file), `"on":`), &w)
		found[path.Base(file)] = w
	}
	return found
}

// TestTheWorkflowRunsWhatCIRuns compares the targets of make in the jobs of ci.yaml with the targets in .ci/run.
func TestTheWorkflowRunsWhatCIRuns(t *testing.T) {
	t.Parallel()
	var want []string
	for _, match := range regexp.MustCompile(`(?m)^(?:setsid )?make ([a-z0-9-]+)`).FindAllStringSubmatch(read(t, ".ci/run"), -1) {
		want = append(want, match[1])
	}
	jobs := workflows(t)["ci.yaml"].Jobs
	got := append([]string{}, jobs["test"].Strategy.Matrix.Target...)
	for _, more := range jobs["test"].Strategy.Matrix.Include {
		got = append(got, more["target"])
	}
	for _, step := range jobs["verify"].Steps {
		if target, ok := strings.CutPrefix(step.Run, "make "); ok {
			got = append(got, target)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if len(want) < 5 {
		t.Fatalf(".ci/run has only the targets %q", want)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the targets of .ci/run and of ci.yaml differ (-.ci/run +ci.yaml):\n%s", diff)
	}
}

// TestAllFilesNameTheSameVersionsOfKubernetes compares the places that say which versions are supported, built and tested.
func TestAllFilesNameTheSameVersionsOfKubernetes(t *testing.T) {
	t.Parallel()
	required := regexp.MustCompile(`(?m)^\s*k8s\.io/kubernetes v(1\.\d+\.\d+)`).FindStringSubmatch(read(t, "hack/cluster/go.mod"))
	oldest := regexp.MustCompile(`^>=(1\.\d+)\.0-0$`).FindStringSubmatch(theChart(t).KubeVersion)
	if required == nil || oldest == nil {
		t.Fatal("hack/cluster/go.mod or the chart names no version of Kubernetes")
	}
	jobs := workflows(t)["ci.yaml"].Jobs
	tested := jobs["test"].Strategy.Matrix.Kubernetes
	if diff := cmp.Diff(jobs["control-plane"].Strategy.Matrix.Kubernetes, tested); diff != "" {
		t.Errorf("ci.yaml builds and tests different versions (-built +tested):\n%s", diff)
	}
	if len(tested) != 3 || tested[0] != "" || !strings.HasPrefix(tested[1], oldest[1]+".") {
		t.Errorf("ci.yaml tests %q, want the version in hack/cluster/go.mod (an empty text), the oldest supported one (%s), and the newest one", tested, oldest[1])
	}
	var documented []string
	_, table, _ := strings.Cut(read(t, "docs/versions.md"), "\n## Kubernetes\n")
	for _, match := range regexp.MustCompile(`(?m)^\| (1\.\d+) \((1\.\d+\.\d+)\)`).FindAllStringSubmatch(table, -1) {
		documented = append(documented, match[2])
		if !strings.Contains(read(t, "docs/install.md"), match[1]) {
			t.Errorf("docs/install.md does not name Kubernetes %s", match[1])
		}
	}
	want := []string{tested[1], required[1], tested[2]}
	if diff := cmp.Diff(want, documented); diff != "" {
		t.Errorf("docs/versions.md has other versions (-tested +documented):\n%s", diff)
	}
	if page := read(t, "docs/development.md"); !strings.Contains(page, "KUBERNETES_VERSION="+tested[1]) {
		t.Errorf("docs/development.md does not show how to test with %s", tested[1])
	}
}

// TestAJobMayWriteOnlyWhatItMust compares the permissions of all jobs with the permissions that were found to be necessary.
func TestAJobMayWriteOnlyWhatItMust(t *testing.T) {
	t.Parallel()
	want := map[string][]string{
		"release.yaml/publish": {"attestations", "contents", "id-token", "packages"},
		"security.yaml/codeql": {"security-events"},
	}
	got := map[string][]string{}
	for file, w := range workflows(t) {
		if len(w.Permissions) > 0 {
			t.Errorf("%s gives permissions to all its jobs: %v. Give each job its own", file, w.Permissions)
		}
		for name, job := range w.Jobs {
			if job.Permissions == nil {
				t.Errorf("the job %s of %s does not say what it may do", name, file)
			}
			if job.Uses == "" && job.TimeoutMinutes == 0 {
				t.Errorf("the job %s of %s has no timeout", name, file)
			}
			for scope, access := range job.Permissions {
				if access == "write" {
					got[file+"/"+name] = append(got[file+"/"+name], scope)
				}
			}
			slices.Sort(got[file+"/"+name])
			if len(got[file+"/"+name]) == 0 {
				delete(got, file+"/"+name)
			}
			for _, step := range job.Steps {
				if strings.HasPrefix(step.Uses, "actions/checkout@") && step.With["persist-credentials"] != false {
					t.Errorf("the job %s of %s leaves the repository's token in the working tree", name, file)
				}
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what jobs may write (-want +got):\n%s", diff)
	}
}

// TestAllThatIsReleasedIsSigned compares what hack/release/publish pushes with what the release signs and attests.
func TestAllThatIsReleasedIsSigned(t *testing.T) {
	t.Parallel()
	release := workflows(t)["release.yaml"]
	subjects := map[string]bool{}
	var runs []string
	for _, step := range release.Jobs["publish"].Steps {
		if strings.HasPrefix(step.Uses, "actions/attest@") {
			for _, input := range []string{"subject-checksums", "subject-name"} {
				if subject, ok := step.With[input].(string); ok {
					subjects[subject] = true
				}
			}
		}
		runs = append(runs, step.Run)
	}
	image := regexp.MustCompile(`(?m)^IMAGE \?= (\S+)`).FindStringSubmatch(read(t, "Makefile"))[1]
	charts := regexp.MustCompile(`(?m)^CHARTS \?= oci://(\S+)`).FindStringSubmatch(read(t, "Makefile"))[1]
	want := map[string]bool{"dist/checksums.txt": true, image: true, image + "-simulator": true, charts + "/pipedream-operator": true}
	if diff := cmp.Diff(want, subjects); diff != "" {
		t.Errorf("what the release attests (-want +got):\n%s", diff)
	}
	order := []string{"make publish ", "make sign ", "gh release create "}
	last := -1
	for _, command := range order {
		at := slices.IndexFunc(runs, func(run string) bool { return strings.Contains(run, command) })
		if at <= last {
			t.Errorf("the release does not run %q after the commands before it: %q", command, order)
		}
		last = at
	}
	for _, reference := range []string{image, image + "-simulator", charts + "/pipedream-operator"} {
		short := strings.ReplaceAll(reference, "pipedream-operator/pipedream-operator", "$repository")
		if page := read(t, "docs/versions.md"); !strings.Contains(page, `cosign verify "`+short+":") && !strings.Contains(page, `cosign verify "`+reference+":") {
			t.Errorf("docs/versions.md does not say how to check the signature of %s", reference)
		}
	}
}

// TestRenovateLooksAtFilesThatExist checks the names of files in renovate.json, whose form only Renovate can check.
func TestRenovateLooksAtFilesThatExist(t *testing.T) {
	t.Parallel()
	var renovate struct {
		PackageRules []struct {
			MatchFileNames []string `json:"matchFileNames"`
		} `json:"packageRules"`
		CustomManagers []struct {
			MatchStrings []string `json:"matchStrings"`
		} `json:"customManagers"`
	}
	if err := json.Unmarshal([]byte(read(t, "renovate.json")), &renovate); err != nil {
		t.Fatal(err)
	}
	for _, rule := range renovate.PackageRules {
		for _, file := range rule.MatchFileNames {
			read(t, file)
		}
	}
	if len(renovate.CustomManagers) != 1 {
		t.Fatalf("renovate.json has %d managers of its own, want the one of cosign's version", len(renovate.CustomManagers))
	}
	// JavaScript and Go write the name of a group in the same way.
	version := regexp.MustCompile(renovate.CustomManagers[0].MatchStrings[0]).FindStringSubmatch(read(t, ".github/workflows/release.yaml"))
	if version == nil || !regexp.MustCompile(`^v\d+\.\d+\.\d+$`).MatchString(version[1]) {
		t.Errorf("renovate.json finds the version of cosign as %q", version)
	}
}
