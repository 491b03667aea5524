// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command notes writes what CHANGELOG.md says about a release: as the text of the release's page, or as annotations of
// the chart for Artifact Hub.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// kinds are the headings of CHANGELOG.md below a version. In lower case they are Artifact Hub's kinds of changes.
var kinds = []string{"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}

// notReleased is in the heading of a version of CHANGELOG.md until the day of the release is there.
const notReleased = "not released"

// heading is the heading of a version in CHANGELOG.md, without the "## ".
var heading = regexp.MustCompile(`^(v[0-9]+\.[0-9]+\.[0-9]+) \((` + notReleased + `|[0-9]{4}-[0-9]{2}-[0-9]{2})\)$`)

func main() {
	root := flag.String("root", "../..", "The root of the repository.")
	version := flag.String("version", "", "The version of the release, such as v1.2.3.")
	image := flag.String("image", "", "The image of the manager, without a tag. Write annotations of the chart instead of the release's text.")
	flag.Parse()
	if err := run(*root, *version, *image, os.Stdout); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "notes: %v\n", err)
		os.Exit(1)
	}
}

// run writes the text of the release's page, or with an image the annotations of the chart.
func run(root, version, image string, out io.Writer) error {
	changelog, err := os.ReadFile(filepath.Clean(filepath.Join(root, "CHANGELOG.md")))
	if err != nil {
		return fmt.Errorf("read the changelog: %w", err)
	}
	text, err := section(string(changelog), version)
	if err != nil {
		return err
	}
	if image == "" {
		_, err := io.WriteString(out, text)
		return err
	}
	changes, err := changesOf(text)
	if err != nil {
		return err
	}
	examples, err := examplesIn(filepath.Join(root, "config", "samples"))
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, annotations(version, image, changes, examples))
	return err
}

// section returns the part of the changelog about a version, without its heading. A pre-release, such as v1.2.3-rc.1, has
// the section of the release that it prepares, if there is one. The section of a release must name its day.
func section(changelog, version string) (string, error) {
	release, isPrerelease := cutPrerelease(version)
	parts := strings.Split("\n"+changelog, "\n## ")
	for _, part := range parts[1:] {
		title, text, _ := strings.Cut(part, "\n")
		match := heading.FindStringSubmatch(title)
		if match == nil {
			return "", fmt.Errorf("CHANGELOG.md has the heading \"## %s\": want such as \"## v1.2.3 (2026-01-31)\" or \"## v1.2.3 (not released)\"", title)
		}
		if match[1] != release {
			continue
		}
		if match[2] == notReleased && !isPrerelease {
			return "", fmt.Errorf("CHANGELOG.md says that %s is not released: replace %q by the day of the release", release, notReleased)
		}
		return strings.TrimSpace(text) + "\n", nil
	}
	if isPrerelease {
		return "", nil
	}
	return "", fmt.Errorf("CHANGELOG.md has no section \"## %s (…)\"", release)
}

// A change is a line of the changelog.
type change struct{ kind, description string }

// changesOf returns the lines of a section of the changelog that begin with an asterisk, with the headings above them.
func changesOf(text string) ([]change, error) {
	var changes []change
	kind := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutPrefix(line, "### "); ok {
			if !slices.Contains(kinds, name) {
				return nil, fmt.Errorf("CHANGELOG.md has the heading %q: want one of %s", line, strings.Join(kinds, ", "))
			}
			kind = strings.ToLower(name)
			continue
		}
		description, ok := strings.CutPrefix(line, "* ")
		switch {
		case ok && kind == "":
			return nil, fmt.Errorf("CHANGELOG.md has a change above the first heading of its section: %q", line)
		case ok:
			changes = append(changes, change{kind: kind, description: description})
		case kind != "" && line != "":
			return nil, fmt.Errorf("CHANGELOG.md has a line below a heading that is no change: %q. Write each change in one line that begins with \"* \"", line)
		}
	}
	return changes, nil
}

// examplesIn returns the smallest sample of each kind, as a list in YAML.
func examplesIn(folder string) (string, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*-minimal.yaml"))
	if err != nil {
		return "", fmt.Errorf("list the samples: %w", err)
	}
	if len(files) == 0 {
		return "", errors.New("there is no sample " + filepath.Join(folder, "*-minimal.yaml"))
	}
	list := &strings.Builder{}
	for _, file := range files {
		content, err := os.ReadFile(filepath.Clean(file))
		if err != nil {
			return "", fmt.Errorf("read a sample: %w", err)
		}
		indent := "- "
		for line := range strings.Lines(string(content)) {
			if strings.HasPrefix(line, "#") {
				continue
			}
			list.WriteString(indent + line)
			indent = "  "
		}
	}
	return list.String(), nil
}

// annotations returns lines for the end of Chart.yaml, whose last key is "annotations".
func annotations(version, image string, changes []change, examples string) string {
	text := &strings.Builder{}
	_, isPrerelease := cutPrerelease(version)
	_, _ = fmt.Fprintf(text, "  artifacthub.io/prerelease: %q\n", strconv.FormatBool(isPrerelease))
	_, _ = fmt.Fprintf(text, "  artifacthub.io/images: |\n    - name: manager\n      image: %s:%s\n      platforms: [linux/amd64, linux/arm64]\n", image, version)
	text.WriteString("  artifacthub.io/crdsExamples: |\n")
	for line := range strings.Lines(examples) {
		text.WriteString("    " + line)
	}
	if len(changes) == 0 {
		return text.String()
	}
	text.WriteString("  artifacthub.io/changes: |\n")
	for _, change := range changes {
		// A quoted string of Go is one of YAML, too.
		_, _ = fmt.Fprintf(text, "    - kind: %s\n      description: %q\n", change.kind, change.description)
	}
	return text.String()
}

// cutPrerelease returns the release that a version prepares, and whether the version is a pre-release.
func cutPrerelease(version string) (string, bool) {
	release, _, isPrerelease := strings.Cut(version, "-")
	return release, isPrerelease
}
