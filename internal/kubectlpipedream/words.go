// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"strings"
	"time"
	"unicode"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// none is shown in place of an empty value.
const none = "<none>"

// clean makes text from outside the plugin safe for a terminal. It replaces each character that is not
// printable with a space.
func clean(text string) string {
	return strings.Map(func(character rune) rune {
		if unicode.IsPrint(character) {
			return character
		}
		return ' '
	}, text)
}

// oneLine returns the text as clean does, without white space around it.
func oneLine(text string) string { return strings.TrimSpace(clean(text)) }

// orNone returns the text, or none if it is empty.
func orNone(text string) string {
	if text == "" {
		return none
	}
	return text
}

// fromNow returns the distance from now to at, such as 42m or 3m ago.
func fromNow(at *metav1.Time, now time.Time) string {
	if at == nil {
		return none
	}
	if distance := at.Sub(now); distance >= 0 {
		return duration.HumanDuration(distance)
	}
	return ago(at.Time, now)
}

func ago(at, now time.Time) string {
	return duration.HumanDuration(now.Sub(at)) + " ago"
}

// moment returns the distance from now to at, and at itself in RFC 3339.
func moment(at *metav1.Time, now time.Time) string {
	if at == nil {
		return none
	}
	if distance := at.Sub(now); distance > 0 {
		return "in " + duration.HumanDuration(distance) + " (" + at.UTC().Format(time.RFC3339) + ")"
	}
	return ago(at.Time, now) + " (" + at.UTC().Format(time.RFC3339) + ")"
}
