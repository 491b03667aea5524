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

// none stands where there is nothing to show.
const none = "<none>"

// clean makes a text of somebody else fit for a terminal: what could steer it is
// shown as a space.
func clean(text string) string {
	return strings.Map(func(character rune) rune {
		if unicode.IsPrint(character) {
			return character
		}
		return ' '
	}, text)
}

// oneLine is clean, without white space around it.
func oneLine(text string) string { return strings.TrimSpace(clean(text)) }

// orNone shows an empty text as none.
func orNone(text string) string {
	if text == "" {
		return none
	}
	return text
}

// fromNow shows a time as a distance, such as 42m, or 3m ago.
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

// moment shows a time as a distance, and as itself.
func moment(at *metav1.Time, now time.Time) string {
	if at == nil {
		return none
	}
	if distance := at.Sub(now); distance > 0 {
		return "in " + duration.HumanDuration(distance) + " (" + at.UTC().Format(time.RFC3339) + ")"
	}
	return ago(at.Time, now) + " (" + at.UTC().Format(time.RFC3339) + ")"
}
