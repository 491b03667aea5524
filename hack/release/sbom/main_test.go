// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/CycloneDX/cyclonedx-go"
)

// TestTheBillNamesAllModules reads the binary of the test itself.
func TestTheBillNamesAllModules(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	first, second := &bytes.Buffer{}, &bytes.Buffer{}
	for _, out := range []*bytes.Buffer{first, second} {
		if err := write(binary, "v1.2.3", out); err != nil {
			t.Fatal(err)
		}
	}
	if first.String() != second.String() {
		t.Error("two bills of the same binary differ")
	}
	bom := &cyclonedx.BOM{}
	if err := cyclonedx.NewBOMDecoder(first, cyclonedx.BOMFileFormatJSON).Decode(bom); err != nil {
		t.Fatal(err)
	}
	if bom.Metadata.Component.Version != "v1.2.3" {
		t.Errorf("the version is %q", bom.Metadata.Component.Version)
	}
	found := map[string]bool{}
	for _, component := range *bom.Components {
		found[component.Name] = strings.HasPrefix(component.PackageURL, "pkg:golang/"+component.Name+"@") && component.Version != ""
	}
	for _, module := range []string{"std", "github.com/CycloneDX/cyclonedx-go"} {
		if !found[module] {
			t.Errorf("%s is not in the bill: %v", module, found)
		}
	}
}

func TestWhatIsNoGoBinaryIsRefused(t *testing.T) {
	if err := write("main.go", "v1", &bytes.Buffer{}); err == nil {
		t.Error("no error")
	}
}
