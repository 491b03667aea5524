// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package rotating_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/pipedream-operator/pipedream-operator/internal/rotating"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// parse accepts contents that all begin with "good", and returns them joined by "+".
func parse(contents [][]byte) (string, error) {
	for _, content := range contents {
		if !bytes.HasPrefix(content, []byte("good")) {
			return "", errors.New("is invalid")
		}
	}
	return string(bytes.Join(contents, []byte("+"))), nil
}

// world holds a file that the test replaces, and the reports about the file.
type world struct {
	*testing.T
	path     string
	files    *rotating.Files[string]
	reported []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, path: filepath.Join(t.TempDir(), "file")}
	w.write("good 1")
	w.open(w.path)
	return w
}

func (w *world) open(paths ...string) {
	w.Helper()
	var err error
	w.files, err = rotating.Open(parse, func(problem error) {
		if problem == nil {
			w.reported = append(w.reported, "good")
			return
		}
		w.reported = append(w.reported, problem.Error())
	}, paths...)
	harness.Must(w.T, err)
}

func (w *world) write(content string) {
	w.Helper()
	harness.Must(w.T, os.WriteFile(w.path, []byte(content), 0o600))
}

// want checks the value, the validity and the reports. It refreshes twice, to check that nothing is reported twice.
func (w *world) want(value string, isValid bool, reported ...string) {
	w.Helper()
	for range 2 {
		if got := w.files.Refresh(); got != value {
			w.Errorf("the value is %q, want %q", got, value)
		}
	}
	if got := w.files.IsValid(); got != isValid {
		w.Errorf("IsValid() = %t, want %t", got, isValid)
	}
	if !slices.EqualFunc(w.reported, reported, strings.Contains) {
		w.Errorf("reported is %q, want %q", w.reported, reported)
	}
	w.reported = nil
}

func TestAFileIsReadAgainWhenItChanges(t *testing.T) {
	t.Parallel()
	tests := map[string]func(w *world){
		"written in place": func(w *world) { w.write("good 2") },
		"renamed over": func(w *world) {
			other := w.path + ".new"
			harness.Must(w.T, os.WriteFile(other, []byte("good 2"), 0o600))
			harness.Must(w.T, os.Rename(other, w.path))
		},
		"of the same size and time": func(w *world) {
			info, err := os.Stat(w.path)
			harness.Must(w.T, err)
			w.write("good 2")
			harness.Must(w.T, os.Chtimes(w.path, info.ModTime(), info.ModTime()))
		},
		"deleted, and created again": func(w *world) {
			harness.Must(w.T, os.Remove(w.path))
			w.write("good 2")
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.want("good 1", true)
			change(w)
			w.want("good 2", true, "good")
		})
	}
}

// TestAMountedFileFollowsItsLinks replaces files as the kubelet does: the files of a mounted ConfigMap or Secret are
// links into a folder, and the kubelet replaces the link to the folder.
func TestAMountedFileFollowsItsLinks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mount := t.TempDir()
	put := func(version, content string) {
		t.Helper()
		harness.Must(w.T, os.Mkdir(filepath.Join(mount, version), 0o700))
		for _, name := range []string{"tls.crt", "tls.key"} {
			harness.Must(w.T, os.WriteFile(filepath.Join(mount, version, name), []byte(content), 0o600))
		}
		harness.Must(w.T, os.Symlink(version, filepath.Join(mount, "..data_tmp")))
		harness.Must(w.T, os.Rename(filepath.Join(mount, "..data_tmp"), filepath.Join(mount, "..data")))
	}
	put("..1", "good 1")
	for _, name := range []string{"tls.crt", "tls.key"} {
		harness.Must(w.T, os.Symlink(filepath.Join("..data", name), filepath.Join(mount, name)))
	}
	w.open(filepath.Join(mount, "tls.crt"), filepath.Join(mount, "tls.key"))
	w.want("good 1+good 1", true)
	put("..2", "good 2")
	harness.Must(w.T, os.RemoveAll(filepath.Join(mount, "..1")))
	w.want("good 2+good 2", true, "good")
	harness.Must(w.T, os.RemoveAll(filepath.Join(mount, "..2")))
	w.want("good 2+good 2", false, "tls.crt: no such file")
	put("..3", "good 3")
	w.want("good 3+good 3", true, "good")
}

func TestAnInvalidFileKeepsTheLastValidValue(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		damage func(w *world)
		want   string
	}{
		"absent":      {func(w *world) { harness.Must(w.T, os.Remove(w.path)) }, "no such file"},
		"empty":       {func(w *world) { w.write("") }, "is empty"},
		"invalid":     {func(w *world) { w.write("bad") }, "is invalid"},
		"too large":   {func(w *world) { w.write("good" + strings.Repeat(" ", 4<<20)) }, "is larger than 4 MiB"},
		"a directory": {func(w *world) { harness.Must(w.T, os.Remove(w.path)); harness.Must(w.T, os.Mkdir(w.path, 0o700)) }, "is no regular file"},
		"a named pipe": {
			func(w *world) { harness.Must(w.T, os.Remove(w.path)); harness.Must(w.T, syscall.Mkfifo(w.path, 0o600)) },
			"is no regular file",
		},
		"a link to itself": {
			func(w *world) { harness.Must(w.T, os.Remove(w.path)); harness.Must(w.T, os.Symlink(w.path, w.path)) },
			"too many levels of symbolic links",
		},
		"a link to nothing": {
			func(w *world) { harness.Must(w.T, os.Remove(w.path)); harness.Must(w.T, os.Symlink("nothing", w.path)) },
			"no such file",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			test.damage(w)
			w.want("good 1", false, test.want)
			if _, err := rotating.Open(parse, func(error) {}, w.path); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Open returned %v, want %s", err, test.want)
			}
			harness.Must(w.T, os.RemoveAll(w.path))
			w.write("good 2")
			w.want("good 2", true, "good")
		})
	}
}

func TestEachChangeIsReportedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("bad")
	w.want("good 1", false, "is invalid")
	w.write("worse")
	w.want("good 1", false, "is invalid")
	w.write("good 1")
	w.want("good 1", true, "good")
}

func TestConcurrentRefreshesReportOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("good 2")
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if got := w.files.Refresh(); got != "good 2" {
				t.Errorf("the value is %q, want good 2", got)
			}
		})
	}
	all.Wait()
	if len(w.reported) != 1 {
		t.Errorf("reported is %q, want one change", w.reported)
	}
}

// TestAnInvalidFileIsReadTwice checks that a file is read a second time before it is reported as invalid. While the
// kubelet replaces a mounted file, the first read may find no file, or an old part of the content.
func TestAnInvalidFileIsReadTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	isReplaced := false
	var err error
	w.files, err = rotating.Open(func(contents [][]byte) (string, error) {
		value, err := parse(contents)
		if err != nil && isReplaced {
			w.write("good 2")
		}
		return value, err
	}, func(problem error) {
		if problem != nil {
			w.reported = append(w.reported, problem.Error())
			return
		}
		w.reported = append(w.reported, "good")
	}, w.path)
	harness.Must(w.T, err)
	isReplaced = true
	w.write("half")
	w.want("good 2", true, "good")
	isReplaced = false
	w.write("half")
	w.want("good 2", false, "is invalid")
}
