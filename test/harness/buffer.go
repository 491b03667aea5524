// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"strings"
	"sync"
)

// Buffer is an io.Writer that keeps its whole content in memory. It is safe for concurrent use.
type Buffer struct {
	mu      sync.Mutex
	content bytes.Buffer
}

// Write appends to the content. It never fails.
func (b *Buffer) Write(content []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.content.Write(content)
}

// String returns the whole content.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.content.String()
}

// Tail returns the last count lines, without leading and trailing white space.
func (b *Buffer) Tail(count int) string {
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "\n")
}
