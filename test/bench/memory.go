// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	// markStart is what the data of each neighbour begins with.
	markStart = "NEIGHBOUR"
	// namePrefix begins the name of each neighbour.
	namePrefix = "unrelated-"
	// digits is the length of a neighbour's number.
	digits = 5
	// pageful is how much memory is read at once, and overlap how much of it again with
	// the next: more than what is looked for.
	pageful, overlap = 4 << 20, 64
)

func neighbourName(i int) string { return fmt.Sprintf("%s%0*d", namePrefix, digits, i) }

// findings are what a search has found.
type findings struct {
	// names counts the neighbours whose names were found, and holders those whose data
	// were; marks is how often data was.
	names, holders, marks int
}

// search reads all memory that the process may write, and looks for the names and the
// data of neighbours: plain, and in base64.
func (p *process) search(neighbours int) (findings, error) {
	maps, err := p.file("maps")
	if err != nil {
		return findings{}, err
	}
	memory, err := os.Open(filepath.Join("/proc", strconv.Itoa(p.PID()), "mem"))
	if err != nil {
		return findings{}, fmt.Errorf("open the memory of %s: %w", p.Name, err)
	}
	defer func() { _ = memory.Close() }()
	s := &search{names: make([]bool, neighbours), holders: make([]bool, neighbours)}
	for line := range strings.Lines(maps) {
		fields := strings.Fields(line)
		if !strings.HasPrefix(fields[1], "rw") {
			continue
		}
		var from, to int64
		if _, err := fmt.Sscanf(fields[0], "%x-%x", &from, &to); err != nil {
			return findings{}, fmt.Errorf("read the map of the memory: %w", err)
		}
		s.read(memory, from, to)
	}
	return findings{names: count(s.names), holders: count(s.holders), marks: s.marks}, nil
}

func count(marked []bool) (number int) {
	for _, isMarked := range marked {
		if isMarked {
			number++
		}
	}
	return number
}

// search is one that goes on.
type search struct {
	names, holders []bool
	marks          int
}

func (s *search) read(memory io.ReaderAt, from, to int64) {
	buffer := make([]byte, pageful+overlap)
	for ; from < to; from += pageful {
		n, err := memory.ReadAt(buffer[:min(int64(len(buffer)), to-from)], from)
		if err != nil && !errors.Is(err, io.EOF) && n == 0 {
			continue // A guard page, or one of the kernel's.
		}
		s.look(buffer[:n])
	}
}

// look looks for what begins in the first pageful.
func (s *search) look(content []byte) {
	each(content, namePrefix, func(rest []byte) { note(s.names, rest) })
	each(content, markStart+"-", func(rest []byte) {
		if note(s.holders, rest) {
			s.marks++
		}
	})
	// The dash and the number are the next six bytes, which are eight in base64.
	each(content, base64.StdEncoding.EncodeToString([]byte(markStart)), func(rest []byte) {
		decoded, err := base64.StdEncoding.DecodeString(string(rest[:min(8, len(rest))]))
		if err == nil && len(decoded) > 0 && note(s.holders, decoded[1:]) {
			s.marks++
		}
	})
}

// each calls found with what follows each occurrence.
func each(content []byte, what string, found func(rest []byte)) {
	for at := 0; ; {
		i := bytes.Index(content[at:], []byte(what))
		if i < 0 || at+i >= pageful {
			return
		}
		at += i + len(what)
		found(content[at:])
	}
}

// note marks the number that the text begins with, and tells whether there is one.
func note(marked []bool, text []byte) bool {
	number, err := strconv.Atoi(string(text[:min(digits, len(text))]))
	if err != nil || number < 0 || number >= len(marked) {
		return false
	}
	marked[number] = true
	return true
}
