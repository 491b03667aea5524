// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"
	"fmt"
	"strconv"
)

const (
	// markStart is what the data of each neighbour begins with.
	markStart = "NEIGHBOUR"
	// namePrefix begins the name of each neighbour.
	namePrefix = "unrelated-"
	// digits is the length of a neighbour's number.
	digits = 5
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
	names, holders, marks := make([]bool, neighbours), make([]bool, neighbours), 0
	const plain = markStart + "-"
	encoded := base64.StdEncoding.EncodeToString([]byte(markStart))
	err := p.FindInMemory([]string{namePrefix, plain, encoded}, func(text string, rest []byte) {
		switch text {
		case namePrefix:
			note(names, rest)
			return
		case encoded:
			// The dash and the number are the next six bytes, which are eight in base64.
			decoded, err := base64.StdEncoding.DecodeString(string(rest[:min(8, len(rest))]))
			if err != nil || len(decoded) == 0 {
				return
			}
			rest = decoded[1:]
		}
		if note(holders, rest) {
			marks++
		}
	})
	return findings{names: count(names), holders: count(holders), marks: marks}, err
}

func count(marked []bool) (number int) {
	for _, isMarked := range marked {
		if isMarked {
			number++
		}
	}
	return number
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
