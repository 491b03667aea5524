// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"sync"
)

// lines calls handle with each complete line that is written to it.
type lines struct {
	mu     sync.Mutex
	rest   []byte
	handle func(line string)
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		line, rest, complete := bytes.Cut(l.rest, []byte("\n"))
		if !complete {
			return len(p), nil
		}
		l.handle(string(line))
		l.rest = rest
	}
}
