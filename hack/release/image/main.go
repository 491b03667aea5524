// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command image makes a container image of one static binary, without a container engine and without a base image.
// It writes an archive for `docker load`, `podman load`, `ctr images import` and `kind load image-archive`. The same
// input makes the same bytes.
package main

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// user is the customary user ID of images that do not run as root.
const user = "65532:65532"

// options holds the flags.
type options struct {
	binary, arch, reference, version, revision, out string
	created                                         int64
}

func main() {
	o := options{}
	flag.StringVar(&o.binary, "binary", "", "The static binary, which becomes the entrypoint of the image.")
	flag.StringVar(&o.arch, "arch", "", "The architecture of the binary, such as amd64.")
	flag.StringVar(&o.reference, "reference", "", "The image's name and tag.")
	flag.StringVar(&o.version, "version", "", "The version, for a label.")
	flag.StringVar(&o.revision, "revision", "", "The commit, for a label.")
	flag.Int64Var(&o.created, "created", 0, "The creation time of the image, in seconds since 1970. With the time of the commit the image is reproducible.")
	flag.StringVar(&o.out, "out", "", "The archive to write.")
	flag.Parse()
	if err := write(o); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "image: %v\n", err)
		os.Exit(1)
	}
}

// write makes the image, and writes the archive.
func write(o options) error {
	if o.binary == "" || o.arch == "" || o.out == "" {
		return errors.New("the flags --binary, --arch and --out are required")
	}
	tag, err := name.NewTag(o.reference, name.StrictValidation)
	if err != nil {
		return fmt.Errorf("--reference: %w", err)
	}
	image, err := build(o)
	if err != nil {
		return err
	}
	if err := tarball.WriteToFile(o.out, tag, image); err != nil {
		return fmt.Errorf("write the archive: %w", err)
	}
	return nil
}

// file is a file of the image.
type file struct {
	path    string
	mode    int64
	content []byte
}

func build(o options) (v1.Image, error) {
	binary, err := os.ReadFile(o.binary)
	if err != nil {
		return nil, fmt.Errorf("read the binary: %w", err)
	}
	created := time.Unix(o.created, 0).UTC()
	entrypoint := "/" + filepath.Base(o.binary)
	// Layers that change with each version come last, so that versions share the other layers.
	image := empty.Image
	for _, part := range []struct {
		comment string
		files   []file
	}{
		{"CA certificates, and a user who is not root", system()},
		{"the program", []file{{entrypoint, 0o755, binary}}},
	} {
		layer, err := layerOf(part.files, created)
		if err != nil {
			return nil, err
		}
		image, err = mutate.Append(image, mutate.Addendum{Layer: layer, History: v1.History{
			Created: v1.Time{Time: created}, CreatedBy: "hack/release/image", Comment: part.comment,
		}})
		if err != nil {
			return nil, fmt.Errorf("add a layer: %w", err)
		}
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read the image's configuration: %w", err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", o.arch
	config.Created = v1.Time{Time: created}
	config.Config = v1.Config{
		User:       user,
		Entrypoint: []string{entrypoint},
		WorkingDir: "/",
		Env:        []string{"PATH=/"},
		Labels:     labels(o, path.Base(entrypoint), created),
	}
	image, err = mutate.ConfigFile(image, config)
	if err != nil {
		return nil, fmt.Errorf("configure the image: %w", err)
	}
	return image, nil
}

// labels returns the same labels as the Dockerfile sets.
func labels(o options, program string, created time.Time) map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":    "pipedream-operator " + program,
		"org.opencontainers.image.source":   "https://github.com/pipedream-operator/pipedream-operator",
		"org.opencontainers.image.licenses": "Apache-2.0",
		"org.opencontainers.image.version":  o.version,
		"org.opencontainers.image.revision": o.revision,
		"org.opencontainers.image.created":  created.Format(time.RFC3339),
	}
}

// system returns the files that a program expects of its system: the CA certificates of the Mozilla program, and a
// name for the user. The certificates come from a Go module, so they are pinned and the same on each machine.
func system() []file {
	return []file{
		{"/etc/passwd", 0o644, []byte("root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n")},
		{"/etc/group", 0o644, []byte("root:x:0:\nnonroot:x:65532:\n")},
		{"/etc/ssl/certs/ca-certificates.crt", 0o644, certificates()},
	}
}

// certificates returns the CA certificates that are trusted without conditions. A file of certificates cannot express
// the conditions of the others.
func certificates() []byte {
	all := &bytes.Buffer{}
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			all.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}))
		}
	}
	return all.Bytes()
}

// layerOf makes a layer of files and of the folders that contain them.
func layerOf(files []file, created time.Time) (v1.Layer, error) {
	archive := &bytes.Buffer{}
	writer := tar.NewWriter(archive)
	made := map[string]bool{"/": true}
	var folders func(folder string) error
	folders = func(folder string) error {
		if made[folder] {
			return nil
		}
		made[folder] = true
		if err := folders(path.Dir(folder)); err != nil {
			return err
		}
		return writer.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: folder[1:] + "/", Mode: 0o755, ModTime: created})
	}
	for _, f := range files {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: f.path[1:], Mode: f.mode, Size: int64(len(f.content)), ModTime: created}
		if err := errors.Join(folders(path.Dir(f.path)), writer.WriteHeader(header)); err != nil {
			return nil, fmt.Errorf("archive %s: %w", f.path, err)
		}
		if _, err := writer.Write(f.content); err != nil {
			return nil, fmt.Errorf("archive %s: %w", f.path, err)
		}
	}
	if err := writer.Close(); err != nil {
		return nil, fmt.Errorf("archive a layer: %w", err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	})
	if err != nil {
		return nil, fmt.Errorf("make a layer: %w", err)
	}
	return layer, nil
}
