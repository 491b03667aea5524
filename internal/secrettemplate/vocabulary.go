// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package secrettemplate

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Vocabulary is what the templates of one kind of object can show: the names, which of
// them are secret, and what happens when a name has no value. A kind has one Vocabulary,
// and each object of the kind has its own Values. Nothing here changes a Vocabulary.
type Vocabulary struct {
	// Names are all names, without the dot in front: `ProjectID` is for `.ProjectID`.
	Names map[string]Name
	// Condition is an example of a condition, such as `eq .Environment "production"`. The
	// error about an `if` without a condition shows it.
	Condition string
	// InsteadOfDefault is the advice for authors who want a default for a value that can be
	// absent. The error about sprig's `default` and similar functions shows it.
	InsteadOfDefault string
}

// Name describes one name of a Vocabulary. The zero Name is for a value that everybody may
// see, and is an error where a template shows it without a value.
type Name struct {
	// Secret says what the value is, such as "the access token", if the value is secret. It is
	// the subject of a sentence in errors. Empty means that everybody may see the value.
	Secret string
	// IsVisibleASCII tells that a secret value has no characters but those from `!` to `~`. For
	// such a value `quote` makes JSON; for all others only `toJson` does.
	IsVisibleASCII bool
	// FieldsOf says who has the fields, such as "the account", if the name has fields that
	// differ by object. Templates then show `.Name.field`, and never `.Name` alone. All that is
	// said of the Name is true for each of its fields. Empty means that the name has no fields.
	FieldsOf string
	// AbsentIsEmpty tells that a value or field that the object does not have is shown as an
	// empty text. Without it, a template that shows such a value fails.
	AbsentIsEmpty bool
	// Remedy tells authors how to get a value that is absent, such as "set `spec.projectID`".
	// The error about an absent value ends with it. A name with fields needs none: the error
	// lists the fields that the object has.
	Remedy string
}

// Values are the values of one object by their names, without the dot in front. The field
// `api_key` of the name `Credentials` is at `Credentials.api_key`. A name that is not there
// is absent; a value that is empty is not. Values hold secrets: never print or log them.
type Values map[string]string

// fieldMark stands for the fields of a name where errors list all names.
const fieldMark = ".<field>"

// find returns the Name of the identifiers that a template has written, as in `.a.b`.
func (v *Vocabulary) find(identifiers []string) (Name, bool) {
	name, ok := v.Names[identifiers[0]]
	return name, ok && (name.FieldsOf != "") == (len(identifiers) > 1)
}

// list returns all names as templates write them.
func (v *Vocabulary) list() string {
	names := make([]string, 0, len(v.Names))
	for name, described := range v.Names {
		if described.FieldsOf != "" {
			name += fieldMark
		}
		names = append(names, "."+name)
	}
	slices.Sort(names)
	return inBackticks(names)
}

// whyAbsent says that a value is not there, and what to do. It quotes no value.
func (v *Vocabulary) whyAbsent(identifiers []string, values Values) string {
	name := v.Names[identifiers[0]]
	switch {
	case name.FieldsOf != "":
		field := strings.Join(identifiers[1:], ".")
		return fmt.Sprintf("%s has no field `%s`; it has %s", name.FieldsOf, shorten(field), listFields(identifiers[0], values))
	case name.Remedy != "":
		return fmt.Sprintf("`.%s` has no value: %s", identifiers[0], name.Remedy)
	}
	return fmt.Sprintf("`.%s` has no value", identifiers[0])
}

// maxListed is the most fields that an error lists.
const maxListed = 10

// writable matches the fields that a template can name. Fields come from outside: an error
// lists no others.
var writable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$`)

// listFields returns the fields that a name has among the values, maxListed at most.
func listFields(name string, values Values) string {
	var fields []string
	for _, full := range slices.Sorted(maps.Keys(values)) {
		if field, ok := strings.CutPrefix(full, name+"."); ok && writable.MatchString(field) {
			fields = append(fields, shorten(field))
		}
	}
	switch more := len(fields) - maxListed; {
	case len(fields) == 0:
		return "no field that a template can name"
	case more > 0:
		return fmt.Sprintf("%s and %d more", inBackticks(fields[:maxListed]), more)
	}
	return inBackticks(fields)
}

func inBackticks(names []string) string {
	return "`" + strings.Join(names, "`, `") + "`"
}
