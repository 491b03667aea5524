// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package repository_test

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

var (
	link       = regexp.MustCompile(`\[[^\]]*\]\(([^)\s]+)\)`)
	mdHeading  = regexp.MustCompile(`(?m)^#{1,6} +(.+?)\s*$`)
	codeBlock  = regexp.MustCompile("(?ms)^ *```.*?^ *```[^\n]*$")
	notInSlugs = regexp.MustCompile(`[^\p{L}\p{N}\- _]`)
)

// slugs returns the fragments of links to the headings of a page, as GitHub makes them. It leaves out the numbers that
// GitHub adds to repeated headings.
func slugs(page string) map[string]bool {
	found := map[string]bool{}
	for _, match := range mdHeading.FindAllStringSubmatch(codeBlock.ReplaceAllString(page, ""), -1) {
		// A link in a heading shows its text only.
		text := regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(match[1], "$1")
		slug := notInSlugs.ReplaceAllString(strings.ToLower(text), "")
		found[strings.ReplaceAll(slug, " ", "-")] = true
	}
	return found
}

// brokenLink says why a link on a page leads nowhere, or returns "". It does not look at links to other sites.
func brokenLink(page, target string) string {
	parsed, err := url.Parse(target)
	switch {
	case err != nil:
		return err.Error()
	case parsed.Scheme == "http" || parsed.Scheme == "mailto":
		return "want https"
	case parsed.Scheme != "":
		return ""
	}
	file := page
	if parsed.Path != "" {
		file = filepath.Join(filepath.Dir(page), filepath.FromSlash(parsed.Path))
	}
	content, err := os.ReadFile(filepath.Clean(file))
	if info, failed := os.Stat(file); failed == nil && info.IsDir() {
		return ""
	}
	if err != nil {
		return "there is no such file"
	}
	if parsed.Fragment != "" && strings.HasSuffix(file, ".md") && !slugs(string(content))[parsed.Fragment] {
		return "that page has no such heading"
	}
	return ""
}

// TestLinksLeadSomewhere looks at the links between the files of the repository.
func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	for _, page := range tracked(t, "*.md") {
		content := read(t, page)
		for _, match := range link.FindAllStringSubmatch(codeBlock.ReplaceAllString(content, ""), -1) {
			if reason := brokenLink(filepath.Join(harness.Root(), page), match[1]); reason != "" {
				t.Errorf("%s has a link to %s: %s", page, match[1], reason)
			}
		}
	}
}

func TestBrokenLinksAreFound(t *testing.T) {
	t.Parallel()
	page := filepath.Join(t.TempDir(), "page.md")
	harness.Must(t, os.WriteFile(page, []byte("# A [title](other.md): `code`\n\n```sh\n# no heading\n```\n"), 0o600))
	for target, want := range map[string]string{
		"#a-title-code":         "",
		"page.md#a-title-code":  "",
		".":                     "",
		"https://example.com/#": "",
		"#no-heading":           "that page has no such heading",
		"other.md":              "there is no such file",
		"http://example.com":    "want https",
	} {
		if got := brokenLink(page, target); got != want {
			t.Errorf("the link to %s: %q, want %q", target, got, want)
		}
	}
}
