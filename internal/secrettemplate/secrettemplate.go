// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package secrettemplate renders the values of a Secret from templates that users write. It has
// no side effects, and depends neither on Kubernetes nor on a kind of object. Each kind of object
// defines a Vocabulary.
//
// A template is a Go template with a small part of Go's language: the names of the Vocabulary,
// conditions, and a short list of functions from slim-sprig. There are no loops, variables or
// nested templates, so a template uses each computed value once. The package counts the maximum
// length of each function's result. Time and memory are therefore at most linear in the limits
// below.
//
// A person who sees the result of a rendering may not be allowed to see the secret values.
// Therefore no error quotes a value. Whether a template fails, and with which error, depends on a
// secret value in two ways only: on its length, and on whether the object has the value at all.
// Functions whose result shows more than the length of an argument refuse secret values. The
// package counts the maximum length that a function can return, and not the length that it has
// returned.
package secrettemplate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template/parse"
	"unicode/utf8"
)

// The limits. All are in bytes except MaxKeys.
const (
	// MaxTemplate is the maximum length of a template.
	MaxTemplate = 8 << 10
	// MaxKeys is the maximum number of templates of a Secret.
	MaxKeys = 32
	// MaxSecret is the maximum length of all keys and values of a Secret together. The length
	// depends on the lengths of secret values, never on their content.
	MaxSecret = 256 << 10
	// MaxWork is the maximum length of all results that the functions in all templates of a Secret
	// can return together, all branches included.
	MaxWork = 1 << 20
	// maxSeparator is the maximum length of a separator. It makes the result of `join` at most a
	// constant factor longer than its arguments.
	maxSeparator = 16
)

// Error says what is wrong with a template, and where. It quotes no value.
type Error struct {
	// Key is the key of the Secret that the template belongs to; empty if the error is about all
	// templates together.
	Key string
	// Line and Column are the place in the template, both counted from 1, the column in characters.
	// Zero means that the place is not known.
	Line, Column int
	// Detail says what is wrong, and what to do instead.
	Detail string
}

// Error returns the key, the line and the column as far as they are known, and Detail.
func (e *Error) Error() string {
	var where strings.Builder
	if e.Key != "" {
		fmt.Fprintf(&where, "key `%s`", e.Key)
		if e.Line > 0 {
			fmt.Fprintf(&where, ", line %d", e.Line)
		}
		if e.Column > 0 {
			fmt.Fprintf(&where, ", column %d", e.Column)
		}
		where.WriteString(": ")
	}
	return where.String() + e.Detail
}

// Render renders the template of each key with the values of one object. If a template fails,
// the error is an *Error about the first such key in alphabetical order, and no data are
// returned. The templates of jsonKeys must show secret values as JSON, so that whether the
// result is JSON does not depend on a secret value.
func (v *Vocabulary) Render(templates map[string]string, values Values, jsonKeys ...string) (map[string][]byte, error) {
	if len(templates) > MaxKeys {
		return nil, &Error{Detail: fmt.Sprintf("there are more than %d keys", MaxKeys)}
	}
	r := newRenderer(v, values)
	data := make(map[string][]byte, len(templates))
	for _, key := range slices.Sorted(maps.Keys(templates)) {
		value, err := r.render(key, templates[key], slices.Contains(jsonKeys, key))
		if err != nil {
			err.Key = key
			return nil, err
		}
		data[key] = value
	}
	return data, nil
}

// KeyShowing returns the first key, in alphabetical order, whose template shows the value of
// the name and nothing else; empty if there is no such template. The name has no dot in front,
// as in `AccessToken` or `Credentials.api_key`. KeyShowing looks at the templates only, because
// a comparison of values would reveal something of a secret value.
func KeyShowing(name string, templates map[string]string) string {
	for _, key := range slices.Sorted(maps.Keys(templates)) {
		if showsOnly(name, templates[key]) {
			return key
		}
	}
	return ""
}

func showsOnly(name, text string) bool {
	root, err := parseTemplate(text)
	if err != nil || root == nil || len(root.Nodes) != 1 {
		return false
	}
	action, ok := root.Nodes[0].(*parse.ActionNode)
	if !ok || len(action.Pipe.Decl) > 0 || len(action.Pipe.Cmds) != 1 || len(action.Pipe.Cmds[0].Args) != 1 {
		return false
	}
	shown, ok := action.Pipe.Cmds[0].Args[0].(*parse.FieldNode)
	return ok && strings.Join(shown.Ident, ".") == name
}

// renderer renders the templates of one Secret, one after the other.
type renderer struct {
	vocabulary *Vocabulary
	values     Values
	budget     budget
	// written is the value that the last template has rendered so far. It is incomplete after an error.
	written []byte
}

func newRenderer(vocabulary *Vocabulary, values Values) *renderer {
	return &renderer{vocabulary: vocabulary, values: values, budget: budget{secretBytes: MaxSecret, functionBytes: MaxWork}}
}

func (r *renderer) render(key, text string, isJSON bool) ([]byte, *Error) {
	r.written = nil
	root, err := parseTemplate(text)
	if err != nil {
		return nil, err
	}
	c := &compiler{
		vocabulary: r.vocabulary, values: r.values, budget: &r.budget,
		source: source(text), isJSON: isJSON, written: []byte{},
	}
	if err := c.budget.reserve(c.source, root, len(key)); err != nil {
		return nil, err
	}
	write, err := c.compileList(root)
	if err != nil {
		return nil, err
	}
	err = write()
	if r.written = c.written; err != nil {
		return nil, err
	}
	return r.written, nil
}

// source is the text of a template.
type source string

// errorAt returns an error about the part of the template that begins at a node.
func (s source) errorAt(node parse.Node, format string, args ...any) *Error {
	before := string(s[:min(int(node.Position()), len(s))])
	line := before[strings.LastIndexByte(before, '\n')+1:]
	return &Error{
		Line:   strings.Count(before, "\n") + 1,
		Column: utf8.RuneCountInString(line) + 1,
		Detail: fmt.Sprintf(format, args...),
	}
}

// budget is the part of one Secret's limits that is not used yet.
type budget struct {
	// secretBytes is the unused part of MaxSecret. functionBytes is the unused part of MaxWork.
	secretBytes, functionBytes int
}

// reserve counts the maximum length that a part of a template can add to the Secret.
func (b *budget) reserve(s source, node parse.Node, maxBytes int) *Error {
	if b.secretBytes -= maxBytes; b.secretBytes < 0 {
		return s.errorAt(node, "the Secret could have more than %d KiB", MaxSecret>>10)
	}
	return nil
}

// charge counts the maximum length of a function's result.
func (b *budget) charge(s source, node parse.Node, maxBytes int) *Error {
	if b.functionBytes -= maxBytes; b.functionBytes < 0 {
		return s.errorAt(node, "the functions of all templates together could return more than %d KiB", MaxWork>>10)
	}
	return nil
}
