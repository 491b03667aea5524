// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package repository_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// resources are the resources of a container.
type resources struct {
	Requests map[string]resource.Quantity `json:"requests"`
	Limits   map[string]resource.Quantity `json:"limits"`
}

// TestTheResourcesAreThoseOfTheDocs compares the resources in the chart, in config/manager and in docs/performance.md. What was
// measured is in docs/performance.md only.
func TestTheResourcesAreThoseOfTheDocs(t *testing.T) {
	t.Parallel()
	var values struct {
		Resources resources `json:"resources"`
	}
	harness.Must(t, yaml.Unmarshal([]byte(read(t, "charts/pipedream-operator/values.yaml")), &values))
	var deployment struct {
		Kind string `json:"kind"`
		Spec struct {
			Template struct {
				Spec struct {
					Containers []struct {
						Resources resources `json:"resources"`
					} `json:"containers"`
				} `json:"spec"`
			} `json:"template"`
		} `json:"spec"`
	}
	for document := range strings.SplitSeq(read(t, "config/manager/manager.yaml"), "\n---\n") {
		if harness.Must(t, yaml.Unmarshal([]byte(document), &deployment)); deployment.Kind == "Deployment" {
			break
		}
	}
	if len(deployment.Spec.Template.Spec.Containers) != 1 {
		t.Fatal("config/manager/manager.yaml has no Deployment with one container")
	}
	if diff := cmp.Diff(values.Resources, deployment.Spec.Template.Spec.Containers[0].Resources); diff != "" {
		t.Errorf("the resources of the chart and of config/manager differ (-chart +config):\n%s", diff)
	}
	limit := values.Resources.Limits["memory"]
	page := read(t, "docs/performance.md")
	advice := regexp.MustCompile(`Memory limit: (\d+) MiB, .*?; (\d+) MiB were used at most`).FindStringSubmatch(page)
	if advice == nil {
		t.Fatal("docs/performance.md does not say which memory limit is enough for 10,000 tokens")
	}
	mebibytes, err := strconv.ParseInt(advice[1], 10, 64)
	harness.Must(t, err)
	if limit.Value() != mebibytes<<20 {
		t.Errorf("the memory limit is %s, and docs/performance.md says %s MiB", limit.String(), advice[1])
	}
	if !regexp.MustCompile(`(?m)^\| .*\| ` + advice[2] + ` MiB \|`).MatchString(page) {
		t.Errorf("docs/performance.md says that %s MiB were used at most, and its table has no such row", advice[2])
	}
	for _, file := range []string{"charts/pipedream-operator/values.yaml", "config/manager/manager.yaml"} {
		if found := regexp.MustCompile(`#.*\d+ MiB`).FindString(read(t, file)); found != "" {
			t.Errorf("%s repeats what was measured, which belongs into docs/performance.md: %s", file, found)
		}
	}
}

// TestTheRateInTheAdviceIsTheDefault compares docs/performance.md with the flag's default.
func TestTheRateInTheAdviceIsTheDefault(t *testing.T) {
	t.Parallel()
	flag := regexp.MustCompile(`"token-requests-per-second", (\d+),`).FindStringSubmatch(read(t, "cmd/manager/options.go"))
	advice := regexp.MustCompile(`The default of (\d+) suffices, and would up to about ([\d,]+);.* 10,000 first tokens take (\d+) minutes`).
		FindStringSubmatch(read(t, "docs/performance.md"))
	if flag == nil || advice == nil {
		t.Fatalf("the flag is %q, the advice is %q", flag, advice)
	}
	rate, err := strconv.Atoi(flag[1])
	harness.Must(t, err)
	want := []string{flag[1], strconv.Itoa(rate*2220/1000) + ",000", strconv.Itoa(10000 / rate / 60)}
	if diff := cmp.Diff(want, advice[1:]); diff != "" {
		t.Errorf("the default rate, how many tokens it suffices for, and minutes for 10,000 first tokens (-want +got):\n%s", diff)
	}
}
