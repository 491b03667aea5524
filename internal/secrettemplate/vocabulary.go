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

// Vocabulary says what the templates of one kind of object can show: the names, which of them
// are secret, and what happens if an object has no value for a name. A kind has one Vocabulary,
// and each object of the kind has its own Values. The methods never change a Vocabulary.
type Vocabulary struct {
	// Names are all names, without the dot in front: `ProjectID` describes `.ProjectID`.
	Names map[string]Name
	// Condition is an example of a condition, such as `eq .Environment "production"`. The
	// error about an `if` without a condition shows it.
	Condition string
	// InsteadOfDefault is the advice for authors who want a default for a value that can be
	// absent. The error about sprig's `default` and similar functions shows it.
	InsteadOfDefault string
}

// Name describes one name of a Vocabulary. The zero Name is for a value that everybody may see;
// a template that shows it fails if the object has no such value.
type Name struct {
	// Secret says in errors what the value is, such as "the access token", if the value is secret.
	// Errors use it as the subject of a sentence. Empty means that everybody may see the value.
	Secret string
	// IsVisibleASCII promises that a secret value consists of characters from `!` to `~` only. For
	// such a value `quote` writes JSON. For all other secret values only `toJson` does.
	IsVisibleASCII bool
	// FieldsOf says in errors who has the fields, such as "the account", if the name has fields
	// that differ by object. Templates then show `.Name.field`, and never `.Name` alone. Secret,
	// IsVisibleASCII and AbsentIsEmpty then apply to each field. Empty means that the name has no
	// fields.
	FieldsOf string
	// AbsentIsEmpty is true if a template shows an empty text in place of a value or field that the
	// object does not have. Otherwise a template that shows such a value fails.
	AbsentIsEmpty bool
	// Remedy tells authors how to set a value that is absent, such as "set `spec.projectID`". The
	// error about the absent value ends with it. It has no meaning for a name with fields: the
	// error about an absent field lists the fields that the object has.
	Remedy string
}

// Values are the values of one object by their names, without the dot in front. The key
// `Credentials.api_key` is for the field `api_key` of the name `Credentials`. A name without a
// key is absent. A key with an empty text is not absent. Values hold secrets: never print or
// log them.
type Values map[string]string

// fieldMark stands for the fields of a name in the list of all names.
const fieldMark = ".<field>"

// find returns the Name that a template shows by its identifiers, such as `a` and `b` of `.a.b`.
// It returns false if the Vocabulary has no such name. It also returns false if the name has
// fields and the template names no field, or if the name has no fields and the template names one.
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

// whyAbsent returns the error about a value that the object does not have. It quotes no value.
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

// maxListed is the maximum number of fields that an error lists.
const maxListed = 10

// writable matches the fields that a template can name. The names of fields come from outside
// the cluster, and an error lists only names that match.
var writable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$`)

// listFields returns the fields of a name that the object has: at most maxListed fields, and the
// number of the other fields.
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
