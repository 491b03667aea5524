// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// archive makes an image of a binary, and returns the path of the archive.
func archive(t *testing.T, content string) string {
	t.Helper()
	folder := t.TempDir()
	binary, out := filepath.Join(folder, "manager"), filepath.Join(folder, "image.tar")
	must(t, os.WriteFile(binary, []byte(content), 0o600))
	must(t, write(options{
		binary: binary, arch: "arm64", reference: "registry.example/operator:v1.2.3", version: "v1.2.3", revision: "abc", created: 1_700_000_000, out: out,
	}))
	return out
}

func TestTheSameInputMakesTheSameImage(t *testing.T) {
	first, second, other := read(t, archive(t, "program")), read(t, archive(t, "program")), read(t, archive(t, "another"))
	if !bytes.Equal(first, second) {
		t.Error("two archives of the same binary differ")
	}
	if bytes.Equal(first, other) {
		t.Error("archives of different binaries are the same")
	}
}

func TestTheArchiveHoldsAnImageThatRunsTheBinary(t *testing.T) {
	image := load(t, archive(t, "program"))
	must(t, validate.Image(image))
	config, err := image.ConfigFile()
	must(t, err)
	if config.OS != "linux" || config.Architecture != "arm64" {
		t.Errorf("the image is for %s/%s", config.OS, config.Architecture)
	}
	// The user must be a number, so that the kubelet can check that it is not root.
	if config.Config.User != "65532:65532" || len(config.Config.Entrypoint) != 1 || config.Config.Entrypoint[0] != "/manager" {
		t.Errorf("the image runs %q as %q", config.Config.Entrypoint, config.Config.User)
	}
	if got := config.Config.Labels["org.opencontainers.image.version"]; got != "v1.2.3" {
		t.Errorf("the label for the version is %q", got)
	}
	files := filesOf(t, image)
	if got := string(files["manager"]); got != "program" {
		t.Errorf("/manager holds %q", got)
	}
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(files["etc/ssl/certs/ca-certificates.crt"]) || bytes.Count(files["etc/ssl/certs/ca-certificates.crt"], []byte("BEGIN")) < 100 {
		t.Error("the image has no CA certificates")
	}
}

func TestInvalidOptionsAreAnError(t *testing.T) {
	for name, o := range map[string]options{
		"no options":     {},
		"no tag":         {binary: "main.go", arch: "amd64", out: "unused", reference: "registry.example/operator"},
		"no such binary": {binary: "does-not-exist", arch: "amd64", out: "unused", reference: "registry.example/operator:v1"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := write(o); err == nil {
				t.Error("got no error")
			}
		})
	}
}

func load(t *testing.T, path string) v1.Image {
	t.Helper()
	image, err := tarball.ImageFromPath(path, nil)
	must(t, err)
	return image
}

func filesOf(t *testing.T, image v1.Image) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for reader := tar.NewReader(mutate.Extract(image)); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		must(t, err)
		if header.Uid != 0 || header.Mode&0o022 != 0 {
			t.Errorf("users other than root can change %s", header.Name)
		}
		files[header.Name], err = io.ReadAll(reader)
		must(t, err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	return content
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
