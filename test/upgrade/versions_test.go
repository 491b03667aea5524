//go:build upgrade

// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package upgrade_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pipedream-operator/pipedream-operator/test/controlplane"
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
	if said, err := exec.CommandContext(t.Context(), "git", "-C", repository, "cat-file", "-e", commit+"^{commit}").CombinedOutput(); err != nil {
		return fmt.Errorf("look up the commit %s that hack/release/previous names: %w: %s. If this clone lacks the commit, fetch it with "+
			"`git fetch origin %s` or `git fetch --unshallow`, or in CI with `fetch-depth: 0`", commit, err, strings.TrimSpace(string(said)), commit)
	}
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	archive := filepath.Join(folder, "source.tar")
	for _, command := range [][]string{
		{"git", "-C", repository, "archive", "--format=tar", "--output=" + archive, commit},
		{"tar", "--extract", "--file=" + archive, "--directory=" + folder},
	} {
		if said, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, said)
		}
	}
	return os.Remove(archive)
}

// buildVersions builds the manager of the previous version and the manager of the tree.
func buildVersions(t *testing.T) (previous, tree *version) {
	t.Helper()
	root, folder := controlplane.Root(), t.TempDir()
	commit, err := previousCommit(filepath.Join(root, "hack", "release", "previous"))
	must(t, err)
	previous = &version{name: "previous", source: filepath.Join(folder, "previous")}
	tree = &version{name: "tree", source: root}
	must(t, extract(t, root, commit, previous.source))
	// The previous version may have no such folder, or other content in it.
	kustomization := filepath.Join("test", "upgrade", "kustomization.yaml")
	content, err := os.ReadFile(filepath.Join(root, kustomization))
	must(t, err)
	must(t, os.MkdirAll(filepath.Join(previous.source, "test", "upgrade"), 0o750))
	//nolint:gosec // The folder is one of this test.
	must(t, os.WriteFile(filepath.Join(previous.source, kustomization), content, 0o600))
	for _, v := range []*version{previous, tree} {
		v.manager = filepath.Join(folder, "bin", v.name, "manager")
		// The name goes into the user agent, so that the audit log shows which of the two made a request.
		// Without -trimpath, what the managers import was compiled for this test already.
		build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false",
			"-ldflags=-X main.release="+v.name, "-o", v.manager, "./cmd/manager")
		build.Dir = v.source
		if said, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build the manager of the version %q: %v\n%s", v.name, err, said)
		}
	}
	t.Logf("built the manager of %s and the manager of this tree", commit)
	return previous, tree
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
