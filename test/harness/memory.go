// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	// chunk is how much memory is read at once. overlap is how much of the next chunk is read with it, so that a text
	// at the end of a chunk is found, with what follows it.
	chunk, overlap = 4 << 20, 1 << 10
)

// FindInMemory calls found for each occurrence of one of the texts in all memory that the process may write, on Linux.
// rest is what follows the text, up to about a thousand bytes. A text must be shorter than that. The process may run on
// meanwhile; stop it with SIGSTOP for a picture of one moment.
func (p *Process) FindInMemory(texts []string, found func(text string, rest []byte)) error {
	folder := filepath.Join("/proc", strconv.Itoa(p.PID()))
	regions, err := os.ReadFile(filepath.Join(folder, "maps")) //nolint:gosec // Of /proc.
	if err != nil {
		return fmt.Errorf("read the map of the memory of %s: %w", p.Name, err)
	}
	memory, err := os.Open(filepath.Join(folder, "mem")) //nolint:gosec // Of /proc.
	if err != nil {
		return fmt.Errorf("open the memory of %s: %w", p.Name, err)
	}
	defer func() { _ = memory.Close() }()
	for line := range strings.Lines(string(regions)) {
		fields := strings.Fields(line)
		if !strings.HasPrefix(fields[1], "rw") {
			continue
		}
		var from, to int64
		if _, err := fmt.Sscanf(fields[0], "%x-%x", &from, &to); err != nil {
			return fmt.Errorf("read the map of the memory of %s: %w", p.Name, err)
		}
		findIn(memory, from, to, texts, found)
	}
	return nil
}

// findIn calls found for each occurrence of one of the texts in a region of memory.
func findIn(memory io.ReaderAt, from, to int64, texts []string, found func(text string, rest []byte)) {
	buffer := make([]byte, chunk+overlap)
	for ; from < to; from += chunk {
		n, err := memory.ReadAt(buffer[:min(int64(len(buffer)), to-from)], from)
		if err != nil && !errors.Is(err, io.EOF) && n == 0 {
			continue // A guard page, or one of the kernel's.
		}
		for _, text := range texts {
			findText(buffer[:n], text, found)
		}
	}
}

// findText calls found for each occurrence of a text that begins in the first chunk of the content.
func findText(content []byte, text string, found func(text string, rest []byte)) {
	for at := 0; ; {
		i := bytes.Index(content[at:], []byte(text))
		if i < 0 || at+i >= chunk {
			return
		}
		at += i + len(text)
		found(text, content[at:min(at+overlap, len(content))])
	}
}

// CollectGarbage has a Go program that serves its profiles at an address collect its garbage. It returns how many bytes
// are on the heap then.
func CollectGarbage(ctx context.Context, address string) (heap int64, err error) {
	status, body, err := Get(ctx, "http://"+address+"/debug/pprof/heap?gc=1&debug=1", "")
	if err != nil {
		return 0, fmt.Errorf("collect garbage: %w", err)
	}
	_, after, isThere := strings.Cut(body, "\n# HeapAlloc = ")
	if status != http.StatusOK || !isThere {
		return 0, fmt.Errorf("collect garbage: %s answers %d without the size of the heap", address, status)
	}
	number, _, _ := strings.Cut(after, "\n")
	return strconv.ParseInt(number, 10, 64)
}
