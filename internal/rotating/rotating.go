// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rotating reads files that can be replaced while the program runs, such as
// certificates in a mounted ConfigMap or Secret.
package rotating

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
)

// maxBytes is the maximum size of a file. All public CA certificates together take 300 KiB.
const maxBytes = 4 << 20

// Files holds a value that is parsed from one or more files. While the files are invalid, the
// last valid value stays in use. Files is safe for concurrent use.
type Files[T any] struct {
	paths  []string
	parse  func(contents [][]byte) (T, error)
	report func(problem error)

	mu      sync.Mutex
	seen    [sha256.Size]byte // digest of the last content that was read, valid or invalid
	value   T
	problem error
}

// Open reads the files for the first time. parse returns the value for the contents of the
// files, in the order of the paths. When Refresh finds that the files have changed, it calls
// report: with nil if the new value is in use, otherwise with the error. If the files are
// invalid, Open returns an error and does not call report.
func Open[T any](parse func(contents [][]byte) (T, error), report func(problem error), paths ...string) (*Files[T], error) {
	f := &Files[T]{paths: paths, parse: parse, report: report}
	f.read()
	return f, f.problem
}

// Refresh reads the files again, and returns the last valid value. It does not parse files that
// have not changed.
func (f *Files[T]) Refresh() T {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.read() {
		f.report(f.problem)
	}
	return f.value
}

// IsValid reports whether the files were valid when they were last read.
func (f *Files[T]) IsValid() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.problem == nil
}

// read reads the files, and reports whether they have changed since the last read. The caller
// holds the lock.
func (f *Files[T]) read() (hasChanged bool) {
	contents, err := f.contents()
	now := digest(contents, err)
	if now == f.seen {
		return false
	}
	value, problem := f.parsed(contents, err)
	if problem != nil {
		// Invalid files are read a second time. One of several files may have been replaced after
		// another one was read. And while the kubelet replaces the folder of a mounted file, the
		// file may be missing for a moment.
		contents, err = f.contents()
		now = digest(contents, err)
		value, problem = f.parsed(contents, err)
	}
	hasChanged = now != f.seen
	f.seen, f.problem = now, problem
	if problem == nil {
		f.value = value
	}
	return hasChanged
}

func (f *Files[T]) parsed(contents [][]byte, err error) (T, error) {
	if err != nil {
		var none T
		return none, err
	}
	return f.parse(contents)
}

func (f *Files[T]) contents() ([][]byte, error) {
	contents := make([][]byte, 0, len(f.paths))
	for _, path := range f.paths {
		content, err := readFile(path)
		if err != nil {
			return nil, err
		}
		contents = append(contents, content)
	}
	return contents, nil
}

// readFile returns the content of a file. It fails if the file is not a regular file, is empty,
// or is larger than maxBytes.
func readFile(path string) ([]byte, error) {
	// Without O_NONBLOCK, opening a named pipe waits until another process writes to it.
	//nolint:gosec // The administrator names the file in a flag.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	content, err := io.ReadAll(io.LimitReader(file, maxBytes+1))
	switch {
	case err != nil:
		return nil, err
	case len(content) == 0:
		return nil, fmt.Errorf("%s is empty", path)
	case len(content) > maxBytes:
		return nil, fmt.Errorf("%s is larger than %d MiB", path, maxBytes>>20)
	}
	return content, nil
}

func digest(contents [][]byte, err error) [sha256.Size]byte {
	hash := sha256.New()
	for _, content := range contents {
		each := sha256.Sum256(content)
		_, _ = hash.Write(each[:])
	}
	if err != nil {
		_, _ = io.WriteString(hash, err.Error())
	}
	return [sha256.Size]byte(hash.Sum(nil))
}
