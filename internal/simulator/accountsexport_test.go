// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import "reflect"

// AnswerValues are the values of each answer, the default first.
var AnswerValues = answerValues

// AccountFields returns the names of the fields of an account in JSON.
func AccountFields() (names []string) {
	for _, field := range reflect.VisibleFields(reflect.TypeFor[accountJSON]()) {
		if name := field.Tag.Get("json"); name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}
