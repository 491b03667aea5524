// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// yamlBlock is a block of YAML in a page.
var yamlBlock = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")

// TestTheDocsShowWhatIsAccepted parses each block of YAML in the docs, and creates the
// PipedreamTokens and the PipedreamAccounts.
func TestTheDocsShowWhatIsAccepted(t *testing.T) {
	t.Parallel()
	pages := []string{filepath.Join(harness.Root(), "README.md")}
	err := filepath.WalkDir(filepath.Join(harness.Root(), "docs"), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && filepath.Ext(path) == ".md" {
			pages = append(pages, path)
		}
		return err
	})
	harness.Must(t, err)
	accepted := map[string]int{"PipedreamToken": 0, "PipedreamAccount": 0}
	for _, page := range pages {
		content, err := os.ReadFile(page)
		harness.Must(t, err)
		for i, block := range yamlBlock.FindAllStringSubmatch(string(content), -1) {
			for document := range strings.SplitSeq(block[1], "\n---\n") {
				object := &unstructured.Unstructured{}
				where := fmt.Sprintf("%s, block %d", filepath.Base(page), i+1)
				if err := yaml.UnmarshalStrict([]byte(document), &object.Object); err != nil {
					t.Errorf("%s is no YAML: %v", where, err)
					continue
				}
				if _, isOurs := accepted[object.GetKind()]; !isOurs {
					continue
				}
				object.SetNamespace("")
				manifest, err := yaml.Marshal(object.Object)
				harness.Must(t, err)
				// Each in a namespace of its own, for the pages like the same names.
				if _, err := create(t, newNamespace(t), manifest); err != nil {
					t.Errorf("%s is not accepted: %v", where, err)
				}
				accepted[object.GetKind()]++
			}
		}
	}
	if accepted["PipedreamToken"] < 3 || accepted["PipedreamAccount"] < 1 {
		t.Errorf("found only %v in %v", accepted, pages)
	}
}
