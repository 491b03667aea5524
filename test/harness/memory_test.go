// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
)

func TestTextsAreFoundInTheMemoryOfAProcess(t *testing.T) {
	t.Parallel()
	p := Command{Path: "sleep", Arguments: []string{"60"}, Environment: []string{"PLANTED=a-text-that-is-planted-and-more"}}.MustStart(t)
	Eventually(t, "the text to be found with the text after it", func() string {
		var found []string
		Must(t, p.FindInMemory([]string{"a-text-that-is-planted", "a-text-that-is-not-there"}, func(text string, rest []byte) {
			if bytes.HasPrefix(rest, []byte("-and-more")) {
				found = append(found, text)
			}
		}))
		if !slices.Contains(found, "a-text-that-is-planted") || slices.Contains(found, "a-text-that-is-not-there") {
			return fmt.Sprintf("found are %q", found)
		}
		return ""
	})
}

// TestATextAtTheEndOfAChunkIsFoundOnce lays a text across the end of what is read at once.
func TestATextAtTheEndOfAChunkIsFoundOnce(t *testing.T) {
	t.Parallel()
	const text = "planted"
	for _, at := range []int{0, chunk - 100, chunk - 3, chunk, chunk + 3, 2*chunk - 3, 2*chunk + 500} {
		memory := make([]byte, 2*chunk+600)
		copy(memory[at:], text+"-rest")
		found := 0
		findIn(bytes.NewReader(memory), 0, int64(len(memory)), []string{text}, func(_ string, rest []byte) {
			if bytes.HasPrefix(rest, []byte("-rest")) {
				found++
			}
		})
		if found != 1 {
			t.Errorf("a text at %d is found %d times, want once", at, found)
		}
	}
}
