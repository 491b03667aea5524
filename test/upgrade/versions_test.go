//go:build upgrade

// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package upgrade_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// version is one of the two versions of the operator that the test switches between.
type version struct {
	// name is "previous" or "tree".
	name string
	// source is the folder with the source code, the CRD and the RBAC of this version.
	source string
	// manager is the path of the built manager.
	manager string
}

// commitHash is the form in which hack/release/previous names a commit. A tag or a branch
// could be moved, and the test would then silently compare with something else.
var commitHash = regexp.MustCompile(`^[0-9a-f]{40}$`)

// previousCommit returns the commit that the file at path names.
func previousCommit(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read which commit to upgrade from: %w", err)
	}
	commit := strings.TrimSpace(string(content))
	if !commitHash.MatchString(commit) {
		return "", fmt.Errorf("%s holds %q: it must hold the full hash of the released commit, as `git rev-parse v1.2.3^{commit}` prints it", path, commit)
	}
	return commit, nil
}

// extract writes the files of a commit of the repository into a new folder.
func extract(t *testing.T, repository, commit, folder string) error {
	t.Helper()
	look := harness.Command{Path: "git", Arguments: []string{"-C", repository, "cat-file", "-e", commit + "^{commit}"}}
	if _, err := look.Run(t.Context()); err != nil {
		return fmt.Errorf("look up the commit %s that hack/release/previous names: %w. If this clone lacks the commit, fetch it with "+
			"`git fetch origin %s` or `git fetch --unshallow`, or in CI with `fetch-depth: 0`", commit, err, commit)
	}
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	archive := filepath.Join(folder, "source.tar")
	for _, command := range []harness.Command{
		{Path: "git", Arguments: []string{"-C", repository, "archive", "--format=tar", "--output=" + archive, commit}},
		{Path: "tar", Arguments: []string{"--extract", "--file=" + archive, "--directory=" + folder}},
	} {
		if _, err := command.Run(t.Context()); err != nil {
			return err
		}
	}
	return os.Remove(archive)
}

// buildVersions builds the manager of the previous version and the manager of the tree.
func buildVersions(t *testing.T) (previous, tree *version) {
	t.Helper()
	root, folder := harness.Root(), t.TempDir()
	commit, err := previousCommit(filepath.Join(root, "hack", "release", "previous"))
	harness.Must(t, err)
	previous = &version{name: "previous", source: filepath.Join(folder, "previous")}
	tree = &version{name: "tree", source: root}
	harness.Must(t, extract(t, root, commit, previous.source))
	// The previous version may have no such folder, or other content in it.
	kustomization := filepath.Join("test", "upgrade", "kustomization.yaml")
	content, err := os.ReadFile(filepath.Join(root, kustomization))
	harness.Must(t, err)
	harness.Must(t, os.MkdirAll(filepath.Join(previous.source, "test", "upgrade"), 0o750))
	//nolint:gosec // The folder is one of this test.
	harness.Must(t, os.WriteFile(filepath.Join(previous.source, kustomization), content, 0o600))
	for _, v := range []*version{previous, tree} {
		v.manager = filepath.Join(folder, "bin", v.name, "manager")
		// The name goes into the user agent, so that the audit log shows which of the two made a request.
		// Without -trimpath, what the managers import was compiled for this test already.
		harness.MustBuildManager(t, v.source, v.manager, "-buildvcs=false", "-ldflags=-X main.release="+v.name)
	}
	t.Logf("built the manager of %s and the manager of this tree", commit)
	return previous, tree
}
