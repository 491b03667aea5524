// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const changelog = `# Changelog

What users notice.

## v1.3.0 (not released)

### Added

* more

## v1.2.3 (2026-01-31)

Update the CRDs first.

### Added

* a "new" field

### Security

* ` + "`--flag`" + ` is refused: see the docs

## v1.2.2 (2026-01-01)

### Fixed

* the old
`

// repository returns a folder with a changelog and the samples.
func repository(t *testing.T, changelog string) string {
	t.Helper()
	root := t.TempDir()
	samples := filepath.Join(root, "config", "samples")
	for _, err := range []error{
		os.MkdirAll(samples, 0o750),
		os.WriteFile(filepath.Join(root, "CHANGELOG.md"), []byte(changelog), 0o600),
		os.WriteFile(filepath.Join(samples, "a-minimal.yaml"), []byte("# A comment.\nkind: A\nmetadata:\n  name: a\n"), 0o600),
		os.WriteFile(filepath.Join(samples, "b-minimal.yaml"), []byte("kind: B\n"), 0o600),
		os.WriteFile(filepath.Join(samples, "b-full.yaml"), []byte("kind: Full\n"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestTheNotesAreTheSectionOfTheVersion(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{
		"v1.2.3":      "Update the CRDs first.\n\n### Added\n\n* a \"new\" field\n\n### Security\n\n* `--flag` is refused: see the docs\n",
		"v1.2.2":      "### Fixed\n\n* the old\n",
		"v1.3.0-rc.1": "### Added\n\n* more\n",
		"v9.9.9-rc.1": "",
	} {
		out := &bytes.Buffer{}
		if err := run(repository(t, changelog), version, "", out); err != nil {
			t.Errorf("%s: %v", version, err)
		}
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("the notes of %s (-want +got):\n%s", version, diff)
		}
	}
}

func TestTheAnnotationsAreThoseOfArtifactHub(t *testing.T) {
	t.Parallel()
	out := &bytes.Buffer{}
	if err := run(repository(t, changelog), "v1.2.3", "registry.example/operator", out); err != nil {
		t.Fatal(err)
	}
	want := `  artifacthub.io/prerelease: "false"
  artifacthub.io/images: |
    - name: manager
      image: registry.example/operator:v1.2.3
      platforms: [linux/amd64, linux/arm64]
  artifacthub.io/crdsExamples: |
    - kind: A
      metadata:
        name: a
    - kind: B
  artifacthub.io/changes: |
    - kind: added
      description: "a \"new\" field"
    - kind: security
      description: "` + "`--flag`" + ` is refused: see the docs"
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("the annotations (-want +got):\n%s", diff)
	}
}

func TestAReleaseWithoutItsChangesIsRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ changelog, version, want string }{
		"no section":               {changelog, "v1.4.0", `no section "## v1.4.0 (…)"`},
		"not released":             {changelog, "v1.3.0", "v1.3.0 is not released: replace"},
		"another form of heading":  {"## 1.2.3\n", "v1.2.3", `the heading "## 1.2.3"`},
		"unknown kind of change":   {"## v1.2.3 (2026-01-31)\n\n### New\n\n* a\n", "v1.2.3", `the heading "### New"`},
		"change above the heading": {"## v1.2.3 (2026-01-31)\n\n* a\n", "v1.2.3", "above the first heading"},
		"change of two lines":      {"## v1.2.3 (2026-01-31)\n\n### Added\n\n* a\n  b\n", "v1.2.3", `that is no change: "  b"`},
	} {
		err := run(repository(t, test.changelog), test.version, "image", &bytes.Buffer{})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: the error is %v, want %q", name, err, test.want)
		}
	}
}
